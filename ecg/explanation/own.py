"""Explain the leading finding of one's own record, where the training set is not at hand."""

from typing import NamedTuple

import numpy as np
import torch

from dataset import LEADS, SAMPLE_RATE, pad_signal, to_mv
from ecg.explanation.attributions import (
    GRADIENT_MEMORY,
    OneLogit,
    fold_norms,
    integrated_gradients,
    score,
)

STEPS = 100  # of the integral, by the midpoint rule


class OwnValues(NamedTuple):
    """Integrated gradients from zero of one logit."""

    values: np.ndarray  # (L, t) of the samples that the network was given, without padding
    begin: int  # the first of them in the record
    change: float  # of the logit, from that of a signal of zeros
    residual: float  # the sum of the values, less the change
    steps: int


def leading(probabilities, findings):
    """Return the class to explain: the most probable finding, or class if there is no finding.

    `probabilities` is {class: probability}, `findings` a list of classes.
    """
    return max(findings or probabilities, key=probabilities.get)


def read_input(model, checkpoint, packed):
    """Return what a loaded model is given of a packed record (12, n): x (L, T) and its padding."""
    trained = checkpoint["args"]
    rows, seen = [LEADS.index(lead) for lead in checkpoint["leads"]], trained["seconds"]
    x = to_mv(packed, rows, None if model.window else seen * SAMPLE_RATE)
    padding = max(0, seen * SAMPLE_RATE - x.shape[1]) if trained["pad"] == "window" else 0
    x = pad_signal(x, x.shape[1] + padding)
    return torch.from_numpy(x).to(next(model.parameters()).device), padding


def explain_own(model, checkpoint, packed, name, steps=STEPS, batch_size=32):
    """Return OwnValues of a packed record (12, n) for the class `name` of a loaded model.

    A model with a window is explained in the window whose logit of that class is largest, which is
    the one that counts; any other in the end of the record that it sees.
    """
    model, k = model.requires_grad_(False), checkpoint["classes"].index(name)
    x, padding = read_input(model, checkpoint, packed)
    starts = model.starts(x.shape[1])
    parts = [x[:, start : start + (model.window or x.shape[1])] for start in starts]
    logits = [score(model, part[None], 1)[0, k] for part in parts]
    best = int(np.argmax(logits))
    zeros = torch.zeros_like(parts[best])[None]
    network = OneLogit(fold_norms(model))
    network.k = k
    n = max(1, batch_size // GRADIENT_MEMORY)
    phi = integrated_gradients(network, parts[best], zeros, steps, 0, n)
    change = float(logits[best] - score(model, zeros, 1)[0, k])
    # zeros in front have the value zero: they do not differ from the signal that it starts from
    kept = phi[:, padding:]
    begin = starts[best] if model.window else packed.shape[1] - kept.shape[1]
    return OwnValues(kept, begin, change, float(phi.sum(dtype=float)) - change, steps)
