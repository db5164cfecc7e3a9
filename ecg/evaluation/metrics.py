"""Scoring: thresholds from the validation fold, and the table they give on any other fold.

One comparison everywhere: a record has a finding if its probability is >= the threshold. Scores
are computed from weights (B, N), which say how often each of N records counts in each of B
samples: one row of ones gives the scores, a thousand bootstrap resamples their intervals.
"""

import json

import numpy as np
import pandas as pd

from ecg.evaluation.marks import doubtful_classes
from utils import RESEARCH_USE, replacing, write_csv

THRESHOLD_GRID = np.linspace(0, 1, 100)  # the paper's candidates
NO_POSITIVES_THRESHOLD = 0.5  # for a class that the validation fold does not hold
SCORE_COLUMNS = (
    "precision", "recall", "f1", "auc", "accuracy", "specificity", "ap", "brier", "ece"
)  # fmt: skip
N_RESAMPLES = 1000
INTERVAL = (0.025, 0.975)  # quantiles of the resamples: a 95 % percentile interval
CALIBRATION_BINS = 10  # of equal width: [0, 0.1), [0.1, 0.2) ... [0.9, 1]
SHORT_NAMES = {"precision": "prec.", "accuracy": "acc.", "specificity": "spec."}

# The CPSC2018 challenge's four groups of abnormalities.
CHALLENGE_GROUPS = {
    "F_AF": ("AF",),
    "F_Block": ("IAVB", "LBBB", "RBBB"),
    "F_PC": ("PAC", "PVC"),
    "F_ST": ("STD", "STE"),
}
CHALLENGE_RULE = (
    "one answer a record, the class of the highest probability; right if it is any of the "
    "record's labels, else counted in the row of its first (labels.csv keeps no order: the first "
    "of the nine classes; 'ambiguous' counts the answers that this concerns); source: "
    "icbeb.org/Challenge.html and the challenge's scoring script of 2018"
)


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


def resample_weights(n, n_resamples=N_RESAMPLES, seed=42):
    """Draw bootstrap resamples of n records; return how often each holds each record, (B, n)."""
    drawn = np.random.default_rng(seed).integers(n, size=(n_resamples, n))
    cells = drawn + n * np.arange(n_resamples)[:, None]
    return np.bincount(cells.ravel(), minlength=n_resamples * n).reshape(-1, n).astype(float)


def ranking_scores(true, score, weights):
    """Return AUC (B,) and average precision (B,) of one class, from arrays (N,) and weights (B, N).

    As scikit-learn defines them: the AUC counts a tie between a positive and a negative as one
    half, and average precision is the sum over distinct scores of precision times the gain of
    recall. NaN where the sample lacks positives or, for the AUC, negatives.
    """
    order = np.argsort(-score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=np.inf))  # of runs of equal scores
    all_ = np.add.reduceat(weights[:, order], starts, axis=1)  # (B, runs), best score first
    positives = np.add.reduceat(weights[:, order] * true[order], starts, axis=1)
    hits, called = positives.cumsum(1), all_.cumsum(1)
    n_positive, n_negative = hits[:, -1], called[:, -1] - hits[:, -1]
    # a negative loses to no positive above it, and to half of those beside it
    pairs = np.einsum("bn,bn->b", all_ - positives, hits - positives / 2)
    gains = np.einsum("bn,bn->b", positives, divide(hits, called))
    with np.errstate(invalid="ignore"):
        return pairs / (n_positive * n_negative), gains / n_positive


def calibration_bins(y_score):
    """Return the bin 0 ... 9 of each probability, an array of its shape."""
    return np.minimum(np.floor(y_score * CALIBRATION_BINS), CALIBRATION_BINS - 1).astype(int)


def calibration_errors(y_true, y_score, weights):
    """Return the expected calibration error per sample and class, (B, K).

    Guo et al. 2017, per class: the mean over records of |share of positives - mean probability|
    of the record's bin.
    """
    bins, total = calibration_bins(y_score), 0
    for i in range(CALIBRATION_BINS):
        total += np.abs(weights @ np.where(bins == i, y_true - y_score, 0))
    return total / weights.sum(1, keepdims=True)


def weighted_scores(y_true, y_score, thresholds, weights):
    """Return {score: (B, K)} for weights (B, N): one value per sample of records and class.

    `y_true` and `y_score` are (N, K); `thresholds` are (K,), or (N, K) where records have their
    own. A class without positives in a sample is NaN there in every score; AUC and specificity
    are NaN without a negative too.
    """
    true, y_score = np.asarray(y_true, float), np.asarray(y_score, float)
    pred = apply_thresholds(y_score, thresholds).astype(float)
    n = weights.sum(1, keepdims=True)
    positives, called, hits = weights @ true, weights @ pred, weights @ (true * pred)
    rejected = n - positives - called + hits
    columns = zip(true.T, y_score.T, strict=True)
    auc, ap = np.stack([ranking_scores(*column, weights) for column in columns], axis=-1)
    specificity = np.where(positives < n, divide(rejected, n - positives), np.nan)
    values = (
        divide(hits, called),
        divide(hits, positives),
        divide(2 * hits, positives + called),
        auc,
        (hits + rejected) / n,
        specificity,
        ap,
        weights @ (y_score - true) ** 2 / n,  # Brier 1950, of one class against the rest
        calibration_errors(true, y_score, weights),
    )
    pairs = zip(SCORE_COLUMNS, values, strict=True)
    return {name: np.where(positives > 0, value, np.nan) for name, value in pairs}


def with_average(values):
    """Append to (B, K) the mean over the classes that are not NaN: (B, K + 1)."""
    return np.column_stack([values, pd.DataFrame(values).mean(axis=1)])


def intervals(values):
    """Return the 95 % percentile interval, low (K,) and high (K,), of (B, K); NaN is left out."""
    return pd.DataFrame(values).quantile(INTERVAL).to_numpy()


def score_table(y_true, y_score, thresholds, classes, n_resamples=0, seed=42):
    """Return a DataFrame: class, n and the scores of SCORE_COLUMNS; the last row is AVG.

    `n` counts a class's positives, in the AVG row the records. A class without positives has NaN
    in every other cell and stays out of the average; AUC is NaN too without a negative. With
    `n_resamples`, columns such as f1_low and f1_high hold 95 % bootstrap intervals over resamples
    of records; a class that a resample lacks stays out of that resample's average.
    """
    y_true = np.asarray(y_true)
    columns = {"class": [*classes, "AVG"], "n": [*y_true.astype(int).sum(0), len(y_true)]}
    values = weighted_scores(y_true, y_score, thresholds, np.ones((1, len(y_true))))
    columns |= {name: with_average(value)[0] for name, value in values.items()}
    if n_resamples:
        weights = resample_weights(len(y_true), n_resamples, seed)
        for name, value in weighted_scores(y_true, y_score, thresholds, weights).items():
            columns[f"{name}_low"], columns[f"{name}_high"] = intervals(with_average(value))
    return pd.DataFrame(columns)


def challenge_scores(y_true, y_score, classes):
    """Return the CPSC2018 challenge's own scores: F1, four groups, and F1 of the nine classes.

    The challenge takes one answer a record: here the class of the highest probability. Records
    are counted in a matrix N, reference in rows and answer in columns: on the diagonal if the
    answer is any of the record's labels, else in the row of the first label. Per class F1_i =
    2 N_ii / (N_i. + N_.i); F1 is the mean of the nine; a group's F sums the numerators and the
    denominators of its classes. labels.csv does not keep the order of a record's labels, so the
    first in the order of `classes` stands for it, in `ambiguous` wrong answers. A class in
    neither rows nor columns (0 / 0) is None and left out of F1; records without a label too.
    """
    y_true, classes = np.asarray(y_true).astype(int), list(classes)
    labelled = y_true.any(1)
    true, answer = y_true[labelled], np.asarray(y_score)[labelled].argmax(1)
    right = true[np.arange(len(true)), answer] == 1
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (np.where(right, answer, true.argmax(1)), answer), 1)
    doubled, totals = 2 * counts.diagonal(), counts.sum(0) + counts.sum(1)

    def ratio(members):
        return (
            float(doubled[members].sum() / totals[members].sum()) if totals[members].any() else None
        )

    per_class = {name: ratio([k]) for k, name in enumerate(classes)}
    known = [value for value in per_class.values() if value is not None]
    groups = {
        group: ratio([classes.index(name) for name in names])
        for group, names in CHALLENGE_GROUPS.items()
    }
    ambiguous = int((~right & (true.sum(1) > 1)).sum())
    scores = {"F1": float(np.mean(known)) if known else None, **groups, "classes": per_class}
    return scores | {"n": len(true), "ambiguous": ambiguous}


def format_table(table):
    """Return the table as aligned text with three decimals; a cell not known stays blank.

    Intervals of F1 and AUC stand beside their value, the other ones only in the file. Lines below
    name the classes without positives, and say why a class is marked (`doubtful_classes`).
    """
    shown = table[[name for name in table if not name.endswith(("_low", "_high"))]].copy()
    numbers = {name: "{:.3f}".format for name in shown if shown[name].dtype.kind == "f"}
    if "f1_low" in table:
        for name in ("f1", "auc"):
            bounds = zip(table[f"{name}_low"], table[f"{name}_high"], strict=True)
            texts = [f" [{low:.3f}, {high:.3f}]" for low, high in bounds]
            values = zip(table[name], texts, strict=True)
            shown[name] = [f"{v:.3f}{text}" if np.isfinite(v) else "" for v, text in values]
            del numbers[name]
        numbers = {SHORT_NAMES.get(name, name): value for name, value in numbers.items()}
        shown = shown.rename(columns=SHORT_NAMES)
    marks = doubtful_classes([table])
    if marks:
        shown["class"] = [f"{name}*" if name in marks else name for name in shown["class"]]
    text = shown.to_string(index=False, formatters=numbers, na_rep="")
    absent = list(table.loc[table["n"] == 0, "class"]) if {"class", "n"} <= set(table) else []
    note = f"\nno positives, so left out of the average: {', '.join(absent)}" if absent else ""
    return text + "".join(f"\n* {name}: {why}" for name, why in marks.items()) + note


def evaluate_run(folder, validation, test, scores, classes, seed=42, weights=None):
    """Find thresholds on the validation fold, score the test fold, write both; return the table.

    `validation` and `test` are rows of labels.csv; `scores` their two arrays of probabilities
    (N, K); `seed` is that of the resamples, `weights` the digest of the network's. Writes
    thresholds.json, predictions.csv, scores.csv and challenge.json into `folder`.
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
        weights=weights,
    )
    write_predictions(folder / "predictions.csv", [validation, test], scores, classes)
    return write_scores(folder, y_true[1], scores[1], thresholds, classes, seed)


def write_scores(folder, y_true, y_score, thresholds, classes, seed=42):
    """Write scores.csv, with intervals, and challenge.json; return the table.

    challenge.json is left out where the classes are not those of the challenge.
    """
    table = score_table(y_true, y_score, thresholds, classes, N_RESAMPLES, seed)
    write_csv(table, folder / "scores.csv")
    if {name for names in CHALLENGE_GROUPS.values() for name in names} <= set(classes):
        content = challenge_scores(y_true, y_score, classes)
        content |= {"rule": CHALLENGE_RULE, "use": RESEARCH_USE}
        with replacing(folder / "challenge.json") as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n")
    return table


def write_thresholds(path, thresholds, classes, rule, notes=(), weights=None):
    """Write the thresholds (K,), the rule they come from, and what is to be said of single ones."""
    content = {
        "thresholds": dict(zip(classes, np.asarray(thresholds).tolist(), strict=True)),
        "rule": f"{rule}; a finding is probability >= threshold",
        "notes": list(notes),
        "weights": weights,
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
