"""The detector of beats against waves put at known places, simulated hearts, and bad leads."""

import numpy as np
import pytest
import scipy.signal

from ecg.processing.detection import find_peaks, highest_near, median_beat
from ecg.simulation.heart import simulate

GAINS = np.array([1, 0.8, 0.5, -0.9, 0.6, 0.7, -0.6, -0.5, 0.6, 1.2, 1, 0.8])[:, None]
NARROW, BROAD = 0.012, 0.035  # s: waves of about 40 and 120 ms
REGULAR = np.arange(0.6, 9.6, 0.8)


def record(*waves, noise=5, seconds=10):
    """Return twelve leads (12, n) int16 uV of waves (times in s, width in s, height in mV)."""
    t = np.arange(int(500 * seconds)) / 500
    sums = sum(
        1000 * height * np.exp(-(((t - at) / width) ** 2))
        for times, width, height in waves
        for at in times
    )
    return np.rint(GAINS * sums + np.random.default_rng(0).normal(0, noise, (12, len(t)))).astype(
        np.int16
    )


def found(packed):
    return find_peaks(packed) / 500


def test_beats_lie_where_they_were_put_whatever_the_scale_of_a_lead():
    packed = record((REGULAR, NARROW, 1))
    assert found(packed) == pytest.approx(REGULAR, abs=0.01)
    packed[:6] *= 8
    assert found(packed) == pytest.approx(REGULAR, abs=0.01)


def test_flat_and_noisy_leads_do_no_harm():
    packed = record((REGULAR, NARROW, 1))
    packed[:4] = 300
    packed[4:6] = np.random.default_rng(3).normal(0, 400, (2, 5000)).astype(np.int16)
    assert found(packed) == pytest.approx(REGULAR, abs=0.02)


def test_a_spike_and_a_long_flat_stretch_do_no_harm():
    packed = record((REGULAR, NARROW, 1), seconds=30)  # beats in the first third alone
    packed[2, 1500:1503] = 30000
    assert found(packed) == pytest.approx(REGULAR, abs=0.02)


@pytest.mark.parametrize("height", [0.6, 1])
def test_tall_t_waves_are_no_beats(height):
    packed = record((REGULAR, NARROW, 1), (REGULAR + 0.28, 0.06, height))
    assert found(packed) == pytest.approx(REGULAR, abs=0.02)


def test_broad_beats_among_narrow_ones_are_found_and_their_t_waves_not():
    early = REGULAR[2:-2:3] + 0.36
    usual = np.setdiff1d(REGULAR, REGULAR[3:-1:3])  # full compensatory pauses
    waves = (usual, NARROW, 1), (early, BROAD, 1.3), (usual + 0.3, 0.06, 0.2)
    packed = record(*waves, (early + 0.3, 0.06, -0.5))
    assert found(packed) == pytest.approx(np.sort([*usual, *early]), abs=0.02)


def test_a_weak_broad_beat_after_each_narrow_one_is_found():
    usual = np.arange(0.6, 9, 1.4)
    packed = record((usual, NARROW, 1), (usual + 0.55, BROAD, 0.85))
    assert found(packed) == pytest.approx(np.sort([*usual, *(usual + 0.55)]), abs=0.02)


@pytest.mark.parametrize("classes", [["SNR"], ["AF"], ["LBBB"], ["RBBB"], ["PAC"], ["PVC"]])
def test_the_beats_of_simulated_hearts(classes):
    hits, beats, right, total = 0, 0, 0, 0
    for seed in range(40):
        signal, made = simulate(np.random.default_rng([99, seed]), classes, 10)
        seen = made.beats.kind != "blocked PAC"
        onset, j = 500 * made.beats.onset[seen], 500 * made.beats.j[seen]
        inside = (onset >= 0) & (j <= signal.shape[1])
        near = np.abs((onset + j)[:, None] / 2 - find_peaks(signal)) <= 0.075 * 500
        counts = ~near[~inside].any(0)
        hits, beats = hits + near[inside].any(1).sum(), beats + inside.sum()
        right, total = right + near.any(0)[counts].sum(), total + counts.sum()
    assert hits > 0.97 * beats and right > 0.95 * total, (hits, beats, right, total)


@pytest.mark.parametrize("n", [0, 1, 40, 200, 5000])
def test_a_record_without_beats_has_none(n):
    assert len(find_peaks(np.full((12, n), 5, np.int16))) == 0


@pytest.mark.parametrize("seed", range(5))
def test_the_highest_peaks_nearby_are_those_of_scipy(seed):
    rng = np.random.default_rng(seed)
    height = np.convolve(rng.normal(size=4000), np.hanning(5 + 20 * seed), "same")
    height[1000:1300] = np.rint(height[1000:1300])  # with flat tops
    for distance in (1, 20, 100):
        expected = scipy.signal.find_peaks(height, distance=distance)[0]
        assert highest_near(height, distance).tolist() == expected.tolist()
    assert len(highest_near(np.zeros(10), 5)) == 0


@pytest.mark.parametrize("n", [1, 2, 3, 8, 13])
def test_the_median_beat_is_numpys_median(n):
    beats = np.random.default_rng(n).normal(size=(n, 3, 50))
    assert (median_beat(beats) == np.median(beats, axis=0)).all()
