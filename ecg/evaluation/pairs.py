"""Paired tests of two runs on the same records, and of rounds that share training records."""

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from scipy.stats import t as student

from dataset import N_FOLDS
from ecg.evaluation import metrics
from ecg.evaluation.intervals import FEW_POSITIVES
from ecg.evaluation.metrics import N_RESAMPLES
from ecg.evaluation.scored_run import Scored

COMPARED = {"f1": "F1", "auc": "AUC"}  # scores
TEST_TO_TRAIN = 1 / (N_FOLDS - 2)  # records tested on per record trained on, in every round


def corrected_error(sd, rounds):
    """Return the standard error of a mean over rounds from their sd and their number.

    Rounds share most of their training records, so the variance of the mean is not sd^2 / rounds
    but sd^2 (1 / rounds + test / training records), after Nadeau and Bengio (2003).
    """
    return sd * np.sqrt(1 / np.maximum(rounds, 1) + TEST_TO_TRAIN)


def two_sided_p(differences):
    """Return p (K,), the two-sided p value of each difference from its resamples (B, K).

    Twice the smaller share of resamples on one side of zero (ties on both), one resample added,
    so that 1,000 of them give no p below 0.002; NaN (a class not in the resample) is left out.
    """
    known = np.isfinite(differences).sum(0)
    tail = np.minimum((differences <= 0).sum(0), (differences >= 0).sum(0))
    return np.where(known > 0, np.minimum(2 * (tail + 1) / (known + 1), 1), np.nan)


def holm(p):
    """Return p values (K,) corrected for their number by Holm's method (1979); NaN stays NaN."""
    p = np.asarray(p, float)
    result, order = np.full(len(p), np.nan), np.argsort(p)[: np.isfinite(p).sum()]  # NaN is last
    left = np.arange(len(order), 0, -1)  # hypotheses that are not rejected yet
    result[order] = np.minimum(np.maximum.accumulate(p[order] * left), 1)
    return result


def with_holm(p):
    """Return Holm's p of the classes (K + 1,), from p that end with the average's; NaN there."""
    return np.append(holm(p[:-1]), np.nan)


def differences(first, second, seed):
    """Test two runs, Scored on the same records; one row per class, and AVG.

    F1 and AUC: the difference with its 95 % interval and p over paired resamples of records; no
    interval for a class with fewer than FEW_POSITIVES, of which resamples say little, nor one
    without a width. McNemar's exact test per class: of the records only one run gets right, each
    run has one half if they are equally good. Columns that end in _holm hold the p of the classes,
    corrected for their number.
    """
    y_true = first.y_true
    n, positives = len(y_true), np.nansum(y_true, axis=0).astype(int)
    table = pd.DataFrame({"class": [*first.classes, "AVG"], "n": [*positives, n]})
    weights = metrics.resample_weights(n, N_RESAMPLES, seed)
    scores = [averaged_scores(run, np.ones((1, n))) for run in (first, second)]
    resampled = [averaged_scores(run, weights) for run in (first, second)]
    few = np.append(positives < FEW_POSITIVES, False)
    for name in COMPARED:
        a, b = (run[name][0] for run in scores)
        drawn = resampled[0][name] - resampled[1][name]
        low, high = metrics.intervals(drawn)
        low, high = np.where(few | (low == high), np.nan, [low, high])
        diff = f"{name}_diff"
        table[f"{name}_a"], table[f"{name}_b"], table[diff] = a, b, a - b
        table[f"{diff}_low"], table[f"{diff}_high"] = low, high
        table[f"{name}_p"] = two_sided_p(drawn)
        table[f"{name}_p_holm"] = with_holm(table[f"{name}_p"].to_numpy())
    right_a, right_b = (  # an unknown label: neither
        metrics.apply_thresholds(run.y_score, run.thresholds) == y_true for run in (first, second)
    )
    only_a, only_b = (right_a & ~right_b).sum(0), (right_b & ~right_a).sum(0)
    # the AVG row stays empty, and that of a class without positives
    known = table.f1_a.notna()
    for name, values in {
        "only_a_right": only_a,
        "only_b_right": only_b,
        "mcnemar_p": [mcnemar_p(*pair) for pair in np.stack([only_a, only_b], 1).tolist()],
    }.items():
        table[name] = pd.Series(values).where(known)
    table["mcnemar_p_holm"] = with_holm(table.mcnemar_p.to_numpy())
    return table.astype({"only_a_right": "Int64", "only_b_right": "Int64"})


def averaged_scores(run, weights):
    """Return {score: (B, K + 1)} of Scored records for weights (B, N); the last column is AVG."""
    values = metrics.weighted_scores(run.y_true, run.y_score, run.thresholds, weights)
    return {name: metrics.with_average(values[name]) for name in COMPARED}


def mcnemar_p(only_a, only_b):
    """Return the exact p of records that only one or only the other of two runs gets right."""
    return binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0


def resampled_t(values):
    """Return mean (K,) and p (K,) of differences (R, K) over R rounds, by the corrected t test.

    NaN (a class that a round does not test) is left out; p is NaN for fewer than two rounds, and 1
    where no round differs.
    """
    frame = pd.DataFrame(values)
    count, mean = frame.count(), frame.mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        t = mean / corrected_error(frame.std(), count)
    p = pd.Series(2 * student.sf(t.abs(), np.maximum(count - 1, 1)))
    return mean.to_numpy(), p.mask((frame.fillna(0) == 0).all(), 1).mask(count < 2).to_numpy()


def differences_by_round(first, second):
    """Return the columns that pooled rounds add: mean difference over the rounds, and its p."""
    rounds = []
    for fold in np.unique(first.labels.fold):
        rows = first.labels.fold.to_numpy() == fold
        ones = np.ones((1, rows.sum()))
        parts = (Scored(*(array[rows] for array in run)) for run in (first, second))
        rounds.append([averaged_scores(part, ones) for part in parts])
    columns = {}
    for name in COMPARED:
        values = [a[name][0] - b[name][0] for a, b in rounds]  # R of (K + 1,)
        mean, p = resampled_t(values)
        columns[f"{name}_diff_rounds"], columns[f"{name}_p_rounds"] = mean, p
        columns[f"{name}_p_rounds_holm"] = with_holm(p)
    return columns
