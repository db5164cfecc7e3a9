"""Intervals by formula, against a library, published figures and their coverage."""

import numpy as np
import pytest
from scipy.stats import binomtest

from ecg.evaluation import metrics
from ecg.evaluation.intervals import (
    auc_interval,
    average_interval,
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


@pytest.mark.parametrize("auc", [0.5, 0.8, 0.97, 1.0])
def test_the_ends_of_an_auc_are_1_96_of_their_own_errors_away(auc):
    """Hanley and McNeil's (1982) error, with both sizes replaced by their mean as Newcombe does."""
    m, n = 4, 36

    def error(a):
        q1, q2, half = a / (2 - a), 2 * a * a / (1 + a), (m + n) / 2
        return np.sqrt((a * (1 - a) + (half - 1) * (q1 - a * a + q2 - a * a)) / (m * n))

    low, high = auc_interval(auc, m, n)
    assert low < auc <= high and (auc - low) / error(low) == pytest.approx(1.96, abs=1e-3)
    if auc < 1:
        assert (high - auc) / error(high) == pytest.approx(1.96, abs=1e-3)
    mirrored = auc_interval(1 - auc, m, n)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high))


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
    last = text.splitlines()[-1]
    assert last.startswith("fewer than 40 positives") and last.endswith("above 0.95: a, b, c")


def test_an_average_adds_the_distances_of_related_classes():
    """Two classes that are one and the same have its interval; unrelated ones a narrower one."""
    values, ends = np.array([0.7, 0.7, np.nan]), np.array([[0.6] * 2, [0.75] * 2])
    ends = np.column_stack([ends, [np.nan, np.nan]])  # a class without positives stays out
    drawn = np.random.default_rng(0).normal(size=(4000, 1))
    twins, others = np.tile(drawn, 3), np.random.default_rng(1).normal(size=(4000, 3))
    assert average_interval(values, ends, twins) == pytest.approx([0.6, 0.75])
    half = np.array([-0.1, 0.05]) * np.sqrt(0.5)
    assert average_interval(values, ends, others) == pytest.approx(0.7 + half, abs=2e-3)


def test_many_positives_keep_the_resamples_interval():
    rng = np.random.default_rng(1)
    true = (rng.random((300, 3)) < 0.3).astype(int)
    score = np.clip(0.3 * true + 0.7 * rng.random((300, 3)), 0, 1)
    table = metrics.score_table(true, score, np.full(3, 0.5), NINE, 100)
    weights = metrics.resample_weights(300, 100)
    values = metrics.weighted_scores(true, score, np.full(3, 0.5), weights)["auc"]
    low, high = metrics.intervals(values)
    assert (table["n"][:3] >= 40).all() and (table["auc"] < 0.95).all()
    assert table["auc_low"][:3].to_numpy() == pytest.approx(low)
    assert table["auc_high"][:3].to_numpy() == pytest.approx(high)
