import csv

import pytest
from conftest import NEEDS_SHARED, SHARED, write_wfdb

from ecg.io import formats, physionet
from ecg.io.diagnoses import classes_of, without_class


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


@pytest.mark.parametrize(
    ("comments", "expected"),
    [
        (
            ["#<age>: 65 <sex>: F <diagnoses> Acute MI", "# patient 1", "# PVCs"],
            (65, "Female", "1"),
        ),
        (["# age: 81", "# sex: female", "# <subject_id>: 10000032"], (81, "Female", "10000032")),
        (["#Age: 44", "#Sex: M", "# the patient fell asleep"], (44, "Male", "")),
    ],
)
def test_comments_of_incart_ptb_and_mimic(comments, expected):
    age, sex, dx, patient = physionet.parse_comments(comments)
    assert (age, sex, patient) == expected and dx == ()


def test_the_patient_of_ptb_is_its_folder(tmp_path):
    header = write_wfdb(tmp_path / "patient001", "s0010_re")
    assert formats.read_record(header)[0].patient == "patient001"


def test_what_has_no_class_is_named_in_words():
    dx = ["426177001", "Unknown", "AFIB", "SBRAD", "164889003.0"]
    assert without_class(dx) == ["sinus bradycardia", "SBRAD"]
