"""Filters against scipy's."""

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from ecg.processing.filters import ZeroPhase


@pytest.mark.parametrize("n", [5, 20, 64, 150, 5000, 40_000])
@pytest.mark.parametrize(
    ("borders", "kind"),
    [((None, 1), "low"), ((20, None), "high"), ((5, 20), "band"), ((0.5, 30), "band")],
)
def test_filters_give_what_scipy_gives(borders, kind, n):
    signal = 5 + np.random.default_rng(n).normal(0, 0.1, (3, n)).cumsum(axis=1)  # mV, drifting
    wanted = [hz for hz in borders if hz is not None]
    sections = butter(2, wanted if kind == "band" else wanted[0], kind, fs=500, output="sos")
    pad = {"padlen": n - 1} if n == 5 else {}  # scipy's own needs a longer signal
    expected = sosfiltfilt(sections, signal, **pad)
    found = ZeroPhase(*borders)(signal)
    assert found.shape == signal.shape
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(signal).max())
