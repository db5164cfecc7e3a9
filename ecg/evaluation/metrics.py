"""Scoring: thresholds from the validation fold, and the table they give on any other fold.

One comparison everywhere: a record has a finding if its probability is >= the threshold. Scores
are computed from weights (B, N), which say how often each of N records counts in each of B
samples: one row of ones gives the scores, a thousand bootstrap resamples how they vary.

A label is 1, 0, or NaN where it is not known: the record is then left out of that class's scores.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from ecg.evaluation.caveats import doubtful_classes
from ecg.evaluation.intervals import score_intervals

THRESHOLD_GRID = np.linspace(0, 1, 100)  # the paper's candidates
NO_POSITIVES_THRESHOLD = 0.5  # for a class that the validation fold does not hold
FEW_FOR_THRESHOLD = 2  # positives, with which a threshold is little more than their probability
N_RESAMPLES = 1000
INTERVAL = (0.025, 0.975)  # quantiles of the resamples: a 95 % percentile interval
FLOOR_DRAWS = 200  # of labels, for the floor of the calibration error
CALIBRATION_BINS = 10  # of equal width: [0, 0.1), [0.1, 0.2) ... [0.9, 1]


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


def middle_of_plateau(best):
    """Return the middle of the longest run of true values in a row (n,); the first run, if equal.

    Of an even number of points it is the lower of the two in the middle.
    """
    edges = np.flatnonzero(np.diff(best, prepend=False, append=False))
    starts, ends = edges[::2], edges[1::2]
    longest = (ends - starts).argmax()
    return (starts[longest] + ends[longest] - 1) // 2


# positives with which a steady threshold is halfway between the best and where it is drawn to
STEADY = 10
# how one of the grid points with the best F1 is chosen, in words. With few positives they may
# reach from .01 to .99; the first one, the paper's, then calls improbable records positive.
THRESHOLD_RULES = {
    "steady": "the middle of the best, drawn to {} where positives are few",
    "middle": "the middle of the best",
    "first": "the first of the best",
}


def add_threshold_arg(parser):
    """Add the flag of the steps that find thresholds."""
    parser.add_argument(
        "--thresholds",
        choices=THRESHOLD_RULES,
        help="which of the thresholds with the best validation F1: the middle one, drawn to 0.5 "
        "where positives are few; the middle one; or the first, as in the paper's code; if not "
        "given: those inside a network's model, and the middle ones of a baseline",
    )


def rule_in_words(rule, where="0.5"):
    """Return a rule of THRESHOLD_RULES as a model and its scores keep it."""
    return f"best F1 on the validation fold, {THRESHOLD_RULES[rule].format(where)}"


def find_thresholds(y_true, y_score, rule="middle", start=NO_POSITIVES_THRESHOLD):
    """Return per class a threshold of the grid with the best F1, chosen by `rule`; (K,).

    'steady' takes the middle one and the thresholds `start` (K,): their mean, weighted by the
    number of positives and by STEADY. What the best F1 of a few positives prefers is chance. A
    class without positives in y_true gets `start`: every threshold has the same F1 of 0 there.
    """
    known, true = np.isfinite(y_true)[:, None, :], np.nan_to_num(y_true)
    # (100, N, K) at once is 100 x 700 x 9 for CPSC2018: small
    y_pred = y_score[:, None, :] >= THRESHOLD_GRID[None, :, None]  # (N, 100, K)
    f1 = f1_scores(true[:, None, :], y_pred & known)  # (100, K)
    choose = np.argmax if rule == "first" else middle_of_plateau
    chosen = THRESHOLD_GRID[[choose(best) for best in (f1 == f1.max(0)).T]]
    if rule == "steady":
        n = true.sum(0)
        return (n * chosen + STEADY * np.asarray(start)) / (n + STEADY)
    return np.where(true.any(0), chosen, start)


def prevalence_thresholds(y_true, y_score, share):
    """Return thresholds (K,) as if each class were present in a `share` of the records.

    The positives count as many times as it takes. Of all thresholds whose F1 is within 0.005 of the
    best, the middle is taken, and then halfway to 0.5: what the best F1 of a small sample prefers
    is largely chance. A class without positives gets 0.5.
    """
    grid, chosen = np.linspace(0, 1, 1001), []
    for true, score in zip(np.asarray(y_true).T, y_score.T, strict=True):
        positive, known = true == 1, np.isfinite(true)
        if not positive.any():
            chosen.append(NO_POSITIVES_THRESHOLD)
            continue
        called = score[:, None] >= grid  # (N, 1001)
        weight = share / (1 - share) * (known & ~positive).sum() / positive.sum()
        hits, alarms = weight * called[positive].sum(0), called[known & ~positive].sum(0)
        f1 = divide(2 * hits, hits + alarms + weight * positive.sum())
        best = grid[f1 >= f1.max() - 0.005]
        chosen.append(((best[0] + best[-1]) / 2 + 0.5) / 2)
    return np.array(chosen)


def threshold_notes(y_true, classes):
    """Return sentences on the classes whose thresholds rest on few positives of y_true, or none."""
    notes = []
    for name, n in zip(classes, np.nansum(y_true, axis=0).astype(int).tolist(), strict=True):
        if n == 0:
            notes.append(f"{name}: no positives in the validation fold to choose a threshold by")
        elif n <= FEW_FOR_THRESHOLD:
            count = "one positive" if n == 1 else f"{n} positives"
            notes.append(
                f"{name}: only {count} in the validation fold, so its threshold is a guess"
            )
    return notes


def mean_log_loss(y_true, y_score):
    """Return the mean binary cross-entropy over the known labels, in nats; NaN if none is."""
    known = np.isfinite(y_true)
    if not known.all():
        y_true, y_score = y_true[known], y_score[known]
    if not y_true.size:
        return np.nan
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
    known = np.isfinite(true)
    if not known.any():
        return np.full((2, len(weights)), np.nan)
    if not known.all():
        true, score, weights = true[known], score[known], weights[:, known]
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
    known, bins, total = np.isfinite(y_true), calibration_bins(y_score), 0
    for i in range(CALIBRATION_BINS):
        total += np.abs(weights @ np.where(known & (bins == i), y_true - y_score, 0))
    return divide(total, weights @ known.astype(float))


def calibration_floor(y_true, y_score, draws=FLOOR_DRAWS, seed=0):
    """Return the calibration error that perfectly calibrated scores would show by chance, (K,).

    The mean error of labels drawn from the probabilities themselves, for the same records: with
    few of them the shares in the bins scatter, so that the error has a floor above 0.
    """
    rng, floor = np.random.default_rng(seed), []
    for true, score in zip(y_true.T, y_score.T, strict=True):
        drawn = (rng.random((draws, len(score))) < score).T  # (N, draws)
        labels = np.where(np.isfinite(true)[:, None], drawn, np.nan)
        errors = calibration_errors(labels, score[:, None], np.ones((1, len(score))))
        floor.append(errors.mean())
    return np.array(floor)


class Counts:
    """What the scores are computed from, for weights (B, N) of N records: arrays (B, K).

    `n` records in which the class is known, the only ones that count; `called` reach the threshold,
    `hits` are the positives among them, `rejected` the negatives below it.
    """

    def __init__(self, y_true, y_score, thresholds, weights):
        self.true, self.score = np.asarray(y_true, float), np.asarray(y_score, float)
        self.weights = weights
        known, true = np.isfinite(self.true).astype(float), np.nan_to_num(self.true)
        pred = known * apply_thresholds(self.score, thresholds)
        self.n, self.positives, self.called = weights @ known, weights @ true, weights @ pred
        self.hits = weights @ (true * pred)
        self.rejected = self.n - self.positives - self.called + self.hits

    @cached_property
    def ranking(self):
        """AUC and average precision, which share their sorting."""
        columns = zip(self.true.T, self.score.T, strict=True)
        return np.stack([ranking_scores(*column, self.weights) for column in columns], axis=-1)

    def brier(self):
        """Return the mean squared difference of label and probability (Brier 1950)."""
        squares = np.nan_to_num((self.score - self.true) ** 2)
        return divide(self.weights @ squares, self.n)

    def specificity(self):
        """Return the share of the negatives that are rejected, NaN without a negative."""
        negatives = self.n - self.positives
        return np.where(negatives > 0, divide(self.rejected, negatives), np.nan)


class Score(NamedTuple):
    """A score: its name in a sentence, as the heading of a table, and its function of Counts."""

    label: str
    heading: str
    function: object


# name (the column of scores.csv) -> score, in the order of the columns
SCORES = {
    "precision": Score("precision", "prec.", lambda c: divide(c.hits, c.called)),
    "recall": Score("recall", "recall", lambda c: divide(c.hits, c.positives)),
    "f1": Score("F1", "f1", lambda c: divide(2 * c.hits, c.positives + c.called)),
    "auc": Score("AUC", "auc", lambda c: c.ranking[0]),
    "accuracy": Score("accuracy", "acc.", lambda c: divide(c.hits + c.rejected, c.n)),
    "specificity": Score("specificity", "spec.", Counts.specificity),
    "ap": Score("average precision", "ap", lambda c: c.ranking[1]),
    "brier": Score("Brier score", "brier", Counts.brier),  # of one class against the rest
    "ece": Score(
        "calibration error", "ece", lambda c: calibration_errors(c.true, c.score, c.weights)
    ),
}


def weighted_scores(y_true, y_score, thresholds, weights):
    """Return {score: (B, K)} for weights (B, N): one value per sample of records and class.

    `y_true` and `y_score` are (N, K); `thresholds` are (K,), or (N, K) where records have their
    own. A class without positives in a sample is NaN there in every score; AUC and specificity
    are NaN without a negative too.
    """
    counts = Counts(y_true, y_score, thresholds, weights)
    values = {name: score.function(counts) for name, score in SCORES.items()}
    return {name: np.where(counts.positives > 0, value, np.nan) for name, value in values.items()}


def with_average(values):
    """Append to (B, K) the mean over the classes that are not NaN: (B, K + 1)."""
    return np.column_stack([values, pd.DataFrame(values).mean(axis=1)])


def intervals(values):
    """Return the 95 % percentile interval, low (K,) and high (K,), of (B, K); NaN is left out."""
    return pd.DataFrame(values).quantile(INTERVAL).to_numpy()


def score_table(y_true, y_score, thresholds, classes, n_resamples=0, seed=42):
    """Return a DataFrame: class, n and the columns of SCORES; the last row is AVG.

    `n` counts a class's positives, in the AVG row the records. Where labels are unknown, a column
    `known` counts the records that a class's scores are of. A class without positives has NaN in
    every other cell and stays out of the average; AUC is NaN too without a negative. With
    `n_resamples`, columns such as f1_low and f1_high hold 95 % intervals over the records, by
    formula or from resamples of the records (`score_intervals`); a class that a resample
    lacks stays out of that resample's average. `ece_floor` is the calibration error of perfectly
    calibrated scores (`calibration_floor`).
    """
    y_true = np.asarray(y_true)
    known = np.isfinite(y_true)
    n_records, positives = int(known.any(1).sum()), np.nansum(y_true, axis=0).astype(int)
    columns = {"class": [*classes, "AVG"], "n": [*positives, n_records]}
    if not known.all():
        columns["known"] = [*known.sum(0), n_records]
    values = weighted_scores(y_true, y_score, thresholds, np.ones((1, len(y_true))))
    columns |= {name: with_average(value)[0] for name, value in values.items()}
    if n_resamples:
        counts = Counts(y_true, y_score, thresholds, np.ones((1, len(y_true))))
        weights = resample_weights(len(y_true), n_resamples, seed)
        for name, value in weighted_scores(y_true, y_score, thresholds, weights).items():
            percentiles = intervals(with_average(value))
            ends = score_intervals(name, counts, columns[name], value, percentiles)
            columns[f"{name}_low"], columns[f"{name}_high"] = ends
        floor = np.where(positives > 0, calibration_floor(y_true, y_score), np.nan)
        columns["ece_floor"] = with_average(floor[None])[0]
    return pd.DataFrame(columns)


def in_words(score, digits=3):
    """Return a score with so many decimals, 'unknown' for NaN (records of one kind alone)."""
    return f"{score:.{digits}f}" if np.isfinite(score) else "unknown"


def with_interval(value, low, high):
    """Return a score with its interval, as far as they are known."""
    interval = f" [{low:.3f}, {high:.3f}]" if np.isfinite(low) else ""
    return f"{value:.3f}{interval}" if np.isfinite(value) else ""


def format_table(table):
    """Return the table as aligned text with three decimals; unknown cells are blank.

    Intervals of F1 and AUC stand beside their value, the other ones only in the file. Lines below
    say what they are over, name the classes without positives, and say why a class is marked
    (`doubtful_classes`).
    """
    shown = table[[name for name in table if not name.endswith(("_low", "_high", "_floor"))]].copy()
    numbers = {name: "{:.3f}".format for name in shown if shown[name].dtype.kind == "f"}
    if "f1_low" in table:
        for name in ("f1", "auc"):
            rows = zip(table[name], table[f"{name}_low"], table[f"{name}_high"], strict=True)
            shown[name] = [with_interval(*row) for row in rows]
            del numbers[name]
        headings = {name: score.heading for name, score in SCORES.items()}
        numbers = {headings.get(name, name): value for name, value in numbers.items()}
        shown = shown.rename(columns=headings)
    doubtful = doubtful_classes([table])
    if doubtful:
        shown = shown.replace({"class": {name: f"{name}*" for name in doubtful}})
    lines = [shown.to_string(index=False, formatters=numbers, na_rep="")]
    if "f1_low" in table:
        lines.append("[...]: 95 % interval over these records, for the model as it was trained")
    if "ece_floor" in table:
        floor = table["ece_floor"].iloc[-1]
        lines.append(f"ece of perfectly calibrated scores on this many records: {floor:.3f}")
    lines += [f"* {name}: {why}" for name, why in doubtful.items()]
    absent = list(table.loc[table.n == 0, "class"]) if {"class", "n"} <= set(table) else []
    if absent:
        lines.append(f"no positives, so left out of the average: {', '.join(absent)}")
    return "\n".join(lines)
