"""The spread of a map over beats of one form: by hand, and only where the beats are alike."""

import numpy as np
import pytest

from ecg.explanation import equal_beats
from ecg.explanation.check_measures import Measure


def record(n_beats=8, rr=400):
    """Return a signal (2, n) in mV of equal beats, and the samples of their R peaks."""
    peaks = 300 + rr * np.arange(n_beats)
    signal = np.random.default_rng(0).normal(0, 0.005, (2, peaks[-1] + 300))
    shape = np.exp(-((np.arange(-30, 31) / 8.0) ** 2))
    for peak in peaks:
        signal[:, peak - 30 : peak + 31] += np.array([[1.0], [-0.6]]) * shape
    return signal, peaks


def spread(phi, signal, peaks):
    packed = np.round(1000 * signal).astype(np.int16)
    return list(equal_beats.check_equal_beats(phi, packed, peaks))


def test_equal_values_do_not_spread_and_those_of_one_beat_in_four_do():
    signal, peaks = record()
    phi = np.zeros_like(signal)
    phi[0, peaks] = 1
    ((name, value, *_),) = spread(phi, signal, peaks)
    assert (name, value) == ("spread over equal beats", 0)
    phi[:] = -1
    phi[0, peaks[[1, 5]]] = 3  # two of eight, and what is negative does not count
    (found,) = spread(phi, signal, peaks)
    values = np.array([0, 3, 0, 0, 0, 3, 0, 0])
    assert found == Measure(equal_beats.SPREAD, pytest.approx(values.std(ddof=1) / values.mean()))


def test_records_of_other_beats_are_left_out():
    signal, peaks = record()
    ones = np.ones_like(signal)
    assert spread(ones, signal, peaks)
    early = peaks.copy()
    early[4] -= 120  # an irregular rhythm
    assert not spread(ones, signal, early)
    wide = signal.copy()
    wide[:, peaks[3] - 60 : peaks[3] + 60] = 1.5  # two beats of eight of another form
    wide[:, peaks[6] - 60 : peaks[6] + 60] = 1.5
    assert not spread(ones, wide, peaks)
    short, few = record(4)
    assert not spread(np.ones_like(short), short, few)
    tall = signal.copy()
    tall[:, peaks[2] - 60 : peaks[2] + 60] *= 2
    tall[:, peaks[6] - 60 : peaks[6] + 60] *= 2
    assert not spread(ones, tall, peaks)


def test_one_other_beat_of_ten_is_not_compared():
    signal, peaks = record(10)
    signal[:, peaks[3] - 60 : peaks[3] + 60] = 1.5
    phi = np.zeros_like(signal)
    phi[0, peaks] = 1
    phi[0, peaks[3]] = 50
    (found,) = spread(phi, signal, peaks)
    assert found.value == 0


def test_a_beat_cut_by_an_end_does_not_count():
    signal, peaks = record()
    phi = np.zeros_like(signal)
    phi[0, peaks] = 1
    cut = signal[:, 250:], phi[:, 250:], peaks - 250  # the first R peak after 0.1 s
    (found,) = spread(cut[1], cut[0], cut[2])
    assert (
        found.value == 0 and equal_beats.equal_beats(cut[0], cut[2]).tolist() == cut[2][1:].tolist()
    )
