import csv
import shutil

import numpy as np
import pytest
from conftest import (
    CASES,
    NEEDS_SHARED,
    SHARED,
    noise,
    write_record,
    write_struct,
    write_table,
    write_wfdb,
)

import preprocess
from ecg.io import sources
from ecg.reading import recording
from ecg.synthetic import write_dataset


def test_read_reference_joins_by_name_merges_repeats_and_reads_10_as_1(tmp_path):
    text = "Recording,First_label,Second_label,Third_label\r\nA2,6,6,\r\nA1,10,,\r\nA3,5,2,7\r\n"
    folder = tmp_path / "TrainingSet1"
    folder.mkdir()
    (folder / "REFERENCE.csv").write_bytes(text.encode())
    (tmp_path / "reference.csv").write_text("patient_id,dx\nA9,AF\n")  # preprocess.py's own
    labels, paths = sources.read_reference(tmp_path)
    assert labels == {"A2": ["PAC"], "A1": ["SNR"], "A3": ["RBBB", "AF", "PVC"]}
    assert paths == [folder / "REFERENCE.csv"]
    (folder / "REFERENCE.csv").write_text("Recording,First_label\nA1,11\n")
    with pytest.raises(ValueError, match="REFERENCE.csv, line 2: label '11'"):
        sources.read_reference(tmp_path)


@NEEDS_SHARED
def test_reference_of_the_challenge_equals_the_metadata():
    labels, _ = sources.read_reference(SHARED / "cpsc2018_original")
    with open(SHARED / "cpsc2018_metadata.csv", newline="") as file:
        expected = {row["record"]: set(row["labels"].split(";")) for row in csv.DictReader(file)}
    assert {name: set(found) for name, found in labels.items()} == expected


def test_find_sources_sorts_by_name_and_ignores_what_is_described(tmp_path):
    for folder, name in (("g2", "A0001"), ("g1", "A0002")):
        write_record(tmp_path / folder, name, noise(0, 500), "164889003")
    write_struct(tmp_path / "TrainingSet1" / "A0003.mat", np.zeros((12, 600)))
    write_record(tmp_path / ".hidden", "A0004", noise(0, 500), "164889003")
    found = [path.relative_to(tmp_path).as_posix() for path in sources.find_sources(tmp_path)]
    assert found == ["g2/A0001.hea", "g1/A0002.hea", "TrainingSet1/A0003.mat"]


def test_find_records_takes_any_name_of_a_record(tmp_path):
    header = write_wfdb(tmp_path, "A.1")  # a dot that is no extension
    for name in ("A.1", "A.1.hea", "A.1.mat"):
        assert sources.find_records(tmp_path / name) == [header]
    (tmp_path / "A.1.dat").touch()
    assert sources.find_records(tmp_path / "A.1.dat") == [header]
    table = write_table(tmp_path / "own.csv")
    assert sources.find_records(tmp_path / "own") == [table]
    struct = tmp_path / "S1.mat"
    struct.touch()
    assert sources.find_records(struct) == sources.find_records(tmp_path / "S1") == [struct]


def test_find_records_in_a_folder(tmp_path):
    with pytest.raises(ValueError, match="no record"):
        sources.find_records(tmp_path)
    (tmp_path / "b").mkdir()
    np.save(tmp_path / "b" / "x.npy", np.zeros((12, 600)))
    table = write_table(tmp_path / "own.csv")
    assert sources.find_records(tmp_path) == [tmp_path / "b" / "x.npy", table]
    header = write_wfdb(tmp_path)
    assert sources.find_records(tmp_path) == [header]  # the tables beside it are labels and such


@pytest.mark.parametrize("name", ["notes.md", "none", "none.hea", "alone.dat", "a/b", "."])
def test_find_records_says_what_it_misses(name, tmp_path):
    for file in ("notes.md", "alone.dat"):
        (tmp_path / file).write_text("0,-16000\n")
    with pytest.raises(ValueError, match="record|header"):
        sources.find_records(tmp_path / name)


def test_linked_folders_are_followed_and_each_is_read_once(tmp_path):
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    write_record(data / "g1", "A1", noise(0, 500), "164889003")
    write_record(elsewhere, "A2", noise(1, 500), "164889003")
    (data / "a").symlink_to(data / "g1")  # what is there anyway is found by its own name
    (data / "g2").symlink_to(elsewhere)
    (data / "g3").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(data)
    (elsewhere / "REFERENCE.csv").write_text("Recording,First_label\nA2,5\n")
    found = [path.relative_to(data).as_posix() for path in sources.find_sources(data)]
    assert found == ["g1/A1.hea", "g2/A2.hea"]
    assert sources.read_reference(data)[0] == {"A2": ["RBBB"]}


def test_tables_that_contradict_each_other_are_named(tmp_path):
    for folder, text in (("a", "A1,6,8,\nA2,6,6,\n"), ("b", "A1,8,6,\nA2,6,,\n")):
        (tmp_path / folder).mkdir()
        table = tmp_path / folder / "REFERENCE.csv"
        table.write_text("Recording,First_label,Second_label,Third_label\n" + text)
    assert sources.read_reference(tmp_path)[0] == {"A1": ["PAC", "STD"], "A2": ["PAC"]}
    table.write_text("Recording,First_label\nA2,6\nA1,9\n")
    with pytest.raises(ValueError) as stop:
        sources.read_reference(tmp_path)
    text = str(stop.value)
    assert f"{table}, line 3: A1 is STE, but PAC STD in {tmp_path / 'a'}" in text
    (tmp_path / "a" / "REFERENCE.csv").unlink()
    table.write_text("Recording,First_label\nA1,9\nA1,6\n")
    with pytest.raises(ValueError, match="line 3: A1 is PAC, but STE in .*line 2"):
        sources.read_reference(tmp_path)


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
        assert sources.read_reference(tmp_path)[0] == {"A1": ["RBBB"]}
        return
    with pytest.raises(ValueError, match=message):
        sources.read_reference(tmp_path)


def pack(folder):
    preprocess.main(preprocess.parse_args(["--data-dir", str(folder), "--jobs", "1"]))


def test_a_set_is_synthetic_only_if_all_of_its_records_say_so(tmp_path):
    assert not sources.is_synthetic(tmp_path)
    made = tmp_path / "made"
    write_dataset(made, 12, seed=1)
    assert sources.is_synthetic(made)
    pack(made)
    assert sources.is_synthetic(made)
    alone = tmp_path / "alone"  # the packed signals alone are left
    alone.mkdir()
    for name in ("signals.json", "evidence.csv"):
        shutil.copy(made / name, alone)
    assert sources.is_synthetic(alone)
    (alone / "evidence.csv").unlink()
    assert not sources.is_synthetic(alone)
    write_record(made / "g1", "A1", noise(5, 700), "59118001")
    assert not sources.is_synthetic(made)


def test_headers_of_the_simulator_on_other_signals_make_no_synthetic_set(tmp_path):
    made, swapped, renamed = (tmp_path / name for name in ("made", "swapped", "renamed"))
    write_dataset(made, 3, seed=1)
    for folder in (swapped, renamed):
        shutil.copytree(made, folder)
    write_record(tmp_path, "A1", noise(5, 5000), "59118001")
    (tmp_path / "A1.mat").replace(swapped / "S0002.mat")
    for path in sorted(renamed.glob("S0003.*")):
        path.replace(path.with_stem("A0003"))
    header = renamed / "A0003.hea"
    header.write_text(header.read_text().replace("S0003", "A0003"))
    for folder in (made, swapped, renamed):
        pack(folder)
        assert sources.is_synthetic(folder) == (folder == made)


def test_every_file_of_a_folder_is_a_record_part_of_one_or_counted(tmp_path):
    header = write_wfdb(tmp_path / "g1")  # with its .mat
    struct = tmp_path / "g1" / "S1.mat"
    write_struct(struct, np.zeros((12, 600)))
    same = [tmp_path / "own.xml", tmp_path / "own.scp"]  # one name, but not one file
    for name in ("own.xml", "own.scp", "labels.csv", "photo.jpg", "g1/README", "g1/A0001.atr"):
        (tmp_path / name).write_text("x")
    found = sources.survey(tmp_path)
    assert set(found.records) == {header, struct, *same}
    assert found.others == {".csv": 1, ".jpg": 1, ".atr": 1, "": 1}
    assert found.describe() == "1 without an ending, 1 .atr, 1 .csv, 1 .jpg"
    n_files = sum(path.is_file() for path in tmp_path.rglob("*"))
    assert len(found.records) + sum(found.others.values()) == n_files - 1  # the header's .mat


@pytest.mark.skipif(not CASES.is_dir(), reason="no ../shared/cases")
def test_the_folder_of_all_formats_is_accounted_for(capsys):
    found = recording.Recordings([str(CASES / "tables")])
    err = capsys.readouterr().err
    assert len(found.sources) == 7 and "1 .bdf, 8 .csv, 1 .jpg, 1 .pdf, 1 .xlsx" in err
    assert "to read a table there, name the file" in err
