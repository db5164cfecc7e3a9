"""Measured intervals: against drawn waves, the simulator's landmarks and the marks of LUDB."""

import numpy as np
import pytest
from conftest import NEEDS_SHARED, SHARED, noise

from dataset import LEADS, to_mv
from ecg.explanation import ludb
from ecg.processing.detection import find_peaks
from ecg.processing.ecg_intervals import (
    Intervals,
    Middle,
    frontal_axis,
    measure_intervals,
    moved_correlations,
)
from ecg.simulation import heart


def measure(signal):
    """Return the Intervals of (12, n) int16 microvolts."""
    return measure_intervals(to_mv(signal), find_peaks(signal))


def simulated(name, seed):
    """Return the Intervals of a synthetic record, and its true PR, QRS and QT in ms."""
    signal, made = heart.simulate(np.random.default_rng([91, seed]), [name], 10)
    beats = made.beats
    true = [beats.onset - beats.p, beats.j - beats.onset, beats.t_end - beats.onset]
    return measure(signal), [1000 * np.median(part) for part in true]


def test_qt_is_corrected_by_the_published_formulas():
    some = Intervals(rate=75, qt=400.0)  # RR .8 s
    assert some.qtc_bazett == pytest.approx(400 / 0.8**0.5)
    assert some.qtc_fridericia == pytest.approx(400 / 0.8 ** (1 / 3))
    assert Intervals(rate=75).qtc_bazett is None and Intervals().qtc_fridericia is None


def test_the_intervals_of_synthetic_records_are_those_that_were_drawn():
    errors = []
    for seed, name in enumerate(["SNR", "IAVB", "RBBB"] * 5):
        found, true = simulated(name, seed)
        numbers = [np.nan if value is None else value for value in (found.pr, found.qrs, found.qt)]
        errors.append(np.subtract(numbers, true))
    errors = np.array(errors)
    assert (np.isfinite(errors).sum(0) >= [12, 15, 14]).all()
    # the simulator's QRS ends where 2.5 % of its height are left, which no eye sees
    assert (np.abs(np.nanmedian(errors, 0)) < [12, 16, 16]).all()
    assert (np.nanmedian(np.abs(errors), 0) < [14, 16, 18]).all()


def test_atrial_fibrillation_has_no_pr_and_an_irregular_rr():
    for seed in range(5):
        found, _ = simulated("AF", seed)
        assert found.pr is found.p_axis is None
        assert found.rr_spread > 0.05 and found.qrs is not None


@pytest.mark.parametrize("degrees", [-60, 0, 45, 100, 170])
def test_an_axis_is_that_of_the_dipole(degrees):
    signal = np.zeros((12, 100))
    wave = np.sin(np.linspace(0, np.pi, 41))
    signal[0, 30:71] = np.cos(np.radians(degrees)) * wave
    signal[1, 30:71] = np.cos(np.radians(degrees - 60)) * wave
    signal[LEADS.index("aVF")] = signal[1] - signal[0] / 2
    middle = Middle(signal, None, 50, 400)
    assert frontal_axis(middle, (30, 70)) == pytest.approx(degrees, abs=0.1)


def test_what_cannot_be_measured_is_blank():
    assert measure_intervals(np.zeros((12, 5000)), np.array([400, 900])) == Intervals()
    found = measure(noise(0, 5000))
    assert found.pr is found.qrs is found.qt is None
    signal, _ = heart.simulate(np.random.default_rng(0), ["SNR"], 10)
    signal[0] = 0
    found = measure_intervals(to_mv(signal), find_peaks(signal), flat=("I",))
    assert found.qrs and found.qrs_axis is None


@NEEDS_SHARED
def test_intervals_of_ludb_are_the_cardiologists():
    errors = []
    for number in range(1, 80, 6):
        path = SHARED / "ludb" / f"{number}.hea"
        if not path.exists():
            continue
        packed, marks = ludb.read_ludb(path), ludb.read_marks(path.with_suffix(""))
        p, qrs, t = (ludb.joint_waves(marks, wave) for wave in ("p", "qrs", "t"))
        before = ludb.match(p, qrs[:, 0], -0.45, 0)[:, 0]
        after = ludb.match(t, qrs[:, 2], 0, 0.6)[:, 2]
        pr = np.median((qrs[:, 0] - before)[before >= 0]) if (before >= 0).mean() > 0.5 else np.nan
        qt = np.median((after - qrs[:, 0])[after >= 0])
        true = 2 * np.array([pr, np.median(qrs[:, 2] - qrs[:, 0]), qt])
        found = measure(packed)
        numbers = np.array([found.pr, found.qrs, found.qt], float)
        errors.append(numbers - true)
    errors = np.abs(np.array(errors))
    assert len(errors) >= 10
    assert (np.nanmedian(errors, 0) < [10, 12, 20]).all(), np.nanmedian(errors, 0)


def test_the_correlation_of_a_form_moved_over_beats():
    rng = np.random.default_rng(0)
    beats, form = rng.normal(3, 1, (4, 2, 30)), rng.normal(size=(2, 20))
    form -= form.mean(1, keepdims=True)
    found = moved_correlations(beats, form)
    assert found.shape == (4, 11)
    for b, row in enumerate(found):
        for shift, value in enumerate(row):
            part = beats[b, :, shift : shift + 20]
            part = part - part.mean(1, keepdims=True)
            assert value == pytest.approx(np.corrcoef(part.ravel(), form.ravel())[0, 1])
