"""Intervals by formula, where resamples of the records say little: few positives, or none missed.

A bootstrap of an AUC of 1 from three positives gives 1 to 1. The formulas here invert a test: the
interval holds the values that lie within 1.96 of their own standard errors of the measured one.
"""

import numpy as np
from scipy.optimize import brentq

Z = 1.959964  # of a 95 % interval
FEW_POSITIVES = 10  # below which the formulas are taken


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


def sound_intervals(score, counts, values, low, high):
    """Replace intervals of resamples that say little; return low and high, (2, K + 1).

    `score` is its name, `values`, `low` and `high` (K + 1,) end with the average over the classes.
    Formulas replace those of classes with fewer than FEW_POSITIVES, and those without a width; a
    score without a formula gets no interval without a width. An average without a width gets that
    of independent classes (Zou and Donner 2008, Statistics in Medicine 27:1693-1702).
    """
    flat, ends = low == high, np.stack([low, high])
    if score in FORMULAS:
        few = flat[:-1] | (counts.positives[0] < FEW_POSITIVES)
        ends[:, :-1] = np.where(few, FORMULAS[score](values[:-1], counts), ends[:, :-1])
    else:
        ends[:, :-1][:, flat[:-1]] = np.nan
    away = ends[:, :-1] - values[:-1]
    away = away[:, np.isfinite(away).all(0)]
    if flat[-1]:
        width = np.sqrt((away**2).sum(1)) / away.shape[1] if away.size else np.nan
        ends[:, -1] = values[-1] + width * np.array([-1, 1])
    return ends
