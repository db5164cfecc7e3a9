"""LUDB: regions by its marks, and beats that are found where cardiologists marked them."""

import numpy as np
import pytest
from conftest import NEEDS_SHARED, SHARED

from dataset import LEADS
from ecg.explanation import checks, ludb
from ecg.processing.beats import REGIONS


def test_regions_by_marks():
    def wave(*triple):
        return np.array([triple])

    none = np.zeros((0, 3), int)
    marks = {"p": wave(100, 120, 140), "qrs": wave(160, 180, 200), "t": wave(260, 300, 340)}
    same = dict.fromkeys(LEADS, marks)
    regions = ludb.marked_regions(same, 500)
    counted = {name: (regions == i).sum() for i, name in enumerate(REGIONS)}
    assert counted == {"before_qrs": 60, "qrs": 40, "st_t": 140, "elsewhere": 0}
    assert (regions == -1).sum() == 260
    few = {lead: marks if i < 6 else {w: none for w in marks} for i, lead in enumerate(LEADS)}
    assert len(ludb.joint_waves(few, "qrs")) == 0  # six of twelve are not more than half
    phi = np.zeros((12, 500))
    phi[:, 170], phi[:, 300], phi[:, 400] = 3, -1, 100
    found = {measure.name: measure.value for measure in ludb.check_marks(phi, regions)}
    assert found["share qrs"] == 0.75 and found["share st_t"] == 0.25
    assert found["time qrs"] == pytest.approx(40 / 240)


@NEEDS_SHARED
def test_ludb_marks_agree():
    rows = []
    for name in (1, 31, 75, 103, 151, 199):
        packed = ludb.read_ludb(SHARED / "ludb" / f"{name}.hea")
        marks = ludb.read_marks(SHARED / "ludb" / str(name))
        for measure in ludb.check_beats(packed, marks):
            rows.append(("beats", name, "all", measure.name, measure.value, measure.weight))
    means = checks.summarise(rows)

    def mean(name):
        return means["beats", "all", name].mean

    assert mean("R peak sensitivity") >= 0.99 and mean("R peak ppv") >= 0.99
    assert mean("QRS onset absolute error, ms") < 12
    assert mean("QRS end absolute error, ms") < 12
    assert mean("T end absolute error, ms") < 40
