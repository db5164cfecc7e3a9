"""A scored run: its records, its thresholds, and its files, of which the last marks the end."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dataset import classes_of
from ecg.evaluation.challenge import CHALLENGE_GROUPS, CHALLENGE_RULE, challenge_scores
from ecg.evaluation.metrics import (
    N_RESAMPLES,
    find_thresholds,
    rule_in_words,
    score_table,
    threshold_notes,
)
from utils import RESEARCH_USE, remove, write_csv, write_json


class Scored(NamedTuple):
    """Scored records: rows of labels.csv, their probabilities, and the thresholds of these."""

    labels: pd.DataFrame
    y_score: np.ndarray  # (N, K)
    thresholds: np.ndarray | None = None  # (K,), or (N, K) where records have their own

    @property
    def classes(self):
        """Names of the classes."""
        return classes_of(self.labels)

    @property
    def y_true(self):
        """The classes of the records as 0/1, NaN where unknown, (N, K)."""
        return self.labels[list(self.classes)].to_numpy()


class Thresholds(NamedTuple):
    """A run's thresholds, the rule that they come from, and notes on single classes."""

    by_class: dict[str, float]
    rule: str
    notes: tuple[str, ...] = ()

    def array(self, classes):
        """Return the thresholds in the order of the classes, (K,)."""
        return np.array([self.by_class[name] for name in classes])


class Digests(NamedTuple):
    """What scores were computed from: digests of the weights, of labels.csv and of the signals."""

    weights: str | None = None
    labels: str | None = None
    signals: str | None = None


def whole_answers(y_true, found, normal):
    """Say how often the whole answer is right, and how many healthy people get another finding.

    `y_true` (N, K) is 0/1 or NaN where unknown, `found` (N, K) says what is found; `normal` is the
    number of the class of the healthy, None if there is none; without a healthy person nothing is
    said of them.
    """
    right = ((found == y_true) | np.isnan(y_true)).all(axis=1)
    text = f"whole answer right: {right.sum()} of {len(right)}"
    healthy = y_true[:, normal] == 1 if normal is not None else np.zeros(len(right), bool)
    if not healthy.any():
        return text
    alarms = np.delete(found, normal, axis=1)[healthy].any(axis=1)
    return f"{text}; healthy people with another finding: {alarms.sum()} of {healthy.sum()}"


def choose_thresholds(validation, rule):
    """Return the Thresholds of Scored records of the validation fold, by a rule of metrics.py."""
    values = find_thresholds(validation.y_true, validation.y_score, rule).tolist()
    by_class = dict(zip(validation.classes, values, strict=True))
    return Thresholds(by_class, rule_in_words(rule))


def evaluate_run(folder, validation, test, seed=42, rule="middle", thresholds=None):
    """Choose thresholds on the validation fold, score the test fold and write the results.

    `validation` and `test` are Scored; `seed` is that of the resamples; `thresholds`, if there are
    any, were chosen before. Returns the table of scores.csv and the Thresholds, which
    `write_thresholds` is to write.
    """
    thresholds = thresholds or choose_thresholds(validation, rule)
    notes = tuple(threshold_notes(validation.y_true, validation.classes))
    thresholds = thresholds._replace(notes=notes)
    return write_results(folder, [validation, test], thresholds, seed), thresholds


def write_results(folder, parts, thresholds, seed=42):
    """Write predictions.csv of Scored parts and, of the last one, what `write_scores` writes.

    thresholds.json, which says that all files are finished, is removed first; `write_thresholds`
    writes it again. Returns the table of scores.csv.
    """
    remove(Path(folder) / "thresholds.json")
    write_probabilities(folder / "predictions.csv", parts)
    scored = parts[-1]._replace(thresholds=thresholds.array(parts[-1].classes))
    return write_scores(folder, scored, seed)


def write_probabilities(path, parts):
    """Write the names, folds and probabilities of Scored parts, one below the other."""
    frames = []
    for part in parts:
        scores = pd.DataFrame(part.y_score, columns=list(part.classes))
        frame = part.labels[["patient_id", "fold"]].reset_index(drop=True)
        frames.append(frame.join(scores))
    write_csv(pd.concat(frames), path)


def write_scores(folder, scored, seed=42):
    """Write scores.csv, with intervals, and challenge.json of Scored records; return the table.

    challenge.json is left out where the challenge's classes are lacking, or labels are unknown.
    """
    y_true, y_score, classes = scored.y_true, scored.y_score, scored.classes
    table = score_table(y_true, y_score, scored.thresholds, classes, N_RESAMPLES, seed)
    write_csv(table, folder / "scores.csv")
    needed = {name for names in CHALLENGE_GROUPS.values() for name in names}
    if needed <= set(classes) and np.isfinite(y_true).all():
        content = challenge_scores(y_true, y_score, classes)
        write_research_json(folder / "challenge.json", content | {"rule": CHALLENGE_RULE})
    else:
        remove(folder / "challenge.json")  # of an earlier run with other labels
    return table


def write_thresholds(folder, thresholds, digests):
    """Write thresholds.json, which marks finished scores: call it when all else is written."""
    rule = f"{thresholds.rule}; a finding is probability >= threshold"
    content = {"thresholds": thresholds.by_class, "rule": rule, "notes": thresholds.notes}
    write_research_json(Path(folder) / "thresholds.json", content | digests._asdict())


def write_research_json(path, content):
    """Write a dictionary as JSON, with the reminder that it is for research."""
    write_json(path, content | {"use": RESEARCH_USE})
