"""Where the network computes, and the random numbers it draws."""

import random
import sys

import numpy as np
import torch

from utils import InputError


def get_device(name):
    """Return the device of a name of `flags.DEVICES`; InputError if this machine has none.

    'auto' is a CUDA GPU where there is one, else the CPU: Apple's GPU is untried.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "torch sees no CUDA GPU; run the same command without --use-gpu and --device cuda"
        )
    if name == "mps" and not torch.backends.mps.is_available():
        raise InputError("torch sees no GPU of Apple's; run the same command without --device mps")
    if name == "mps":
        print("note: nobody has tried these scripts on Apple's GPU yet", file=sys.stderr)
    return torch.device("cuda:0" if name == "cuda" else name)


def use_one_thread():
    """Compute with one thread, for a process that is one of several."""
    torch.set_num_threads(1)


def set_seed(*seed):
    """Seed every generator from one or more whole numbers, e.g. the run's seed and the epoch."""
    state = int(np.random.SeedSequence(seed).generate_state(1)[0])
    random.seed(state)
    np.random.seed(state)  # noqa: NPY002  (some libraries draw from it)
    torch.manual_seed(state)  # seeds CUDA too
