"""What shap_values.py and ecg.faithfulness share: flags, records to explain, the folder of values.

The values of a folder are made with the options in its run.json.
"""

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
from ecg.explanation.attributions import Options, batch_logits
from ecg.explanation.explanation import Background, Record
from ecg.explanation.methods import METHODS
from ecg.inference.model import Model, predict_scores
from utils import RESEARCH_USE, InputError, fraction, positive, read_json, write_json

POOL = 10  # times as many records are scored as are drawn from them, at most


def add_explain_args(parser, records, samples):
    """Add the flags of scripts that explain records, with each script's defaults; return them."""
    group = parser.add_argument_group("explanation")
    number = {"type": positive, "metavar": "N"}
    text = "training records to compare with"
    group.add_argument("--background", default=100, help=text, **number)
    group.add_argument("--records", default=records, help="explain N records at most", **number)
    group.add_argument("--patients", nargs="+", metavar="ID", help="explain these records instead")
    text = "samples (shap) or steps (ig) per class"
    group.add_argument("--samples", default=samples, help=text, **number)
    text = "stop drawing samples of a record when its windows reach this reliability, such as 0.9"
    group.add_argument("--reliability", type=fraction, help=text)
    text = "; ".join(f"{name}: {method.text}" for name, method in METHODS.items())
    group.add_argument("--method", choices=METHODS, help=f"{text} (default: shap)")
    text = "resume if the folder's values were made with the same options, else start over"
    group.add_argument("--resume", choices=["auto"], help=text)
    group.add_argument("--force", action="store_true", help="delete the folder's values first")
    return group


def options_of(**given):
    """Return the Options among the values of flags; the method is the default one if None."""
    options = {name: given[name] for name in Options._fields}
    return Options(**options | {"method": given["method"] or Options().method})


class Run(NamedTuple):
    """A data folder and a model, with the name of what they make together."""

    labels: pd.DataFrame
    data: ECGDataset
    model: Model
    name: str
    trained_here: bool  # the model, on these records

    def record(self, name):
        """Return a Record of the data folder."""
        x, y = self.data[self.data.patient_ids.index(name)]
        n = self.data.signals[name].shape[1]
        return Record(name, x, n, tuple(np.flatnonzero(y == 1).tolist()))


def load_run(model, data_dir, limit, round_number):
    """Read a data folder for a Model; return a Run. The round must be that of the training."""
    # deterministic kernels, and no TF32, or the values would change from call to call
    torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32 = True, False
    labels, signals = load_labels(data_dir, limit), PackedSignals(data_dir)
    trained_here = is_training_data(model, labels, signals, limit, round_number)
    data = model.dataset(signals, labels)
    return Run(labels, data, model, model.run_on(data_dir), trained_here)


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
            raise InputError(
                f"no record {name} in {folder}/labels.csv; name one that is listed there"
            )
        if name not in allowed:
            text = f"record {name} is in fold {folds[name]}; the model was trained or chosen on it"
            raise InputError(f"{text}; name records of the test fold {test_fold}")
    if wanted:
        return sorted(set(wanted))
    if not allowed:
        raise InputError(
            f"the test fold {test_fold} holds no record; use more records (a larger --limit)"
        )
    drawn = np.random.default_rng([options.seed, 0]).permutation(allowed)[: POOL * at_most]
    return sorted(
        balanced(run, options, drawn.tolist())[:at_most] if len(drawn) > at_most else drawn
    )


def balanced(run, options, names):
    """Return names in an order that takes one of each predicted class in turn, as they come."""
    rows = [run.data.patient_ids.index(name) for name in names]
    loader = run.data.loader(options.batch_size, rows=rows)
    _, y_score = predict_scores(run.model.network, loader, run.model.device)
    predicted = y_score.argmax(1)
    turn = pd.Series(predicted).groupby(predicted).cumcount()
    return [names[i] for i in turn.sort_values(kind="stable").index]


def draw_background(labels, options, last=()):
    """Return the training folds' patient_ids in a seeded order, one more than asked for.

    Those in `last` come only if the others do not suffice.
    """
    train_folds, _, _ = round_folds(options.round)
    names = sorted(labels.loc[labels["fold"].isin(train_folds), "patient_id"])
    order = np.random.default_rng([options.seed, 1]).permutation(names)
    order = order[np.isin(order, last).argsort(kind="stable")][: options.background + 1]
    if len(order) < 2:
        text = f"the training folds hold {len(order)} records, too few for a background"
        raise InputError(f"{text}; use more records (a larger --limit, or none)")
    if len(order) < options.background:
        print(f"note: {len(order)} background records, as the training folds hold no more")
    return order.tolist()


def load_background(run, options, last=()):
    """Draw and read the Background of a run, records of `last` only if there are too few others."""
    names, signals = draw_background(run.labels, options, last), []
    for name in names:
        signals.append(pad_signal(run.record(name).x, run.data.n_samples))
    signals = torch.from_numpy(np.stack(signals)).to(run.model.device)
    return Background(names, signals, batch_logits(run.model.network, signals, options.batch_size))


def run_options(run, options, **others):
    """Return what decides the values of all records, as a flat dictionary for run.json."""
    own = options._asdict()
    del own["batch_size"]  # changes values by rounding only
    return {
        "weights": run.model.weights,
        "signals": run.data.signals.fingerprint,
        "labels": labels_digest(run.labels),
        **own,
        "leads": list(run.model.leads),
        "seconds": run.model.flags.seconds,
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
        text = f"{folder} holds values made with another {', '.join(changed)}"
        if not auto:
            raise InputError(f"{text}; repeat that run's options, or start over with --force")
        print(f"note: {text}; starting over")
    if changed or force:
        for old in [*derived, *made, path]:
            old.unlink(missing_ok=True)
    write_json(path, {**options, "use": RESEARCH_USE})
