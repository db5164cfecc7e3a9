"""Explain the leading finding of one's own record, where the training set is not at hand."""

import torch

from dataset import ECGDataset, unlabelled
from ecg.explanation.attributions import Options
from ecg.explanation.values import make_values

STEPS = 100  # of the integral, by the midpoint rule


def class_to_explain(row):
    """Return an answer's leading finding, else its most probable class, None if none is known."""
    known = {name: p for name, p in row["probabilities"].items() if p is not None}
    return row["leading"] or max(known, key=known.get, default=None)


def read_input(checkpoint, packed):
    """Return what a model is given of a packed record (12, n): (L, T)."""
    return ECGDataset.of_model({"": packed}, unlabelled([""]), checkpoint)[0][0]


def own_scores(model, checkpoint, packed):
    """Return the probabilities (K,) of a packed record (12, n)."""
    x = torch.from_numpy(read_input(checkpoint, packed))[None]
    with torch.no_grad():
        logits = model.score(x.to(next(model.parameters()).device))[0]
    return torch.sigmoid(logits).cpu().numpy()


def explain_own(model, checkpoint, packed, name, steps=STEPS):
    """Return the arrays of `make_values` of a packed record (12, n) for the class called `name`.

    They are integrated gradients from a signal of zeros; of a model with a window, in the window
    whose logit of that class is largest, which is the one that counts.
    """
    x, k = read_input(checkpoint, packed), checkpoint["classes"].index(name)
    options = Options(method="ig", samples=steps)
    return make_values(model.requires_grad_(False), options, "", x, None, [k], packed.shape[1])
