"""What the scripts of explanations share: their flags, what they explain, the folder of values.

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
    is_training_data,
    labels_digest,
    leads_text,
    load_labels,
    pad_signal,
    round_folds,
)
from ecg.explanation.attributions import METHODS, OneLogit, explain, fold_norms, score
from resnet import ResNet1d, find_model, load_model, scored_run, weights_digest
from utils import RESEARCH_USE, fail, positive, replacing

STORED = {"phi", "classes", "logits", "base", "n"}  # arrays of values/<patient_id>.npz


def add_explain_args(parser, records, samples):
    """Add the flags of the scripts that compute attributions, with that script's defaults."""
    group = parser.add_argument_group("explanation")
    group.add_argument("--background", type=positive, default=100, help="background records")
    group.add_argument("--records", type=positive, default=records, help="explain at most so many")
    group.add_argument("--record", nargs="+", metavar="ID", help="explain these (None: a draw)")
    group.add_argument(
        "--samples", type=positive, default=samples, help="gradients (ig: steps) a record and class"
    )
    text = "; ".join(f"{name}: {what}" for name, what in METHODS.items())
    group.add_argument("--method", choices=METHODS, default="shap", help=text)
    group.add_argument("--force", action="store_true", help="delete what the folder holds first")


def record_seed(patient_id, seed):
    """Return the record's own seed, from its name and --seed."""
    return zlib.crc32(f"{seed} {patient_id}".encode())


class Run(NamedTuple):
    """What the flags name: a data folder, a model in eval mode without gradients, their names."""

    labels: pd.DataFrame
    data: ECGDataset
    model: ResNet1d
    checkpoint: dict
    name: str
    trained_here: bool


def load_run(args, device):
    """Read the data folder and the model that the flags name; return a Run."""
    # deterministic kernels, and no TF32, or the values would change from call to call
    torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32 = True, False
    labels = load_labels(args.data_dir, args.limit)
    signals = PackedSignals(args.data_dir)
    leads = leads_text(args.leads)
    path = find_model(args.model_path, args.arch, args.data_dir, args.seed, args.round, leads)
    model, checkpoint = load_model(path, device, args.leads)
    name = scored_run(path, checkpoint, args.data_dir)
    trained_here = is_training_data(checkpoint, labels, args.data_dir, args.limit, args.round)
    trained = checkpoint["args"]
    data = ECGDataset(signals, labels, checkpoint["leads"], trained["seconds"], pad=trained["pad"])
    return Run(labels, data, model.requires_grad_(False), checkpoint, name, trained_here)


def load_record(run, name):
    """Return a record as the network sees it: x (L, T) float32 mV and y (K,).

    T is the window, or the record's own length for a network trained with --pad batch.
    """
    return run.data[run.data.patient_ids.index(name)]


def choose_records(args, labels, trained_here):
    """Return the patient_ids to explain: those asked for, or a seeded draw, sorted by name."""
    _, _, test_fold = round_folds(args.round)
    if trained_here:
        allowed = labels[labels["fold"] == test_fold]
    else:
        allowed = labels
    allowed = sorted(allowed["patient_id"])
    for name in args.record or []:
        if name not in set(labels["patient_id"]):
            fail(f"no record {name} in {args.data_dir}/labels.csv; name one that is listed there")
        if name not in allowed:
            fold = labels.loc[labels["patient_id"] == name, "fold"].item()
            fail(f"record {name} is in fold {fold}, which the model was trained or chosen on; "
                 f"name records of the test fold {test_fold}")  # fmt: skip
    if args.record:
        return sorted(set(args.record))
    if not allowed:
        fail(f"the test fold {test_fold} holds no record; use more records (a larger --limit)")
    drawn = np.random.default_rng([args.seed, 0]).permutation(allowed)[: args.records]
    return sorted(drawn.tolist())


def draw_background(args, labels):
    """Return the training folds' patient_ids in a seeded order, one more than --background.

    The one more is for a record that is among the others itself (another data set's).
    """
    train_folds, _, _ = round_folds(args.round)
    names = sorted(labels.loc[labels["fold"].isin(train_folds), "patient_id"])
    order = np.random.default_rng([args.seed, 1]).permutation(names)[: args.background + 1]
    if len(order) < 2:
        fail(f"the training folds hold {len(order)} records, too few for a background; "
             "use more records (a larger --limit, or none)")  # fmt: skip
    if len(order) < args.background:
        print(f"note: {len(order)} background records, as the training folds hold no more")
    return order.tolist()


def load_background(args, run):
    """Return the background, padded: names, signals (B + 1, L, T) and logits (B + 1, K)."""
    names = draw_background(args, run.labels)
    device = next(run.model.parameters()).device
    signals = [pad_signal(load_record(run, name)[0], run.data.n_samples) for name in names]
    signals = torch.from_numpy(np.stack(signals)).to(device)
    return names, signals, score(run.model, signals, args.batch_size)


def run_options(args, run, **others):
    """Return what decides the values of a record, as a flat dictionary for run.json."""
    names = ("method", "samples", "background", "seed", "round", "amp")
    return {
        "weights": weights_digest(run.checkpoint["state_dict"]),
        "signals": run.data.signals.fingerprint,
        "labels": labels_digest(run.labels),
        **{name: getattr(args, name) for name in names},
        "leads": run.checkpoint["leads"],
        "seconds": run.checkpoint["args"]["seconds"],
        **others,
    }


def open_folder(folder, options, force, derived=()):
    """Prepare a folder of values; stop if it holds values of other options, unless `force`d.

    `derived` are the files made from the values, which a forced start deletes with them.
    """
    path = folder / "run.json"
    for left in folder.glob("*/.*.tmp*"):  # of a run killed while it wrote
        left.unlink()
    made = [*folder.glob("values/*.npz"), *folder.glob("rows/*.json")]
    if force:
        for old in [*made, *derived, path]:
            old.unlink(missing_ok=True)
    elif made:
        try:
            before = dict(json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):  # nobody knows how the values were made
            before = {}
        changed = [key for key in options if before.get(key) != options[key]]
        if changed:
            fail(f"{folder} holds values made with another {', '.join(changed)}; repeat that run's "
                 "options, or start anew with --force")  # fmt: skip
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


def make_values(args, name, x, model, pool, classes=None):
    """Return arrays of one record x (L, t): phi (k, L, t), classes (k,), logits (K,), base (K,).

    `classes` are the class numbers to explain, the highest logit's if None. `base` are the logits
    that phi starts from: the mean over the background, or ig's zeros. `pool` is the background of
    `load_background`, of which a record that is not padded is set against as long an end.
    """
    names, signals, pool_logits = pool
    logits = score(model, x[None], 1)[0]
    classes = [int(logits.argmax())] if classes is None else list(classes)
    others = [i for i, other in enumerate(names) if other != name][: args.background]
    background = signals[others][..., -x.shape[1] :]
    if args.method == "ig":
        base = score(model, torch.zeros_like(x)[None], 1)[0]
    elif x.shape[1] == signals.shape[2]:
        base = pool_logits[others].mean(0)
    else:
        base = score(model, background, args.batch_size).mean(0)
    seed = record_seed(name, args.seed)
    network = OneLogit(fold_norms(model))
    phi = explain(network, x, classes, background, args, seed, args.amp)
    return {"phi": phi, "classes": np.array(classes), "logits": logits, "base": base}


def predicted_values(stored):
    """Return the predicted (highest) class's index and its values (L, t) without the padding."""
    k = int(stored["logits"].argmax())
    phi = stored["phi"][list(stored["classes"]).index(k)]
    return k, phi[:, max(0, phi.shape[1] - int(stored["n"])) :]
