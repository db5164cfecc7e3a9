"""The parts of beats against known waves."""

import numpy as np
import pytest

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
    for seed in range(40):
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
