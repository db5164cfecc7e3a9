"""The report's part of each class: its curves, its records, its average beat and an example."""

from typing import NamedTuple

import numpy as np

from ecg.evaluation.metrics import apply_thresholds
from ecg.evaluation.runs import load_test
from ecg.plot.scores import draw_class
from ecg.reporting.pictures import Figure, smaller
from ecg.reporting.tables import load_csv
from utils import InputError, results_path

BUDGET = 2_500_000  # bytes of pictures, so that the report stays below 5 MB


class ClassPart(NamedTuple):
    """What the report shows of a class."""

    name: str
    threshold: float | None = None
    records: dict[str, list[str]] = {}  # kind of answer -> records with their probabilities
    figures: list[Figure] = []  # curves, average beat, example
    left_out: int = 0  # figures, for the size of the file


def read_scored(run, data):
    """Return the tested records of a run, Scored with thresholds (K,), and its table; or None."""
    if run is None or data.labels is None:
        return None
    try:
        scored, table = load_test(run, data), load_csv(results_path(run, "scores.csv"))
    except InputError:
        return None
    return None if table is None else (scored._replace(thresholds=scored.thresholds[0]), table)


def answers(scored, k):
    """Return the records of class k by kind of answer, each with its probability."""
    true, score = scored.y_true[:, k], scored.y_score[:, k]
    called = apply_thresholds(score, scored.thresholds[k]) == 1
    names = scored.labels.patient_id.to_numpy()
    kinds = {
        "missed": (true == 1) & ~called,
        "false alarms": (true == 0) & called,
        "found": (true == 1) & called,
    }
    result = {}
    for kind, rows in kinds.items():
        rows = np.flatnonzero(rows)
        result[kind] = [f"{names[i]} ({score[i]:.2f})" for i in rows[np.argsort(-score[rows])]]
    return result


def class_parts(run, data, classes, explained):
    """Return a ClassPart for each class of which there is something to show.

    `explained` are the figures of the explained records, {class: [Figure, ...]}.
    """
    read, parts, size = read_scored(run, data), [], 0
    for k, name in enumerate(classes):
        part, figures = ClassPart(name), list(explained.get(name, []))
        if read:
            scored, table = read
            part = part._replace(threshold=scored.thresholds[k], records=answers(scored, k))
            figures.insert(0, Figure(draw_class(scored, table, k), f"Scores of {name}"))
        embedded = []
        for figure in figures:
            png = smaller(figure.png)
            if size + len(png) <= BUDGET:
                size += len(png)
                embedded.append(figure._replace(png=png))
        parts.append(part._replace(figures=embedded, left_out=len(figures) - len(embedded)))
    return [part for part in parts if part.records or part.figures]
