"""Average beats of a class by hand, and which of them is shown."""

import numpy as np
import pytest

from dataset import CLASSES, LEADS
from ecg.explanation import beat_averages
from ecg.explanation.beat_averages import BeatAverages
from ecg.processing.beats import REGIONS


def test_a_flat_record_adds_nothing():
    averages = BeatAverages(CLASSES, LEADS)
    flat = np.zeros((12, 5000), np.int16)
    averages.add(0, "a", np.ones((12, 5000)), flat, np.array([], int))
    assert averages.records.sum() == 0 and averages.table()["qrs"].isna().all()


def test_averages_by_hand(monkeypatch):
    peaks = np.array([100, 500, 900, 1200, 1700])  # the fourth is early; the first has no room
    packed = np.zeros((12, 2100), np.int16)
    packed[np.ix_([1, 6], peaks)] = np.array([1, 2, 3, 4, 5]) * 1000
    borders = peaks[:, None] + [-40, -20, 20, 60]
    monkeypatch.setattr(beat_averages, "find_borders", lambda signal, peaks: borders)
    phi = np.zeros((2, 2000))  # the network saw the last 2000 samples
    phi[0, peaks - 100] = 1  # lead II: all in QRS
    phi[1, peaks[1:] - 100 - 30] = -3  # V1: before QRS
    phi[1, 1990] = 4
    averages = BeatAverages(CLASSES, ["II", "V1"])
    for name in ("AF", "PAC"):
        averages.add(CLASSES.index(name), "a", phi, packed, peaks)
    table = averages.table().set_index(["class", "lead"])
    assert table.loc[("AF", "II"), list(REGIONS)].tolist() == [0, 1, 0, 0]
    assert table.loc[("AF", "V1"), list(REGIONS)].tolist() == [0.75, 0, 0, 0.25]
    assert table.loc[("AF", "all"), "qrs"] == pytest.approx(5 / 21)
    # the first beat's part before QRS is cut to nothing by the end of what was seen
    times = [20 * 4 / 2000, (40 * 4 + 20) / 2000, 40 * 5 / 2000]
    assert table.loc[("AF", "II"), [f"time_{r}" for r in REGIONS[:3]]].tolist() == times
    assert table.loc[("SNR", "all"), "n"] == 0
    signal, mean, lines, unit = averages.beat(1)
    assert signal[:, 175].tolist() == [3.5, 3.5] and unit == "mV"  # the beats 2-5
    assert mean[0, 175] == 1 and mean[1, 145] == -3 and mean.shape == (2, 450)
    assert lines.tolist() == pytest.approx([-0.08, -0.04, 0.04, 0.12])
    assert averages.beat(CLASSES.index("PAC"))[0][0, 175] == 4
    text = averages.title(CLASSES.index("PAC"))
    assert text.startswith("PAC: average of 1 early beat of record a,")


def test_records_of_opposite_polarity_do_not_cancel_and_the_typical_one_is_shown():
    peaks = np.arange(300, 4700, 400)
    wave = np.exp(-((np.arange(-100, 101) / 30) ** 2))
    averages, rng = BeatAverages(CLASSES, ["II", "V1"]), np.random.default_rng(0)
    for name, sign in {"up": 1, "up too": 1, "down": -1, "up as well": 1.2}.items():
        packed = rng.normal(0, 5, (12, 5000))
        for peak in peaks:
            packed[[1, 6], peak - 100 : peak + 101] += 1000 * sign * wave
        averages.add(1, name, np.full((2, 5000), sign), np.rint(packed).astype(np.int16), peaks)
    signal, phi, *_ = averages.beat(1)
    assert signal[:, 175] == pytest.approx(1, abs=0.25) and (phi >= 1).all()
    assert "of record up" in averages.title(1) and "(n = 4 records)" in averages.title(1)


def test_the_beat_of_a_z_scored_record_is_in_standard_deviations():
    peaks = np.arange(300, 4700, 400)
    shapes = np.random.default_rng(0).normal(size=(12, 400))
    signal = np.tile(shapes, 13)[:, :5000]
    signal = (signal - signal.mean(1, keepdims=True)) / signal.std(1, keepdims=True)
    averages = BeatAverages(CLASSES, ["II"])
    packed = np.rint(200 * signal).astype(np.int16)  # one standard deviation is written as 0.2 mV
    averages.add(1, "z", np.zeros((1, 5000)), packed, peaks)
    found, _, _, unit = averages.beat(1)
    assert unit == "standard deviations"
    expected = signal[1, 300 - 175 : 300 + 275] - np.median(signal[1])
    assert found[0] == pytest.approx(expected, abs=0.02)
