import csv

import numpy as np
import pytest
from conftest import (
    NEEDS_SHARED,
    SHARED,
    noise,
    write_record,
    write_struct,
    write_table,
    write_wfdb,
)

from ecg.io import formats, records
from ecg.synthetic import write_dataset


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
    assert records.classes_of(dx) == classes


@NEEDS_SHARED
def test_classes_of_ludb_equal_the_mapping_by_hand():
    with open(SHARED / "ludb" / "nine_classes.csv", newline="") as file:
        by_hand = {row["record"]: set(filter(None, row["labels"].split(";"))) for row in
                   csv.DictReader(file)}  # fmt: skip
    for name, expected in by_hand.items():
        found = records.classes_of(formats.read_record(SHARED / "ludb" / f"{name}.hea")[0].dx)
        assert found == expected, name


def test_read_reference_joins_by_name_merges_repeats_and_reads_10_as_1(tmp_path):
    text = "Recording,First_label,Second_label,Third_label\r\nA2,6,6,\r\nA1,10,,\r\nA3,5,2,7\r\n"
    folder = tmp_path / "TrainingSet1"
    folder.mkdir()
    (folder / "REFERENCE.csv").write_bytes(text.encode())
    (tmp_path / "reference.csv").write_text("patient_id,dx\nA9,AF\n")  # preprocess.py's own
    labels, paths = records.read_reference(tmp_path)
    assert labels == {"A2": ["PAC"], "A1": ["SNR"], "A3": ["RBBB", "AF", "PVC"]}
    assert paths == [folder / "REFERENCE.csv"]
    (folder / "REFERENCE.csv").write_text("Recording,First_label\nA1,11\n")
    with pytest.raises(ValueError, match="REFERENCE.csv, line 2: label '11'"):
        records.read_reference(tmp_path)


@NEEDS_SHARED
def test_reference_of_the_challenge_equals_the_metadata():
    labels, _ = records.read_reference(SHARED / "cpsc2018_original")
    with open(SHARED / "cpsc2018_metadata.csv", newline="") as file:
        expected = {row["record"]: set(row["labels"].split(";")) for row in csv.DictReader(file)}
    assert {name: set(found) for name, found in labels.items()} == expected


def test_find_sources_sorts_by_name_and_ignores_what_is_described(tmp_path):
    for folder, name in (("g2", "A0001"), ("g1", "A0002")):
        write_record(tmp_path / folder, name, noise(0, 500), "164889003")
    write_struct(tmp_path / "TrainingSet1" / "A0003.mat", np.zeros((12, 600)))
    write_record(tmp_path / ".hidden", "A0004", noise(0, 500), "164889003")
    found = [path.relative_to(tmp_path).as_posix() for path in records.find_sources(tmp_path)]
    assert found == ["g2/A0001.hea", "g1/A0002.hea", "TrainingSet1/A0003.mat"]


def test_resample_keeps_a_tone_and_removes_what_500_hz_cannot_hold():
    t = np.arange(4000) / 1000
    low, high = np.sin(2 * np.pi * 20 * t), np.sin(2 * np.pi * 400 * t)
    out = records.resample(np.tile(low + high, (12, 1)), 1000)
    assert out.shape == (12, 2000)
    np.testing.assert_allclose(out[:, 100:-100], np.tile(low[::2], (12, 1))[:, 100:-100], atol=0.02)
    same = np.ones((12, 5))
    assert records.resample(same, 500) is same


def test_resample_does_not_step_at_the_ends_of_an_offset():
    out = records.resample(np.full((12, 1000), 3.0), 250)
    np.testing.assert_allclose(out, 3.0, atol=0.01)


def test_find_records_takes_any_name_of_a_record(tmp_path):
    header = write_wfdb(tmp_path, "A.1")  # a dot that is no extension
    for name in ("A.1", "A.1.hea", "A.1.mat"):
        assert records.find_records(tmp_path / name) == [header]
    (tmp_path / "A.1.dat").touch()
    assert records.find_records(tmp_path / "A.1.dat") == [header]
    table = write_table(tmp_path / "own.csv")
    assert records.find_records(tmp_path / "own") == [table]
    struct = tmp_path / "S1.mat"
    struct.touch()
    assert records.find_records(struct) == records.find_records(tmp_path / "S1") == [struct]


def test_find_records_in_a_folder(tmp_path):
    with pytest.raises(ValueError, match="no record"):
        records.find_records(tmp_path)
    (tmp_path / "b").mkdir()
    np.save(tmp_path / "b" / "x.npy", np.zeros((12, 600)))
    table = write_table(tmp_path / "own.csv")
    assert records.find_records(tmp_path) == [tmp_path / "b" / "x.npy", table]
    header = write_wfdb(tmp_path)
    assert records.find_records(tmp_path) == [header]  # the tables beside it are labels and such


@pytest.mark.parametrize("name", ["notes.md", "none", "none.hea", "alone.dat", "a/b", "."])
def test_find_records_says_what_it_misses(name, tmp_path):
    for file in ("notes.md", "alone.dat"):
        (tmp_path / file).write_text("0,-16000\n")
    with pytest.raises(ValueError, match="record|header"):
        records.find_records(tmp_path / name)


def test_linked_folders_are_followed_and_each_is_read_once(tmp_path):
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    write_record(data / "g1", "A1", noise(0, 500), "164889003")
    write_record(elsewhere, "A2", noise(1, 500), "164889003")
    (data / "a").symlink_to(data / "g1")  # what is there anyway is found by its own name
    (data / "g2").symlink_to(elsewhere)
    (data / "g3").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(data)
    (elsewhere / "REFERENCE.csv").write_text("Recording,First_label\nA2,5\n")
    found = [path.relative_to(data).as_posix() for path in records.find_sources(data)]
    assert found == ["g1/A1.hea", "g2/A2.hea"]
    assert records.read_reference(data)[0] == {"A2": ["RBBB"]}


def test_tables_that_contradict_each_other_are_named(tmp_path):
    for folder, text in (("a", "A1,6,8,\nA2,6,6,\n"), ("b", "A1,8,6,\nA2,6,,\n")):
        (tmp_path / folder).mkdir()
        table = tmp_path / folder / "REFERENCE.csv"
        table.write_text("Recording,First_label,Second_label,Third_label\n" + text)
    assert records.read_reference(tmp_path)[0] == {"A1": ["PAC", "STD"], "A2": ["PAC"]}
    table.write_text("Recording,First_label\nA2,6\nA1,9\n")
    with pytest.raises(ValueError) as stop:
        records.read_reference(tmp_path)
    text = str(stop.value)
    assert f"{table}, line 3: A1 is STE, but PAC STD in {tmp_path / 'a'}" in text
    (tmp_path / "a" / "REFERENCE.csv").unlink()
    table.write_text("Recording,First_label\nA1,9\nA1,6\n")
    with pytest.raises(ValueError, match="line 3: A1 is PAC, but STE in .*line 2"):
        records.read_reference(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty or its first row"),
        ("A1,5\nA2,1\n", "does not begin with Recording"),
        ("Recording;First_label\nA1;5\n", None),
        ("Recording\tFirst_label\nA1\t5\n", None),
    ],
)
def test_a_table_that_cannot_be_read_is_not_passed_over(text, message, tmp_path):
    (tmp_path / "REFERENCE.csv").write_text(text)
    if message is None:
        assert records.read_reference(tmp_path)[0] == {"A1": ["RBBB"]}
        return
    with pytest.raises(ValueError, match=message):
        records.read_reference(tmp_path)


def test_a_set_is_synthetic_only_if_all_of_its_records_say_so(tmp_path):
    assert not records.is_synthetic(tmp_path)
    (tmp_path / "evidence.csv").touch()  # the packed signals alone are left
    assert records.is_synthetic(tmp_path)
    write_dataset(tmp_path / "made", 3, seed=1)
    (tmp_path / "made/evidence.csv").unlink()
    assert records.is_synthetic(tmp_path / "made")
    write_record(tmp_path / "made/g1", "A1", noise(5, 700), "59118001")
    assert not records.is_synthetic(tmp_path / "made")
