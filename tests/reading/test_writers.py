"""The files of answers: what is in them, when they appear, and what they never replace."""

import csv
import gc
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
from thin_model import make_model

from dataset import CLASSES
from ecg.processing.quality import Caution
from ecg.reading import writers
from ecg.reading.answer import Answer
from ecg.reading.recording import Recording, Skipped
from utils import RESEARCH_USE, InputError

MODEL = make_model(limits={name: 0.4 for name in CLASSES} | {"PAC": 0.02})
SCORES = np.array([0.12345678, 0.5, 0.1, 0.9, 0.3, 0.03, 0.2, 0.42, 0.0])
HEAD = writers.Head.of(MODEL)


def answer(flat=(), scores=SCORES, warnings=()):
    """Return the answer of a record with these probabilities (9,) and leads without a signal."""
    source, packed = ("A1", "own/A1.hea", 500.0, 10.0), noise(0, 600)
    return Answer.of(MODEL, Recording(*source, packed, 74.6, None, flat, warnings), scores)


def test_json_is_json_and_appears_at_the_end(tmp_path):
    path, skipped = tmp_path / "a.json", []
    some = [answer(), answer(flat=("V1", "V2"))]
    with writers.open_writers(str(path), None, HEAD, skipped) as write:
        for each in some:
            write(each)
        skipped.append(Skipped("b.csv", "it is empty"))
        assert not path.exists()
    content = json.loads(path.read_text())
    assert next(iter(content.items())) == ("about", MODEL.describe())
    keys = "use model software names thresholds threshold_rule rule records skipped"
    assert list(content)[1:] == keys.split()
    assert content["use"] == RESEARCH_USE and content["software"].startswith("ecg-diagnosis ")
    assert content["records"] == [each.to_dict() for each in some]
    assert content["records"][0]["probabilities"]["SNR"] == 0.1235
    assert content["names"]["IAVB"] == "first-degree atrioventricular block"
    assert content["skipped"] == [{"path": "b.csv", "reason": "it is empty"}]
    # a record a line
    lines = [line for line in path.read_text().splitlines() if line.startswith('{"record"')]
    assert [json.loads(line.rstrip(",")) for line in lines] == content["records"]


def test_json_without_any_answer_is_json(tmp_path):
    path = tmp_path / "a.json"
    with writers.open_writers(str(path), None, HEAD, []):
        pass
    content = json.loads(path.read_text())
    assert content["records"] == content["skipped"] == []


def test_csv_has_a_remark_and_a_row_for_each_record(tmp_path):
    path, skipped = tmp_path / "a.csv", [Skipped("x/b.csv", "it is empty")]
    cautions = Caution("flat or missing: V1 V2", True), Caution("only 4.0 s long")
    with writers.open_writers(None, str(path), HEAD, skipped) as write:
        write(answer(warnings=cautions, flat=("V1", "V2")))
        write(answer(scores=SCORES / 100))
    first = path.read_text().splitlines()[0]
    assert first.startswith(f"# {MODEL.describe()}; ") and RESEARCH_USE in first
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


def test_the_columns_of_the_csv_are_those_of_the_docs(tmp_path):
    path = tmp_path / "a.csv"
    with writers.open_writers(None, str(path), HEAD, []) as write:
        write(answer())
    _, names, row = csv.reader(path.read_text().splitlines())
    first = "record path sample_rate seconds heart_rate leading leading_name findings"
    first = [*first.split(), "not_assessable", "page", "explained"]
    last = "pr qrs qt qtc_fridericia qtc_bazett p_axis qrs_axis t_axis".split()
    assert names == [*first, *CLASSES, "warnings", "skipped", *last] and len(row) == len(names)


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_a_run_that_stops_leaves_the_old_file(kind, tmp_path):
    path = tmp_path / f"a.{kind}"
    path.write_text("old")
    targets = (str(path), None) if kind == "json" else (None, str(path))
    with pytest.raises(InputError), writers.open_writers(*targets, HEAD, []) as write:
        write(answer())
        raise InputError("no such record")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_answers_take_no_memory_as_they_come(tmp_path):
    targets = str(tmp_path / "j"), str(tmp_path / "c")
    with writers.open_writers(*targets, HEAD, []) as write:
        write(answer())
        tracemalloc.start()
        for _ in range(2000):
            write(answer())
        gc.collect()  # json leaves cycles behind
        kept = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert (tmp_path / "j").stat().st_size > 1_000_000
    assert kept < 100_000


def test_a_closed_stdout_is_not_taken_for_a_file_that_cannot_be_written(tmp_path):
    code = (
        "from ecg.reading.writers import open_target, show\n"
        "from ecg.running.command import run_main\n"
        "def main(path):\n"
        "    with open_target(path):\n        for _ in range(9999): show('x' * 99)\n"
        f"run_main(main, lambda: {str(tmp_path / 'a.json')!r})"
    )
    run = f"{sys.executable} -c {shlex.quote(code)} | head -1"
    root = Path(__file__).parents[2]
    done = subprocess.run(run, shell=True, capture_output=True, text=True, cwd=root, check=False)
    (error,) = done.stderr.splitlines()
    assert error.startswith("error: stdout was closed") and not list(tmp_path.iterdir())


def test_two_targets_in_one_place_are_refused():
    for target in ("-", "a"):
        with pytest.raises(InputError) as stop:
            writers.check_targets(target, target, [])
        assert "name another file" in str(stop.value)


@pytest.mark.parametrize("name", ["own.csv", "./a/../own.csv", "link.csv", "A1.mat"])
def test_an_answer_never_takes_the_place_of_its_record(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "own.csv").write_text("I")
    (tmp_path / "link.csv").symlink_to("own.csv")
    sources = [Path("own.csv"), Path("A1.hea")]
    writers.check_targets("A1.json", "A1.csv", sources)
    for targets in ((name, None), (None, name)):
        with pytest.raises(InputError) as stop:
            writers.check_targets(*targets, sources)
        assert "one of the records" in str(stop.value)


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\tx"])
def test_no_cell_of_the_csv_is_a_formula(text):
    assert writers.neutral(text) == f"'{text}"
    assert writers.neutral(-0.5) == -0.5 and writers.neutral("A0001") == "A0001"
    assert writers.neutral("") == "" and writers.neutral(None) is None
