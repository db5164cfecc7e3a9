"""Scoring: thresholds from the validation fold, and the table they give on any other fold.

One comparison everywhere: a record has a finding if its probability is >= the threshold.
"""

import json

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from utils import RESEARCH_USE, replacing, write_csv

THRESHOLD_GRID = np.linspace(0, 1, 100)  # the paper's candidates
NO_POSITIVES_THRESHOLD = 0.5  # for a class that the validation fold does not hold
SCORE_COLUMNS = ("precision", "recall", "f1", "auc", "accuracy")


def apply_thresholds(y_score, thresholds):
    """Return y_pred (N, K) of 0/1 from probabilities (N, K) and thresholds (K,)."""
    return (y_score >= thresholds).astype(int)


def divide(a, b):
    """Return a / b, and 0 where b is 0: a precision without predictions counts as 0."""
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=np.asarray(b) > 0)


def f1_scores(y_true, y_pred):
    """Return F1 per class from 0/1 arrays (N, ...), over the first axis; 0 where undefined."""
    hits = (y_true * y_pred).sum(0)
    return divide(2 * hits, y_true.sum(0) + y_pred.sum(0))


def find_thresholds(y_true, y_score):
    """Return per class the first threshold of the grid with the best F1; (K,).

    A class without positives in y_true gets 0.5: every threshold has the same F1 of 0 there.
    """
    # (100, N, K) at once is 100 x 700 x 9 for CPSC2018: small
    y_pred = y_score[:, None, :] >= THRESHOLD_GRID[None, :, None]  # (N, 100, K)
    best = f1_scores(y_true[:, None, :], y_pred).argmax(0)  # (K,)
    return np.where(y_true.any(0), THRESHOLD_GRID[best], NO_POSITIVES_THRESHOLD)


def mean_log_loss(y_true, y_score):
    """Return the mean binary cross-entropy over records and classes, in nats."""
    p = np.clip(y_score.astype(np.float64), 1e-7, 1 - 1e-7)  # float32 sigmoids reach 0 and 1
    return -np.where(y_true > 0, np.log(p), np.log1p(-p)).mean()


def score_table(y_true, y_score, thresholds, classes):
    """Return a DataFrame: class, n, precision, recall, f1, auc, accuracy; the last row is AVG.

    `n` counts a class's positives, in the AVG row the records. A class without positives has NaN
    in every other cell and stays out of the average; AUC is NaN too without a negative.
    """
    y_pred = apply_thresholds(y_score, thresholds)
    rows = []
    for k, name in enumerate(classes):
        true, pred = y_true[:, k].astype(int), y_pred[:, k]
        row = {"class": name, "n": true.sum()}
        if true.any():
            row["precision"] = divide((true * pred).sum(), pred.sum()).item()
            row["recall"] = (true * pred).sum() / true.sum()
            row["f1"] = f1_scores(true, pred).item()
            row["auc"] = np.nan if true.all() else roc_auc_score(true, y_score[:, k])
            row["accuracy"] = (true == pred).mean()
        rows.append(row)
    table = pd.DataFrame(rows, columns=["class", "n", *SCORE_COLUMNS])
    average = {"class": "AVG", "n": len(y_true), **table[list(SCORE_COLUMNS)].mean()}
    return pd.concat([table, pd.DataFrame([average])], ignore_index=True)


def format_table(table):
    """Return the table as aligned text with three decimals; a cell not known stays blank."""
    numbers = {name: "{:.3f}".format for name in table if table[name].dtype.kind == "f"}
    return table.to_string(index=False, formatters=numbers, na_rep="")


def evaluate_run(folder, validation, test, scores, classes):
    """Find thresholds on the validation fold, score the test fold, write both; return the table.

    `validation` and `test` are rows of labels.csv; `scores` their two arrays of probabilities
    (N, K). Writes thresholds.json, predictions.csv and scores.csv into `folder`.
    """
    y_true = [part[list(classes)].to_numpy() for part in (validation, test)]
    thresholds = find_thresholds(y_true[0], scores[0])
    absent = [name for name, held in zip(classes, y_true[0].any(0), strict=True) if not held]
    write_thresholds(
        folder / "thresholds.json",
        thresholds,
        classes,
        rule="best F1 on the validation fold",
        notes=[f"{name}: no positives in the validation fold, so 0.5" for name in absent],
    )
    write_predictions(folder / "predictions.csv", [validation, test], scores, classes)
    table = score_table(y_true[1], scores[1], thresholds, classes)
    write_csv(table, folder / "scores.csv")
    return table


def write_thresholds(path, thresholds, classes, rule, notes=()):
    """Write the thresholds (K,), the rule they come from, and what is to be said of single ones."""
    content = {
        "thresholds": dict(zip(classes, np.asarray(thresholds).tolist(), strict=True)),
        "rule": f"{rule}; a finding is probability >= threshold",
        "notes": list(notes),
        "use": RESEARCH_USE,
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def write_predictions(path, parts, scores, classes):
    """Write patient_id, fold and the probabilities of the classes, part after part."""
    frames = []
    for part, y_score in zip(parts, scores, strict=True):
        frame = part[["patient_id", "fold"]].reset_index(drop=True)
        frames.append(frame.join(pd.DataFrame(y_score, columns=list(classes))))
    write_csv(pd.concat(frames), path)
