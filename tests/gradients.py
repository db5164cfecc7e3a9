"""Take one step's gradients, in one process or under torchrun; process 0 writes them to argv[1].

Batch norm and dropout are off: their statistics are those of a process's own part of the batch.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

import main
import resnet
from ecg.training import distributed, loop

resnet.WIDTHS = (8, 8, 16, 16)
out, *argv = sys.argv[1:]
args = main.parse_args(argv)
device = distributed.start(args.use_gpu)
train_set, validation_set, model, _ = main.set_up(args)
network = distributed.wrap(model)
network.eval()
network.train = lambda *_: network  # train_epoch would switch it on


class Recorder:
    """Stands in for the optimizer: keeps the gradients of the first step."""

    gradients, param_groups = None, ()

    def zero_grad(self):
        model.zero_grad()

    def step(self):
        if self.gradients is None:
            self.gradients = {name: p.grad.clone() for name, p in model.named_parameters()}


recorder = Recorder()
options = args.batch_size, args.num_workers, args.amp
loss = loop.train_epoch(network, train_set, recorder, device, 1, args.seed, *options, args.lr)
model.eval()
scores = loop.validate(model, validation_set, device, *options)
if distributed.rank() == 0:
    torch.save({"gradients": recorder.gradients, "loss": loss, "scores": scores}, out)
distributed.stop()
