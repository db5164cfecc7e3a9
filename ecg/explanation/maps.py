"""What the commands that explain share: their flags, what they explain, the folder of values.

The values of a folder are made with the options in its run.json.
"""

import argparse
import json
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
from ecg.evaluation.runs import as_model, is_training_data
from ecg.explanation.attributions import METHODS, Options, score
from resnet import ResNet1d, load_model, scored_run, weights_digest
from utils import (
    RESEARCH_USE,
    fail,
    positive,
    positive_number,
    predict_scores,
    read_json,
    replacing,
)

POOL = 10  # times as many records are scored as are drawn from them, at most


def add_explain_args(parser, records, samples):
    """Add the flags of scripts that explain records, with each script's defaults; return them."""
    group = parser.add_argument_group("explanation")
    number = {"type": positive, "metavar": "N"}
    group.add_argument(
        "--background", default=100, help="training records to compare with", **number
    )
    group.add_argument("--records", default=records, help="explain N records at most", **number)
    group.add_argument("--patients", nargs="+", metavar="ID", help="explain these records instead")
    group.add_argument(
        "--samples", default=samples, help="gradients, or steps, for each class", **number
    )
    text = "stop drawing samples of a record where its windows reach this reliability, such as 0.9"
    group.add_argument("--reliability", type=fraction, help=text)
    text = "; ".join(f"{name}: {method.text}" for name, method in METHODS.items())
    group.add_argument("--method", choices=METHODS, help=f"{text} (default: shap)")
    text = "go on if the folder's values were made with the same options, else start anew"
    group.add_argument("--resume", choices=["auto"], help=text)
    group.add_argument("--force", action="store_true", help="delete the folder's values first")
    return group


def fraction(text):
    """Parse a number above 0 and below 1, for argparse."""
    number = positive_number(text)
    if number >= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1")
    return number


def refuse_unused(parser, method, reliability):
    """Stop if --reliability is asked of a method that draws nothing."""
    if reliability and method and not METHODS[method].drawn:
        parser.error(f"--reliability needs samples that are drawn, not --method {method}")


def options_of(**given):
    """Return the Options among the values of flags; the method is the default one if None."""
    options = {name: given[name] for name in Options._fields}
    return Options(**options | {"method": given["method"] or Options().method})


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
    trained_here = is_training_data(as_model(checkpoint), labels, signals, limit, round_number)
    data = ECGDataset.of_model(signals, labels, checkpoint)
    return Run(labels, data, model.requires_grad_(False), checkpoint, name, trained_here)


def load_record(run, name):
    """Return a record as the network sees it: x (L, T) float32 mV and y (K,).

    T is the window, or the record's own length for a network trained with --pad batch, and where a
    record is longer than the window of a network that scores windows.
    """
    return run.data[run.data.patient_ids.index(name)]


def choose_records(run, options, at_most, wanted=None):
    """Return the patient_ids to explain: those `wanted`, or a seeded draw, sorted by name.

    The draw is balanced over the classes that the model predicts. Of the data that the model was
    trained on, only records of the test fold may be explained.
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
    drawn = np.random.default_rng([options.seed, 0]).permutation(allowed)[: POOL * at_most]
    return sorted(
        balanced(run, options, drawn.tolist())[:at_most] if len(drawn) > at_most else drawn
    )


def balanced(run, options, names):
    """Return names in an order that takes one of each predicted class in turn, as they come."""
    rows = [run.data.patient_ids.index(name) for name in names]
    loader = run.data.loader(options.batch_size, rows=rows)
    _, scores = predict_scores(run.model, loader, next(run.model.parameters()).device)
    turn = pd.Series(scores.argmax(1)).groupby(scores.argmax(1)).cumcount()
    return [names[i] for i in turn.sort_values(kind="stable").index]


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
