"""Explain the leading finding of one's own record, with the training set or without it."""

from pathlib import Path

import torch

from dataset import ECGDataset, PackedSignals, labels_digest, load_labels, unlabelled
from ecg.explanation import maps
from ecg.explanation.attributions import Options
from ecg.explanation.values import make_values

FROM_ZERO = Options(method="ig", samples=100)  # steps, where no training set is at hand


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


def training_background(data_dir, path, checkpoint, device, options):
    """Return the Background of the model at `path`, None if `data_dir` is not its training set."""
    trained, folder = checkpoint["args"], Path(data_dir)
    named = folder.resolve().name == Path(trained["data_dir"]).name
    if not named or not (folder / "labels.csv").is_file():
        return None
    labels, signals = load_labels(folder, trained["limit"]), PackedSignals(folder)
    now = labels_digest(labels), signals.fingerprint
    if now != (checkpoint["labels"], checkpoint["signals"]):
        return None
    run = maps.load_run(folder, trained["limit"], path, None, trained["round"], device)
    return maps.load_background(run, options._replace(round=trained["round"]))


def method_at_hand(data_dir, path, checkpoint, device):
    """Return the Options and the Background (None: a flat line) that `data_dir` allows for."""
    background = training_background(data_dir, path, checkpoint, device, Options())
    return (FROM_ZERO if background is None else Options()), background


def explain_own(model, checkpoint, packed, record, name, options=FROM_ZERO, background=None):
    """Return the arrays of `make_values` of a packed record (12, n) for the class called `name`.

    Without a `background`, `options` must name a method that starts from a signal of zeros. Of a
    model with a window they are those of the window whose logit of that class is largest, which is
    the one that counts. `record` is the record's name, which seeds what is drawn.
    """
    x, k = read_input(checkpoint, packed), checkpoint["classes"].index(name)
    model, n = model.requires_grad_(False), packed.shape[1]
    return make_values(model, options, record, x, background, [k], n)
