"""Take one step's gradients, in one process or in several; process 0 writes them to a file.

Batch norm and dropout are off: their statistics are those of a process's own part of the batch.
"""

import torch

import main as training
from ecg.training import distributed, loop


class Recorder:
    """Stands in for the optimizer: keeps the gradients of the first step."""

    param_groups = ()

    def __init__(self, model):
        self.model, self.gradients = model, None

    def zero_grad(self):
        self.model.zero_grad()

    def step(self):
        if self.gradients is None:
            named = self.model.named_parameters()
            self.gradients = {name: p.grad.clone() for name, p in named}


def main(argv):
    """Write gradients, loss and validation scores to argv[0]; the rest are flags of main.py."""
    torch.set_num_threads(1)
    out, *flags = argv
    args = training.parse_args(flags)
    device = distributed.start(args.device)
    train_set, validation_set, model, _ = training.set_up(args)
    network = distributed.wrap(model)
    network.eval()
    network.train = lambda *_: network  # train_epoch would switch it on
    recorder = Recorder(model)
    options = args.batch_size, args.num_workers, args.amp
    loss = loop.train_epoch(network, train_set, recorder, device, 1, args.seed, *options, args.lr)
    model.eval()
    scores = loop.validate(model, validation_set, device, *options)
    if distributed.rank() == 0:
        torch.save({"gradients": recorder.gradients, "loss": loss, "scores": scores}, out)
    distributed.stop()
