import errno
import hashlib
import json
import os

import numpy as np
import pandas as pd
import pytest
from conftest import DX, NEEDS_SHARED, SHARED, noise, write_record, write_struct

import preprocess
from dataset import CLASSES, PackedSignals
from ecg.io import folds, own_tables, packing
from ecg.io.sources import Source
from utils import HOST, InputError

# made once from cpsc2018_metadata.csv with seed 42: the split that the results stand on
GOLDEN = {
    "random": "cd7887b023262b3e0df5b04e1e68c827db5a2b3e141864979fb336951335604c",
    "stratified": "3971ac2edfe6c21ebbd3d5ad1066aa57e37b991c8bb88bca5fc65a01b39327a0",
}
# The paper's data set: records, %, male %, age mean and sd, seconds mean and sd.
PAPER_TABLE = """
SNR   918 13.35 39.54 41.56 18.45 15.43  7.64
AF   1221 17.75 56.67 71.47 12.53 15.07  8.73
IAVB  722 10.50 67.87 66.97 15.67 14.42  7.08
LBBB  236  3.43 49.58 70.48 12.55 15.10  8.10
RBBB 1857 27.00 64.78 62.84 17.07 14.73  9.00
PAC   616  8.96 53.25 66.56 17.71 19.30 12.39
PVC   700 10.18 51.00 58.37 17.90 20.84 15.39
STD   869 12.64 29.00 54.61 17.49 15.65  9.79
STE   220  3.20 81.82 52.32 19.77 17.31 10.74
"""


def run(folder, *flags):
    preprocess.main(preprocess.parse_args(["--data-dir", str(folder), "--jobs", "1", *flags]))


def read(folder, name):
    return pd.read_csv(folder / name, dtype={"patient_id": str}, keep_default_na=False)


def csv_bytes(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.csv"))}


def limb(samples):
    """Return samples (12, n) with limb leads that add up."""
    i, ii = samples[:2] // 2 * 2
    samples[:6] = [i, ii, ii - i, -(i + ii) // 2, i - ii // 2, ii - i // 2]
    return samples


@pytest.fixture(scope="module")
def cpsc2018():
    if not SHARED.is_dir():
        pytest.skip("no ../shared/data")
    rows = pd.read_csv(SHARED / "cpsc2018_metadata.csv")
    reference = pd.DataFrame(
        {
            "patient_id": rows["record"],
            "sample_rate": 500,
            "signal_len": rows["n_samples"],
            "age": rows["age"],
            "sex": rows["sex"],
            "dx": rows["labels"],
            "note": "",
        }
    )
    return reference.sample(frac=1, random_state=1)  # the order of the rows must not matter


@pytest.mark.parametrize("kind", ["random", "stratified"])
def test_labels_of_cpsc2018_are_golden(kind, cpsc2018):
    labels = folds.assign_folds(preprocess.make_labels(cpsc2018), kind, 42)
    assert len(labels) == 6877 and labels["patient_id"].is_monotonic_increasing
    text = labels.to_csv(index=False, lineterminator="\n")
    assert hashlib.sha256(text.encode()).hexdigest() == GOLDEN[kind]


def test_dataset_table_is_the_paper_s_to_the_last_digit(cpsc2018):
    table = preprocess.dataset_table(cpsc2018, preprocess.make_labels(cpsc2018))
    expected = [line.split() for line in PAPER_TABLE.strip().splitlines()]
    for row, (name, *numbers) in zip(table.itertuples(index=False), expected, strict=True):
        assert row[0] == name
        assert [f"{value:.2f}" for value in row[2:]] == numbers[1:]
        assert str(row.records) == numbers[0]


def test_random_folds_are_even_seeded_and_differ_by_seed():
    dealt = folds.random_folds(6877, 42)
    counts = np.bincount(dealt)[1:]
    assert len(counts) == 10 and set(counts) == {687, 688}
    assert (folds.random_folds(6877, 42) == dealt).all()
    assert (folds.random_folds(6877, 43) != dealt).mean() > 0.8


def test_stratified_folds_balance_every_label(cpsc2018):
    labels = preprocess.make_labels(cpsc2018)
    y = labels[list(CLASSES)].to_numpy()
    dealt = folds.stratified_folds(y, 7)
    sizes = np.bincount(dealt)[1:]
    # the labels come first: 476 records carry several, so the sizes may differ a little
    assert (np.abs(sizes / 687.7 - 1) < 0.02).all()
    per_fold = np.array([y[dealt == fold].sum(0) for fold in range(1, 11)])
    assert (np.ptp(per_fold, axis=0) <= 2).all()


def test_writes_labels_of_the_labelled_and_lists_all(records):
    run(records)
    reference, labels = read(records, "reference.csv"), read(records, "labels.csv")
    assert list(reference) == [
        "patient_id",
        "sample_rate",
        "signal_len",
        "age",
        "sex",
        "dx",
        "note",
    ]
    assert list(labels) == ["patient_id", *CLASSES, "fold"]
    assert len(reference) == 40 and len(labels) == 38
    assert set(reference["patient_id"]) - set(labels["patient_id"]) == {"T0013", "T0031"}
    assert labels["patient_id"].is_monotonic_increasing
    by_name = labels.set_index("patient_id")
    assert by_name.loc["T0028", list(CLASSES)].tolist() == [0, 1, 0, 0, 0, 0, 1, 0, 0]  # AF, PVC
    row = reference.set_index("patient_id").loc["T0001"]
    assert (int(row["signal_len"]), float(row["sample_rate"])) == (1500, 500)
    assert (float(row["age"]), row["sex"], row["dx"]) == (61, "Male", DX["AF"])


def test_same_seed_gives_the_same_bytes_whatever_the_processes(records, tmp_path):
    run(records)
    first = csv_bytes(records)
    packed = next(records.glob("*.i16")).read_bytes()
    (records / "signals.json").unlink()
    preprocess.main(preprocess.parse_args(["--data-dir", str(records), "--jobs", "2"]))
    assert csv_bytes(records) == first
    assert next(records.glob("*.i16")).read_bytes() == packed
    run(records, "--seed", "7")
    assert csv_bytes(records)["labels.csv"] != first["labels.csv"]
    assert csv_bytes(records)["reference.csv"] == first["reference.csv"]


def test_packs_again_only_when_a_source_changes(records, capsys):
    run(records)
    assert len(list(records.glob("*.i16"))) == 1
    inode = next(records.glob("*.i16")).stat().st_ino
    run(records, "--seed", "3", "--folds", "stratified")
    assert next(records.glob("*.i16")).stat().st_ino == inode
    assert "up to date" in capsys.readouterr().out
    write_record(records / "g1", "T0000", noise(99, 1200), DX["STE"])
    run(records)
    assert "up to date" not in capsys.readouterr().out
    assert len(list(records.glob("*.i16"))) == 1  # the old one is gone
    assert (PackedSignals(records)["T0000"] == noise(99, 1200)).all()


@pytest.mark.parametrize("damage", ["index", "binary"])
def test_packs_again_what_was_damaged(damage, records):
    run(records)
    if damage == "index":
        (records / "signals.json").write_text('{"fingerprint"')
    else:
        next(records.glob("*.i16")).write_bytes(b"half")
    run(records)
    assert (PackedSignals(records)["T0003"] == noise(3, 1000)).all()


def test_an_interrupted_packing_leaves_the_old_data_whole(records, monkeypatch):
    run(records)
    before = {path.name: path.read_bytes() for path in records.iterdir() if path.is_file()}
    write_record(records / "g1", "T0050", noise(50, 1200), DX["STE"])
    read_source = packing.read_source

    def interrupted(source, *args):
        if source.name == "T0020":
            raise KeyboardInterrupt
        return read_source(source, *args)

    monkeypatch.setattr(packing, "read_source", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(records)
    assert {path.name: path.read_bytes() for path in records.iterdir() if path.is_file()} == before


def test_leftovers_of_a_killed_run_are_removed(records):
    leftover = records / f".signals-0123.{HOST}.{2**31 - 1}.tmp.i16"  # no process has that number
    leftover.write_bytes(b"x" * 100)
    run(records)
    assert not leftover.exists()


def test_damaged_records_are_named_counted_and_skipped(records, capsys):
    (records / "g1" / "T0000.mat").write_bytes(b"MATLAB")
    (records / "g2" / "T0001.hea").write_text("")
    write_record(records / "g3", "T0002", noise(2, 1200), DX["AF"])  # a second T0002
    write_record(records / "g1", "T0004", noise(4, 300), DX["RBBB"])  # 0.6 s
    run(records)
    out = capsys.readouterr().out
    assert "41 records, 4 skipped, 37 packed" in out
    for text in (
        "T0000 skipped: T0000.mat is truncated: 0 of 1000 samples",
        "T0001 skipped: the header is empty",
        "T0002 skipped: same name as g1/T0002.hea",
        "T0004 skipped: it is shorter than 1 s (300 samples)",
    ):
        assert text in out
    notes = read(records, "reference.csv")["note"]
    assert notes.str.startswith("skipped").sum() == 4
    assert len(read(records, "labels.csv")) == 35


def test_odd_signals_are_kept_with_a_note(records, capsys):
    samples = limb(noise(1, 1500))
    samples[2, 5:8] = -32768
    samples[6] = 0
    samples[8, 100] = 21_000
    write_record(records / "g2", "T0001", samples, DX["AF"])
    write_record(records / "g1", "T0002", limb(noise(2, 4000)), DX["IAVB"], rate=1000)
    run(records)
    rows = read(records, "reference.csv").set_index("patient_id")
    assert rows.loc["T0001", "note"] == ("3 missing samples set to 0 mV; constant: V1; over 20 mV")
    assert rows.loc["T0002", "note"] == "resampled from 1000 Hz"
    packed = PackedSignals(records)
    assert packed["T0002"].shape == (12, 2000)
    expected = np.where(samples == -32768, 0, samples)
    assert (packed["T0001"] == expected).all()
    out = capsys.readouterr().out
    for kind in ("missing samples set to 0 mV", "constant", "over 20 mV", "resampled from 1000 Hz"):
        assert f"1 with a note: {kind}" in out


def test_a_record_with_another_gain_is_rounded_to_microvolts(records):
    """At 300 per mV a sample is 10/3 µV, so two of three must be rounded."""
    samples = noise(60, 1200)
    write_record(records / "g1", "T0060", samples, DX["AF"])
    header = records / "g1" / "T0060.hea"
    header.write_text(header.read_text().replace(" 1000/mV", " 300/mV"))
    run(records)
    thirds = 10 * samples.astype(int)
    assert (PackedSignals(records)["T0060"] == (2 * thirds + 3) // 6).all()


def test_limit_takes_the_first_records_by_name(records):
    run(records, "--limit", "12")
    assert read(records, "reference.csv")["patient_id"].tolist() == [f"T{i:04d}" for i in range(12)]


def test_groups_that_name_other_records_are_not_taken_in_silence(records, capsys):
    table = records / "groups.csv"
    table.write_text("patient_id,patient\nX0001.hea,p\nX0002.hea,p\n")
    with pytest.raises(InputError) as stop:
        run(records, "--groups", str(table))
    err = str(stop.value)
    assert "names none of the records" in err and "X0001.hea" in err
    assert not (records / "labels.csv").exists()
    table.write_text("patient_id,patient\nT0001,p\nT0003.hea,p\nX0002,p\n")
    run(records, "--groups", str(table))
    assert "1 of the 3 records of --groups are not there: X0002" in capsys.readouterr().out


def test_bad_folders_are_refused_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    write_record(tmp_path / "unlabelled", "A1", noise(0, 600), "164867002")
    write_record(tmp_path / "orphans", "A1", noise(0, 600), DX["AF"])
    (tmp_path / "orphans" / "A1.hea").unlink()
    for name, text in (
        ("nowhere", "python -m ecg.synthetic"),
        ("empty", "holds no record that can be read (files there: none)"),
        ("unlabelled", "none of the 1 records"),
        ("orphans", "REFERENCE.csv"),
    ):
        with pytest.raises(InputError) as stop:
            run(tmp_path / name)
        assert text in str(stop.value)
        assert not (tmp_path / name / "labels.csv").exists()


def test_a_record_that_is_silent_for_half_of_its_time_is_packed_with_a_note(tmp_path):
    samples = noise(0, 5000)
    samples[:, 2500:] = 0
    write_record(tmp_path, "A1", samples, DX["AF"], sex="")
    run(tmp_path)
    note = pd.read_csv(tmp_path / "reference.csv").loc[0, "note"]
    assert "silent for a while in all leads" in note
    np.testing.assert_array_equal(PackedSignals(tmp_path)["A1"], samples)
    table = pd.read_csv(tmp_path / "dataset_table.csv").set_index("class")
    assert np.isnan(table.loc["AF", "male_percent"])  # its sex is not known


def test_a_failed_run_leaves_the_data_of_an_earlier_one(records):
    run(records)
    before = {path.name: path.read_bytes() for path in records.iterdir() if path.is_file()}
    write_record(records / "g1", "T0000", noise(0, 1000), "164867002")
    with pytest.raises(InputError) as stop:
        run(records, "--limit", "1")
    assert "the first, T0000: its diagnoses are 164867002" in str(stop.value)
    assert {path.name: path.read_bytes() for path in records.iterdir() if path.is_file()} == before


def test_a_table_that_lists_no_record_is_named_as_the_fault(tmp_path):
    write_struct(tmp_path / "T" / "A0001.mat", noise(0, 600) / 1000)
    (tmp_path / "T" / "REFERENCE.csv").write_text("Recording,First_label\n")
    with pytest.raises(InputError) as stop:
        run(tmp_path)
    assert "A0001: not listed in REFERENCE.csv" in str(stop.value)


def test_the_challenge_s_table_is_never_overwritten(tmp_path):
    write_struct(tmp_path / "TrainingSet1" / "A0001.mat", noise(0, 600) / 1000)
    (tmp_path / "reference.csv").write_text("Recording,First_label\nA0001,5\n")
    with pytest.raises(InputError) as stop:
        run(tmp_path)
    assert "move it to" in str(stop.value)
    assert (tmp_path / "reference.csv").read_text() == "Recording,First_label\nA0001,5\n"


def test_packs_again_when_a_time_or_the_label_table_changes(tmp_path):
    for i in range(3):
        write_struct(tmp_path / "TrainingSet1" / f"A000{i}.mat", noise(0, 600) / 1000)
    table = tmp_path / "TrainingSet1" / "REFERENCE.csv"
    table.write_text("Recording,First_label\nA0000,5\nA0001,1\nA0002,2\n")
    run(tmp_path)
    assert read(tmp_path, "labels.csv")["RBBB"].tolist() == [1, 0, 0]
    table.write_text("Recording,First_label\nA0000,1\nA0001,5\nA0002,2\n")  # the same size
    run(tmp_path)
    assert read(tmp_path, "labels.csv")["RBBB"].tolist() == [0, 1, 0]
    paths = sorted((tmp_path / "TrainingSet1").glob("*.mat"))
    sources = [Source(path, path.stem) for path in paths]
    key = packing.sources_digest(sources, [table], tmp_path)
    os.utime(paths[0], ns=(1, 1))
    assert packing.sources_digest(sources, [table], tmp_path) != key


def test_a_name_that_is_not_utf_8_is_read(records):
    header = (records / "g1" / "T0000.hea").read_bytes()
    odd = os.fsencode(records / "g1") + b"/Z\xff"
    with open(odd + b".hea", "wb") as file:
        file.write(header)
    run(records)
    assert read(records, "reference.csv")["patient_id"].tolist()[-1] == "Z\ufffd"


@NEEDS_SHARED
def test_challenge_layout_gives_the_same_labels_as_the_metadata(tmp_path):
    for path in (SHARED / "cpsc2018_original").rglob("*.*"):
        target = tmp_path / path.relative_to(SHARED / "cpsc2018_original")
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    run(tmp_path)
    labels = read(tmp_path, "labels.csv").set_index("patient_id")
    rows = pd.read_csv(SHARED / "cpsc2018_metadata.csv").set_index("record")
    for name, row in labels.iterrows():
        found = {c for c in CLASSES if row[c]}
        assert found == set(rows.loc[name, "labels"].split(";"))
    reference = read(tmp_path, "reference.csv").set_index("patient_id")
    assert reference["signal_len"].astype(int).to_dict() == (
        rows.loc[reference.index, "n_samples"].to_dict()
    )


def test_the_index_names_only_files_of_its_own_folder(tiny):
    index = json.loads((tiny / "signals.json").read_text())
    outside = tiny.parent / index["file"]
    (tiny / index["file"]).rename(outside)
    index["file"] = f"../{index['file']}"
    (tiny / "signals.json").write_text(json.dumps(index))
    with pytest.raises(InputError):
        PackedSignals(tiny)


def test_sources_that_were_only_touched_give_the_same_packed_file(records):
    run(records)
    before = {path.name: path.read_bytes() for path in records.glob("signals*")}
    for path in records.rglob("*.hea"):
        os.utime(path, (1, 1))
    run(records)
    after = {path.name: path.read_bytes() for path in records.glob("signals*")}
    name = next(name for name in before if name.endswith(".i16"))
    assert set(after) == set(before) and after[name] == before[name]
    indices = [json.loads(found["signals.json"]) for found in (before, after)]
    assert indices[0]["fingerprint"] == indices[1]["fingerprint"]
    assert indices[0]["sources"] != indices[1]["sources"]


def test_a_full_disk_while_reading_is_not_the_fault_of_a_record(records, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(packing, "read_record", full)
    with pytest.raises(InputError) as stop:
        preprocess.main(preprocess.parse_args(["--data-dir", str(records), "--jobs", "1"]))
    assert "No space left on device" in str(stop.value)
    assert not list(records.glob("*signals*")) and not (records / "reference.csv").exists()


def test_a_replaced_signal_file_of_another_name_is_seen(records, capsys):
    header = records / "g1" / "T0000.hea"
    header.write_text(header.read_text().replace("T0000.mat", "sig1.dat"))
    (records / "g1" / "T0000.mat").rename(records / "g1" / "sig1.dat")
    run(records)
    data = bytearray((records / "g1" / "sig1.dat").read_bytes())
    data[24:] = np.ascontiguousarray(noise(98, 1000).T).tobytes()
    (records / "g1" / "sig1.dat").write_bytes(data)
    capsys.readouterr()
    run(records)
    assert "up to date" not in capsys.readouterr().out
    assert (PackedSignals(records)["T0000"] == noise(98, 1000)).all()


def folds_of(folder):
    return read(folder, "labels.csv").set_index("patient_id")["fold"].astype(int)


@pytest.mark.parametrize("kind", ["random", "stratified"])
def test_the_same_signal_is_named_and_kept_in_one_fold(kind, records):
    run(records, "--folds", kind)
    before = folds_of(records)
    for name in ("T0005", "T0020"):
        write_record(records / "g1", name, noise(3, 1000), DX["AF"])
        (records / "g2" / f"{name}.hea").unlink(missing_ok=True)
    run(records, "--folds", kind)
    notes = read(records, "reference.csv").set_index("patient_id")["note"]
    assert [name for name, note in notes.items() if "same signal: T0003" in note] == [
        "T0005",
        "T0020",
    ]
    after = folds_of(records)
    assert after["T0003"] == after["T0005"] == after["T0020"]
    if kind == "random":  # no other record moves
        assert set(after.index[after != before]) <= {"T0005", "T0020"}


@pytest.mark.parametrize("kind", ["random", "stratified"])
def test_records_of_a_patient_share_a_fold(kind, records, tmp_path, capsys):
    for name in ("T0006", "T0010"):
        path = next(records.glob(f"g*/{name}.hea"))
        path.write_text(path.read_text() + "# Patient: 12\n")
    table = tmp_path / "groups.csv"
    table.write_text("patient_id,patient\nT0010,a\nT0011,a\nT0012,a\nT0099,b\n")
    run(records, "--folds", kind)
    dealt = folds_of(records)
    assert dealt["T0006"] == dealt["T0010"]
    run(records, "--folds", kind, "--groups", str(table))
    dealt = folds_of(records)
    assert len({dealt[name] for name in ("T0010", "T0011", "T0012")}) == 1
    assert "38 labelled records come from 36 patients" in capsys.readouterr().out
    for text, message in (
        ("", "is empty"),
        ("patient_id,fold\nT0010,1\n", "no column of the patients"),
        ("patient_id,patient\nT0010\n", "line 2"),
        ("patient_id,patient\nT0001,a\nT0001,b\n", "line 3 gives T0001 a second patient"),
    ):
        table.write_text(text)
        with pytest.raises(InputError) as stop:
            run(records, "--groups", str(table))
        assert message in str(stop.value)


def test_groups_join_in_chains_and_single_records_are_dealt_as_ever():
    rows = [packing.Row(name, signal=signal) for name, signal in zip("abcde", "12213", strict=True)]
    assert folds.find_groups("abcde", rows, {}).tolist() == [0, 1, 1, 0, 2]
    assert folds.find_groups("abcde", rows, {"a": "x", "b": "x"}).tolist() == [0, 0, 0, 0, 1]
    labels = pd.DataFrame(np.eye(9, dtype=int)[np.arange(90) % 9], columns=list(CLASSES))
    for kind in ("random", "stratified"):
        alone = folds.assign_folds(labels, kind, 42)["fold"]
        assert (folds.assign_folds(labels, kind, 42, np.arange(90))["fold"] == alone).all()


def test_a_name_that_could_be_a_path_is_skipped(records, capsys):
    write_record(records / "g1", "a\\b", noise(50, 1000), DX["AF"])
    run(records)
    assert "rename its files" in capsys.readouterr().out
    assert "a\\b" not in set(read(records, "labels.csv")["patient_id"])


def test_contradicting_and_unreadable_label_tables_stop_in_one_line(tmp_path):
    write_struct(tmp_path / "TrainingSet1" / "A0001.mat", noise(0, 600) / 1000)
    table = tmp_path / "TrainingSet1" / "REFERENCE.csv"
    for text, message in (("", "is empty"), ("Recording,L\nA0001,5\nA0001,6\n", "but RBBB in")):
        table.write_text(text)
        with pytest.raises(InputError) as stop:
            run(tmp_path)
        err = str(stop.value)
        assert message in err


@pytest.mark.parametrize("name", ["labels.csv", "reference.csv", "dataset_table.csv"])
def test_a_table_that_is_not_ours_is_never_touched(name, records):
    own = records / name
    own.write_text("filename,diagnosis\nT0001,AF\n")
    before = {path: path.read_bytes() for path in records.rglob("*") if path.is_file()}
    with pytest.raises(InputError) as stop:
        run(records)
    err = str(stop.value)
    assert str(own) in err
    assert f"move it to {records / 'own'}" in err
    assert {path: path.read_bytes() for path in records.rglob("*") if path.is_file()} == before


def test_an_own_table_that_was_edited_is_the_user_s(tiny):
    labels = tiny / "labels.csv"
    labels.write_text(labels.read_text().replace("T0000,1", "T0000,0"))
    with pytest.raises(InputError) as stop:
        run(tiny)
    assert f"--labels {tiny / 'own' / 'labels.csv'}" in str(stop.value)
    assert "T0000,0" in labels.read_text()


def test_tables_of_a_version_without_digests_are_recognised_by_the_signals_beside(tiny):
    (tiny / "tables.json").unlink()
    before = csv_bytes(tiny)
    run(tiny)
    assert csv_bytes(tiny) == before
    (tiny / "tables.json").unlink()
    (tiny / "signals.json").unlink()  # as the paper's own code leaves a folder
    with pytest.raises(InputError):
        run(tiny)
    assert csv_bytes(tiny) == before


def test_a_run_killed_between_its_tables_can_be_repeated(tiny, monkeypatch):
    write_csv = own_tables.write_csv

    def killed(frame, path):
        if path.name == "labels.csv":
            raise KeyboardInterrupt
        write_csv(frame, path)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(own_tables, "write_csv", killed)
        run(tiny, "--seed", "7", "--limit", "20")
    run(tiny, "--seed", "7", "--limit", "20")
    assert len(read(tiny, "reference.csv")) == 20


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), MemoryError()])
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_record_that_could_not_be_read_for_a_passing_reason_is_tried_again(
    error, jobs, records, monkeypatch, capsys
):
    if jobs == "2" and isinstance(error, MemoryError):
        pytest.skip("the same")
    flags = ["--data-dir", str(records), "--jobs", jobs]
    read_record = packing.read_record

    def refuse(path, *args, **table):
        if path.stem == "T0003":
            raise error
        return read_record(path, *args, **table)

    with monkeypatch.context() as patch:
        patch.setattr(packing, "read_record", refuse)
        preprocess.main(preprocess.parse_args(flags))
    out = capsys.readouterr().out
    assert "40 records, 1 skipped, 39 packed" in out and "run the same command again" in out
    assert "T0003" not in set(read(records, "labels.csv")["patient_id"])
    preprocess.main(preprocess.parse_args(flags))
    out = capsys.readouterr().out
    assert "40 records, 0 skipped, 40 packed" in out and "again" not in out
    assert "T0003" in set(read(records, "labels.csv")["patient_id"])
    preprocess.main(preprocess.parse_args(flags))
    assert "packed signals of 40 records are up to date" in capsys.readouterr().out


def test_a_name_that_no_file_can_be_named_after_is_a_skipped_record(records, capsys):
    for stem in (b"n\xe4me", b"x" * 247):
        for ending in (b".mat", b".hea"):
            source = records / "g1" / f"T0000{ending.decode()}"
            target = os.path.join(os.fsencode(records), b"g1", stem + ending)
            with open(target, "wb") as file:
                file.write(source.read_bytes())
    run(records)
    out = capsys.readouterr().out
    assert "42 records, 2 skipped, 40 packed" in out
    assert out.count("its name has more than 200 bytes, is not UTF-8, or has") == 2
