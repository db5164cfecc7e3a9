"""The files of the synthetic set: read by others as they should be, the same every time."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wfdb
from conftest import N_MADE, NEEDS_SHARED, SHARED
from scipy.io import loadmat

from dataset import CLASSES, LEADS
from ecg import synthetic
from ecg.io.diagnoses import classes_of
from ecg.simulation import heart, twin
from utils import InputError

ROOT = Path(__file__).parents[1]
FS = 500


def test_records_have_the_layout_of_cpsc2018(made):
    text = (made / "S0001.hea").read_text().splitlines()
    assert text[0] == "S0001 12 500 5000"
    for line, lead in zip(text[1:13], LEADS, strict=True):
        assert re.fullmatch(rf"S0001\.mat 16\+24 1000/mV 16 0 -?\d+ -?\d+ 0 {lead}", line)
    assert re.fullmatch(r"#Age: \d\d", text[13]) and text[14] in ("#Sex: Male", "#Sex: Female")
    assert text[15:19] == ["#Dx: 426783006", "#Rx: Unknown", "#Hx: Unknown", "#Sx: Unknown"]
    assert len(list(made.glob("*.hea"))) == len(list(made.glob("*.mat"))) == N_MADE


def test_wfdb_and_scipy_read_the_same_values_as_the_header_promises(made):
    for name in ("S0001", "S0040", f"S{N_MADE:04d}"):
        record = wfdb.rdrecord(str(made / name), physical=False)
        assert [c % 65536 for c in record.checksum] == record.calc_checksum()
        assert record.init_value == record.d_signal[0].tolist()
        matlab = loadmat(made / f"{name}.mat")["val"]
        assert matlab.dtype == np.int16 and matlab.shape == (12, 5000)
        np.testing.assert_array_equal(matlab, record.d_signal.T)


def test_the_same_seed_gives_the_same_bytes_on_other_hardware(made, tmp_path):
    # numpy takes other routines for exp and sin on an older processor; a shorter run, too, must
    # not change a record
    script = "import sys; from ecg import synthetic; synthetic.write_dataset(sys.argv[1], 40, 0)"
    old = os.environ | {"NPY_DISABLE_CPU_FEATURES": "X86_V4 X86_V3", "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", script, str(tmp_path / "old")]
    subprocess.run(command, cwd=ROOT, env=old, check=True, capture_output=True)
    written = sorted((tmp_path / "old").glob("S*"))
    assert len(written) == 80
    for path in written:
        assert path.read_bytes() == (made / path.name).read_bytes()
    rows = (tmp_path / "old/evidence.csv").read_text()
    assert (made / "evidence.csv").read_text().startswith(rows)


def test_two_processes_write_the_same_files_as_one(tmp_path):
    for jobs in (1, 2):
        run("--data-dir", tmp_path / str(jobs), "--records", 45, "--seconds", 5, "--jobs", jobs)
    names = [path.name for path in sorted((tmp_path / "1").iterdir())]
    assert names == [path.name for path in sorted((tmp_path / "2").iterdir())]
    for name in names:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_another_seed_gives_other_records(made, tmp_path):
    synthetic.write_dataset(tmp_path, 1, seed=1)
    assert (tmp_path / "S0001.mat").read_bytes() != (made / "S0001.mat").read_bytes()


def run(*argv):
    synthetic.main(synthetic.parse_args([str(arg) for arg in argv]))


def test_a_second_run_replaces_the_first_and_counts_the_classes(tmp_path, capsys):
    run("--data-dir", tmp_path, "--records", 12, "--seconds", 6)
    run("--data-dir", tmp_path, "--records", 9, "--seconds", 6)
    assert [path.stem for path in sorted(tmp_path.glob("*.hea"))] == [
        f"S000{i}" for i in range(1, 10)
    ]
    assert set(pd.read_csv(tmp_path / "evidence.csv")["class"]) == set(CLASSES)
    assert "9 records" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["S0001.hea", "g1/A0001.hea", "A0001.mat"])
def test_a_folder_with_other_records_is_left_alone(name, tmp_path):
    run("--data-dir", tmp_path, "--records", 2, "--seconds", 6)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("A0001 12 500 5000\n#Dx: 426783006\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(InputError) as stop:
        run("--data-dir", tmp_path, "--records", 3, "--seconds", 6)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    message = str(stop.value)
    assert name in message and "python -m ecg.synthetic" in message


@pytest.mark.parametrize("argv", [["--seconds", "2"], ["--seed", "-1"], ["--records", "0"]])
def test_bad_options_end_with_status_2(argv, tmp_path):
    with pytest.raises(InputError) as stop:
        run("--data-dir", tmp_path / "new", *argv)
    assert argv[0] in str(stop.value)
    assert not (tmp_path / "new").exists()


TABLE = """record,labels,age,sex,n_samples
A0001,RBBB,74.0,Male,3500
A0999,AF;RBBB,,Female,2987
A1000,PAC;AF,-1.0,Male,6000
B7,STD;AF;LBBB,55,,2500
A6877,STE;STD,40.0,Female,3001
"""


def like(tmp_path, text=TABLE, folder="twin", **flags):
    (tmp_path / "table.csv").write_text(text)
    more = [word for name, value in flags.items() for word in (f"--{name}", value)]
    run("--like", tmp_path / "table.csv", "--data-dir", tmp_path / folder, "--jobs", 1, *more)
    return tmp_path / folder


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


def test_a_twin_has_the_names_labels_lengths_ages_and_folders_of_its_table(tmp_path):
    folder = like(tmp_path)
    expected = {
        "g1/A0001": ("RBBB", "74", "Male", 3500),
        "g7/A6877": ("STD STE", "40", "Female", 3001),
        "g1/A0999": ("AF RBBB", "NaN", "Female", 2987),
        "g2/A1000": ("AF PAC", "-1", "Male", 6000),
        "g1/B7": ("AF LBBB STD", "55", "Unknown", 2500),
    }
    written = [path.relative_to(folder).with_suffix("") for path in folder.rglob("*.mat")]
    assert set(map(str, written)) == set(expected)
    evidence = pd.read_csv(folder / "evidence.csv")
    for name, (classes, age, sex, n) in expected.items():
        record = wfdb.rdrecord(str(folder / name), physical=False)
        assert record.d_signal.shape == (n, 12)
        assert [c % 65536 for c in record.checksum] == record.calc_checksum()
        found = dict(line.split(": ", 1) for line in record.comments)
        assert (found["Age"], found["Sex"]) == (age, sex)
        assert classes_of(found["Dx"].split(",")) == set(classes.split())
        assert "no patient" in found["Source"] and "seed 0" in found["Twin"]
        rows = evidence[evidence["patient_id"] == name[3:]]
        assert set(rows["class"]) == set(classes.split())  # each is visible somewhere
        assert rows["leads"].notna().all() and (rows["stop"] <= n).all()


def test_a_twin_killed_in_between_goes_on_and_is_that_of_one_go(tmp_path):
    whole = content(like(tmp_path, folder="whole"))
    rows = twin.read_table(tmp_path / "table.csv")
    folder = tmp_path / "broken"
    for row in rows[:3]:
        synthetic.make_like(folder, 0, row)
    (folder / "g1/A0999.mat").unlink()  # killed between the header and the signal
    (folder / "g2/A1000.mat").write_bytes(b"half")
    first = (folder / "g1/A0001.mat").stat().st_ino
    assert content(like(tmp_path, folder="broken")) == whole
    assert (folder / "g1/A0001.mat").stat().st_ino == first  # was there, and is not made again
    # another seed, another label, a row less: no file of the first table is taken for it
    changed = TABLE.replace("A0001,RBBB", "A0001,LBBB").replace("B7,STD;AF;LBBB,55,,2500\n", "")
    assert content(like(tmp_path, changed, "broken")) == content(like(tmp_path, changed, "new"))
    other = content(like(tmp_path, changed, "broken", seed=1))
    assert all(other[path] != content(tmp_path / "new")[path] for path in other)


def test_a_set_that_is_made_anew_keeps_its_mark_and_no_set_below_is_deleted(tmp_path):
    folder = like(tmp_path)
    synthetic.clear_folder(folder)  # as a run that is stopped here leaves it
    (line,) = (folder / "evidence.csv").read_text().splitlines()
    assert line.split(",") == synthetic.EVIDENCE and not list(folder.rglob("*.mat"))
    before = content(like(tmp_path))
    with pytest.raises(InputError) as stop:
        like(tmp_path, folder=".")
    assert "another synthetic data set" in str(stop.value)
    assert content(folder) == before


def test_a_twin_has_a_folder_of_its_own(tmp_path):
    with pytest.raises(InputError) as stop:
        synthetic.parse_args(["--like", "table.csv"])
    assert "name another --data-dir" in str(stop.value)


NOTHING_VISIBLE = heart.Heart(7, None, None, [], evidence=[])


def test_a_record_that_cannot_show_its_labels_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(twin, "draw_heart", lambda *args, **person: NOTHING_VISIBLE)
    with pytest.raises(InputError) as stop:
        like(tmp_path)
    assert "A0001: no record of 7 s that shows RBBB" in str(stop.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("labels", "label", "column labels"),
        ("A0001,RBBB", "A0001,XX", "line 2: unknown label 'XX'"),
        ("A0999,AF;", "A0999,LBBB;", "line 3: LBBB and RBBB"),
        ("A0999", "A0001", "line 3: A0001 is"),
        ("6000", "60", "line 4: n_samples '60'"),
        ("B7", "../B7", "line 5: '../B7' cannot be"),
        ("B7", "B7.5", "line 5: 'B7.5' cannot be"),
        ("B7", "B" * 300, "cannot be a record name"),
        (",55,", ",300.5.1,", "line 5: age '300.5.1' is not"),
        (",55,", ",-5,", "line 5: age '-5'"),
    ],
)
def test_a_table_that_cannot_be_made_writes_nothing(old, new, words, tmp_path):
    with pytest.raises(InputError) as stop:
        like(tmp_path, TABLE.replace(old, new, 1))
    assert not (tmp_path / "twin").exists()
    assert words in str(stop.value) and "table.csv" in str(stop.value)


@NEEDS_SHARED
def test_every_record_of_cpsc2018_shows_all_its_labels_and_keeps_its_length():
    rows = twin.read_table(SHARED / "cpsc2018_metadata.csv")
    assert len(rows) == 6877 and {row.group for row in rows} == {f"g{i}" for i in range(1, 8)}
    several = [row for row in rows if len(row.labels) > 1]
    assert len(several) == 476 and sum(len(row.labels) == 3 for row in several) == 6
    for row in several:
        _, evidence = twin.make_twin(0, row, with_signal=False)
        assert {found[0] for found in evidence} == set(row.labels), row
        assert all(0 <= start < stop <= row.n and leads for _, start, stop, leads in evidence)
