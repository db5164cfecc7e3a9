"""Explain a class of a record from anywhere, with the model's training set or without it."""

from pathlib import Path
from typing import NamedTuple

from dataset import PackedSignals, labels_digest, load_labels
from ecg.explanation.attributions import Options
from ecg.explanation.explanation import Background, Explainer, Record
from ecg.explanation.methods import EVIDENCE
from ecg.explanation.run import load_background, load_run


class MethodAtHand(NamedTuple):
    """How a record is explained: Options and the Background that they draw from."""

    options: Options
    background: Background | None = None  # None: not needed, or from a flat line


FROM_ZERO = MethodAtHand(Options(method="ig", samples=100))  # steps, where no training set is
FROM_HEAD = MethodAtHand(Options(method=EVIDENCE))


def training_background(data_dir, model, options):
    """Return the Background of a Model, None if `data_dir` is not its training set."""
    trained, folder = model.flags, Path(data_dir)
    same_name = folder.resolve().name == Path(trained.data_dir).name
    if not same_name or not (folder / "labels.csv").is_file():
        return None
    labels, signals = load_labels(folder, trained.limit), PackedSignals(folder)
    now = labels_digest(labels), signals.fingerprint
    if now != (model.settings.labels, model.settings.signals):
        return None
    run = load_run(model, folder, trained.limit, trained.round)
    return load_background(run, options._replace(round=trained.round))


def explain_record(model, packed, record_name, class_name, method=FROM_ZERO):
    """Return the Explanation of one class of a packed record (12, n).

    Of a model with a window it is that of the window whose logit of the class is largest, which is
    the one that counts. The record's name seeds what is drawn.
    """
    explainer = Explainer(model.network, *method)
    record = Record(record_name, model.network_input(packed), packed.shape[1])
    return explainer.explain(record, [model.classes.index(class_name)])
