import csv

import pytest
from conftest import NEEDS_SHARED, SHARED

from ecg.io import formats
from ecg.io.diagnoses import classes_of


@pytest.mark.parametrize(
    ("dx", "classes"),
    [
        (["426783006"], {"SNR"}),
        (["426783006", "251146004"], {"SNR"}),
        (["426783006", "164889003"], {"AF"}),  # 'sinus rhythm' beside a finding
        (["59118001", "713427006"], {"RBBB"}),
        (["164909002", "427172004"], {"LBBB", "PVC"}),
        (["Normal"], {"SNR"}),
        (["I-AVB", "STE"], {"IAVB", "STE"}),
        (["164867002"], set()),
        ([""], set()),
        (["Rhythm: Atrial fibrillation.", "Incomplete right bundle branch block."], {"AF"}),
        (["Undefined ischemia/scar/supp.NSTEMI: apical."], set()),
    ],
)
def test_classes_of(dx, classes):
    assert classes_of(dx) == classes


@NEEDS_SHARED
def test_classes_of_ludb_equal_the_mapping_by_hand():
    with open(SHARED / "ludb" / "nine_classes.csv", newline="") as file:
        by_hand = {
            row["record"]: set(filter(None, row["labels"].split(";")))
            for row in csv.DictReader(file)
        }
    for name, expected in by_hand.items():
        found = classes_of(formats.read_record(SHARED / "ludb" / f"{name}.hea")[0].dx)
        assert found == expected, name
