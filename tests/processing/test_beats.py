"""Beats: their parts against known waves and cardiologists' marks, averages by hand."""

import numpy as np
import pytest

from dataset import CLASSES, LEADS
from ecg.processing import beats
from ecg.processing.beats import REGIONS
from ecg.processing.detection import find_peaks
from ecg.simulation import heart


def made_beats(classes, seed=3):
    """Return a synthetic record's signal and the landmarks of its beats, in samples."""
    signal, made = heart.simulate(np.random.default_rng(seed), classes, 10)
    return signal, 500 * np.stack([made.beats.onset, made.beats.j, made.beats.t_end], 1)


@pytest.mark.parametrize("classes", [["SNR"], ["LBBB"], ["RBBB"], ["PVC"]])
def test_borders_of_known_waves(classes):
    near = []
    for seed in range(10):
        signal, marks = made_beats(classes, seed)
        peaks = find_peaks(signal)
        borders = beats.find_borders(signal / 1000, peaks)
        inside = (marks[:, 0] > 150) & (marks[:, 2] < 4850)
        for mark in marks[inside]:
            row = borders[np.abs(borders[:, 1] - mark[0]).argmin()]
            near.append(np.abs(row[1:] - mark) <= [15, 20, 60])  # 30, 40 and 120 ms
    # noise, flat waves and deep notches hide some: the records are as wide as patients
    assert (np.mean(near, axis=0) > 0.8).all(), np.mean(near, axis=0)


@pytest.mark.parametrize(("rr", "samples"), [(256, 164), (500, 205), (864, 246)])
def test_t_ends_where_fridericias_formula_says(rr, samples):
    """RR of 0.512, 1 and 1.728 s: 0.41 s times its cube root, 0.8, 1 and 1.2 (Fridericia 1920)."""
    peaks = np.arange(rr, 15 * rr, rr)
    wave = np.exp(-((np.arange(-25, 26) / 8) ** 2))
    signal = np.zeros((12, 16 * rr))
    for peak in peaks:
        signal[:, peak - 25 : peak + 26] = wave
    borders = beats.find_borders(signal, peaks)
    assert set(borders[:, 3] - borders[:, 1]) == {samples}


def test_regions_leave_no_sample_twice_and_stay_in_the_record():
    signal, _ = made_beats(["AF"])
    peaks = find_peaks(signal)
    borders = beats.find_borders(signal / 1000, peaks)
    assert (np.diff(borders, axis=1) >= 0).all() and (borders[1:, 0] >= borders[:-1, 3]).all()
    assert borders.min() >= 0 and borders.max() <= signal.shape[1]
    regions = beats.region_of(borders, signal.shape[1])
    lengths = np.diff(borders, axis=1).sum(0)
    assert np.bincount(regions, minlength=4)[:3].tolist() == lengths.tolist()
    assert set(regions[peaks]) == {REGIONS.index("qrs")}


def test_a_flat_record_has_no_beats_and_no_borders():
    flat = np.zeros((12, 5000), np.int16)
    assert len(find_peaks(flat)) == 0
    assert beats.find_borders(flat / 1000, np.array([], int)).shape == (0, 4)
    averages = beats.BeatAverages(CLASSES, LEADS)
    averages.add(0, "a", np.ones((12, 5000)), flat, np.array([], int))
    assert averages.records.sum() == 0 and averages.table()["qrs"].isna().all()


def test_early_beats():
    assert beats.early_beats(np.array([0, 400, 800, 1130, 1700, 2100])).tolist() == [
        False,
        False,
        False,
        True,
        False,
        False,
    ]
    assert beats.early_beats(np.array([7])).tolist() == [False]


def test_averages_by_hand(monkeypatch):
    peaks = np.array([100, 500, 900, 1200, 1700])  # the fourth is early; the first has no room
    packed = np.zeros((12, 2100), np.int16)
    packed[np.ix_([1, 6], peaks)] = np.array([1, 2, 3, 4, 5]) * 1000
    borders = peaks[:, None] + [-40, -20, 20, 60]
    monkeypatch.setattr(beats, "find_borders", lambda signal, peaks: borders)
    phi = np.zeros((2, 2000))  # the network saw the last 2000 samples
    phi[0, peaks - 100] = 1  # lead II: all in QRS
    phi[1, peaks[1:] - 100 - 30] = -3  # V1: before QRS
    phi[1, 1990] = 4
    averages = beats.BeatAverages(CLASSES, ["II", "V1"])
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


def test_beats_that_look_like_pvcs_are_pvcs_and_most_pvcs_look_like_it():
    right, called, all_pvcs = 0, 0, 0
    for seed in range(24):
        signal, made = heart.simulate(
            np.random.default_rng([5, seed]), ["AF", "PVC"] if seed % 4 else ["RBBB", "PVC"], 10
        )
        if made.patient.rr < 0.6:
            continue  # in fast AF a PVC is hardly earlier than other beats
        peaks = find_peaks(signal)
        middle = 250 * (made.beats.onset + made.beats.j)
        inside = (peaks > 175) & (peaks < 4725)
        near = np.abs(middle[:, None] - peaks) < 38
        pvc = near[made.beats.kind == "PVC"].any(0) & inside
        borders = beats.find_borders(signal / 1000, peaks)
        found = beats.ventricular_beats(signal / 1000, peaks, borders) & inside
        right, called, all_pvcs = (
            right + (found & pvc).sum(),
            called + found.sum(),
            all_pvcs + pvc.sum(),
        )
    assert all_pvcs > 30
    assert right > 0.9 * called and right > 0.9 * all_pvcs, (right, called, all_pvcs)


def test_records_of_opposite_polarity_do_not_cancel_and_the_typical_one_is_shown():
    peaks = np.arange(300, 4700, 400)
    wave = np.exp(-((np.arange(-100, 101) / 30) ** 2))
    averages, rng = beats.BeatAverages(CLASSES, ["II", "V1"]), np.random.default_rng(0)
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
    averages = beats.BeatAverages(CLASSES, ["II"])
    packed = np.rint(200 * signal).astype(np.int16)  # one standard deviation is written as 0.2 mV
    averages.add(1, "z", np.zeros((1, 5000)), packed, peaks)
    found, _, _, unit = averages.beat(1)
    assert unit == "standard deviations"
    expected = signal[1, 300 - 175 : 300 + 275] - np.median(signal[1])
    assert found[0] == pytest.approx(expected, abs=0.02)
