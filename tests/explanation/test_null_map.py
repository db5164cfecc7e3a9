"""The null map: its scores follow the size of the signal, and a map is above it or not."""

import numpy as np
import pytest

from ecg.explanation import null_map


def by_name(measures):
    return {measure.name: measure.value for measure in measures}


@pytest.fixture
def case():
    """Return a signal (4, 2000), three times as large where the evidence is, and its mask."""
    rng = np.random.default_rng(0)
    x, mask = rng.normal(size=(4, 2000)), np.zeros((4, 2000), bool)
    mask[1:3, 400:800] = True
    x[mask] *= 3
    return x, mask, np.random.default_rng(1)


def test_the_null_scores_what_the_size_of_the_signal_gives(case):
    x, mask, rng = case
    found = by_name(null_map.check_against_null(np.ones_like(x), x, mask, rng))
    # 800 samples are three times as large as 7200 others: 2400 of 9600, a tenth of the time
    expected = 3 * 800 / (3 * 800 + 7200) / 0.1
    assert found["times uniform in both, null"] == pytest.approx(expected, rel=0.05)
    assert found["times uniform in both"] == pytest.approx(1)
    assert found["times uniform in both, less null"] == pytest.approx(1 - expected, rel=0.05)
    # two of four leads, each larger: nearly every pair of leads the right way round
    assert found["evidence lead above another, null"] > 0.95
    assert found["pointing game, null"] > 0.8  # the largest window, often in the large part


def test_chance_is_the_share_of_windows_that_would_hit(case):
    x, mask, rng = case
    found = by_name(null_map.check_against_null(x, x, mask, rng))
    assert found["pointing game, chance"] == pytest.approx(2 * 20 / 400)
    assert found["pointing game in time, chance"] == pytest.approx(20 / 100)


def test_an_offset_of_a_lead_is_no_size(case):
    x, mask, rng = case
    shifted = x + np.array([[0], [50], [0], [-80]])
    sizes = next(null_map.null_maps(shifted, rng))
    assert np.abs(sizes).max() < 15


def test_a_map_of_the_evidence_is_above_the_null_and_the_null_itself_is_not(case):
    x, mask, rng = case
    right = by_name(null_map.check_against_null(mask.astype(float), x, mask, rng))
    assert right["times uniform in both, less null"] > 5
    assert right["pointing game in time, less null"] >= 0
    signs = rng.choice([-1, 1], x.shape)
    same = by_name(null_map.check_against_null(np.abs(x) * signs, x, mask, rng))
    assert same["times uniform in time, less null"] == pytest.approx(0, abs=0.15)
