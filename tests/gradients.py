"""Take one step's gradients, in one process or in several; process 0 writes them to a file.

Batch norm and dropout are off: their statistics are those of a process's own part of the batch.
"""

import torch

import main as main_step
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
    args = main_step.parse_args(flags)
    device = distributed.start(args.device)
    train_set, validation_set, run = main_step.set_up(args, device)
    network = distributed.wrap(run.network)
    network.eval()
    network.train = lambda *_: network  # train_epoch would switch it on
    run.optimizer = recorder = Recorder(run.network)
    loss = loop.train_epoch(run, network, train_set)
    run.network.eval()
    scores = loop.validate(run.network, validation_set, run.loading)
    if distributed.rank() == 0:
        torch.save({"gradients": recorder.gradients, "loss": loss, "scores": scores}, out)
    distributed.stop()
