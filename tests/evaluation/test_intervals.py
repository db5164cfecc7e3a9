"""Intervals by formula, against a library, published figures and their coverage."""

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binomtest, multivariate_normal, norm
from sklearn.metrics import roc_auc_score

from ecg.evaluation import metrics
from ecg.evaluation.intervals import (
    auc_interval,
    auc_variance,
    average_interval,
    delong_variance,
    f1_interval,
    share_interval,
)

NINE = tuple("abc")


@pytest.mark.parametrize(("hits", "n"), [(3, 3), (0, 7), (5, 9), (40, 41)])
def test_a_share_has_wilsons_interval(hits, n):
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    assert share_interval(np.array([hits / n]), np.array([n]))[:, 0] == pytest.approx(expected)


def test_the_f1_of_a_perfect_class_is_that_of_wilson():
    low, high = f1_interval(np.array([1.0]), np.array([3]))[:, 0]
    share = binomtest(3, 3).proportion_ci(method="wilson").low
    assert high == 1 and low == pytest.approx(2 * share / (1 + share))


@pytest.mark.parametrize("ratio", [0.36, 1.0, 2.89])
def test_the_variance_of_an_auc_is_that_of_normal_scores(ratio):
    """The chance that two positives outrank one negative, by scipy's normal integrals."""
    m, n, auc = 4, 36, 0.97
    shift, chances = norm.ppf(auc), []
    for shared in (1 / (1 + ratio), ratio / (1 + ratio)):  # of a comparison's variance
        pair = multivariate_normal([0, 0], [[1, shared], [shared, 1]])
        chances.append(pair.cdf([shift, shift]) - auc**2)
    expected = (auc * (1 - auc) + (m - 1) * chances[0] + (n - 1) * chances[1]) / (m * n)
    assert auc_variance(auc, m, n, ratio) == pytest.approx(expected, rel=1e-4)


def test_delongs_variance_by_counting_pairs():
    rng = np.random.default_rng(0)
    positives, negatives = rng.integers(2, 9, 12), rng.integers(0, 7, 30)  # many are tied
    wins = (positives[:, None] > negatives) + (positives[:, None] == negatives) / 2
    expected = np.var(wins.mean(1), ddof=1) / 12 + np.var(wins.mean(0), ddof=1) / 30
    assert delong_variance(positives, negatives) == pytest.approx(expected)


def test_the_ends_of_an_auc_are_1_96_of_their_own_errors_away():
    """Positives that all have one logit, as have negatives: nothing but the usual is known."""
    true = np.repeat([1, 0], (4, 36))
    measured = (4 - 1 + 5 * 1.5) / (4 - 1 + 5)  # the usual ratio, and equal ones of no spread
    low, high = auc_interval(1.0, true, 0.1 + 0.8 * true)
    assert high == 1 and (1 - low) / np.sqrt(auc_variance(low, 4, 36, measured)) == (
        pytest.approx(1.96, abs=1e-3)
    )
    score = 0.1 + 0.8 * true
    score[0] = 0.5 * (0.1 + 0.1)  # a positive among the negatives
    auc = roc_auc_score(true, score)
    low, high = auc_interval(auc, true, score)
    mirrored = auc_interval(1 - auc, true, 1 - score)
    assert low < auc < high and (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high))


@pytest.mark.parametrize(("m", "n"), [(1, 9), (9, 1), (1, 1)])
def test_single_records_have_an_interval(m, n):
    true = np.repeat([1, 0], (m, n))
    low, high = auc_interval(1.0, true, 0.2 + 0.5 * true)
    assert 0 < low < 0.8 and high == 1
    assert auc_interval(np.nan, np.ones(3), np.ones(3)) == pytest.approx((np.nan,) * 2, nan_ok=True)


@pytest.mark.parametrize("spread", [1.0, 1.7])
def test_many_records_have_delongs_width(spread):
    rng = np.random.default_rng(2)
    true = np.repeat([1, 0], (300, 500))
    logits = np.where(true, rng.normal(1.5, spread, 800), rng.normal(size=800))
    low, high = auc_interval(roc_auc_score(true, logits), true, expit(logits))
    error = np.sqrt(delong_variance(logits[:300], logits[300:]))
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.04)


def test_a_few_positives_are_covered_where_resamples_are_not():
    """Normal scores of three positives and 37 negatives, true AUC .961: which intervals hold it."""
    rng = np.random.default_rng(0)
    true = np.repeat([1, 0], (3, 37))[:, None]
    held = []
    for _ in range(150):
        score = 1 / (1 + np.exp(-rng.normal(2.5 * true)))
        row = metrics.score_table(true, score, np.array([0.5]), "a", 200).iloc[0]
        resampled = metrics.weighted_scores(true, score, 0.5, metrics.resample_weights(40, 200))
        low, high = metrics.intervals(resampled["auc"])
        held.append([row["auc_low"] <= 0.9615 <= row["auc_high"], low[0] <= 0.9615 <= high[0]])
    formula, bootstrap = np.mean(held, axis=0)
    assert formula > 0.93 > 0.85 > bootstrap


def test_a_perfect_class_of_three_has_no_interval_without_a_width():
    true = np.zeros((60, 3))
    true[:3, 0] = true[3:23, 1] = true[20:50, 2] = 1  # 3, 20 and 30 positives
    score = 0.1 + 0.8 * true
    table = metrics.score_table(true, score, np.full(3, 0.5), NINE, 50).set_index("class")
    for name in ("precision", "recall", "f1", "auc", "accuracy", "specificity"):
        assert (table[name] == 1).all()
        low = table[f"{name}_low"]
        assert (low < 1).all() and (low > 0.3).all(), name
        assert (table[f"{name}_high"] == 1).all(), name
    lows = table.loc[list(NINE), "auc_low"]
    assert lows.is_monotonic_increasing
    assert table.loc["AVG", "auc_low"] == pytest.approx(1 - np.sqrt(((1 - lows) ** 2).sum()) / 3)
    assert table["ap_low"].isna().all()  # of which no formula is known
    text = metrics.format_table(table.reset_index())
    assert "interval over these records" in text and "on this many records" in text


def test_an_average_adds_the_distances_of_related_classes():
    """Two classes that are one and the same have its interval; unrelated ones a narrower one."""
    values, ends = np.array([0.7, 0.7, np.nan]), np.array([[0.6] * 2, [0.75] * 2])
    ends = np.column_stack([ends, [np.nan, np.nan]])  # a class without positives stays out
    drawn = np.random.default_rng(0).normal(size=(4000, 1))
    twins, others = np.tile(drawn, 3), np.random.default_rng(1).normal(size=(4000, 3))
    assert average_interval(values, ends, twins) == pytest.approx([0.6, 0.75])
    half = np.array([-0.1, 0.05]) * np.sqrt(0.5)
    assert average_interval(values, ends, others) == pytest.approx(0.7 + half, abs=2e-3)
