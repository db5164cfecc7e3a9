"""Data of others and of one's own: the folders of ../shared/cases, and PTB-XL of its owners."""

import ast
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import CASES, DX, NEEDS_SHARED, SHARED, noise, write_record

import preprocess
from dataset import CLASSES, PackedSignals
from utils import InputError

pytestmark = NEEDS_SHARED


def run(folder, *flags):
    preprocess.main(preprocess.parse_args(["--data-dir", str(folder), "--jobs", "1", *flags]))


def fail(capsys, folder, *flags):
    """Run preprocess.py where it must stop; return its line."""
    with pytest.raises(InputError) as stop:
        run(folder, *flags)
    return str(stop.value)


def read(folder, name="labels.csv"):
    return pd.read_csv(folder / name, dtype=str, keep_default_na=False).set_index("patient_id")


def classes(folder):
    """Return record -> the classes with 1."""
    labels = read(folder)
    names = [name for name in labels if name != "fold"]
    return {name: {c for c in names if row[c] == "1"} for name, row in labels.iterrows()}


@pytest.fixture
def case(tmp_path):
    """Return a function that copies a case and returns the folder, its tables moved to own/."""

    def copy(name, own=True):
        folder = tmp_path / name
        folder.mkdir()
        for path in sorted((CASES / name).rglob("*")):
            target = folder / path.relative_to(CASES / name)
            if path.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        if own and (folder / "labels.csv").is_file():
            (folder / "own").mkdir()
            for table in ("labels.csv", "reference.csv"):
                if (folder / table).is_file():
                    (folder / table).rename(folder / "own" / table)
        return folder

    return copy


def test_the_paper_s_prepared_folder_keeps_its_own_folds(case, capsys):
    folder = case("onlyzdd_prepared", own=False)
    before = (folder / "labels.csv").read_bytes()
    text = fail(capsys, folder)
    assert "labels.csv" in text and "reference.csv" in text and "--folds" in text
    assert (folder / "labels.csv").read_bytes() == before
    folder.rename(folder.with_name("old"))
    folder = case("onlyzdd_prepared")
    run(folder, "--folds", str(folder / "own/labels.csv"))
    # the same labels too, but for the ends of the lines
    assert (folder / "labels.csv").read_text().splitlines() == before.decode().splitlines()


def test_labels_beside_records_contradict_their_headers(case, capsys):
    folder = case("own_labels_csv")
    text = fail(capsys, folder, "--labels", str(folder / "own/labels.csv"))
    assert "rec10 is AF in the table, AF RBBB in its header" in text
    assert not (folder / "labels.csv").exists()
    text = fail(capsys, case("wfdb_reference_csv_conflict"))
    assert "REFERENCE.csv and the records contradict" in text and "(and 14 more)" in text


def test_the_challenge_s_table_labels_wfdb_records(case):
    folder = case("wfdb_reference_csv")
    run(folder)
    found = classes(folder)
    assert len(found) == 20 and found["M002"] == {"AF"} and found["M010"] == {"AF", "RBBB"}


def test_arrays_and_a_table_of_labels(case, capsys):
    folder = case("npy_csv_labels")
    table, npy = folder / "own/labels.csv", np.load(folder / "rec2.npy")
    assert "--sample-rate 500" in fail(capsys, folder, "--labels", str(table))
    run(folder, "--labels", str(table), "--sample-rate", "500")
    assert list(classes(folder).items())[1] == ("rec2", {"AF"})
    np.testing.assert_allclose(PackedSignals(folder)["rec2"] / 1000, npy, atol=0.00051)
    assert "5 records (rec6, rec7, rec8 ...) of" in capsys.readouterr().out
    for path in folder.glob("rec*.npy"):
        path.unlink()
    stack = np.load(folder / "X.npy")
    run(folder, "--labels", str(table), "--sample-rate", "500")
    assert len(classes(folder)) == 10 and classes(folder)["rec10"] == {"AF", "RBBB"}
    np.testing.assert_allclose(PackedSignals(folder)["rec10"] / 1000, stack[9].T, atol=0.00051)
    table.write_text(table.read_text().rsplit("\n", 2)[0] + "\n")
    assert "has 9 rows" in fail(capsys, folder, "--labels", str(table), "--sample-rate", "500")


def test_a_set_in_a_wrong_unit_stops_with_the_flag_that_mends_it(case, capsys):
    folder = case("unit_wrong_set")
    assert "--units-per-mv 0.001" in fail(capsys, folder)
    assert not (folder / "labels.csv").exists() and not list(folder.glob("*.i16"))
    run(folder, "--units-per-mv", "0.001")
    assert len(read(folder)) == 12
    span = np.ptp(PackedSignals(folder)["U001"], axis=1).max() / 1000
    assert 0.5 < span < 10


def test_blank_records_are_skipped_and_a_set_of_them_stops(case, capsys):
    folder = case("blank_set")
    run(folder)
    assert "12 records, 6 skipped, 6 packed" in capsys.readouterr().out
    for name in ("B002", "B004"):
        (folder / f"{name}.dat").write_bytes(bytes((folder / f"{name}.dat").stat().st_size))
    assert "8 of 12 records are flat in all leads" in fail(capsys, folder)
    run(folder, "--force-signals")
    assert len(read(folder)) == 4


def test_diagnoses_in_all_spellings(case, capsys):
    folder = case("dx_words")
    run(folder)
    found = {name: " ".join(sorted(each)) for name, each in classes(folder).items()}
    expected = (
        "AF|AF RBBB|AF|AF RBBB|AF|PVC|PVC|PVC|AF|AF|AF PVC|IAVB|AF|AF RBBB|AF|AF|AF RBBB|AF||AF|AF|"
        "AF|PVC|PVC|LBBB|RBBB|STD|STE|PAC PVC|SNR|SNR"
    ).split("|")
    assert found == {f"W{i:03d}": text for i, text in enumerate(expected, 1) if text}
    assert "without a class: AFIB/AFL 1, 10 1, 2 1" in capsys.readouterr().out


def test_patients_in_all_spellings_are_whole(case):
    folder = case("patients_named_elsewhere")
    run(folder)
    folds = read(folder)["fold"].to_numpy().reshape(10, 3)
    assert (folds == folds[:, :1]).all() and len(set(folds[:, 0])) > 3


def test_icbeb_is_read_at_one_rate_with_its_folds(case):
    folder = case("icbeb_helme")
    run(folder)
    labels, reference = read(folder), read(folder, "reference.csv")
    assert set(reference["sample_rate"]) == {"500.0"} and set(reference["sex"]) == {"Male"}
    assert labels.loc["10", "fold"] == "1" and classes(folder)["10"] == {"AF", "RBBB"}


def test_code15_is_joined_by_exam_and_knows_nothing_of_pvc(case, capsys):
    h5py = pytest.importorskip("h5py")
    folder = case("code15")
    run(folder)
    labels = read(folder)
    assert set(labels["PVC"]) | set(labels["STE"]) == {""}
    exams = pd.read_csv(folder / "exams.csv", skipinitialspace=True).set_index("exam_id")
    for exam, row in exams.iterrows():
        assert labels.loc[str(exam), "IAVB"] == str(int(row["1dAVb"]))
        assert labels.loc[str(exam), "RBBB"] == str(int(row["RBBB"]))
    assert (
        labels["fold"].groupby(exams["patient_id"].astype(str).to_numpy()[::-1]).nunique().max()
        == 1
    )
    with h5py.File(folder / "exams_part0.hdf5") as file:
        tracing, exam = file["tracings"][3], str(file["exam_id"][3])
    assert "unit of CODE-15 % is not documented" in capsys.readouterr().out
    kept = np.flatnonzero((tracing != 0).any(1))
    n = kept[-1] - kept[0] + 1
    assert int(read(folder, "reference.csv").loc[exam, "signal_len"]) == n
    assert abs(PackedSignals(folder)[exam].shape[1] - n * 500 / 400) <= 1


def test_a_part_of_code15_that_declares_far_more_than_it_holds_is_refused(case):
    h5py = pytest.importorskip("h5py")
    folder = case("code15")
    with h5py.File(folder / "exams_part0.hdf5", "r+") as file:
        numbers, n = file["exam_id"][()], len(file["exam_id"])
        del file["tracings"]  # a record of 10^8 samples, of which none is written
        file.create_dataset("tracings", (n, 10**8, 12), "f4", chunks=(1, 4096, 12))
    with pytest.raises(InputError, match="longer than an hour"):
        run(folder)
    with h5py.File(folder / "exams_part0.hdf5", "r+") as file:
        del file["exam_id"]
        file.create_dataset("exam_id", (10**10,), numbers.dtype, chunks=(1024,))
    with pytest.raises(InputError, match="exams_part0.hdf5 is no whole part of CODE-15 %"):
        run(folder)


def test_sph_gives_its_statements_and_leaves_a_deviation_open(case):
    pytest.importorskip("h5py")
    folder = case("sph")
    run(folder)
    found, labels = classes(folder), read(folder)
    expected = dict(
        zip(
            ("1", "2", "3", "4", "5", "6", "7"),
            "SNR AF IAVB LBBB RBBB PAC PVC".split(),
            strict=True,
        )
    )
    assert {f"A0000{i}": {name} for i, name in expected.items()}.items() <= found.items()
    assert labels.loc["A00008", ["AF", "STD", "STE"]].tolist() == ["0", "", ""]
    assert labels.loc["A00002", "fold"] == labels.loc["A00003", "fold"]  # one patient


@pytest.mark.parametrize("ending", ["xlsx", "csv"])
def test_chapman_of_figshare_is_in_microvolts(ending, case):
    if ending == "xlsx":
        pytest.importorskip("openpyxl")
    folder = case("chapman_figshare")
    (folder / f"Diagnostics.{'csv' if ending == 'xlsx' else 'xlsx'}").unlink()
    run(folder)
    found = list(classes(folder).values())
    assert found == [*({name} for name in CLASSES), {"AF", "RBBB"}]
    path = next(folder.glob("ECGData/*.csv"))
    microvolts = np.loadtxt(path, delimiter=",", skiprows=1).T
    np.testing.assert_allclose(PackedSignals(folder)[path.stem], microvolts, atol=0.51)


def test_mimic_iv_has_patients_and_asks_for_labels(case, capsys, tmp_path):
    folder = case("mimic_iv_ecg")
    assert "MIMIC-IV-ECG" in (text := fail(capsys, folder)) and "--labels" in text
    table = tmp_path / "labels.csv"
    paths = pd.read_csv(folder / "record_list.csv")["path"]
    table.write_text("path,AF\n" + "".join(f"{path},{i % 2}\n" for i, path in enumerate(paths)))
    run(folder, "--labels", str(table))
    labels = read(folder)
    assert list(labels) == ["AF", "fold"] and labels["AF"].astype(int).sum() == 5
    patients = [path.split("/")[2] for path in paths]
    assert labels["fold"].groupby(patients).nunique().max() == 1


def test_leads_are_derived_and_a_doubled_one_stops(case, capsys):
    folder = case("leads_8_1_15")
    run(folder)
    notes = read(folder, "reference.csv")["note"]
    assert notes["E8_1"] == "calculated from I and II: III aVR aVL aVF"
    assert not any(notes[["right15", "spelt", "prefixed", "leadword"]].str.startswith("skipped"))
    assert "lead II is there twice" in notes["twice"] and "chan 1" in notes["chan"]
    packed = PackedSignals(folder)["E8_1"].astype(int)
    assert np.abs(packed[2] - (packed[1] - packed[0])).max() <= 1
    assert np.abs(2 * packed[3] + packed[0] + packed[1]).max() <= 2
    for path in set(folder.iterdir()) - {folder / "L1.hea", folder / "L1.dat"}:
        path.unlink()
    assert "II, III" in (text := fail(capsys, folder)) and "--leads; nothing was written" in text
    run(folder, "--leads", "I")
    assert read(folder, "reference.csv").loc["L1", "note"].startswith("not recorded: II III")
    assert classes(folder)["L1"] == {"LBBB"}


def test_reasons_are_the_reasons(case, capsys):
    assert "git lfs pull" in fail(capsys, case("git_lfs_pointers"))
    folder = case("headers2")
    run(folder)
    notes = read(folder, "reference.csv")["note"]
    assert "MATLAB 7.3" in notes["v73"] and "name with a blank" in notes["with space"]
    assert not notes["slash_record"].startswith("skipped")
    folder = case("gains_units_samples")
    run(folder)
    notes = read(folder, "reference.csv")["note"]
    assert "age 300 left out" in notes["age300"] and "gain 0 is read as 200" in notes["gain_zero"]
    assert "limb leads do not add up" in notes["avr_avl_swapped"]


def test_ptbxl_gives_the_counts_of_scp_codes_whole_patients_and_official_folds(tmp_path):
    owner, folder = SHARED / "ptbxl_official", tmp_path / "ptbxl"
    shutil.copytree(
        owner, folder, copy_function=lambda a, b: (tmp_path, b) and __import__("os").symlink(a, b)
    )
    run(folder)
    table = pd.read_csv(owner / "ptbxl_database.csv").set_index("filename_hr")
    table.index = [name.rsplit("/", 1)[1] for name in table.index]
    codes = [set(ast.literal_eval(text)) for text in table["scp_codes"]]
    words = {
        "AF": {"AFIB"},
        "IAVB": {"1AVB"},
        "LBBB": {"CLBBB"},
        "RBBB": {"CRBBB"},
        "PAC": {"PAC"},
        "PVC": {"PVC"},
        "STD": {"STD_"},
        "STE": {"STE_"},
    }
    expected = {name: sum(bool(each & known) for each in codes) for name, known in words.items()}
    abnormal = set().union(*words.values())
    expected["SNR"] = sum("NORM" in each and not each & abnormal for each in codes)
    labels = read(folder)
    assert {name: labels[name].astype(int).sum() for name in expected} == expected
    assert (labels["fold"].astype(int) == table.loc[labels.index, "strat_fold"]).all()
    assert labels["fold"].groupby(table.loc[labels.index, "patient_id"]).nunique().max() == 1
    assert all(name.endswith("_hr") for name in read(folder, "reference.csv").index)


def own_set(tmp_path, n=12):
    folder = tmp_path / "mine"
    for i in range(n):
        write_record(
            folder, f"r{i:02d}", noise(i, 1000), "Unknown", age="60" if i else "NaN", sex="F"
        )
    return folder


def test_any_classes_unknown_cells_folds_and_patients_of_a_table(tmp_path, capsys):
    folder, table = own_set(tmp_path), tmp_path / "mine.csv"
    rows = ["file;NORM;CD;RHYTHM;person;remark;fold"]
    rows += [
        f"r{i:02d}.hea;{i % 2};;{'' if i == 3 else 0};p{i // 2};x;{i // 2 + 1}" for i in range(11)
    ]
    rows += ["elsewhere;1;0;1;q;;1"]
    table.write_text("\n".join(rows).replace("r04.hea;0;;", "r04.hea;0;1;"))
    run(folder, "--labels", str(table))
    labels, out = read(folder), capsys.readouterr().out
    assert list(labels) == ["NORM", "CD", "RHYTHM", "fold"] and len(labels) == 11
    assert labels.loc["r03"].tolist() == ["1", "", "", "2"]
    assert labels.loc["r04"].tolist() == ["0", "1", "0", "3"]
    assert "1 record (r11) not in" in out and "1 record (elsewhere) of" in out
    assert "left out: remark" in out
    text = table.read_text().replace("r01.hea;1;;0;p0;x;1", "r01.hea;1;;0;p0;x;9")
    table.write_text(text)
    assert "r00 is in fold 1, r01 in fold 9" in fail(capsys, folder, "--labels", str(table))
    run(folder, "--labels", str(table), "--folds", "random")
    table.write_text(text.replace("r05.hea;1", "r05.hea;2"))
    assert "line 7: NORM is '2', not 0, 1 or empty" in fail(capsys, folder, "--labels", str(table))
    table.write_text("file,sex,NORM\nr02,M,1\n")
    assert "r02 is Male in the table, Female in its header" in fail(
        capsys, folder, "--labels", str(table)
    )


def test_names_of_classes_and_reference_csv_found_by_itself(tmp_path):
    folder = own_set(tmp_path)
    (folder / "REFERENCE.csv").write_text(
        "record,label\n"
        + "".join(f"r{i:02d},{'AFIB;PVC' if i % 2 else 'NORM'}\n" for i in range(12))
    )
    run(folder)
    assert classes(folder)["r01"] == {"AF", "PVC"} and classes(folder)["r02"] == {"SNR"}
    (folder / "REFERENCE.csv").write_text(
        "record,label\n" + "".join(f"r{i:02d},{'AFIB' if i % 2 else 'OTHER'}\n" for i in range(12))
    )
    run(folder)
    assert list(read(folder)) == ["AFIB", "OTHER", "fold"]


def test_the_two_rates_of_an_ecg_share_a_fold(tmp_path):
    folder = tmp_path / "mine"
    for i in range(8):
        for rate in ("hr", "lr"):
            write_record(folder, f"{i:05d}_{rate}", noise(hash(rate) % 97 + i, 1000), DX["AF"])
    run(folder)
    folds = read(folder)["fold"].to_numpy().reshape(8, 2)
    assert (folds[:, 0] == folds[:, 1]).all()


def test_groups_and_folds_name_records_as_their_owners_do(tmp_path, capsys):
    folder = tmp_path / "mine"
    for i in range(12):
        write_record(folder / "a", f"r{i:02d}", noise(i, 1000), DX["AF"])
    groups, folds = tmp_path / "groups.csv", tmp_path / "folds.csv"
    groups.write_text(
        "Filename;Subject ID\n" + "".join(f"a/r{i:02d}.mat;{i // 4}\n" for i in range(12))
    )
    run(folder, "--groups", str(groups))
    assert read(folder)["fold"].groupby(np.arange(12) // 4).nunique().max() == 1
    folds.write_text("record,fold\n" + "".join(f"r{i:02d},{i % 10 + 1}\n" for i in range(12)))
    run(folder, "--folds", str(folds))
    assert read(folder)["fold"].tolist() == [str(i % 10 + 1) for i in range(12)]
    text = fail(capsys, folder, "--folds", str(folds), "--groups", str(groups))
    assert "r00 is in fold 1, r01 in fold 2" in text
    text = fail(capsys, folder, "--folds", "stratifed")
    assert "No such file" in text and "--folds random or stratified" in text
    folds.write_text("record,fold\nr00,11\n")
    assert "line 2: fold '11' is not 1-10" in fail(capsys, folder, "--folds", str(folds))
