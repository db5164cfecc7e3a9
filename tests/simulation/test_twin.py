"""Labels that one heart cannot show at one time, and those beyond the usual pairs."""

import numpy as np
import pytest

from dataset import CLASSES, LEADS
from ecg.simulation.heart import draw_heart
from ecg.simulation.twin import Row, make_twin, read_row


def draw(seed, classes, seconds=12, sex="Male"):
    return draw_heart(np.random.default_rng([11, seed]), classes, seconds, sex=sex)


@pytest.mark.parametrize("other", ["PAC", "IAVB"])
def test_af_sets_in_midway_beside_a_class_that_needs_p(other):
    for seed in range(60):
        heart = draw(seed, ["AF", other])
        beats, rows = heart.beats, heart.evidence
        spans = {
            name: [(start, stop) for found, start, stop, _ in rows if found == name]
            for name in ("AF", other)
        }
        # P waves before, none after; so is the evidence of either class
        seen = beats.kind == "sinus"
        p, onset = ~np.isnan(beats.p[seen]), beats.onset[seen]
        assert p.any() and not p.all() and onset[p].max() < onset[~p].min()
        assert 0.4 * 12 < onset[~p].min() < 0.75 * 12
        ends = [stop for _, stop in spans[other]]
        starts = [start for start, _ in spans["AF"]]
        assert not ends or not starts or max(ends) <= min(starts)


def test_the_rhythm_is_irregular_only_where_there_is_no_p():
    spread = []
    for seed in range(40):
        beats = draw(seed, ["AF", "IAVB"], 60).beats
        for p in (True, False):
            rr = np.diff(beats.onset[np.isnan(beats.p) != p])
            spread.append(rr.std() / rr.mean())
    before, later = np.reshape(spread, (-1, 2)).T
    assert (later > before).mean() > 0.8 and np.median(later) > 2 * np.median(before)


def test_elevation_with_depression_has_both_beyond_the_limits():
    pairs = [("aVL", "I"), ("II", "aVF"), ("aVF", "III"), ("I", "V6")]
    pairs += [(f"V{i}", f"V{i + 1}") for i in range(1, 6)]
    for seed in range(60):
        for classes in (["STD", "STE"], ["RBBB", "STE"], ["LBBB", "STD"], ["AF", "LBBB", "STD"]):
            heart = draw(seed, classes, sex="Female")
            usual = heart.forms[0]
            lowest = 0.1 if {"AF", "LBBB"} & set(classes) else 0.045
            i, ii, *chest = heart.patient.leads @ usual.st  # mV at J + 60 ms
            values = [i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2, *chest]
            # what is smaller, J + 20 or J + 60 ms, counts
            least = min(1, 1 - 0.04 / 0.1 * usual.slope)
            shift = {lead: least * value for lead, value in zip(LEADS, values, strict=True)}
            for name, sign in {"STE": 1, "STD": -1}.items():
                if name not in classes:
                    continue
                limits = dict.fromkeys(LEADS, 0.1 if name == "STE" else lowest)
                limits |= {"V2": 0.15, "V3": 0.15} if name == "STE" else {}
                shown = {lead for lead, value in shift.items() if sign * value >= limits[lead]}
                assert any(set(pair) <= shown for pair in pairs), (seed, classes)
                assert {leads for found, *_, leads in heart.evidence if found == name} == {
                    ";".join(lead for lead in LEADS if lead in shown)
                }


def test_pac_and_pvc_in_one_record_are_both_there():
    for seed in range(60):
        kinds = draw(seed, ["PAC", "PVC"]).beats.kind
        assert {"PAC", "PVC"} <= {kind.replace("blocked ", "") for kind in kinds}


def test_a_row_of_any_length_has_its_samples_and_each_of_its_classes():
    for n, labels in ((3000, "PAC;PVC"), (3001, "STE;STD"), (72_000, "AF"), (2987, "PAC;AF")):
        row = read_row(f"X{n}", labels, "61.5", "f", str(n))
        assert (row.age, row.sex, row.n) == ("61.5", "Female", n)
        signal, rows = make_twin(3, row)
        assert signal.shape == (12, n) and signal.dtype == np.int16
        assert {found[0] for found in rows} == set(row.labels)
        np.testing.assert_array_equal(signal, make_twin(3, row)[0])
        other = make_twin(3, row._replace(name="Y"))[0]
        assert not np.array_equal(signal, other)
        assert make_twin(3, row, with_signal=False) == (None, rows)


def test_normal_beside_another_class_is_left_to_that_class():
    row = read_row("A1", "SNR,AF", "", "", "5000")
    assert row == Row("A1", ("SNR", "AF"), "NaN", "Unknown", 5000) and row.drawn == ["AF"]
    assert read_row("A1", "SNR", "", "missing", "5000").sex == "Unknown"
    assert read_row("A1", "SNR", "", "", "5000").drawn == ["SNR"] and set(row.labels) < set(CLASSES)
