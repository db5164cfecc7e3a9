import json
import multiprocessing
import time

import numpy as np
import pandas as pd
import pytest
import pywt
from scipy.stats import entropy

from dataset import LEADS
from ecg.processing import features
from ecg.processing.features import (
    PAPER_COLUMNS,
    RHYTHM_COLUMNS,
    load_features,
    paper_features,
    rhythm_features,
)
from utils import InputError


def pack(folder, records, fingerprint="a"):
    """Write records {name: (12, n) int16} as preprocess.py packs them, every fold used."""
    folder.mkdir(exist_ok=True)
    index, start = [], 0
    for name, packed in records.items():
        index.append([name, start, packed.shape[1], ""])
        start += packed.size
    content = {"fingerprint": fingerprint, "file": "signals-x.i16", "sample_rate": 500}
    (folder / "signals.json").write_text(json.dumps(content | {"records": index}))
    data = b"".join(packed.astype("<i2").tobytes() for packed in records.values())
    (folder / "signals-x.i16").write_bytes(data)


def noise(seconds, seed=0):
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.integers(-9, 10, (12, int(500 * seconds))), axis=1).astype(np.int16)


def beats_record(times, seconds=10, noise_uv=5, seed=0):
    """Twelve leads with a QRS-like 1 mV wave of 40 ms at each time, scaled and inverted by lead."""
    t = np.arange(int(500 * seconds)) / 500
    wave = sum(1000 * np.exp(-(((t - at) / 0.012) ** 2)) for at in times)
    gains = np.array([1, 0.8, 0.5, -0.9, 0.6, 0.7, -0.6, -0.5, 0.6, 1.2, 1, 0.8])
    disturbance = np.random.default_rng(seed).normal(0, noise_uv, (12, len(t)))
    return np.rint(gains[:, None] * wave + disturbance).astype(np.int16)


def five_lines(lead, part, packed):
    """The definition of a lead's part, the long way: ([entropy], eight statistics)."""
    x = packed[LEADS.index(lead)] / 1000
    bands = dict(zip(("a4", "d4", "d3", "d2", "d1"), pywt.wavedec(x, "db10", level=4), strict=True))
    v = x if part == "signal" else bands[part]
    shares = pd.Series(v).value_counts(normalize=True).to_numpy()
    found = {f"p{q:02}": np.percentile(v, q) for q in (5, 25, 75, 95)}
    found |= {"median": np.median(v), "mean": np.mean(v), "sd": np.std(v), "var": np.var(v)}
    return found if part == "signal" else {"entropy": entropy(shares) / 10, **found}


RECORDS = {
    "6 s": noise(6),
    "144 s": noise(144),
    "one constant lead": np.vstack([noise(10)[:5], np.full((1, 5000), 700), noise(10)[6:]]),
    "clipped": np.clip(noise(10), -40, 40),
    "odd length": noise(7.002),
    "extreme": np.where(noise(6) % 2, 32767, -32768).astype(np.int16),
}


@pytest.mark.parametrize("name", RECORDS)
def test_each_paper_feature_equals_its_definition(name):
    packed = RECORDS[name]
    features = dict(zip(PAPER_COLUMNS, paper_features(packed), strict=True))
    expected = {
        f"{lead}_{part}_{statistic}": value
        for lead in LEADS
        for part in ("signal", "a4", "d4", "d3", "d2", "d1")
        for statistic, value in five_lines(lead, part, packed).items()
    }
    assert len(expected) == 636 and set(features) == set(expected)
    for column, value in expected.items():
        assert features[column] == pytest.approx(value, rel=1e-9, abs=1e-9), column


def test_an_all_zero_record_gives_zeros_only():
    assert np.array_equal(paper_features(np.zeros((12, 5000), np.int16)), np.zeros(636))


def test_entropy_of_values_that_never_repeat_is_log_n():
    rng = np.random.default_rng(1)
    ordered = np.sort(rng.random((3, 777)), axis=1)
    assert features.repeat_entropy(ordered) == pytest.approx(np.log(777))


def test_entropy_of_a_fair_coin_is_one_bit_row_by_row():
    ordered = np.array([[0.0, 0, 0, 1, 1, 1], [2.0, 2, 2, 2, 2, 2], [2.0, 3, 3, 3, 3, 3]])
    coin = -(1 / 6 * np.log(1 / 6) + 5 / 6 * np.log(5 / 6))
    assert features.repeat_entropy(ordered) == pytest.approx([np.log(2), 0, coin])


def test_paper_features_ignore_the_order_of_other_leads():
    packed = noise(10)
    other = packed.copy()
    other[3:] = other[:2:-1]
    rows = [paper_features(p).reshape(12, 53) for p in (packed, other)]
    assert np.array_equal(rows[0][:3], rows[1][:3])
    assert np.array_equal(rows[0][3:], rows[1][:2:-1])


def rhythm(times, **options):
    return dict(zip(RHYTHM_COLUMNS, rhythm_features(beats_record(times, **options)), strict=True))


def test_rhythm_of_a_regular_heart():
    found = rhythm(np.arange(0.6, 9.6, 0.75))
    assert found["rhythm_heart_rate"] == pytest.approx(80, abs=0.5)
    assert found["rhythm_rr_mean"] == pytest.approx(0.75, abs=0.005)
    assert found["rhythm_rr_cv"] < 0.02 and found["rhythm_pnn50"] == 0
    assert found["rhythm_premature"] == 0 and np.isnan(found["rhythm_compensation"])


@pytest.mark.parametrize(("pause", "compensation"), [(1.2, 1.0), (0.9, 0.8125)])
def test_rhythm_of_one_early_beat(pause, compensation):
    rr = [0.8, 0.8, 0.8, 0.8, 0.8 * 2 - 1.2, pause, 0.8, 0.8, 0.8, 0.8]
    found = rhythm(np.cumsum([0.6, *rr]))
    assert found["rhythm_premature"] == found["rhythm_premature_pause"] * 9 / 10 == 1 / 10
    assert found["rhythm_min_ratio"] == pytest.approx(0.5, abs=0.03)
    assert found["rhythm_max_ratio"] == pytest.approx(pause / 0.8, abs=0.03)
    assert found["rhythm_compensation"] == pytest.approx(compensation, abs=0.03)
    assert found["rhythm_mad_ratio"] < 0.03 < found["rhythm_rmssd_ratio"]


def test_an_early_beat_without_a_pause_is_none_with_one():
    rr = [0.8, 0.8, 0.8, 0.8, 0.5, 0.72, 0.8, 0.8, 0.8, 0.8]  # interpolated: the next is shorter
    found = rhythm(np.cumsum([0.6, *rr]))
    assert found["rhythm_premature"] == 1 / 10 and found["rhythm_premature_pause"] == 0
    assert np.isnan(found["rhythm_compensation"])


def test_rhythm_statistics_equal_their_definition():
    rr = np.array([0.62, 0.95, 0.71, 1.08, 0.55, 0.83, 0.69, 1.02, 0.58, 0.9])
    found = rhythm(np.cumsum([0.6, *rr]))
    assert found["rhythm_beats"] == 11 and found["rhythm_leads"] == 12
    steps = np.diff(rr)
    assert found["rhythm_heart_rate"] == pytest.approx(60 / np.mean(rr), abs=0.5)
    assert found["rhythm_rr_sd"] == pytest.approx(np.std(rr), abs=0.01)
    assert found["rhythm_rr_cv"] == pytest.approx(np.std(rr) / np.mean(rr), abs=0.01)
    rmssd = np.sqrt(np.mean(steps**2))
    assert found["rhythm_rmssd_ratio"] == pytest.approx(rmssd / np.mean(rr), abs=0.02)
    mad = np.median(np.abs(steps)) / np.median(rr)
    assert found["rhythm_mad_ratio"] == pytest.approx(mad, abs=0.03)
    assert found["rhythm_pnn50"] == 1


def test_rhythm_without_beats_is_nan_and_no_crash():
    for packed in (np.zeros((12, 5000)), np.full((12, 3000), 5), np.zeros((12, 40))):
        found = rhythm_features(packed.astype(np.int16))
        assert np.array_equal(found[:2], [0, 0]) and np.isnan(found[2:]).all()


@pytest.fixture
def folder(tmp_path):
    pack(tmp_path, {name: noise(6, seed) for seed, name in enumerate(["NA", "0012", "c"])})
    return tmp_path


NAMES = ["c", "NA", "0012"]


def fail_if_computed(*_):
    raise AssertionError("computed, not read")


def test_cache_gives_back_the_same_numbers_without_computing(folder, monkeypatch):
    fresh = load_features(folder, NAMES)
    assert list(fresh.index) == NAMES and tuple(fresh.columns) == PAPER_COLUMNS
    assert np.array_equal(fresh.loc["c"], paper_features(noise(6, 2)))
    monkeypatch.setattr(features, "compute_all", fail_if_computed)
    assert load_features(folder, NAMES).equals(fresh)
    assert load_features(folder, NAMES[:1]).equals(fresh[:1])


def test_rhythm_cache_keeps_what_is_missing(folder, monkeypatch):
    pack(folder, {"flat": np.zeros((12, 3000), np.int16), "beats": beats_record([1, 2, 3.1, 4])})
    fresh = load_features(folder, ["flat", "beats"], "rhythm")
    assert fresh.shape == (2, 650) and fresh.loc["flat"].isna().sum() == 12
    monkeypatch.setattr(features, "compute_all", fail_if_computed)
    assert load_features(folder, ["flat", "beats"], "rhythm").equals(fresh)


def test_several_processes_give_the_same_as_one(folder):
    one = load_features(folder, NAMES)
    (folder / "features.csv").unlink()
    assert load_features(folder, NAMES, jobs=2).equals(one)


def test_a_second_process_waits_and_reads_the_cache_of_the_first(folder, monkeypatch):
    """Two processes, as two jobs of a workflow are: the features are computed once."""
    context = multiprocessing.get_context("fork")
    computing, calls = context.Event(), context.Value("i", 0)

    def slow(packed):
        calls.value += 1
        computing.set()
        time.sleep(0.2)
        return paper_features(packed)

    table = ("features.csv", PAPER_COLUMNS, slow)
    monkeypatch.setitem(features.FEATURE_SETS, "paper", (table,))
    first = context.Process(target=load_features, args=(folder, NAMES))
    first.start()
    assert computing.wait(10)
    found = load_features(folder, NAMES)
    first.join()
    assert calls.value == len(NAMES)
    assert np.array_equal(found.loc["c"], paper_features(noise(6, 2)))


def damage(path):
    text = path.read_text()
    place = text.rindex("1")
    path.write_text(text[:place] + "2" + text[place + 1 :])


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: damage(folder / "features.csv"), "damaged"),
        (lambda folder: (folder / "features.csv").write_text(""), "damaged"),
        (lambda folder: (folder / "features.json").unlink(), "without a readable json"),
        (lambda folder: (folder / "features.json").write_text("[1"), "without a readable json"),
        (lambda folder: (folder / "features.json").write_text("[1]"), "without a readable json"),
    ],
)
def test_a_damaged_cache_is_made_again(folder, capsys, spoil, reason):
    fresh = load_features(folder, NAMES)
    spoil(folder)
    assert load_features(folder, NAMES).equals(fresh)
    assert reason in capsys.readouterr().out
    assert features.read_cache(
        folder / "features.csv",
        {"signals": "a", "version": features.VERSION, "columns": list(PAPER_COLUMNS)},
        NAMES,
    )[0].equals(fresh)


def test_other_signals_or_definitions_or_records_are_computed(folder, monkeypatch, capsys):
    load_features(folder, NAMES[:2])
    load_features(folder, NAMES)
    assert "without some of the records" in capsys.readouterr().out
    pack(folder, {name: noise(7, 9) for name in NAMES}, "b")
    changed = load_features(folder, NAMES)
    assert np.array_equal(changed.loc["c"], paper_features(noise(7, 9)))
    monkeypatch.setattr(features, "VERSION", features.VERSION + 1)
    load_features(folder, NAMES)
    assert capsys.readouterr().out.count("other signals or with other options") == 2


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_a_run_killed_while_writing_leaves_no_half_file(folder, monkeypatch):
    load_features(folder, NAMES)
    before = (folder / "features.csv").read_bytes()
    pack(folder, {name: noise(7, 9) for name in NAMES}, "b")

    def die(frame, path, **_):
        path.write_text("patient_id,I_sig")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pd.DataFrame, "to_csv", die)
        with pytest.raises(KeyboardInterrupt):
            load_features(folder, NAMES)
    assert (folder / "features.csv").read_bytes() == before
    assert not list(folder.glob(".*"))
    with monkeypatch.context() as patch:  # killed between the csv and its json
        patch.setattr(features.json, "dumps", interrupt)
        with pytest.raises(KeyboardInterrupt):
            load_features(folder, NAMES)
    assert np.array_equal(load_features(folder, NAMES).loc["c"], paper_features(noise(7, 9)))


def test_records_that_are_not_packed_stop_with_the_next_command(folder):
    with pytest.raises(InputError) as stop:
        load_features(folder, ["c", "missing"])
    assert "preprocess.py" in str(stop.value)
    assert not (folder / "features.csv").exists()


def test_paper_columns_are_the_papers_count_and_stable():
    assert len(PAPER_COLUMNS) == 636 == len(set(PAPER_COLUMNS))
    assert PAPER_COLUMNS[0] == "I_signal_p05" and PAPER_COLUMNS[-1] == "V6_d1_var"
    assert {"V1_signal_p95", "V1_d2_entropy"} <= set(PAPER_COLUMNS)
    assert not any(f"{lead}_signal_entropy" in PAPER_COLUMNS for lead in LEADS)
