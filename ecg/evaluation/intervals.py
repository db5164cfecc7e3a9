"""Intervals of scores over the records that were scored, by formula, and those of averages.

Resamples of few positives, or of a score near 1, vary too little: percentile intervals of an AUC of
.99 from 20 positives hold the true value in three cases of four, not in 95 %. The formulas here
invert a test: the interval holds the values that lie within 1.96 of their own standard errors of
the measured one. `python -m benchmarks.coverage` measures how often each holds the truth.
"""

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import logit, owens_t
from scipy.stats import norm, rankdata

Z = 1.959964  # of a 95 % interval
FEW_POSITIVES = 10  # below which the difference of two runs has no interval
SURE = 1e-6  # probabilities nearer to 0 or 1 count as this far away
# what few records cannot tell is taken as usual, with the weight of so many records
USUAL_RATIO, RATIO_WEIGHT = 1.5, 5  # of the variances of positives and negatives
DELONG_WEIGHT = 10


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


def auc_variance(auc, positives, negatives, ratio):
    """Return the variance of an AUC of so many normal scores.

    Hanley and McNeil 1982 (Radiology 143:29-36), with the chances that two positives outrank one
    negative, and one positive two negatives, of normal scores; `ratio` is the variance of the
    positives over that of the negatives.
    """
    shift = norm.ppf(auc)

    def both(correlation):  # of two comparisons that share a record (Owen 1956)
        return auc - 2 * owens_t(shift, np.sqrt((1 - correlation) / (1 + correlation)))

    pairs = (positives - 1) * (both(1 / (1 + ratio)) - auc**2)
    pairs += (negatives - 1) * (both(ratio / (1 + ratio)) - auc**2)
    return (auc * (1 - auc) + pairs) / (positives * negatives)


def delong_variance(positives, negatives):
    """Return the variance of the AUC of two arrays of scores: DeLong 1988 (Biometrics 44:837)."""
    m, n = len(positives), len(negatives)
    ranks = rankdata(np.concatenate([positives, negatives]))
    above = (ranks[:m] - rankdata(positives)) / n  # the share of negatives below each positive
    below = 1 - (ranks[m:] - rankdata(negatives)) / m
    return above.var(ddof=1) / m + below.var(ddof=1) / n


def auc_interval(auc, true, score):
    """Return the interval of a class's AUC from its labels and probabilities (N,).

    The test of Newcombe 2006 (Statistics in Medicine 25:559, method 5) is inverted, with the
    variance of normal scores instead of exponential ones: logits with the measured ratio of
    variances. Where DeLong's variance is larger, so is this one, in proportion. Both measurements
    count the less the fewer positives (or negatives) there are.
    """
    if not np.isfinite(auc):
        return np.nan, np.nan
    logits = logit(np.clip(score, SURE, 1 - SURE))
    positives, negatives = logits[true == 1], logits[true == 0]
    m, n = len(positives), len(negatives)
    few, ratio, larger = min(m, n), USUAL_RATIO, 1.0
    if few > 1:
        spread = negatives.var(ddof=1)
        measured = np.clip(positives.var(ddof=1) / spread, 1 / 9, 9) if spread > 1e-9 else 1.0
        total = (few - 1) * measured + RATIO_WEIGHT * USUAL_RATIO
        ratio = total / (few - 1 + RATIO_WEIGHT)
        if 0 < auc < 1:
            times = delong_variance(positives, negatives) / auc_variance(auc, m, n, ratio)
            larger = max(1.0, (few * times + DELONG_WEIGHT) / (few + DELONG_WEIGHT))

    def excess(true_auc, measured, mirrored):
        variance = auc_variance(1 - true_auc if mirrored else true_auc, m, n, ratio)
        return measured - true_auc - Z * np.sqrt(max(larger * variance, 0.0))

    low, rest = (  # at the value itself lies another root if it is 1
        brentq(excess, 0, value - 1e-9, (value, mirrored)) if value > 1e-6 else 0.0
        for value, mirrored in ((auc, False), (1 - auc, True))
    )
    return low, 1 - rest


def auc_intervals(auc, counts):
    """Return the intervals (2, K) of the AUCs (K,) of Counts."""
    ends = []
    for value, true, score in zip(auc, counts.true.T, counts.score.T, strict=True):
        known = np.isfinite(true)
        ends.append(auc_interval(value, true[known], score[known]))
    return np.array(ends).T


FORMULAS = {  # score -> its interval (2, K), from values (K,) and Counts of one sample
    "precision": lambda v, c: share_interval(v, c.called[0]),
    "recall": lambda v, c: share_interval(v, c.positives[0]),
    "f1": lambda v, c: f1_interval(v, (c.positives + c.called - c.hits)[0]),
    "auc": auc_intervals,
    "accuracy": lambda v, c: share_interval(v, c.n[0]),
    "specificity": lambda v, c: share_interval(v, (c.n - c.positives)[0]),
}


def score_intervals(score, counts, values, resampled, percentiles):
    """Return the 95 % intervals of a score over the records: low and high, (2, K + 1).

    `score` is its name; `values` (K + 1,) and the `percentiles` (2, K + 1) of the resamples end
    with the average over the classes; `resampled` (B, K) are the resamples of the classes. A score
    without a formula has its percentiles, unless they have no width. The average has the interval
    of `average_interval`.
    """
    ends = np.array(percentiles)
    if score in FORMULAS:
        ends[:, :-1] = FORMULAS[score](values[:-1], counts)
        ends[:, -1] = average_interval(values[:-1], ends[:, :-1], resampled)
    else:
        ends[:, ends[0] == ends[1]] = np.nan
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
