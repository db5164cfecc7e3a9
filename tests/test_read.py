"""Reading ECGs of your own: the same numbers from every format, warnings, files and pages."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.io
import small_run
import torch
from conftest import NEEDS_SHARED, SHARED, noise, write_record, write_table
from thin_model import LIMITS, make_model

import predict
from dataset import (
    CLASSES,
    LEADS,
    PackedSignals,
    labels_digest,
    load_labels,
    signal_digest,
    split_labels,
)
from ecg import read
from ecg.plot import ecg_paper
from ecg.reading import pages
from ecg.reading.answer import FULL_NAMES
from resnet import ResNet1d
from utils import RESEARCH_USE, InputError

MODEL = "models/thin.pth"
PAGES = Path("results/thin_records")


@pytest.fixture
def workdir(records, monkeypatch):
    """Work beside the records of data/tiny with a thin network of random weights."""
    monkeypatch.chdir(records.parents[1])
    make_model().save(MODEL)
    return records.parents[1]


@pytest.fixture
def trained(tiny, monkeypatch):
    """Work beside data/tiny with a model that says it was trained on it; return those records."""
    monkeypatch.chdir(tiny.parents[1])
    signals = PackedSignals("data/tiny")
    train, validation, _ = split_labels(load_labels("data/tiny"), 0)
    used = [*train["patient_id"], *validation["patient_id"]]
    make_model(seen=[signal_digest(signals[name]) for name in used]).save(MODEL)
    return used


def ask(*argv):
    read.main(read.parse_args(["--model-path", MODEL, *map(str, argv)]))


def change_model(**content):
    torch.save(torch.load(MODEL, weights_only=True) | content, MODEL)


def answers(capsys, *argv):
    """Return the JSON that --json - writes; nothing else may be on stdout."""
    capsys.readouterr()
    ask("--no-pages", "--json", "-", *argv)
    return json.loads(capsys.readouterr().out)


def refused(capsys, *argv):
    """Ask for what must be refused; return stderr without progress bars, and the reason."""
    capsys.readouterr()
    with pytest.raises(InputError) as stop:
        ask(*argv)
    return re.split(r"[\r\n]+", capsys.readouterr().err), str(stop.value)


def test_a_folder_gets_the_probabilities_of_the_data_set_run(
    tiny, monkeypatch, capsys, plain_figures
):
    monkeypatch.chdir(tiny.parents[1])
    make_model(data="elsewhere").save(MODEL)
    predict.main(predict.parse_args(["--data-dir", "data/tiny", "--model-path", MODEL]))
    path = "results/thin_on_tiny/predictions.csv"
    expected = pd.read_csv(path).set_index("patient_id")
    found = answers(capsys, "data/tiny", "--batch-size", "7")
    assert not found["skipped"] and len(found["records"]) == 40
    rows = {row["record"]: row for row in found["records"]}
    for name, values in expected[list(CLASSES)].iterrows():
        np.testing.assert_allclose(list(rows[name]["probabilities"].values()), values, atol=6e-5)
    assert found["thresholds"] == pytest.approx(LIMITS, abs=6e-5)
    for row in rows.values():
        over = [name for name in CLASSES if row["probabilities"][name] >= LIMITS[name]]
        assert row["findings"] == over


def test_every_format_gives_the_same_answer(workdir, capsys):
    samples = noise(5, 1300)
    write_record(workdir / "own", "A1", samples, "59118001")
    mv = samples / 1000
    np.save("own.npy", mv)
    pd.DataFrame(mv.T[:, ::-1], columns=LEADS[::-1]).to_csv("table.csv", index=False)
    scipy.io.savemat("S1.mat", {"ECG": {"sex": "Male", "age": 50.0, "data": mv}})
    files = "own/A1", "own/A1.hea", "own/A1.mat", "own.npy", "table.csv", "S1"
    rows = answers(capsys, *files, "--sample-rate", 500)["records"]
    # one record by three names is one record
    assert [row["record"] for row in rows] == ["A1", "own", "table", "S1"]
    for row in rows[1:]:
        assert row["probabilities"] == pytest.approx(rows[0]["probabilities"], abs=2e-4)


def test_the_last_seconds_are_scored_at_500_hz(workdir, capsys):
    """A slow wave at 1000 Hz must give what the same wave does at 500 Hz, and its beginning no
    difference.
    """
    t = np.arange(6000) / 1000
    waves = np.array([np.sin(2 * np.pi * (0.5 + lead / 4) * t) for lead in range(12)])
    np.save("fast.npy", waves)
    np.save("slow.npy", waves[:, -3000::2])
    fast = answers(capsys, "fast.npy", "--sample-rate", 1000)["records"][0]
    slow = answers(capsys, "slow.npy", "--sample-rate", 500)["records"][0]
    assert fast["probabilities"] == pytest.approx(slow["probabilities"], abs=0.005)
    assert any("1000 Hz" in text for text in fast["warnings"])
    assert any("only the last 3 s" in text for text in fast["warnings"])


def test_table_shows_each_class_with_its_threshold(workdir, capsys):
    thresholds = dict(zip(CLASSES, np.linspace(0.05, 0.95, 9).tolist(), strict=True))
    change_model(thresholds=thresholds)
    ask("--no-pages", "--json", "out/a.json", "data/tiny/g1/T0000")
    out = capsys.readouterr().out
    row = json.loads(Path("out/a.json").read_text())["records"][0]
    for name in CLASSES:
        line = re.search(rf"^{FULL_NAMES[name]} \({name}\) +(\S+) +(\S+) +(\S+)  (\S+)$", out, re.M)
        *numbers, finding = line.groups()
        p, threshold, margin = map(float, numbers)
        assert p == pytest.approx(row["probabilities"][name], abs=6e-4)
        assert threshold == pytest.approx(thresholds[name], abs=6e-4)
        assert margin == pytest.approx(row["probabilities"][name] - thresholds[name], abs=6e-4)
        assert finding == ("yes" if row["probabilities"][name] >= thresholds[name] else "no")
    assert RESEARCH_USE in out and "thresholds.json" not in out
    assert not PAGES.exists()


def test_a_spike_that_is_cut_gets_a_warning(workdir, capsys):
    signal = noise(3, 1500) / 1000
    signal[4, 700] = 1e30
    np.save("spike.npy", signal)
    ask("--no-pages", "--sample-rate", "500", "--json", "-", "spike.npy")
    row = json.loads(capsys.readouterr().out)["records"][0]
    assert any("beyond 20 mV in aVL" in text for text in row["warnings"])


def test_a_record_without_signal_gets_no_findings(workdir):
    np.save("flat.npy", np.zeros((12, 1500)))
    with pytest.raises(InputError) as stop:
        ask("--no-pages", "--sample-rate", "500", "flat.npy")
    assert "all leads are flat" in str(stop.value)


def test_a_file_stays_if_no_record_can_be_answered_for(workdir, capsys):
    Path("own.csv").write_text("")
    Path("a.csv").write_text("old")
    refused(capsys, "own.csv", "--sample-rate", "500", "--csv", "a.csv")
    assert Path("a.csv").read_text() == "old"
    assert "is one of the records" in refused(capsys, "own.csv", "--csv", "own.csv")[1]
    assert "is empty; give a file" in refused(capsys, "")[1]


def test_json_into_a_folder_is_refused_at_once(workdir):
    with pytest.raises(InputError) as stop:
        ask("--json", "data", "data/tiny/g1/T0000")
    assert "cannot be a file" in str(stop.value)


def test_thresholds_are_those_inside_the_model_whatever_results_hold(workdir, capsys):
    """As after training again without predict.py: results/ hold those of other weights."""
    Path("results/thin").mkdir(parents=True)
    old = dict.fromkeys(CLASSES, 0.0)
    Path("results/thin/thresholds.json").write_text(json.dumps({"thresholds": old}))
    found = answers(capsys, "data/tiny/g1/T0000")
    assert found["thresholds"] == pytest.approx(LIMITS, abs=6e-5)
    assert len(found["records"][0]["findings"]) < 9


def test_a_record_that_the_model_was_trained_on_gets_a_warning(trained, capsys):
    write_record(Path("own"), "new", noise(77, 1500), "59118001")
    shutil.copy("data/tiny/g1/T0000.mat", "own/other_name.mat")
    header = Path("data/tiny/g1/T0000.hea").read_text().replace("T0000", "other_name")
    Path("own/other_name.hea").write_text(header)
    rows = answers(capsys, "data/tiny", "own")["records"]
    warned = [row["record"] for row in rows if "trained or chosen on" in " ".join(row["warnings"])]
    assert "T0000" in trained
    assert warned == [*sorted(trained), "other_name"]


def test_weights_that_give_no_numbers_are_refused(workdir, monkeypatch, capsys):
    logits = ResNet1d.record_logits
    for value in (float("nan"), float("inf")):
        monkeypatch.setattr(ResNet1d, "record_logits", lambda *args, add=value: logits(*args) + add)
        assert "not finite" in refused(capsys, "data/tiny/g1/T0000", "--json", "a.json")[1]
    assert not Path("a.json").exists()


def test_json_is_written_to_a_pipe_and_does_not_replace_it(workdir):
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)  # so that neither end waits
    ask("--no-pages", "--json", "pipe", "data/tiny/g1/T0000")
    assert json.loads(os.read(reader, 60_000))["records"][0]["record"] == "T0000"
    os.close(reader)
    assert Path("pipe").is_fifo()


def test_json_to_dev_stdout_is_json_on_stdout():
    # parsed only: a failure would replace the device
    assert read.parse_args(["A1", "--json", "/dev/stdout"]).json == "-"


def test_missing_samples_are_counted_and_count_as_zero(workdir, capsys):
    mv = noise(5, 1500) / 1000
    mv[3, 100:107] = np.nan
    np.save("a.npy", mv)
    np.save("b.npy", np.nan_to_num(mv))
    a, b = answers(capsys, "a.npy", "b.npy", "--sample-rate", 500)["records"]
    assert any(text.startswith("7 samples are missing") for text in a["warnings"])
    assert a["probabilities"] == pytest.approx(b["probabilities"])


def test_a_lead_that_is_all_missing_gives_no_warning_of_numpy(workdir, capsys, recwarn):
    mv = noise(5, 1500) / 1000
    mv[3] = np.nan
    np.save("a.npy", mv)
    (row,) = answers(capsys, "a.npy", "--sample-rate", 500)["records"]
    assert any("flat or missing: aVR" in text for text in row["warnings"])
    assert not [warning for warning in recwarn if issubclass(warning.category, RuntimeWarning)]


def test_a_bad_record_is_named_and_the_others_answered(workdir, capsys):
    Path("notes.txt").write_text("no ECG\n")
    write_table(Path("own.csv"), LEADS[:11], noise(4, 600)[:11] / 1000)
    files = "notes.txt", "own.csv", "data/tiny/g1/T0000", "absent"
    ask("--no-pages", "--json", "a.json", "--sample-rate", "500", *files)
    err = capsys.readouterr().err
    content = json.loads(Path("a.json").read_text())
    assert [row["record"] for row in content["records"]] == ["T0000"]
    assert {row["path"] for row in content["skipped"]} == {"notes.txt", "own.csv", "absent"}
    assert "skipped: own.csv: " in err and "V6 is missing" in err and "skipped: notes.txt: " in err


def test_nothing_readable_is_refused_in_one_line(workdir, capsys):
    Path("notes.md").write_text("no ECG\n")
    Path("own.csv").write_text("")
    lines, error = refused(capsys, "notes.md")
    assert "notes.md: its content is none of the recording formats" in error and not any(lines)
    _, error = refused(capsys, "own.csv", "--sample-rate", "500")
    assert "own.csv: it is empty" in error
    write_table(Path("rate.csv"))
    _, error = refused(capsys, "rate.csv")
    assert "give it in Hz: --sample-rate" in error
    lines, error = refused(capsys, "own.csv", "notes.md")
    assert "none of the records" in error
    assert len([line for line in lines if line.startswith("skipped")]) == 2
    _, error = refused(capsys, "--json", "-")
    assert "required: FILE" in error


def test_records_of_one_name_keep_their_pages_apart(workdir, plain_figures):
    for folder in ("a", "b"):
        write_record(workdir / folder, "A1", noise(5, 700), "59118001")
    ask("a", "b")
    names = ["A1-2.pdf", "A1-2.png", "A1.pdf", "A1.png"]
    assert sorted(path.name for path in PAGES.iterdir()) == names


def test_pages_bear_the_findings_and_are_not_drawn_unasked_for_many(workdir, capsys, monkeypatch):
    titles = []
    draw = ecg_paper.draw_ecg_page
    monkeypatch.setattr(
        ecg_paper, "draw_ecg_page", lambda *args: (titles.append(args[2].title), draw(*args))[1]
    )
    ask("data/tiny/g1/T0000", "--json", "a.json")
    row = json.loads(Path("a.json").read_text())["records"][0]
    assert titles[0].startswith(f"T0000: {FULL_NAMES[row['leading']]} (")
    assert all(name in titles[0] for name in row["findings"]) and row["findings"]
    assert row["page"] == str(PAGES / "T0000.pdf")
    ask("data/tiny")
    assert len(titles) == 1 and "--pages" in capsys.readouterr().out


def test_a_record_with_lost_leads_is_answered_for_what_the_others_show(workdir, capsys):
    samples = noise(5, 1500)
    samples[[6, 7]] = 0
    write_record(workdir / "own", "A1", samples, "59118001")
    ask("--json", "a.json", "--csv", "a.csv", "own", "data/tiny/g1/T0000")
    out = capsys.readouterr().out
    lost, whole = json.loads(Path("a.json").read_text())["records"]
    assert lost["probabilities"]["RBBB"] is None and whole["probabilities"]["RBBB"] > 0
    assert lost["not_assessable"]["LBBB"] == "flat or missing: V1 V2"
    table = pd.read_csv("a.csv", skiprows=1).set_index("record")
    assert np.isnan(table.loc["A1", "LBBB"]) and table.loc["T0000", "LBBB"] > 0
    first, rest = out.split("\n", 1)
    assert first.startswith("model thin.pth: resnet18w8, 12 leads, the last 3 s; ")
    assert "trained on" in first and first in Path("a.csv").read_text().split("\n")[0]
    assert json.loads(Path("a.json").read_text())["about"] == first
    block = rest.split("T0000:")[0]
    assert 0 < block.index("!!! WARNING: flat or missing: V1 V2") < block.index("finding:")
    assert len(re.findall("not assessable .flat or missing: V1 V2", block)) == 2


def test_many_records_get_a_line_each_and_json_or_csv_on_stdout_stands_alone(workdir, capsys):
    ask("data/tiny", "--no-pages")
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == RESEARCH_USE
    assert sum(re.match(r"T\d{4}: (Leading|No) finding", line) is not None for line in lines) == 40
    ask("data/tiny/g1/T0000", "--no-pages", "--csv", "-")
    first, second, third = capsys.readouterr().out.splitlines()
    assert RESEARCH_USE in first and second.startswith("record,") and third.startswith("T0000,")
    for argv in (["--csv", "-", "--json", "-"], ["--csv", "data"]):
        assert "--csv" in refused(capsys, "data/tiny", *argv)[1]


def test_several_processes_give_the_answers_of_one_in_the_same_order(workdir, capsys):
    (workdir / "data/tiny/g1/T0003.mat").write_bytes(b"x")
    write_record(workdir / "data/tiny/z", "T0005", noise(5, 700), "59118001")  # of an earlier name
    contents = []
    for jobs in ("1", "3"):
        ask("data/tiny", "--csv", "a.csv", "--jobs", jobs)
        out, err = capsys.readouterr()
        skipped = [line for line in err.splitlines() if line.startswith("skipped: ")]
        contents.append((Path("a.csv").read_text(), out, skipped))
        assert len(skipped) == 1 and "T0003.mat" in skipped[0]
    assert contents[0] == contents[1]
    assert contents[0][0].count("\nT0005") == 2 and "\nT0005-2," in contents[0][0]


def test_tables_take_their_order_and_their_unit_from_flags(workdir, capsys):
    samples = noise(5, 1300)
    write_record(workdir / "own", "A1", samples, "59118001")
    rows = np.vstack([np.arange(1300), samples[::-1]]).T
    np.savetxt("own.txt", rows, fmt="%d", delimiter=",")
    flags = ["--sample-rate", 500, "--units-per-mv", 1000, "--leads-order", ",".join(LEADS[::-1])]
    wfdb, text = answers(capsys, "own/A1", "own.txt", *flags)["records"]
    assert text["probabilities"] == pytest.approx(wfdb["probabilities"], abs=1e-4)
    names = "--sample-rate, --leads-order, --units-per-mv"
    text = f"{names}: for tables alone; this file states its own"
    assert text in wfdb["warnings"]
    ask("--no-pages", "own/A1", *flags)
    assert f"\nnote: {text}\n" in capsys.readouterr().out


def test_an_answer_loads_nothing_it_does_not_need(workdir):
    """Each of these takes a tenth of a second or more, for which the first answer would wait."""
    unused = {"shap", "lightgbm", "sklearn", "wfdb", "pywt", "matplotlib", "jinja2", "pandas"}
    unused |= {"scipy.io", "scipy.optimize", "scipy.signal", "scipy.sparse", "scipy.stats"}
    asked = ["--model-path", MODEL, "--no-pages", str(min(workdir.glob("data/tiny/g1/*.hea")))]
    code = f"import sys; from ecg import read; read.main(read.parse_args({asked})); "
    done = subprocess.run(
        [sys.executable, "-c", f"{code} print(); print(*{unused} & set(sys.modules))"],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.endswith("\n\n\n"), done.stdout


def test_every_format_is_explained_on_request_and_only_then(workdir, capsys, plain_figures):
    write_record(workdir / "own", "h", noise(5, 700), "59118001")
    scipy.io.savemat(workdir / "own/m.mat", {"ECG": {"data": noise(5, 700) / 1000}})
    table = pd.DataFrame((noise(5, 700) / 1000).T, columns=LEADS)
    table.to_csv(workdir / "own/c.csv", index=False)
    np.save(workdir / "own/n.npy", noise(5, 700) / 1000)
    flags = "own/h", "own/m.mat", "own/c.csv", "own/n.npy", "--sample-rate", 500
    ask(*flags, "--no-pages")
    assert not PAGES.exists()
    ask(*flags, "--no-pages", "--explain")
    names = {path.name for path in (PAGES / "explained").iterdir()}
    assert names == {f"{name}.{suffix}" for name in "hmcn" for suffix in ("pdf", "png")}
    assert "explained" in capsys.readouterr().out


def test_flags_of_explanations_need_explain_and_a_method_that_draws(workdir, capsys):
    np.save("b.npy", noise(5, 1500) / 1000)
    file = "b.npy", "--sample-rate", "500", "--no-pages"
    flags = {"--method": "ig", "--samples": 3, "--background": 5, "--reliability": 0.9, "--seed": 1}
    for flag, value in (flags | {"--data-dir": "data/tiny"}).items():
        assert f"{flag}: only used for explanations" in refused(capsys, *file, flag, value)[1]
    explain = (*file, "--explain")
    error = refused(capsys, *explain, "--method", "ig", "--reliability", "0.9")[1]
    assert "--reliability needs samples" in error
    for flag in (["--method", "shap"], ["--reliability", "0.9"]):
        assert (
            "data/CPSC is not what models/thin.pth was trained on"
            in (refused(capsys, *explain, *flag)[1])
        )
    assert not PAGES.exists()


def test_the_evidence_head_explains_where_there_is_one_and_its_lack_is_one_line(
    workdir, capsys, monkeypatch
):
    np.save("b.npy", noise(5, 1500) / 1000)
    explain = "b.npy", "--sample-rate", "500", "--no-pages", "--explain"
    error = refused(capsys, *explain, "--method", "evidence")[1]
    assert "models/thin.pth has no evidence head; choose --method shap or ig" in error
    asked = []
    monkeypatch.setattr(read, "lacks_head", lambda method, network: False)
    monkeypatch.setattr(pages, "draw_explained", lambda *args: asked.append(args[4]))
    ask(*explain)
    ask(*explain, "--method", "ig")
    ask(*explain, "--samples", "7")
    assert [method.options.method for method in asked] == ["evidence", "ig", "ig"]
    assert asked[0].background is None and asked[2].options.samples == 7


def test_a_file_is_compared_with_the_training_set_where_that_is_at_hand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    signals, _ = small_run.write_data(tmp_path / "data/own")
    settings = make_model(data="own", seconds=1).settings
    labels = labels_digest(load_labels("data/own"))
    settings = dataclasses.replace(settings, labels=labels, signals="test 1")
    dataclasses.replace(make_model(data="own"), settings=settings).save(MODEL)
    np.save("b.npy", signals["R002"] / 1000)
    notes, made = [], []
    original = pages.explain_record
    monkeypatch.setattr(
        pages, "explain_record", lambda *args: made.append(original(*args)) or made[-1]
    )
    monkeypatch.setattr(pages, "plot_explained", lambda *args: notes.append(args[4].notes))
    flags = ["b.npy", "--sample-rate", "500", "--no-pages", "--explain", "--samples", "4"]
    for more in (["--background", "3"], ["--method", "ig"]):
        ask(*flags, "--data-dir", "data/own", *more)
    assert "expected gradients" in notes[0][1] and "4 records of the training set" in notes[0][1]
    assert "integrated gradients" in notes[1][1] and "in 4 steps" in notes[1][1]
    assert [explanation.samples.tolist() for explanation in made] == [[4], [4]]
    assert not np.allclose(made[0].phi, made[1].phi)
    ask(*flags)  # data/CPSC is not there
    np.testing.assert_array_equal(made[2].phi, made[1].phi)


# --- models that score windows, and the bundled one


def test_a_windowed_answer_is_that_of_the_window_with_the_largest_logit(workdir, capsys):
    model = make_model(window=1000, seconds=2)
    model.save(MODEL)
    samples = noise(8, 2200)
    write_record(workdir / "own", "W1", samples, "59118001")
    (row,) = answers(capsys, "own/W1.hea")["records"]
    assert not any("only the last" in text for text in row["warnings"])
    x = torch.from_numpy(samples.astype(np.float32) / 1000)
    with torch.no_grad():
        logits = [model.network(x[None, :, s : s + 1000])[0] for s in (0, 500, 1000, 1200)]
    expected = torch.sigmoid(torch.stack(logits).max(0).values).tolist()
    assert list(row["probabilities"].values()) == pytest.approx(expected, abs=6e-5)


def test_a_model_that_is_not_there_is_named(workdir):
    with pytest.raises(InputError) as stop:
        read.main(read.parse_args(["data/tiny", "--model-path", "models/mistyped.pth"]))
    assert "no model models/mistyped.pth" in str(stop.value)


@NEEDS_SHARED
def test_an_answer_without_a_model_comes_from_the_bundled_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    read.main(read.parse_args(["--no-pages", str(SHARED / "cpsc2018_feb2020" / "A0003")]))
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("model general.pth: resnet18w24") and "no patient" in first


def test_a_file_of_one_lead_serves_a_model_of_that_lead(workdir, capsys):
    write_record(workdir / "own", "A1", noise(5, 1300)[:1], "59118001", leads=("I",))
    _, error = refused(capsys, "own/A1")
    assert "leads II, III, aVR" in error and "are missing" in error
    make_model(leads=("I",)).save(MODEL)
    row = answers(capsys, "own/A1")["records"][0]
    assert row["flat"] == [] and None not in row["probabilities"].values()
    assert not any("flat" in text or "not recorded" in text for text in row["warnings"])


def test_a_folder_of_many_kinds_of_files_is_accounted_for(workdir, capsys):
    write_record(workdir / "own", "A1", noise(5, 1300), "59118001")
    for name in ("labels.csv", "photo.jpg"):
        (workdir / "own" / name).write_text("x")
    (workdir / "own" / "broken.hea").write_text("x")
    ask("--no-pages", "own")
    err = capsys.readouterr().err
    assert "in own, not read as records: 1 .csv, 1 .jpg" in err
    assert "skipped: own/broken.hea: the record line gives no number of signals" in err
