"""Answers for one's own records: the same numbers from every format, warnings, and the pages."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.io
import torch
from conftest import model_keys, noise, write_record

import predict
import resnet
from dataset import CLASSES, LEADS, SAMPLE_RATE, labels_digest, load_labels
from ecg.evaluation.findings import FULL_NAMES
from ecg.plot import ecg_paper
from ecg.processing.quality import SHORTEST
from resnet import save_checkpoint
from utils import RESEARCH_USE

MODEL = "models/resnet18_tiny_all_42.pth"
RESULTS = Path("results/resnet18_tiny_all_42")
PAGES = Path("results/resnet18_tiny_all_42_records")


@pytest.fixture
def workdir(tiny, monkeypatch):
    """Work beside data/tiny with a thin network of random weights, trained on nothing."""
    monkeypatch.setattr(resnet, "WIDTHS", (8, 8, 16, 16))
    monkeypatch.chdir(tiny.parents[1])
    torch.manual_seed(3)
    model = resnet.ResNet1d("resnet18", 12, 9)
    settings = {"arch": "resnet18", "seconds": 3, "pad": "window", "data_dir": "tiny"}
    settings |= {"round": 0, "limit": None, "seed": 42}
    save_checkpoint(
        MODEL,
        state_dict=model.state_dict(),
        epoch=1,
        leads=list(LEADS),
        classes=list(CLASSES),
        labels=labels_digest(load_labels("data/tiny")),
        shortest=SHORTEST,
        args=settings,
        versions={},
        **model_keys("data/tiny"),
    )
    return tiny.parents[1]


def ask(*argv):
    predict.main(predict.parse_args(["--model-path", MODEL, *map(str, argv)]))


def change_model(**content):
    checkpoint = torch.load(MODEL, weights_only=True)
    save_checkpoint(MODEL, **checkpoint | content)


def answers(capsys, *argv):
    """Return the JSON that --json - writes; nothing else may be on stdout."""
    capsys.readouterr()
    ask("--no-pages", "--json", "-", "--record", *argv)
    return json.loads(capsys.readouterr().out)


def refused(capsys, *argv):
    """Ask for what must be refused; return stderr without progress bars, and its error line."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        ask(*argv)
    lines = re.split(r"[\r\n]+", capsys.readouterr().err)
    errors = [line for line in lines if line.startswith("error")]
    assert stop.value.code == 2 and len(errors) == 1
    return lines, errors[0]


def test_a_folder_gets_the_probabilities_of_the_data_set_run(workdir, capsys, plain_figures):
    ask("--data-dir", "data/tiny")
    expected = pd.read_csv(RESULTS / "predictions.csv").set_index("patient_id")
    found = answers(capsys, "data/tiny", "--batch-size", "7")
    assert not found["skipped"] and len(found["records"]) == 40
    rows = {row["record"]: row for row in found["records"]}
    for name, values in expected[list(CLASSES)].iterrows():
        np.testing.assert_allclose(list(rows[name]["probabilities"].values()), values, atol=6e-5)
    stored = torch.load(MODEL, weights_only=True)["thresholds"]
    assert found["thresholds"] == pytest.approx(stored, abs=6e-5)
    for row in rows.values():
        over = [name for name in CLASSES if row["probabilities"][name] >= stored[name]]
        assert row["findings"] == over


def test_every_format_gives_the_same_answer(workdir, capsys):
    samples = noise(5, 1300)
    write_record(workdir / "own", "A1", samples, "59118001")
    mv = samples / 1000
    np.save("own.npy", mv)
    pd.DataFrame(mv.T[:, ::-1], columns=LEADS[::-1]).to_csv("table.csv", index=False)
    scipy.io.savemat("S1.mat", {"ECG": {"sex": "Male", "age": 50.0, "data": mv}})
    found = answers(capsys, "own/A1", "own/A1.hea", "own/A1.mat", "own.npy", "table.csv", "S1",
                    "--sample-rate", 500)  # fmt: skip
    rows = found["records"]
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
    thresholds = dict(zip(CLASSES, np.linspace(0, 1, 9).tolist(), strict=True))
    change_model(thresholds=thresholds)
    ask("--no-pages", "--json", "out/a.json", "--record", "data/tiny/g1/T0000")
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


def test_a_spike_that_is_cut_is_told(workdir, capsys):
    signal = noise(3, 1500) / 1000
    signal[4, 700] = 1e30
    np.save("spike.npy", signal)
    ask("--no-pages", "--sample-rate", "500", "--json", "-", "--record", "spike.npy")
    row = json.loads(capsys.readouterr().out)["records"][0]
    assert any("beyond 20 mV in aVL" in text for text in row["warnings"])


def test_a_record_without_signal_gets_no_findings(workdir, capsys):
    np.save("flat.npy", np.zeros((12, 1500)))
    with pytest.raises(SystemExit) as stop:
        ask("--no-pages", "--sample-rate", "500", "--record", "flat.npy")
    assert stop.value.code == 2 and "no lead holds an ECG" in capsys.readouterr().err


def test_a_file_stays_if_no_record_can_be_answered_for(workdir, capsys):
    Path("own.csv").write_text("")
    Path("a.csv").write_text("old")
    refused(capsys, "--record", "own.csv", "--sample-rate", "500", "--csv", "a.csv")
    assert Path("a.csv").read_text() == "old"
    assert "is one of the records" in refused(capsys, "--record", "own.csv", "--csv", "own.csv")[1]
    assert "is empty; give a file" in refused(capsys, "--record", "")[1]


def test_json_into_a_folder_is_refused_at_once(workdir, capsys):
    with pytest.raises(SystemExit) as stop:
        ask("--json", "data", "--record", "data/tiny/g1/T0000")
    assert stop.value.code == 2 and "cannot be a file" in capsys.readouterr().err


def test_thresholds_are_those_inside_the_model_whatever_results_hold(workdir, capsys):
    """As after training again without predict.py: results/ hold those of other weights."""
    RESULTS.mkdir(parents=True)
    old = dict.fromkeys(CLASSES, 0.0)
    (RESULTS / "thresholds.json").write_text(json.dumps({"thresholds": old}))
    found = answers(capsys, "data/tiny/g1/T0000")
    stored = torch.load(MODEL, weights_only=True)["thresholds"]
    assert found["thresholds"] == pytest.approx(stored, abs=6e-5)
    assert len(found["records"][0]["findings"]) < 9


def test_a_record_that_the_model_was_trained_on_is_told(workdir, capsys):
    trained = torch.load(MODEL, weights_only=True)["training_records"]
    write_record(workdir / "own", "new", noise(77, 1500), "59118001")
    shutil.copy("data/tiny/g1/T0000.mat", "own/other_name.mat")
    header = Path("data/tiny/g1/T0000.hea").read_text().replace("T0000", "other_name")
    Path("own/other_name.hea").write_text(header)
    rows = answers(capsys, "data/tiny", "own")["records"]
    warned = [row["record"] for row in rows if "trained or chosen on" in " ".join(row["warnings"])]
    assert "T0000" in trained
    assert warned == [name for name in sorted(trained)] + ["other_name"]


def test_weights_that_give_no_numbers_are_refused(workdir, capsys):
    state = torch.load(MODEL, weights_only=True)["state_dict"]
    for value in (float("nan"), float("inf")):
        change_model(state_dict=state | {"fc.bias": torch.full((9,), value)})
        for argv in (
            ["--record", "data/tiny/g1/T0000", "--json", "a.json"],
            ["--data-dir", "data/tiny"],
        ):
            assert "not finite" in refused(capsys, *argv)[1]
    assert not Path("a.json").exists() and not RESULTS.exists()


def test_json_is_written_to_a_pipe_and_does_not_replace_it(workdir, capsys):
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)  # so that neither end waits
    ask("--no-pages", "--json", "pipe", "--record", "data/tiny/g1/T0000")
    assert json.loads(os.read(reader, 60_000))["records"][0]["record"] == "T0000"
    os.close(reader)
    assert Path("pipe").is_fifo()


def test_json_to_dev_stdout_is_json_on_stdout():
    # parsed only: a failure would replace the device
    assert predict.parse_args(["--json", "/dev/stdout"]).json == "-"


def test_thresholds_flag_does_not_go_with_records(workdir, capsys):
    argv = ["--record", "data/tiny/g1/T0000", "--thresholds", "first"]
    assert "leave --thresholds out" in refused(capsys, *argv)[1]


def test_missing_samples_are_told_and_count_as_zero(workdir, capsys):
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
    Path("own.csv").write_text(",".join(LEADS[:11]) + "\n")
    ask("--no-pages", "--json", "a.json", "--sample-rate", "500", "--record", "notes.txt",
        "own.csv", "data/tiny/g1/T0000", "absent")  # fmt: skip
    err = capsys.readouterr().err
    content = json.loads(Path("a.json").read_text())
    assert [row["record"] for row in content["records"]] == ["T0000"]
    assert {row["path"] for row in content["skipped"]} == {"notes.txt", "own.csv", "absent"}
    assert "skipped: own.csv: lead V6 is missing" in err and "skipped: notes.txt: " in err


def test_nothing_readable_is_refused_in_one_line(workdir, capsys):
    Path("notes.md").write_text("no ECG\n")
    Path("own.csv").write_text("")
    lines, error = refused(capsys, "--record", "notes.md")
    assert "notes.md: it is not a record" in error and len([line for line in lines if line]) == 1
    _, error = refused(capsys, "--record", "own.csv", "--sample-rate", "500")
    assert "own.csv: it is empty" in error
    _, error = refused(capsys, "--record", "own.csv")
    assert "give --sample-rate" in error
    lines, error = refused(capsys, "--record", "own.csv", "notes.md")
    assert "none of the records" in error
    assert len([line for line in lines if line.startswith("skipped")]) == 2
    _, error = refused(capsys, "--json", "-")
    assert "--record" in error


def test_records_of_one_name_keep_their_pages_apart(workdir, capsys, plain_figures):
    for folder in ("a", "b"):
        write_record(workdir / folder, "A1", noise(5, 700), "59118001")
    ask("--record", "a", "b")
    assert sorted(path.name for path in PAGES.iterdir()) == [
        "A1-2.pdf", "A1-2.png", "A1.pdf", "A1.png"
    ]  # fmt: skip


def test_pages_bear_the_findings_and_are_not_drawn_unasked_for_many(workdir, capsys, monkeypatch):
    titles = []
    draw = ecg_paper.draw_ecg_page
    monkeypatch.setattr(
        ecg_paper, "draw_ecg_page", lambda *args: (titles.append(args[2]), draw(*args))[1]
    )
    ask("--record", "data/tiny/g1/T0000", "--json", "a.json")
    row = json.loads(Path("a.json").read_text())["records"][0]
    assert titles[0].startswith(f"T0000: {FULL_NAMES[row['leading']]} (")
    assert all(name in titles[0] for name in row["findings"]) and row["findings"]
    assert row["page"] == str(PAGES / "T0000.pdf")
    ask("--record", "data/tiny")
    assert len(titles) == 1 and "--pages" in capsys.readouterr().out


def test_a_record_with_lost_leads_is_answered_for_what_the_others_show(workdir, capsys):
    samples = noise(5, 1500)
    samples[[6, 7]] = 0
    write_record(workdir / "own", "A1", samples, "59118001")
    ask("--json", "a.json", "--csv", "a.csv", "--record", "own", "data/tiny/g1/T0000")
    out = capsys.readouterr().out
    lost, whole = json.loads(Path("a.json").read_text())["records"]
    assert lost["probabilities"]["RBBB"] is None and whole["probabilities"]["RBBB"] > 0
    assert lost["not_assessable"]["LBBB"] == "flat or missing: V1 V2"
    table = pd.read_csv("a.csv", skiprows=1).set_index("record")
    assert np.isnan(table.loc["A1", "LBBB"]) and table.loc["T0000", "LBBB"] > 0
    first, rest = out.split("\n", 1)
    assert first.startswith("model resnet18_tiny_all_42.pth: resnet18, 12 leads, the last 3 s; ")
    assert "trained on" in first and first in Path("a.csv").read_text().split("\n")[0]
    assert json.loads(Path("a.json").read_text())["about"] == first
    block = rest.split("T0000:")[0]
    assert 0 < block.index("!!! WARNING: flat or missing: V1 V2") < block.index("finding:")
    assert len(re.findall("not assessable .flat or missing: V1 V2", block)) == 2


def test_many_records_get_a_line_each_and_json_or_csv_on_stdout_stands_alone(workdir, capsys):
    ask("--record", "data/tiny", "--no-pages")
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == RESEARCH_USE
    assert sum(re.match(r"T\d{4}: (Leading|No) finding", line) is not None for line in lines) == 40
    ask("--record", "data/tiny/g1/T0000", "--no-pages", "--csv", "-")
    first, second, third = capsys.readouterr().out.splitlines()
    assert RESEARCH_USE in first and second.startswith("record,") and third.startswith("T0000,")
    for argv in (["--csv", "-", "--json", "-"], ["--csv", "data"]):
        assert "--csv" in refused(capsys, "--record", "data/tiny", *argv)[1]


def test_tables_take_their_order_and_their_unit_from_flags(workdir, capsys):
    samples = noise(5, 1300)
    write_record(workdir / "own", "A1", samples, "59118001")
    rows = np.vstack([np.arange(1300), samples[::-1]]).T
    np.savetxt("own.txt", rows, fmt="%d", delimiter=",")
    flags = ["--sample-rate", 500, "--units-per-mv", 1000, "--leads-order", ",".join(LEADS[::-1])]
    wfdb, text = answers(capsys, "own/A1", "own.txt", *flags)["records"]
    assert text["probabilities"] == pytest.approx(wfdb["probabilities"], abs=1e-4)
    told = [warning for warning in wfdb["warnings"] if "for tables alone" in warning]
    assert told and "--units-per-mv" in told[0]
    for flag in (["--csv", "a"], ["--units-per-mv", "3"], ["--leads-order", ",".join(LEADS)]):
        assert "add --record" in refused(capsys, *flag)[1]


def page_mm(ax, points):
    """Return the place on the printed page, in mm, of points given in an axes' data coordinates."""
    return ax.transData.transform(points) / ax.figure.dpi * 25.4


def trace(ax, seconds, sample_rate=SAMPLE_RATE):
    """Return the printed points (n, 2), in mm, of the traces that last `seconds`."""
    lines = [np.transpose(line.get_data()) for line in ax.lines]
    n = round(seconds * sample_rate)
    return [page_mm(ax, points) for points in lines if len(points) == n]


def test_page_is_a4_and_25_mm_a_second_and_10_mm_a_millivolt():
    signal = np.zeros((12, 5000))
    signal[:, 500:600] = 1  # 1.0 to 1.2 s
    signal[:, 4000:4100] = 1
    figure = ecg_paper.draw_ecg_page(signal, 500, "t")
    ax = figure.axes[0]
    assert figure.get_size_inches() * 25.4 == pytest.approx([297, 210])
    (strip,) = trace(ax, 10)
    jumps = strip[np.flatnonzero(np.diff(strip[:, 1]) > 1) + 1]
    assert np.diff(jumps[:, 0]) == pytest.approx([25 * 7])
    assert np.ptp(strip[:, 1]) == pytest.approx(10)
    assert np.ptp(strip[:, 0]) == pytest.approx(25 * 9.998)
    for collection, step in zip(ax.collections[:2], (1, 5), strict=True):
        ends = page_mm(ax, np.array([line[0] for line in collection.get_segments()]))
        upright = np.unique(np.round(ends[ends[:, 1] == ends[:, 1].min(), 0], 6))
        assert np.diff(upright)[:-1] == pytest.approx(step)
    marks = {label.get_text(): label.get_position()[0] for label in ax.get_xticklabels()}
    assert strip[0, 0] == pytest.approx(page_mm(ax, [(marks["0 s"], 0)])[0, 0])
    plt.close(figure)


@pytest.mark.parametrize("seconds", [10, 6])
def test_page_shows_four_columns_one_after_the_other_in_time(seconds):
    # lead k is 0 but for a spike of k + 1 tenths of a mV in the middle of its own quarter
    signal, quarter = np.zeros((12, seconds * 500)), seconds * 500 // 4
    for k in range(12):
        signal[k, k // 3 * quarter + quarter // 2] = (k + 1) / 10
    figure = ecg_paper.draw_ecg_page(signal, 500, "t")
    ax = figure.axes[0]
    order = [text.get_text() for text in ax.texts if text.get_text()]
    assert order == [
        "I",
        "aVR",
        "V1",
        "V4",
        "II",
        "aVL",
        "V2",
        "V5",
        "III",
        "aVF",
        "V3",
        "V6",
        "II",
    ]
    (strip,), pieces = trace(ax, seconds), trace(ax, seconds / 4)
    assert len(pieces) == 12
    for i, piece in enumerate(pieces):
        start = strip[0, 0] + 25 * seconds / 4 * (i % 4)
        assert piece[0, 0] == pytest.approx(start)
        peak = piece[piece[:, 1].argmax()]
        assert peak[0] == pytest.approx(start + 25 * seconds / 8, abs=0.1)
        assert np.ptp(piece[:, 1]) == pytest.approx(LEADS.index(order[i]) + 1)
    plt.close(figure)


@pytest.mark.parametrize(("seconds", "starts"), [(3, [0]), (10, [0]), (25, [0, 10, 15])])
def test_long_records_get_pages_and_the_last_page_is_full(seconds, starts, tmp_path, monkeypatch):
    drawn = []
    draw = ecg_paper.draw_ecg_page
    monkeypatch.setattr(
        ecg_paper, "draw_ecg_page", lambda *args: (drawn.append(args), draw(*args))[1]
    )
    signal = noise(1, seconds * 500) / 1000
    path = tmp_path / "$a_1$.pdf"  # a name that a formula could be read in
    assert ecg_paper.plot_ecg_pages(signal, 500, path, "$a_1$: AF", ["flat: V1"]) == len(starts)
    assert [args[4] for args in drawn] == pytest.approx(starts)
    for args in drawn:
        first = round(args[4] * 500)
        np.testing.assert_array_equal(args[0], signal[:, first : first + 5000])
    content = path.read_bytes()
    assert len(re.findall(rb"/Type /Page\b(?!s)", content)) == len(starts)
    boxes = re.findall(rb"/MediaBox \[ ?([\d. ]+?) ?\]", content)
    for box in boxes:
        assert np.array(box.split(), float)[2:] * 25.4 / 72 == pytest.approx([297, 210], abs=0.01)
    assert len(boxes) == len(starts)
    images = {f"$a_1$.page{i + 1}.png" if i else "$a_1$.png" for i in range(len(starts))}
    assert {file.name for file in tmp_path.iterdir()} == images | {path.name}


def test_more_warnings_than_fit_are_pointed_to(tmp_path, monkeypatch):
    notes = []
    draw = ecg_paper.draw_ecg_page
    monkeypatch.setattr(
        ecg_paper, "draw_ecg_page", lambda *args: (notes.append(args[3]), draw(*args))[1]
    )
    for count in (3, 4):
        warnings = [f"warning {i}" for i in range(count)]
        ecg_paper.plot_ecg_pages(noise(1, 600) / 1000, 500, tmp_path / "a.pdf", "t", warnings)
    assert notes[0].splitlines() == ["warning 0", "warning 1", "warning 2"]
    assert "more warnings" in notes[1].splitlines()[2] and len(notes[1].splitlines()) == 3


def test_an_answer_loads_nothing_it_does_not_need():
    code = "import sys, predict; print(*{'shap', 'lightgbm', 'wfdb', 'pywt', 'matplotlib'} & " \
           "set(sys.modules))"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          cwd=Path(__file__).parents[2], check=True)  # fmt: skip
    assert done.stdout.strip() == ""


def test_every_format_is_explained_on_request_and_only_then(workdir, capsys, plain_figures):
    write_record(workdir / "own", "h", noise(5, 700), "59118001")
    scipy.io.savemat(workdir / "own/m.mat", {"ECG": {"data": noise(5, 700) / 1000}})
    table = pd.DataFrame((noise(5, 700) / 1000).T, columns=LEADS)
    table.to_csv(workdir / "own/c.csv", index=False)
    np.save(workdir / "own/n.npy", noise(5, 700) / 1000)
    flags = "--record", "own/h", "own/m.mat", "own/c.csv", "own/n.npy", "--sample-rate", 500
    ask(*flags, "--no-pages")
    assert not PAGES.exists()
    ask(*flags, "--no-pages", "--explain")
    names = {path.name for path in (PAGES / "explained").iterdir()}
    assert names == {f"{name}.{suffix}" for name in "hmcn" for suffix in ("pdf", "png")}
    assert "explained" in capsys.readouterr().out
    _, error = refused(capsys, "--explain")
    assert "--record" in error
