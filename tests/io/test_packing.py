"""Packed signals: their rate, their unit and what is lost."""

import numpy as np

from ecg.io import packing


def test_resample_keeps_a_tone_and_removes_what_500_hz_cannot_hold():
    t = np.arange(4000) / 1000
    low, high = np.sin(2 * np.pi * 20 * t), np.sin(2 * np.pi * 400 * t)
    out = packing.resample(np.tile(low + high, (12, 1)), 1000)
    assert out.shape == (12, 2000)
    np.testing.assert_allclose(out[:, 100:-100], np.tile(low[::2], (12, 1))[:, 100:-100], atol=0.02)
    same = np.ones((12, 5))
    assert packing.resample(same, 500) is same


def test_resample_does_not_step_at_the_ends_of_an_offset():
    out = packing.resample(np.full((12, 1000), 3.0), 250)
    np.testing.assert_allclose(out, 3.0, atol=0.01)


def test_amplitudes_beyond_int16_are_cut_not_wrapped():
    signal = np.zeros((12, 500))
    signal[0, 1], signal[1, 1] = 400, -400
    packed, notes = packing.pack_signal(signal, 500)
    assert (packed[0, 1], packed[1, 1]) == (32767, -32767) and "over 20 mV" in notes


def test_packing_loses_at_most_half_a_microvolt():
    signal = np.random.default_rng(0).normal(0, 1, (12, 5000))
    packed, notes = packing.pack_signal(signal, 500)
    assert np.abs(packed / 1000 - signal).max() <= 0.0005 + 1e-12 and not notes
