"""What the commands that explain share: their flags, what they explain, the folder of values.

A record's values depend on its name, the seed and the other options in the folder's run.json alone
(to the last bit on one machine with one --batch-size).
"""

import json
import zipfile
import zlib
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from dataset import (
    ECGDataset,
    PackedSignals,
    labels_digest,
    load_labels,
    pad_signal,
    round_folds,
)
from ecg.evaluation.runs import is_training_data
from ecg.explanation.attributions import METHODS, explain, score
from resnet import ResNet1d, load_model, scored_run, weights_digest
from utils import RESEARCH_USE, fail, positive, read_json, replacing

STORED = {"phi", "classes", "logits", "base", "n"}  # arrays of values/<patient_id>.npz


def add_explain_args(parser, records, samples):
    """Add the flags of the scripts that explain records, with that script's defaults."""
    group = parser.add_argument_group("explanation")
    number = {"type": positive, "metavar": "N"}
    group.add_argument(
        "--background", default=100, help="training records to compare with", **number
    )
    group.add_argument("--records", default=records, help="explain N records at most", **number)
    group.add_argument("--record", nargs="+", metavar="ID", help="explain these records instead")
    group.add_argument(
        "--samples", default=samples, help="gradients, or steps, for each class", **number
    )
    text = "; ".join(f"{name}: {method.text}" for name, method in METHODS.items())
    group.add_argument("--method", choices=METHODS, default="shap", help=text)
    text = "go on if the folder's values were made with the same options, else start anew"
    group.add_argument("--resume", choices=["auto"], help=text)
    group.add_argument("--force", action="store_true", help="delete the folder's values first")


def record_seed(patient_id, seed):
    """Return the record's own seed, from its name and --seed."""
    return zlib.crc32(f"{seed} {patient_id}".encode())


class Run(NamedTuple):
    """A data folder and a model in eval mode without gradients, with their names."""

    labels: pd.DataFrame
    data: ECGDataset
    model: ResNet1d
    checkpoint: dict
    name: str
    trained_here: bool


def load_run(data_dir, limit, path, leads, round_number, device):
    """Read a data folder and the model at `path`; return a Run.

    `leads` (None: the model's own) and the round must be those that the model was trained with.
    """
    # deterministic kernels, and no TF32, or the values would change from call to call
    torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32 = True, False
    labels = load_labels(data_dir, limit)
    signals = PackedSignals(data_dir)
    model, checkpoint = load_model(path, device, leads)
    name = scored_run(path, checkpoint, data_dir)
    trained_here = is_training_data(checkpoint, labels, signals, data_dir, limit, round_number)
    trained = checkpoint["args"]
    data = ECGDataset(signals, labels, checkpoint["leads"], trained["seconds"], pad=trained["pad"])
    return Run(labels, data, model.requires_grad_(False), checkpoint, name, trained_here)


def load_record(run, name):
    """Return a record as the network sees it: x (L, T) float32 mV and y (K,).

    T is the window, or the record's own length for a network trained with --pad batch.
    """
    return run.data[run.data.patient_ids.index(name)]


def choose_records(run, options, at_most, wanted=None):
    """Return the patient_ids to explain: those `wanted`, or a seeded draw, sorted by name.

    Of the data that the model was trained on, only records of the test fold may be explained.
    """
    _, _, test_fold = round_folds(options.round)
    folds = run.labels.set_index("patient_id")["fold"]
    allowed = sorted(folds[folds == test_fold].index if run.trained_here else folds.index)
    for name in wanted or []:
        if name not in folds.index:
            folder = run.data.signals.path.parent
            fail(f"no record {name} in {folder}/labels.csv; name one that is listed there")
        if name not in allowed:
            seen = (
                f"record {name} is in fold {folds[name]}, which the model was trained or chosen on"
            )
            fail(f"{seen}; name records of the test fold {test_fold}")
    if wanted:
        return sorted(set(wanted))
    if not allowed:
        fail(f"the test fold {test_fold} holds no record; use more records (a larger --limit)")
    drawn = np.random.default_rng([options.seed, 0]).permutation(allowed)[:at_most]
    return sorted(drawn.tolist())


class Background(NamedTuple):
    """What records are compared with: B records of the training folds, and one more.

    The one more takes the place of a record that is among the others itself (another data set's).
    """

    names: list
    signals: torch.Tensor  # (B + 1, L, T), padded, on the model's device
    logits: np.ndarray  # (B + 1, K)


def draw_background(labels, options):
    """Return the training folds' patient_ids in a seeded order, one more than asked for."""
    train_folds, _, _ = round_folds(options.round)
    names = sorted(labels.loc[labels["fold"].isin(train_folds), "patient_id"])
    order = np.random.default_rng([options.seed, 1]).permutation(names)[: options.background + 1]
    if len(order) < 2:
        found = f"the training folds hold {len(order)} records, too few for a background"
        fail(f"{found}; use more records (a larger --limit, or none)")
    if len(order) < options.background:
        print(f"note: {len(order)} background records, as the training folds hold no more")
    return order.tolist()


def load_background(run, options):
    """Draw and read the Background of a run."""
    names = draw_background(run.labels, options)
    signals = [pad_signal(load_record(run, name)[0], run.data.n_samples) for name in names]
    signals = torch.from_numpy(np.stack(signals)).to(next(run.model.parameters()).device)
    return Background(names, signals, score(run.model, signals, options.batch_size))


def run_options(run, options, **others):
    """Return what decides the values of all records, as a flat dictionary for run.json."""
    own = {name: value for name, value in options._asdict().items() if name != "batch_size"}
    return {
        "weights": weights_digest(run.checkpoint["state_dict"]),
        "signals": run.data.signals.fingerprint,
        "labels": labels_digest(run.labels),
        **own,
        "leads": run.checkpoint["leads"],
        "seconds": run.checkpoint["args"]["seconds"],
        **others,
    }


def open_folder(folder, options, force=False, auto=False, derived=()):
    """Prepare a folder of values made with `options`, those of run.json.

    If it holds values of other options, stop; with `auto`, delete them. With `force`, delete values
    of any options. `derived` are the files made from the values, which are deleted with them.
    """
    path = folder / "run.json"
    for left in folder.glob("*/.*.tmp*"):  # of a run killed while it wrote
        left.unlink()
    made = [*folder.glob("values/*.npz"), *folder.glob("rows/*.json")]
    before = read_json(path)
    if not isinstance(before, dict):  # nobody knows how the values were made
        before = {}
    changed = [key for key in options if before.get(key) != options[key]] if made else []
    if changed and not force:
        found = f"{folder} holds values made with another {', '.join(changed)}"
        if not auto:
            fail(f"{found}; repeat that run's options, or start anew with --force")
        print(f"note: {found}; starting anew")
    if changed or force:
        for old in [*derived, *made, path]:
            old.unlink(missing_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({**options, "use": RESEARCH_USE}, indent=2) + "\n")


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


def make_values(model, options, name, x, background, classes=None):
    """Return arrays of one record x (L, t): phi (k, L, t), classes (k,), logits (K,), base (K,).

    x is in mV, as `load_record` gives it; `classes` are the class numbers to explain, the
    highest logit's if None. `base` are the logits that phi starts from: the mean over the
    background, or those of a signal of zeros. A record that is not padded is compared with as long
    an end of the background's records.
    """
    x = torch.from_numpy(x).to(background.signals.device)
    logits = score(model, x[None], 1)[0]
    classes = [int(logits.argmax())] if classes is None else list(classes)
    others = [i for i, other in enumerate(background.names) if other != name]
    others = others[: options.background]
    starts = background.signals[others][..., -x.shape[1] :]
    if METHODS[options.method].from_zero:
        starts = torch.zeros_like(x)[None]
        base = score(model, starts, 1)[0]
    elif x.shape[1] == background.signals.shape[2]:
        base = background.logits[others].mean(0)
    else:
        base = score(model, starts, options.batch_size).mean(0)
    phi = explain(model, x, classes, starts, options, record_seed(name, options.seed))
    return {"phi": phi, "classes": np.array(classes), "logits": logits, "base": base}


def each_class(stored):
    """Yield each explained class's number and its values (L, t) without the padding."""
    for k, phi in zip(stored["classes"], stored["phi"], strict=True):
        yield int(k), phi[:, max(0, phi.shape[1] - int(stored["n"])) :]


def predicted_values(stored):
    """Return the predicted (highest) class's index and its values (L, t) without the padding."""
    k = int(stored["logits"].argmax())
    return k, dict(each_class(stored))[k]
