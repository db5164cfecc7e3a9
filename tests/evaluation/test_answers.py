"""Answers without a network: their words, their order, and the files that they are written to."""

import json
import shlex
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import noise

from dataset import CLASSES, LEADS
from ecg.evaluation import answers, findings
from ecg.processing.quality import Caution
from utils import RESEARCH_USE

LIMITS = {name: 0.4 for name in CLASSES} | {"PAC": 0.02}
MODEL = {
    "classes": list(CLASSES),
    "leads": list(LEADS),
    "thresholds": LIMITS,
    "threshold_rule": "best F1 on the validation fold",
    "training_records": {},
}
SCORES = np.array([0.12345678, 0.5, 0.1, 0.9, 0.3, 0.03, 0.2, 0.42, 0.0])


def answer(flat=(), scores=SCORES, warnings=(), **content):
    """Return the answer of a record with these probabilities (9,) and leads without a signal."""
    row = {"record": "A1", "path": "own/A1.hea", "sample_rate": 500.0, "seconds": 10.0}
    row |= {"heart_rate": 74.6, "heart_rate_unknown": None, "flat": list(flat)}
    row["warnings"] = [Caution(*warning) for warning in warnings]
    findings.add_findings(row, noise(0, 600), scores, MODEL)
    return row | {"page": None} | content


def pulses(seconds, interval):
    """Draw (12, n) int16 microvolts with a QRS complex every `interval` seconds."""
    t = np.arange(seconds * 500) / 500
    beats = np.arange(0.4, seconds, interval)[:, None]
    wave = np.exp(-(((t - beats) / 0.012) ** 2)) - 0.2 * np.exp(
        -(((t - beats - 0.04) / 0.015) ** 2)
    )
    size = np.linspace(0.5, 1.5, 12)[:, None]
    rng = np.random.default_rng(0)
    return np.rint(1000 * (size * wave.sum(0)) + rng.normal(0, 5, (12, len(t)))).astype(np.int16)


@pytest.mark.parametrize(("interval", "rate"), [(1.5, 40), (0.8, 75), (0.4, 150)])
def test_heart_rate_is_that_of_the_drawn_beats(interval, rate):
    found, why = findings.heart_rate(pulses(20, interval))
    assert found == pytest.approx(rate, abs=0.5) and why is None


def test_heart_rate_is_that_of_the_last_minute():
    packed = np.concatenate([pulses(60, 0.5), pulses(60, 1)], axis=1)
    assert findings.heart_rate(packed)[0] == pytest.approx(60, abs=1)


def test_heart_rate_that_cannot_be_measured_is_none_with_a_reason():
    assert findings.heart_rate(noise(3, 5000)) == (None, "no QRS complex repeats")
    assert findings.heart_rate(pulses(2, 1.5)) == (None, "fewer than three beats are found")
    row = answer(heart_rate=None, heart_rate_unknown="no QRS complex repeats")
    text = findings.answer_text(row, MODEL)
    assert "Heart rate: cannot be measured (no QRS complex repeats)" in text


def test_the_sentence_names_the_finding_furthest_above_its_threshold_in_full():
    row = answer()
    assert row["findings"] == ["AF", "LBBB", "PAC", "STD"] and row["leading"] == "LBBB"
    assert row["answer"] == (
        "Leading finding: left bundle branch block (LBBB), probability 0.900; also atrial "
        "fibrillation (AF), ST-segment depression (STD), premature atrial contraction (PAC)."
    )
    assert "left bundle branch block (LBBB), AF, PAC, STD; 75" in findings.page_title(row)
    none = answer(scores=SCORES / 100)
    assert none["leading"] is None and not none["findings"]
    assert none["answer"] == "No finding reaches its threshold."
    assert "no finding reaches its threshold" in findings.page_title(none)


def test_the_table_is_in_order_of_margin_and_warnings_stand_above():
    small, large = (
        ["recorded at 250 Hz", "only 4.0 s long"],
        ["flat or missing: V1", "beyond 20 mV"],
    )
    row = answer(warnings=[(small[0],), (large[0], True), (small[1],), (large[1], True)])
    lines = findings.answer_text(row, MODEL).strip().splitlines()
    assert lines[0] == "A1: 10.0 s at 500 Hz"
    assert lines[1:5] == [
        "!!! WARNING: flat or missing: V1",
        "!!! WARNING: beyond 20 mV",
        "warning: recorded at 250 Hz",
        "warning: only 4.0 s long",
    ]
    assert lines[5] == row["answer"] and lines[6] == "Heart rate: 75 beats per minute"
    assert findings.warning_notes(row) == [
        "!!! WARNING: flat or missing: V1 | beyond 20 mV",
        "warning: recorded at 250 Hz | only 4.0 s long",
    ]
    margins = [float(line.split()[-2]) for line in lines[8:17]]
    expected = SCORES - np.array([LIMITS[name] for name in CLASSES])
    assert margins == pytest.approx(np.sort(expected)[::-1], abs=6e-4)
    assert lines[-1] == RESEARCH_USE


def test_a_finding_at_a_low_probability_is_explained():
    text = findings.answer_text(answer(), MODEL)
    (line,) = [line for line in text.splitlines() if "less likely than not" in line]
    assert line.startswith("PAC, STD: found") and "best F1 on the validation fold" in line
    assert "likely" not in findings.answer_text(answer(scores=np.eye(9)[3]), MODEL)


def test_what_rests_on_leads_without_a_signal_has_no_number():
    row = answer(flat=["V1", "V2", "V3"])
    assert set(row["not_assessable"]) == {"LBBB", "RBBB", "STD", "STE"}
    assert [name for name, p in row["probabilities"].items() if p is None] == [
        "LBBB", "RBBB", "STD", "STE"
    ]  # fmt: skip
    assert row["findings"] == ["AF", "PAC"] and row["leading"] == "AF"
    assert row["answer"].endswith("; 4 not assessable.")
    assert findings.page_title(row).endswith("; 4 not assessable")
    text = findings.answer_text(row, MODEL)
    (line,) = [line for line in text.splitlines() if line.startswith("left bundle")]
    assert line.split()[-7:] == "not assessable (flat or missing: V1 V2)".split()
    assert "0.900" not in text


def test_a_record_that_the_model_has_seen_gets_a_large_warning():
    digest = findings.signal_digest(noise(0, 600))
    row = {"flat": [], "warnings": [Caution("only 4.0 s long")], "heart_rate": None}
    findings.add_findings(row, noise(0, 600), SCORES, MODEL | {"training_records": {"T": digest}})
    assert row["warnings"][0].text.startswith("the model was trained or chosen on this record")
    assert findings.warning_lines(row)[0].startswith("!!! WARNING: the model was trained")


@pytest.mark.parametrize(("rate", "told"), [(59, True), (60, False), (131, True), (None, False)])
def test_a_sinus_rhythm_of_another_rate_than_normal_is_told(rate, told):
    for scores, found in ((np.eye(9)[0], True), (np.eye(9)[1], False)):
        row = {"flat": [], "warnings": [], "heart_rate": rate}
        findings.add_findings(row, noise(0, 600), scores, MODEL)
        assert any("not of a normal rate" in text for text, _ in row["warnings"]) == (
            told and found
        )


def test_json_as_it_comes_is_json_and_appears_at_the_end(tmp_path):
    path, bad = tmp_path / "a.json", []
    head = answers.answer_head("m", "model m.pth: trained on no patient", MODEL)
    rows = [answer(), answer(flat=["V1", "V2"])]
    with answers.open_answers(str(path), None, head, bad) as write:
        for row in rows:
            write(row)
        bad.append(("b.csv", "it is empty"))
        assert not path.exists()
    content = json.loads(path.read_text())
    assert next(iter(content.items())) == ("about", "model m.pth: trained on no patient")
    assert content["use"] == RESEARCH_USE and content["software"].startswith("ecg-diagnosis ")
    assert content["records"] == rows
    assert content["records"][0]["probabilities"]["SNR"] == 0.1235
    assert content["names"]["IAVB"] == "first-degree atrioventricular block"
    assert content["skipped"] == [{"path": "b.csv", "reason": "it is empty"}]


def test_json_without_any_answer_is_json(tmp_path):
    path = tmp_path / "a.json"
    head = answers.answer_head("m", "about", MODEL)
    with answers.open_answers(str(path), None, head, []):
        pass
    content = json.loads(path.read_text())
    assert content["records"] == content["skipped"] == []


def test_csv_has_a_remark_and_a_row_for_each_record(tmp_path):
    path, bad = tmp_path / "a.csv", [("x/b.csv", "it is empty")]
    head = answers.answer_head("m", "model m.pth: trained on no patient", MODEL)
    with answers.open_answers(None, str(path), head, bad) as write:
        write(
            answer(
                warnings=[("flat or missing: V1 V2", True), ("only 4.0 s long",)], flat=["V1", "V2"]
            )
        )
        write(answer(scores=SCORES / 100))
    first = path.read_text().splitlines()[0]
    assert first.startswith("# model m.pth: trained on no patient") and RESEARCH_USE in first
    table = pd.read_csv(path, skiprows=1)
    assert list(table["record"]) == ["A1", "A1", "b"]
    one, two, three = table.to_dict("records")
    assert (one["leading"], one["leading_name"]) == ("AF", "atrial fibrillation")
    assert one["findings"] == "AF PAC STD" and one["not_assessable"] == "LBBB RBBB"
    assert np.isnan(one["LBBB"]) and one["SNR"] == 0.1235 and one["heart_rate"] == 74.6
    assert one["warnings"] == "flat or missing: V1 V2; only 4.0 s long"
    assert two["AF"] == 0.005 and pd.isna(two["leading"]) and pd.isna(two["skipped"])
    assert (three["path"], three["skipped"]) == ("x/b.csv", "it is empty")
    assert pd.isna(three["AF"])


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_a_run_that_stops_leaves_the_old_file(kind, tmp_path):
    path = tmp_path / f"a.{kind}"
    path.write_text("old")
    targets = (str(path), None) if kind == "json" else (None, str(path))
    with (
        pytest.raises(SystemExit),
        answers.open_answers(*targets, answers.answer_head("m", "about", MODEL), []) as write,
    ):
        write(answer())
        raise SystemExit(2)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_answers_take_no_memory_as_they_come(tmp_path):
    head = answers.answer_head("m", "about", MODEL)
    with answers.open_answers(str(tmp_path / "j"), str(tmp_path / "c"), head, []) as write:
        write(answer())
        tracemalloc.start()
        for _ in range(2000):
            write(answer())
        kept = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert (tmp_path / "j").stat().st_size > 1_000_000
    assert kept < 100_000


def test_a_reader_that_stops_is_told_apart_from_a_file_that_cannot_be_written(tmp_path):
    code = (
        "from ecg.evaluation.answers import open_target\nfrom ecg.evaluation.findings import show\n"
        f"with open_target({str(tmp_path / 'a.json')!r}):\n    for _ in range(9999): show('x' * 99)"
    )
    run = f"{sys.executable} -c {shlex.quote(code)} | head -1"
    done = subprocess.run(run, shell=True, capture_output=True, text=True,
                          cwd=Path(__file__).parents[2], check=False)  # fmt: skip
    (error,) = done.stderr.splitlines()
    assert error.startswith("error: stdout was closed") and not list(tmp_path.iterdir())


def test_two_targets_in_one_place_are_refused(capsys):
    for target in ("-", "a"):
        with pytest.raises(SystemExit):
            answers.check_targets(target, target, [])
        assert "name another file" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["own.csv", "./a/../own.csv", "link.csv", "A1.mat"])
def test_an_answer_never_takes_the_place_of_its_record(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "own.csv").write_text("I")
    (tmp_path / "link.csv").symlink_to("own.csv")
    sources = [Path("own.csv"), Path("A1.hea")]
    answers.check_targets("A1.json", "A1.csv", sources)
    for targets in ((name, None), (None, name)):
        with pytest.raises(SystemExit) as stop:
            answers.check_targets(*targets, sources)
        assert stop.value.code == 2 and "one of the records" in capsys.readouterr().err


def test_sinus_rhythm_beside_another_finding_is_told_to_contradict_it():
    both, alone = np.eye(9)[0] + np.eye(9)[1], np.eye(9)[0]
    assert any("contradicts itself" in text for text, _ in answer(scores=both)["warnings"])
    assert not answer(scores=alone)["warnings"]


@pytest.mark.parametrize(("seconds", "window", "told"), [(60, 5000, False), (115, 5000, True),
                                                         (115, None, False)])  # fmt: skip
def test_a_record_of_many_windows_is_told_to_gather_findings(seconds, window, told):
    row = {"flat": [], "warnings": [], "heart_rate": 70, "seconds": seconds}
    findings.add_findings(row, noise(0, 600), SCORES, MODEL | {"window": window})
    assert any("windows of 10 s" in text for text, _ in row["warnings"]) == told
    row |= {"heart_rate": 70.2}
    assert findings.rate_text(row).endswith("minute in the last 60 s") == (seconds > 60)
