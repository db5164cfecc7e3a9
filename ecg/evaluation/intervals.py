"""Intervals by formula, where resamples of the records say little, and those of averages.

Resamples of few positives, or of a score near 1, vary too little: percentile intervals of an AUC of
.99 from 20 positives hold the true value in three cases of four, not in 95 %. The formulas here
invert a test: the interval holds the values that lie within 1.96 of their own standard errors of
the measured one. `python -m benchmarks.coverage` measures how often each holds the truth.
"""

import numpy as np
import pandas as pd
from scipy.optimize import brentq

Z = 1.959964  # of a 95 % interval
FORMULA_BELOW = 40  # positives, or negatives, below which the formulas are taken
NEAR_ONE = 0.95  # and scores above which they are
FEW_POSITIVES = 10  # below which the difference of two runs has no interval


def share_interval(share, n):
    """Return the 95 % interval of a share (K,) of n: Wilson 1927 (JASA 22:209-212); (2, K)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        middle = share + Z**2 / (2 * n)
        half = Z * np.sqrt(share * (1 - share) / n + (Z / (2 * n)) ** 2)
        return np.clip(np.stack([middle - half, middle + half]) / (1 + Z**2 / n), 0, 1)


def f1_interval(f1, n):
    """Return the interval of F1 = 2J / (1 + J), J the share of hits in the n called or positive."""
    ends = share_interval(f1 / (2 - f1), n)
    return 2 * ends / (1 + ends)


def auc_interval(auc, positives, negatives):
    """Return the interval of an AUC: Newcombe 2006, Statistics in Medicine 25:559, method 5."""
    if not np.isfinite(auc):
        return np.nan, np.nan
    mean = (positives + negatives) / 2 - 1

    def excess(true, measured):
        spread = 1 + mean * ((1 - true) / (2 - true) + true / (1 + true))
        return measured - true - Z * np.sqrt(true * (1 - true) * spread / (positives * negatives))

    # at the value itself lies another root if it is 1
    low, rest = (brentq(excess, 0, v - 1e-9, (v,)) if v > 1e-6 else 0.0 for v in (auc, 1 - auc))
    return low, 1 - rest


FORMULAS = {  # score -> its interval (2, K), from values (K,) and Counts of one sample
    "precision": lambda v, c: share_interval(v, c.called[0]),
    "recall": lambda v, c: share_interval(v, c.positives[0]),
    "f1": lambda v, c: f1_interval(v, (c.positives + c.called - c.hits)[0]),
    "auc": lambda v, c: np.vectorize(auc_interval)(v, c.positives[0], (c.n - c.positives)[0]),
    "accuracy": lambda v, c: share_interval(v, c.n[0]),
    "specificity": lambda v, c: share_interval(v, (c.n - c.positives)[0]),
}


def sound_intervals(score, counts, values, resampled, ends):
    """Replace intervals of resamples that say little; return low and high, (2, K + 1).

    `score` is its name; `values` (K + 1,) and `ends` (2, K + 1), the percentile intervals, end with
    the average over the classes; `resampled` (B, K) are the resamples of the classes. Formulas
    replace the intervals of classes with fewer than FORMULA_BELOW positives or negatives, of scores
    above NEAR_ONE, and those without a width; a score without a formula gets no interval without a
    width. The average has that of `average_interval`.
    """
    low, high = ends
    flat, ends = low == high, np.array(ends)
    if score in FORMULAS:
        rare = np.minimum(counts.positives, counts.n - counts.positives)[0] < FORMULA_BELOW
        few = flat[:-1] | rare | (values[:-1] > NEAR_ONE)
        ends[:, :-1] = np.where(few, FORMULAS[score](values[:-1], counts), ends[:, :-1])
        ends[:, -1] = average_interval(values[:-1], ends[:, :-1], resampled)
    else:
        ends[:, flat] = np.nan
    return ends


def average_interval(values, ends, resampled):
    """Return the interval of the mean of values (K,) from theirs (2, K): MOVER, (2,).

    Zou and Donner 2008 (Statistics in Medicine 27:1693-1702): the distances to the ends are added
    like standard errors, sqrt(d R d) / K. The correlations R are those of the resamples (B, K),
    because the classes share their records. Classes without an interval are left out.
    """
    known = np.isfinite(ends).all(0)
    if not known.any():
        return np.array([np.nan, np.nan])
    related = pd.DataFrame(resampled[:, known]).corr(min_periods=2).fillna(0).to_numpy(copy=True)
    np.fill_diagonal(related, 1)
    away = ends[:, known] - values[known]  # (2, K)
    width = np.sqrt(np.maximum(np.einsum("ek,kl,el->e", away, related, away), 0)) / known.sum()
    return np.clip(np.nanmean(values[known]) + width * np.array([-1, 1]), 0, 1)
