import argparse
import hashlib
import json
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
import wfdb
from conftest import noise, write_record
from torch.utils.data import DataLoader

import dataset
import preprocess
from dataset import CLASSES, LEADS
from utils import InputError


def test_parse_leads_orders_and_rejects():
    assert dataset.parse_leads("all") == LEADS
    assert dataset.parse_leads("V5,I,aVR") == ("I", "aVR", "V5")
    for text in ("V7", "i", "", "I,,II"):
        with pytest.raises(argparse.ArgumentTypeError, match="choose from I, II"):
            dataset.parse_leads(text)


def test_leads_text():
    assert dataset.leads_text(None) == dataset.leads_text(LEADS) == "all"
    assert dataset.leads_text(("I", "aVR", "V5")) == "I-aVR-V5"


def test_rounds_use_every_fold_once_for_test_and_once_for_validation():
    rounds = [dataset.round_folds(r) for r in range(10)]
    assert rounds[0] == (list(range(1, 9)), 9, 10)
    assert rounds[1] == (list(range(2, 10)), 10, 1)  # one fold on, not back
    assert rounds[3] == ([4, 5, 6, 7, 8, 9, 10, 1], 2, 3)
    assert sorted(test for _, _, test in rounds) == list(range(1, 11))
    assert sorted(validation for _, validation, _ in rounds) == list(range(1, 11))
    for train, validation, test in rounds:
        assert sorted([*train, validation, test]) == list(range(1, 11))


def test_split_labels_stops_on_an_empty_fold():
    labels = pd.DataFrame({"patient_id": ["a", "b"], "fold": [1, 10]})
    with pytest.raises(InputError) as stop:
        dataset.split_labels(labels, 0)
    assert "validation folds of round 0" in str(stop.value)


@pytest.mark.parametrize("n", [1, 4, 5, 9])
def test_pad_signal_keeps_the_end_and_pads_the_front(n):
    signal = np.arange(1, 11, dtype=np.float32).reshape(2, 5)
    padded = dataset.pad_signal(signal, n)
    kept = min(n, 5)
    assert padded.shape == (2, n) and padded.dtype == np.float32
    assert (padded[:, n - kept :] == signal[:, 5 - kept :]).all()
    assert (padded[:, : n - kept] == 0).all()


def test_packed_signals_equal_wfdb(tiny):
    signals = dataset.PackedSignals(tiny)
    for path in sorted(tiny.glob("g*/*.hea"))[:6]:
        expected, _ = wfdb.rdsamp(str(path.with_suffix("")))
        np.testing.assert_allclose(signals[path.stem] / 1000, expected.T, atol=1e-9)


def test_packed_signals_pickle_without_the_data(tiny):
    signals = dataset.PackedSignals(tiny)
    before = signals["T0000"].copy()
    text = pickle.dumps(signals)
    assert len(text) < 10_000
    assert (pickle.loads(text)["T0000"] == before).all()


@pytest.mark.parametrize("damage", ["no index", "not json", "no file", "short file"])
def test_packed_signals_refuse_damage(damage, tiny):
    binary = next(tiny.glob("signals-*.i16"))
    if damage == "no index":
        (tiny / "signals.json").unlink()
    elif damage == "not json":
        (tiny / "signals.json").write_text("{")
    elif damage == "no file":
        binary.unlink()
    else:
        binary.write_bytes(binary.read_bytes()[:-2])
    with pytest.raises(InputError) as stop:
        dataset.PackedSignals(tiny)
    assert "python preprocess.py" in str(stop.value)


def test_items_are_the_last_seconds_of_the_chosen_leads(tiny):
    labels = dataset.load_labels(tiny)
    signals = dataset.PackedSignals(tiny)
    items = dataset.ECGDataset(signals, labels, ("II", "V6"), seconds=3)
    for i, row in enumerate(labels.itertuples()):
        x, y = items[i]
        packed = signals[row.patient_id][[1, 11]]
        n = min(1500, packed.shape[1])
        assert x.shape == (2, 1500) and x.dtype == y.dtype == np.float32
        np.testing.assert_allclose(x[:, 1500 - n :], packed[:, -n:] / 1000, rtol=1e-6)
        assert not x[:, : 1500 - n].any()
        assert y.tolist() == [getattr(row, name) for name in CLASSES]


def test_augmentation_is_a_gain_and_offset_per_lead_at_the_paper_s_rate():
    signal = np.random.default_rng(0).normal(0, 1, (12, 200)).astype(np.float32)
    gains, offsets, changed = [], [], np.zeros(2)
    for seed in range(3000):
        out = dataset.augment(signal, np.random.default_rng(seed))
        gain, offset = np.polyfit(signal[0], out[0], 1)
        np.testing.assert_allclose(out[0], gain * signal[0] + offset, atol=1e-5)
        has_gain, has_offset = abs(gain - 1) > 1e-5, abs(offset) > 1e-6
        changed += has_gain, has_offset
        gains += [gain] if has_gain else []
        offsets += [offset] if has_offset else []
    # 3000 draws at 0.31: four standard errors are 0.034
    np.testing.assert_allclose(changed / 3000, 0.31, atol=0.034)
    assert abs(np.mean(gains) - 1) < 0.015 and abs(np.std(gains) - 0.1) < 0.012
    assert -0.0201 < min(offsets) < -0.017 and 0.017 < max(offsets) < 0.0201


def test_augmentation_depends_on_seed_epoch_and_record_not_on_workers(tiny):
    labels, signals = dataset.load_labels(tiny), dataset.PackedSignals(tiny)

    def epoch(number, workers, seed=5):
        items = dataset.ECGDataset(signals, labels, seconds=2, augment_seed=seed)
        items.epoch = number
        return torch.cat([x for x, _ in DataLoader(items, 8, num_workers=workers)])

    first = epoch(1, 0)
    assert torch.equal(epoch(1, 2), first)
    assert not torch.equal(epoch(2, 0), first)
    assert not torch.equal(epoch(1, 0, seed=6), first)
    plain = dataset.ECGDataset(signals, labels, seconds=2)
    share = np.mean([(first[i].numpy() != plain[i][0]).any() for i in range(len(plain))])
    assert 0.2 < share < 0.9  # 1 - 0.69 ** 2 is 0.52


def test_padding_stays_zero_under_augmentation(tiny):
    labels, signals = dataset.load_labels(tiny), dataset.PackedSignals(tiny)
    items = dataset.ECGDataset(signals, labels, seconds=6, augment_seed=1)
    for i, name in enumerate(labels["patient_id"]):
        assert not items[i][0][:, : 3000 - signals[name].shape[1]].any()


def test_load_labels_needs_preprocess(tmp_path):
    with pytest.raises(InputError) as stop:
        dataset.load_labels(tmp_path / "nowhere")
    assert f"python preprocess.py --data-dir {tmp_path / 'nowhere'}" in str(stop.value)


@pytest.mark.parametrize(
    "damage", ["empty", "blank fold", "ragged", "twice", "class of 2", "fold 11", "other columns"]
)
def test_load_labels_refuses_damage(damage, tiny):
    path = tiny / "labels.csv"
    lines = path.read_text().splitlines()
    row = lines[1].split(",")
    if damage == "blank fold":
        row[-1] = ""
    elif damage == "ragged":
        row.append("7")
    elif damage == "class of 2":
        row[1] = "2"
    elif damage == "fold 11":
        row[-1] = "11"
    lines[1] = ",".join(row)
    lines += lines[2:3] if damage == "twice" else []
    lines[0] += "x" if damage == "other columns" else ""
    path.write_text("" if damage == "empty" else "\n".join(lines) + "\n")
    with pytest.raises(InputError) as stop:
        dataset.load_labels(tiny)
    err = str(stop.value)
    assert "python preprocess.py" in err


def test_dataset_names_records_that_are_not_packed(tiny):
    labels = dataset.load_labels(tiny)
    labels.loc[0, "patient_id"] = "missing"
    with pytest.raises(InputError) as stop:
        dataset.ECGDataset(dataset.PackedSignals(tiny), labels)
    assert "first missing" in str(stop.value)


@pytest.mark.parametrize("name", ["../T0000", "/T0000", "..", "a\\b", "a\tb", ""])
def test_names_that_could_be_paths_are_refused(name, tiny):
    for file in ("labels.csv", "signals.json"):
        text = (tiny / file).read_text()
        quoted = json.dumps(name) if file == "signals.json" else f'"{name}"'
        old = '"T0000"' if file == "signals.json" else "T0000"
        (tiny / file).write_text(text.replace(old, quoted))
        with pytest.raises(InputError) as stop:
            dataset.load_labels(tiny) if file == "labels.csv" else dataset.PackedSignals(tiny)
        assert "cannot be a file name" in str(stop.value)


def test_signals_are_read_on_when_the_folder_is_packed_anew(tiny, capsys):
    signals = dataset.PackedSignals(tiny)
    signals.stop_if_replaced()
    before, copy = signals["T0000"].copy(), pickle.dumps(signals)
    write_record(tiny / "g1", "T0000", noise(99, 1200), "164931005")
    argv = ["--data-dir", str(tiny), "--jobs", "1"]
    preprocess.main(preprocess.parse_args(argv))
    assert "being read by another process" in capsys.readouterr().out
    assert (signals["T0000"] == before).all()
    assert (pickle.loads(copy)["T0000"] == before).all()  # a worker that starts only now
    assert (dataset.PackedSignals(tiny)["T0000"] == noise(99, 1200)).all()
    with pytest.raises(InputError) as stop:
        signals.stop_if_replaced()
    assert "packed anew meanwhile" in str(stop.value)
    assert len(list(tiny.glob("signals-*.i16"))) == 2
    moved = signals.path.rename(tiny / "gone")
    assert (signals["T0001"] == noise(1, 1500)).all()  # whoever removes it
    moved.rename(signals.path)
    del signals, stop  # the error holds on to it
    preprocess.main(preprocess.parse_args(argv))  # nothing to pack, but nobody reads the old one
    assert len(list(tiny.glob("signals-*.i16"))) == 1


def write_own(folder, text):
    (folder / "labels.csv").write_text(text)
    return dataset.load_labels(folder)


def test_classes_are_the_columns_and_an_empty_cell_is_unknown(tiny):
    text = "patient_id,b 1,AF,fold\nT0000,1,,1\nT0001,0,1,2\nT0002,1,0,10\n"
    labels = write_own(tiny, text)
    assert dataset.classes_of(labels) == ("b 1", "AF")
    assert labels["b 1"].tolist() == [1, 0, 1] and labels["b 1"].dtype == "int64"
    assert labels["AF"].isna().tolist() == [True, False, False]
    items = dataset.ECGDataset(dataset.PackedSignals(tiny), labels, seconds=2)
    assert items.classes == ("b 1", "AF") and items.y[1].tolist() == [0, 1]
    assert items[0][1].dtype == np.float32 and np.isnan(items[0][1][1])
    assert [items.known([0]), items.known([1, 2]), items.known([])] == [0.5, 2, 0]
    one = write_own(tiny, "patient_id,AF,fold\nT0000,1,1\n")
    assert dataset.classes_of(one) == ("AF",)


def test_the_digest_of_known_labels_is_that_of_the_file_s_text(tiny):
    text = (tiny / "labels.csv").read_text()
    expected = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert dataset.labels_digest(dataset.load_labels(tiny)) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("record,AF,fold\nT0000,1,1\n", "not a labels.csv of preprocess.py"),
        ("patient_id,AF,PVC\nT0000,1,1\n", "not a labels.csv of preprocess.py"),
        ("patient_id\nT0000\n", "not a labels.csv of preprocess.py"),
        ("patient_id,fold\nT0000,1\n", "no class between"),
        ("patient_id,AF,AF,fold\nT0000,1,1,1\n", "AF is listed twice"),
        ("patient_id,a/b,fold\nT0000,1,1\n", "'a/b' cannot be the name of a class"),
        ("patient_id,AVG,fold\nT0000,1,1\n", "'AVG' cannot be the name of a class"),
        ("patient_id,None,fold\nT0000,1,1\n", "'None' cannot be the name of a class"),
        ("patient_id,AF,fold\nT0000,yes,1\n", "class AF is neither 0 nor 1 nor empty"),
        ("patient_id,AF,fold\nT0000,nan,1\n", "class AF is neither 0 nor 1 nor empty"),
        ("patient_id,AF,fold\nT0000,1\n", "a fold is not 1-10"),
        ("patient_id,AF,fold\n", "has no record"),
    ],
)
def test_what_is_said_of_another_file_does_not_lead_to_its_loss(tiny, text, reason):
    with pytest.raises(InputError) as stop:
        write_own(tiny, text)
    error = str(stop.value)
    assert reason in error
    assert error.index("move it elsewhere before") < error.index("python preprocess.py")
    assert (tiny / "labels.csv").read_text() == text


def test_centred_leads_do_not_change_with_an_offset(tiny):
    labels, signals = dataset.load_labels(tiny), dataset.PackedSignals(tiny)
    packed = {name: signals[name] for name in labels["patient_id"]}
    raised = {name: packed[name] + 300 for name in packed}  # uV
    for windows in (False, True):
        one, other = (
            dataset.ECGDataset(each, labels, seconds=2, windows=windows, centred=True)
            for each in (packed, raised)
        )
        for i in range(5):
            np.testing.assert_allclose(one[i][0], other[i][0], atol=1e-6)
            median = np.median(packed[one.patient_ids[i]][:, -1000:] / 1000, axis=1)
            expected = packed[one.patient_ids[i]][0, -1] / 1000 - median[0]
            assert one[i][0][0, -1] == pytest.approx(expected, abs=1e-6) or windows


def test_a_temporary_folder_too_long_for_loading_processes_is_a_line(monkeypatch):
    for n, stops in ((75, False), (76, True)):
        monkeypatch.setattr(dataset.tempfile, "tempdir", "/" + "x" * (n - 1))
        dataset.make_loader([1], 0, batch_size=1)
        if not stops:
            dataset.make_loader([1], 1, batch_size=1)
            continue
        with pytest.raises(InputError) as stop:
            dataset.make_loader([1], 1, batch_size=1)
    assert "TMPDIR=/tmp, or give --num-workers 0" in str(stop.value)
