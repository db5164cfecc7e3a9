"""Where the network computes, and the random numbers it draws."""

import random

import numpy as np
import torch

from utils import fail


def get_device(use_gpu):
    """Return cuda:0 if asked for, else the CPU; stop if no GPU is available."""
    if use_gpu and not torch.cuda.is_available():
        fail("--use-gpu was given but torch sees no CUDA GPU; run the same command without it")
    return torch.device("cuda:0" if use_gpu else "cpu")


def set_seed(*seed):
    """Seed every generator from one or more whole numbers, e.g. the run's seed and the epoch."""
    state = int(np.random.SeedSequence(seed).generate_state(1)[0])
    random.seed(state)
    np.random.seed(state)  # noqa: NPY002  (some libraries draw from it)
    torch.manual_seed(state)  # seeds CUDA too
