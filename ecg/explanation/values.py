"""The values of one record: how they are made, kept in values/<patient_id>.npz and read.

They depend on the record's name, the seed and the other options alone (to the last bit on one
machine with one --batch-size).
"""

import zipfile
import zlib

import numpy as np
import torch

from ecg.explanation.attributions import METHODS, agreement, binned, explain, reliability, score
from utils import replacing

STORED = {"phi", "halves", "reliability", "samples", "classes", "starts", "logits", "base", "n"}


def record_seed(patient_id, seed):
    """Return the record's own seed, from its name and --seed."""
    return zlib.crc32(f"{seed} {patient_id}".encode())


def read_values(path):
    """Return a stored record's arrays as a dictionary, or None if it has to be made (again)."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile):
        return None
    return arrays if set(arrays) >= STORED else None


def write_values(path, stored):
    """Keep a record's arrays in values/<patient_id>.npz."""
    with replacing(path) as temporary:
        np.savez(temporary, **stored)


def make_values(model, options, name, x, background, classes=None, n=None, enough=None):
    """Return arrays of one record x (L, t) in mV, as `load_record` gives it, of n samples in all.

    `classes` are the numbers of those to explain, the highest logit's if None; `background` may be
    None for a method that starts from zeros. A record that is not padded is compared with as long
    an end of the background's records. Of a model with a window, each class is explained in the
    window where its logit is highest, which is the record's. `enough`, of a class, halves
    (2, L, T) and their samples, says when to stop drawing, instead of the options' reliability.

    phi (k, L, T)           the values; halves (2, k, L, W) are those of two halves of the samples,
                            without padding, summed over windows (`binned`)
    reliability (k, 2)      of the windows and of the leads' shares
    samples, starts (k,)    how many gradients; where in the record phi begins, without padding
    classes (k,), logits (K,), base (K,)    base are the logits that phi starts from: the mean over
                            the background, or those of a signal of zeros
    """
    x = torch.from_numpy(x).to(next(model.parameters()).device)
    n = x.shape[1] if n is None else n
    places = model.starts(x.shape[1])
    size = x.shape[1] - places[-1]
    windows = torch.stack([x[:, place : place + size] for place in places])
    by_window = score(model, windows, 1)  # (windows, K)
    logits = by_window.max(0)
    classes = [int(logits.argmax())] if classes is None else [int(k) for k in classes]
    best = by_window.argmax(0)[classes]
    padding, hidden = max(0, x.shape[1] - n), max(0, n - x.shape[1])
    starts = [hidden + places[i] for i in best]
    others, base = against(model, options, name, windows[:1], background)

    def cut(halves):
        return binned(halves[..., padding:].cpu().numpy())

    def reliable(_, halves, samples):
        return reliability(cut(halves))[0] >= options.reliability

    seed = record_seed(name, options.seed)
    enough = enough or (reliable if options.reliability else None)
    found = explain(model, windows[best], classes, others, options, seed, enough)
    halves = np.stack([cut(values.halves) for values in found], 1)
    return {
        "phi": np.stack([values.phi.cpu().numpy() for values in found]),
        "halves": halves,
        "reliability": np.array([reliability(halves[:, i]) for i in range(len(found))]),
        "samples": np.array([values.samples for values in found]),
        "classes": np.array(classes),
        "starts": np.array(starts),
        "logits": logits,
        "base": base,
        "n": np.array(n),
    }


def against(model, options, name, x, background):
    """Return what a record like x (1, L, T) is compared with: signals (B, L, T), their logits (K,).

    The logits are the mean of those of the signals.
    """
    if METHODS[options.method].from_zero:
        return torch.zeros_like(x), score(model, torch.zeros_like(x), 1)[0]
    others = [i for i, other in enumerate(background.names) if other != name]
    others = others[: options.background]
    signals = background.signals[others][..., -x.shape[2] :]
    if x.shape[2] == background.signals.shape[2]:
        return signals, background.logits[others].mean(0)
    return signals, score(model, signals, options.batch_size).mean(0)


def each_class(stored):
    """Yield each explained class's number and its values (L, t) without the padding."""
    for k, phi in zip(stored["classes"], stored["phi"], strict=True):
        yield int(k), phi[:, max(0, phi.shape[1] - int(stored["n"])) :]


def predicted_place(stored):
    """Return the place of the predicted (highest) class among those explained."""
    return stored["classes"].tolist().index(stored["logits"].argmax())


def predicted_values(stored):
    """Return the predicted (highest) class's index and its values (L, t) without the padding."""
    k = int(stored["logits"].argmax())
    return k, dict(each_class(stored))[k]


def explained_class(stored, i):
    """Return what there is to say of the i-th explained class.

    Its number, its values (L, t) without the padding, where in the record they begin, its logit,
    the change of the logit that they explain, and the residual: their sum less that change.
    """
    k, phi = list(each_class(stored))[i]
    change = stored["logits"][k] - stored["base"][k]
    residual = stored["phi"][i].sum(dtype=float) - change
    return k, phi, int(stored["starts"][i]), stored["logits"][k], change, residual


def trust(stored, i):
    """Return how far each window (L, W) of the i-th explained class can be trusted, 0 to 1.

    How far its two halves agree, as far as the map as a whole is reliable: where it is not, single
    windows agree by chance.
    """
    return agreement(stored["halves"][:, i]) * np.clip(stored["reliability"][i, 0], 0, 1)


def seen_part(x, stored, i=0):
    """Return the part of x (L, t), as `load_record` gives it, that the i-th class's values explain.

    Without padding.
    """
    first = int(stored["starts"][i]) + x.shape[1] - int(stored["n"])
    return x[:, first : first + min(stored["phi"].shape[2], int(stored["n"]))]
