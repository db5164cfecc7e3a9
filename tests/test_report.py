"""The report, on results made by hand whose tables are known."""

import json
import re
import time
from base64 import b64decode
from html import unescape
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from browser import NEEDS_CHROMIUM, browser, look_at, run_nothing
from conftest import NEEDS_SHARED, SHARED
from matplotlib.image import imsave
from PIL import Image
from small_run import write_data

from dataset import CLASSES, LEADS, labels_digest
from ecg import report
from ecg.evaluation import classifiers, runs
from ecg.evaluation.scored_run import Digests, Scored, evaluate_run, write_thresholds
from ecg.io.sources import SOURCE_LINE
from ecg.reporting import explanation_section
from ecg.reporting.latex import tabular
from ecg.reporting.paper import is_cpsc2018, read_paper
from ecg.reporting.pictures import picture
from ecg.reporting.score_tables import over_rounds
from ecg.reporting.tables import Table, p_value, without_empty
from utils import InputError

SCORES = ("precision", "recall", "f1", "auc", "accuracy")
COLUMNS = [
    "class",
    "records",
    "percent",
    "male_percent",
    "age_mean",
    "age_sd",
    "seconds_mean",
    "seconds_sd",
]


def scores(f1, **more):
    """Return a scores.csv with an F1 for each class, and one value for the other scores."""
    table = pd.DataFrame({"class": [*CLASSES, "AVG"], "n": 10})
    for name in SCORES:
        table[name] = more.get(name, 0.5)
    table["f1"] = [*f1, np.nanmean(f1)]
    return table


def write_run(name, table):
    """Write what a scored run leaves, as far as the report reads it."""
    folder = report.Path("results", name)
    folder.mkdir(parents=True)
    table.to_csv(folder / "scores.csv", index=False)
    (folder / "predictions.csv").touch()
    (folder / "thresholds.json").write_text('{"labels": "l", "signals": "s"}')


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(*argv):
    report.main(report.parse_args([*argv]))
    newest = max(report.Path("results").glob("report_*.html"), key=lambda p: p.stat().st_mtime_ns)
    return newest.read_text()


def words(html):
    """Return what a reader sees, in one line."""
    body = re.sub("<style>.*?</style>", "", html, flags=re.S)
    return " ".join(unescape(re.sub("<[^>]+>", " ", body)).split())


def table_rows(html, caption):
    """Return {first cell: cells} of a table, without its links."""
    part = html.split(f"<caption>{caption}</caption>")[1].split("</table>")[0]
    part = re.sub("</?(a|span)( [^>]*)?>", "", part)
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in part.split("<tr")]
    return {row[0]: row for row in rows if row}


def paper_dataset():
    """Return dataset_table.csv as it is for CPSC2018, from paper.csv."""
    paper = read_paper()
    part = paper[(paper["table"] == "dataset") & (paper["row"] != "all")]
    table = part.pivot(index="row", columns="column", values="value").astype(float)
    return table.loc[list(CLASSES)].rename_axis("class").reset_index()[COLUMNS]


def write_dataset(name, table):
    folder = report.Path("results", f"dataset_{name}")
    folder.mkdir(parents=True)
    table.to_csv(folder / "dataset_table.csv", index=False)


def test_the_papers_values_agree_with_each_other():
    paper = read_paper()
    assert set(paper["evidence"]) == {"A", "B", "C"}
    assert not paper.duplicated(["table", "row", "column"]).any()
    part = paper[paper["table"] == "scores"]
    table = part.pivot(index="row", columns="column", values="value").astype(float)
    for name in table:  # the averages are the classes', up to rounding
        assert table.loc[list(CLASSES), name].mean() == pytest.approx(
            table.loc["AVG", name], abs=1e-3
        )
    sums = paper_dataset()
    np.testing.assert_allclose(sums["records"] / 68.77, sums["percent"], atol=0.0051)


def test_an_empty_folder_makes_a_report_that_says_so(workdir):
    html = write("--data-dir", "data/CPSC")
    text = words(html)
    assert text.count("Not run") >= 6 and "Nothing has been run" in text
    assert "Research use only" in text and "0.813" not in text
    assert "table of records is missing" in html.split("</title>")[0]
    for step in ("predict.py", "baselines.py", "main.py", "shap_values.py", "-m ecg.faithfulness"):
        assert f"python {step} --data-dir data/CPSC" in text  # how it is run
    assert "python -m ecg.compare --single-leads --data-dir data/CPSC" in text
    assert "whether the scores are of its present data is not known" in text


def test_other_data_than_cpsc2018_are_named_and_show_no_paper(workdir):
    table = paper_dataset()
    table.loc[0, "records"] += 1  # one record more than CPSC2018 has
    write_dataset("CPSC", table)
    write_run("resnet34_CPSC_all_42", scores([0.5] * 9))
    html = write("--data-dir", "data/CPSC")
    assert "not CPSC2018" in html.split("</title>")[0]
    assert "paper inside" not in html and "− paper" not in html
    assert "class n precision precision: CPSC2018" in words(html)
    # the paper's columns are grey and marked as those of CPSC2018, without a difference
    row = table_rows(html, "Scores by class, 95 % intervals in brackets")["SNR"]
    assert row == [
        "SNR",
        "10",
        "0.500",
        "0.814 B",
        "0.500",
        "0.800 B",
        "0.500",
        "0.805 B",
        "0.500",
        "0.974 B",
    ]
    assert html.count('<td class="grey">') == 40 and html.count(": CPSC2018</th>") == 4


@pytest.mark.parametrize("name", ["AF", "low QRS"])
def test_the_papers_letters_are_explained_where_its_values_stand(name, workdir):
    """On other data it has a value for a class that is one of its nine, and for no average."""
    table = scores([0.5] * 9).iloc[[0, 1]].assign(**{"class": [name, "AVG"]})
    write_run("resnet34_mine_all_42", table)
    html = write("--data-dir", "data/mine")
    shown = table_rows(html, "Scores by class, 95 % intervals in brackets")
    letters = re.findall(r"\d ([ABC])\b", " ".join(shown[name]))
    assert letters == ["B"] * 4 * (name == "AF") and "CPSC2018" not in " ".join(shown["AVG"])
    assert not re.search(r"\d [ABC]\b", " ".join(shown["AVG"]))
    for text in ("A was read in the paper; B is second-hand", "in the columns named CPSC2018"):
        assert (text in words(html)) == bool(letters)


def test_the_table_of_records_in_the_data_folder_decides_over_an_old_copy(workdir):
    """The five steps by hand leave no copy of it in results/."""
    old = paper_dataset()
    old.loc[0, "records"] += 1
    write_dataset("CPSC", old)
    (workdir / "data/CPSC").mkdir(parents=True)
    paper_dataset().to_csv("data/CPSC/dataset_table.csv", index=False)
    write_run("resnet34_CPSC_all_42", scores([0.8] * 9, f1_low=0.7, f1_high=0.9))
    html = write("--data-dir", "data/CPSC")
    assert "<title>CPSC2018: the paper beside" in html and 'class="grey"' not in html
    row = table_rows(html, "Scores by class, 95 % intervals in brackets")["SNR"]
    # F1, the paper's, their difference
    assert row[8:11] == ["0.800", "0.805 B", "-0.005"]


def test_each_run_has_its_report_and_the_index_lists_them(workdir, capsys):
    write_run("from-general_mine_all_42", scores([0.9] * 9))
    good = write("--data-dir", "data/mine", "--init", "models/general.pth")
    path = workdir / "results/report_from-general_mine_all_42.html"
    assert path.read_text() == good
    assert words(good).count("Run: from-general_mine_all_42") == 1
    assert "glance: from-general" not in good
    names = sorted((workdir / "results").iterdir())
    folder = workdir / "results/from-general_mine_all_42"
    args = {"args": {"init": "models/general.pth", "seed": 42, "leads": list(LEADS)}}
    (folder / "run.json").write_text(json.dumps(args))
    # a run that is not there, beside one that is
    says = re.escape("from-general_mine_all_42 (--init models/general.pth)")
    with pytest.raises(InputError, match=says):
        write("--data-dir", "data/mine")
    assert sorted((workdir / "results").iterdir()) == names
    write_run("resnet34_mine_all_42", scores([0.3] * 9))
    write("--data-dir", "data/mine")
    assert path.read_text() == good
    index = (workdir / "results/report.html").read_text()
    for run in ("from-general_mine_all_42", "resnet34_mine_all_42"):
        assert f'href="report_{run}.html"' in index
    assert "diagnosis" not in re.search("<title>(.*)</title>", good)[1] and "esearch use" in index


def test_cpsc2018_stands_beside_the_paper(workdir):
    write_dataset("CPSC", paper_dataset())
    for end, values in (("", [0.79] * 8 + [0.2]), ("_r1", [0.83] * 8 + [0.21])):
        table = scores(values)
        table = table.assign(f1_low=table["f1"] - 0.05, f1_high=table["f1"] + 0.03)
        write_run(f"resnet34_CPSC_all_42{end}", table)
    html = write("--data-dir", "data/CPSC")
    assert "<title>CPSC2018: the paper beside" in html
    rows = table_rows(html, "Scores by class, 95 % intervals in brackets")
    # by hand: mean .81, sd .0283, ends at sqrt(2 x .05^2) / 2 = .035 below, .021 above
    assert rows["SNR"][:2] == ["SNR", "20"]
    assert rows["SNR"][8:11] == ["0.810 [0.775, 0.831]", "0.805 B", "+0.005"]
    # STE: mean .205, sd .00707: the paper's .535 is outside
    assert rows["STE"][8:11] == ["0.205 [0.170, 0.226]", "0.535 B", "-0.330†"]
    assert rows["AVG"][9] == "0.813 A" and rows["AVG"][12] == "0.970 A"
    spread = table_rows(html, "Standard deviation over the rounds")
    assert [spread[name][3] for name in ("SNR", "STE")] == ["0.028", "0.007"]
    assert "A was read in the paper; B is second-hand" in words(html)
    assert "over the test records, not over trainings" in words(html)
    assert "accuracy: paper" not in html  # which is not known
    # the definition that leads, and how the other one differs
    assert "is the mean of the rounds' scores" in words(html) and "pooled" in words(html)


@pytest.mark.parametrize("mark", ["data/T/S0001.hea", "results/dataset_T/synthetic.txt"])
def test_a_twin_of_cpsc2018_is_never_taken_for_it(mark, workdir):
    write_dataset("T", paper_dataset())
    write_run("resnet34_T_all_42", scores([0.8] * 9))
    html = write("--data-dir", "data/T")
    assert "<title>CPSC2018: the paper beside" in html and "twin" not in html
    (workdir / mark).parent.mkdir(parents=True, exist_ok=True)
    (workdir / mark).write_text(f"S0001 12 500 5000\n{SOURCE_LINE}\n")
    html = write("--data-dir", "data/T", "--note", "The paper's but for: epochs 1 (40).")
    assert "<title>A synthetic twin of CPSC2018 (T): not comparable" in html
    assert "Synthetic twin: not comparable." in html and "but for: epochs 1 (40)." in words(html)
    captions_with_paper = 0
    for table in re.findall(r"<table.*?</table>", html, re.S):
        if "0.805" in table or "0.813" in table or "0.970" in table:  # the paper's SNR, AVG
            captions_with_paper += 1
            assert "synthetic twin: not comparable with the paper" in table
            assert "paper (not comparable)" in table
    assert captions_with_paper == 2  # at a glance, and by class


def test_rounds_that_are_left_out_for_one_reason_share_a_sentence(workdir):
    for end in ("", "_r1", "_r2"):
        write_run(f"resnet34_X_all_42{end}", scores([0.9] * 9))
        (workdir / "results" / f"resnet34_X_all_42{end}/run.json").write_text('{"weights": "w"}')
    text = words(write("--data-dir", "data/X"))
    assert text.count("left out:") == 1
    assert "resnet34_X_all_42 and 2 more rounds are left out: trained again since it was" in text


def test_trainings_and_options_that_are_alike_share_a_row(workdir):
    for run in ("resnet34_X_all_42", "resnet34_X_all_42_r1", "resnet34_X_I_42"):
        write_run(run, scores([0.9] * 9))
        end = {"args": {"seed": 42, "epochs": 2, "arch": "resnet34"}, "versions": {"torch": "2"}}
        end |= {"device": "cpu", "threads": 1, "precision": "float32", "peak_memory_mb": 700}
        end |= {"seconds_per_epoch": [20, 40 if "_r1" in run else 30]}
        end |= {"trained_on": "5,503 records", "notes": ["slow"] * run.endswith("r1")}
        (workdir / "results" / run / "run.json").write_text(json.dumps(end))
    html = write("--data-dir", "data/X")
    name = "resnet34_X_all_42 and 2 more"
    rows = table_rows(html, "Training")
    # 160 s of six epochs
    assert rows[name][1:8] == ["cpu", "1", "float32", "2", "26.7", "2.7", "700"]
    assert list(table_rows(html, "Options")) == [name]
    assert f"{name}: trained on 5,503 records\nresnet34_X_all_42_r1: slow" in html


def test_a_class_that_is_never_tested_has_empty_cells(workdir):
    write_dataset("CPSC", paper_dataset())
    write_run("resnet34_CPSC_all_42", scores([0.8] * 8 + [np.nan], auc=0.9))
    html = write("--data-dir", "data/CPSC")
    row = table_rows(html, "Scores by class, 95 % intervals in brackets")["STE"]
    assert row[8:11] == ["", "0.535 B", ""]  # ours, the paper's, the difference
    assert not re.search(r"\bnan\b", words(html).lower())


@NEEDS_SHARED
def test_cpsc2018_is_recognised_by_its_own_counts():
    metadata = pd.read_csv(SHARED / "cpsc2018_metadata.csv")
    labels = metadata["labels"].str.split(r"[^A-Z]+")
    counts = [labels.apply(lambda names, name=name: name in names).sum() for name in CLASSES]
    table = pd.DataFrame({"class": CLASSES, "records": counts})
    table["percent"] = (100 * table["records"] / len(metadata)).round(2)
    assert len(metadata) == 6877 and is_cpsc2018(table, read_paper())
    for i in range(9):
        other = table.copy()
        other.loc[i, "records"] -= 1
        assert not is_cpsc2018(other, read_paper())


def test_rounds_that_are_all_perfect_have_no_interval_without_a_width():
    """Five rounds of F1 1 whose own intervals begin at .8: sqrt(5 x .2^2) / 5 = .089 below 1."""
    table = scores([1.0] * 9).set_index("class").assign(f1_low=0.8, f1_high=1.0)
    result = over_rounds(dict.fromkeys(range(5), table), "f1").loc["AF"]
    assert result["low"] == pytest.approx(1 - np.sqrt(5 * 0.04) / 5) and result["high"] == 1


def test_columns_without_anything_are_left_out():
    table = Table("t", ["class", "a", "b"], [["", "", "1"], ["AF", "", ""]])
    assert without_empty(table) == Table("t", ["class", "b"], [["", "1"], ["AF", ""]])


def test_what_was_not_run_names_the_command_of_these_runs(workdir):
    argv = ["--data-dir", "data/my set", "--arch", "resnet18", "--width", "24", "--seed", "7"]
    text = words(write(*argv))
    flags = "--data-dir 'data/my set' --arch resnet18 --width 24 --seed 7"
    for step in (
        "main.py",
        "shap_values.py",
        "-m ecg.faithfulness",
        "-m ecg.compare --single-leads",
    ):
        assert f"python {step} {flags}" in text
    assert "python baselines.py --data-dir 'data/my set'" in text


@pytest.fixture
def scored(workdir):
    """Write a run scored on a test fold whose records are known: two AF, of which one is missed."""
    write_data(workdir / "data/own", n=180)
    labels = pd.read_csv("data/own/labels.csv")
    y_true = labels[list(CLASSES)].to_numpy()
    y_score = np.random.default_rng(0).uniform(0, 0.3, y_true.shape) + 0.6 * y_true
    test = np.flatnonzero(labels.fold == 10)
    positives = [i for i in test if y_true[i, 1]]
    negative = next(i for i in test if not y_true[i, 1])
    y_score[positives[0], 1], y_score[negative, 1] = 0.05, 0.99
    folder = workdir / "results/resnet34_own_all_42"
    folder.mkdir(parents=True)
    parts = [
        Scored(labels[labels.fold == fold].reset_index(drop=True), y_score[labels.fold == fold])
        for fold in (9, 10)
    ]
    _, thresholds = evaluate_run(folder, *parts)
    write_thresholds(folder, thresholds, Digests(None, labels_digest(labels), "test 1"))
    names = labels.patient_id
    return {
        "missed": names[positives[0]],
        "false alarms": names[negative],
        "found": names[positives[1]],
    }


def test_each_class_shows_its_records_and_curves(scored):
    html = write("--data-dir", "data/own")
    articles = dict(
        re.findall(r'<article class="class" id="class-(\w+)">(.*?)</article>', html, re.S)
    )
    assert list(articles) == list(CLASSES)
    for kind, name in scored.items():
        assert re.search(rf"<b>{kind}:</b> {name} \(0.\d\d\)", articles["AF"])
    assert "1 missed, 1 false alarms" in words(articles["AF"])
    assert all(part.count("<img") == 1 for part in articles.values())
    table = html.split("<caption>Scores by class")[1].split("</table>")[0]
    for name in CLASSES:
        assert table.count(f'<a href="#records-{name}">') == 1
        assert table.count(f'<a href="#class-{name}">') == 4  # precision, recall, F1, AUC
    assert len(html) < 5e6


@NEEDS_CHROMIUM
def test_a_cell_leads_to_its_class_and_the_search_leaves_rows(scored, workdir):
    write("--data-dir", "data/own")
    look = """(() => { const seen = s => [...document.querySelectorAll(s)].filter(
        e => e.checkVisibility()).map(e => e.id || e.cells[0].textContent).join();
        return [seen("article.class"), seen("details[open]"), seen("table.sortable tbody tr")]
        .join("|"); })()"""
    rows = ",".join([*CLASSES, "AVG"])
    click = "document.querySelector('td a[href=\"#%s\"]').click()"
    find = """(() => { const input = document.querySelector("input"); input.value = "%s";
        input.dispatchEvent(new Event("input")); })()"""
    steps = [
        ("0", f"class-SNR||{rows}"),
        (click % "class-RBBB", f"class-RBBB||{rows}"),
        (click % "records-AF", f"class-AF|records-AF|{rows}"),
        (find % "bb", "class-AF|records-AF|LBBB,RBBB,AVG"),
        (find % "", f"class-AF|records-AF|{rows}"),
    ]
    with browser(workdir / "browser") as page:
        page.open(workdir / "results/report_resnet34_own_all_42.html", 1280)
        for step, expected in steps:
            page.evaluate(step)
            limit = time.monotonic() + 20
            while page.evaluate(look) != expected and time.monotonic() < limit:
                time.sleep(0.05)
            assert page.evaluate(look) == expected
        assert page.complaints() == []


def test_the_screen_ends_with_one_table_and_the_reports_path(workdir, capsys):
    write_run("resnet34_X_all_42", scores([0.9] * 9, auc=0.95))
    write_run("LR_X_42", scores([0.4] * 8 + [0.2], auc=0.75))
    write("--data-dir", "data/X")
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].endswith(f" {workdir / 'results' / 'report_resnet34_X_all_42.html'}")
    rows = {line.split()[0]: line.split() for line in lines[:-1] if line}
    assert rows["resnet34"][1:4] == ["0.900", "0.950", "0.950"] and len(rows["LR"]) == 12
    assert rows["LR"][1] == "0.378"  # (8 x .4 + .2) / 9
    assert sum("0.378" in line for line in lines) == 1


def test_every_section_says_what_of_the_paper_it_answers(workdir):
    html = write("--data-dir", "data/CPSC")
    sections = re.findall(r'<section>\s*<h2 id="\w+">.*?</h2>\s*<p class="note">(.*?)</p>', html)
    assert len(sections) == html.count("<section>") == 9
    assert all(re.match("(In|Not in|Partly in) the paper: ", text) for text in sections)


def read_tabular(text):
    """Return the cells of a tabular, by a few lines of our own."""
    plain = text.replace("\\%", "%").replace("$-$", "−").replace("\\_", "_").replace("\\#", "#")
    rows = [line.removesuffix(r" \\") for line in plain.splitlines() if line.endswith(r"\\")]
    return [row.split(" & ") for row in rows]


def test_latex_holds_every_table_with_its_intervals(workdir, capsys):
    write_dataset("CPSC", paper_dataset())
    table = scores([0.79] * 9)
    write_run("resnet34_CPSC_all_42", table.assign(f1_low=table["f1"] - 0.05, f1_high=0.83))
    html = write("--data-dir", "data/CPSC", "--latex")
    written = {path.stem: path.read_text() for path in workdir.glob("results/latex/*.tex")}
    assert len(written) == html.count("<caption>") and "tables in results/latex" in (
        capsys.readouterr().out
    )
    text = written["scores-by-class-95-intervals-in-brackets"]
    rows = {row[0]: row for row in read_tabular(text)}
    shown = table_rows(html, "Scores by class, 95 % intervals in brackets")
    assert rows["SNR"] == shown["SNR"]
    assert "0.790 [0.740, 0.830]" in rows["SNR"] and "F1: paper" in rows["class"]
    columns = re.search(r"begin{tabular}{([lr]+)}", text)[1]
    assert all(len(row) == len(columns) for row in rows.values()) and "esearch use only" in text


def test_no_text_of_a_table_is_a_command_of_latex():
    hostile = r"\input{x} 5 % of $a_b^2$ & #1 {~} \\"
    text = tabular(
        Table(hostile + "\n" + hostile, ["class", hostile], [["[2]", hostile], ["*", "1"]])
    )
    body = "".join(line for line in text.splitlines(True) if not line.startswith("% "))
    body = re.sub(r"\\text(backslash|asciicircum|asciitilde) ", "", body)
    body = re.sub(r" \\\\$", "", body, flags=re.M)
    assert re.sub(r"\\[&%$#_{}]", "", body).count("&") == 3  # one in each row
    assert not re.search(r"\\(?!begin|end|toprule|midrule|bottomrule|[&%$#_{}])", body)
    assert text.count("\n%") == 1  # the caption, of two lines, is one comment; booktabs the other
    assert "\n{}[2] & " in text  # which would else be an argument of the line break before


def test_large_figures_are_made_small_and_keep_their_colours(tmp_path):
    colours = np.zeros((700, 2400, 3))
    colours[...] = np.random.default_rng(0).random((700, 2400, 1)) ** 0.2  # much grey
    colours[100:160, 100:160] = 0.85, 0.65, 0
    imsave(tmp_path / "large.png", colours)
    imsave(tmp_path / "small.png", colours[:20, :20])
    large = picture(tmp_path / "large.png")
    kind, content = large["src"].split(",")
    image = Image.open(BytesIO(b64decode(content)))
    assert "image/png" in kind and image.size == (large["width"], large["height"]) == (1500, 438)
    assert len(b64decode(content)) < (tmp_path / "large.png").stat().st_size / 2
    gold = np.array(image.convert("RGB"))[80, 80]  # of 130 in 2400
    assert np.abs(gold - 255 * colours[130, 130]).max() < 16
    kept = picture(tmp_path / "small.png")["src"].split(",")[1]
    assert b64decode(kept) == (tmp_path / "small.png").read_bytes()


def test_one_round_has_the_bootstraps_interval():
    table = scores([0.5] * 9).set_index("class").assign(f1_low=0.3, f1_high=0.7)
    result = over_rounds({4: table}, "f1")
    assert result["sd"].isna().all()
    assert (result["low"] == 0.3).all() and (result["high"] == 0.7).all()


def test_two_rounds_have_an_interval_from_their_test_records():
    """The bootstrap of a mean of two independent means, against its normal approximation."""
    rng = np.random.default_rng(0)
    samples = rng.normal(0.6, 0.2, 400), rng.normal(0.6, 0.1, 400)
    drawn = np.array([[rng.choice(x, 400).mean() for x in samples] for _ in range(2000)])
    tables = {}
    for i, sample in enumerate(samples):
        low, high = np.quantile(drawn[:, i], [0.025, 0.975])
        tables[i] = scores([sample.mean()] * 9).set_index("class").assign(f1_low=low, f1_high=high)
    result = over_rounds(tables, "f1").loc["AF"]
    expected = np.quantile(drawn.mean(1), [0.025, 0.975])
    assert result[["low", "high"]].tolist() == pytest.approx(expected, abs=1e-3)
    assert result["sd"] == pytest.approx(abs(samples[0].mean() - samples[1].mean()) / np.sqrt(2))


def test_ten_rounds_give_mean_sd_and_the_corrected_interval():
    rng = np.random.default_rng(0)
    values = rng.uniform(0.6, 0.7, (10, 9))
    tables = {i: scores(row).set_index("class") for i, row in enumerate(values)}
    result = over_rounds(tables, "f1").loc["AF"]
    drawn = values[:, 1]
    half = 2.262 * drawn.std(ddof=1) * np.sqrt(0.1 + 0.125)  # t with 9 degrees of freedom
    assert result["n"] == 100 and result["mean"] == pytest.approx(drawn.mean())
    assert result["high"] - result["mean"] == pytest.approx(half, rel=1e-3)


def test_baselines_stand_beside_the_network(workdir):
    write_run("resnet34_X_all_42", scores([0.9] * 9))
    write_run("LR_X_42", scores([0.4] * 9))
    write_run("LR_X_42_r1", scores([0.6] * 9))
    rows = table_rows(write("--data-dir", "data/X"), "F1, mean over the rounds")
    assert rows["LR"] == ["LR", "2", *["0.500"] * 10]
    assert rows["resnet34"] == ["resnet34", "1", *["0.900"] * 10]


def test_examples_are_the_first_right_ones_by_name(workdir):
    folder = report.Path("explanations/resnet34_X_all_42")
    (folder / "patient").mkdir(parents=True)
    rows = [("B", "AF", "AF"), ("A", "SNR", "AF"), ("C", "AF;PVC", "AF"), ("D", "PVC", "STD")]
    table = pd.DataFrame(rows, columns=["patient_id", "labels", "class"]).assign(predicted=1)
    table["reliability"] = [0.8, 0.95, np.nan, 0.7]
    table.to_csv(folder / "values.csv", index=False)
    for name, _, _ in rows:
        imsave(folder / "patient" / f"{name}.png", np.zeros((4, 4, 3)))
    html = write("--data-dir", "data/X")
    assert re.findall(r"<figcaption>(.*?)</figcaption>", html) == ["B: labelled AF, predicted AF"]
    assert re.findall(r'<article class="class" id="class-(\w+)">', html) == ["AF"]
    assert "data:image/png;base64,iVBOR" in html and str(workdir) not in html
    assert "http" not in html.replace("http-equiv", "")
    text = (
        "windows of 40 ms: median 0.80 (range 0.70 to 0.95) over 3 records, 1 of them at least 0.9"
    )
    assert text in words(html)


@pytest.mark.parametrize("content", ["", "class,n\n", "{", "class;rank\n1;2"])
def test_damaged_files_leave_a_section_out_and_the_report_whole(workdir, content):
    write_run("resnet34_made_all_42", scores([0.5] * 9))
    run = "resnet34_made_all_42"
    for path in (
        f"results/{run}_r1/scores.csv",
        f"explanations/{run}/values.csv",
        f"explanations/{run}/faithfulness.csv",
        f"results/{run}/run.json",
        f"results/compare_leads_{run}/single_lead.csv",
        "results/.reproduce/x.json",
    ):
        report.Path(path).parent.mkdir(parents=True, exist_ok=True)
        report.Path(path).write_text(content)
    text = words(write("--data-dir", "data/made"))
    assert "macro F1" in text and text.count("Not run") >= 3


def test_explanations_of_other_weights_and_old_comparisons_are_not_shown(workdir):
    write_run("resnet34_made_all_42", scores([0.5] * 9))
    shap = report.Path("explanations/resnet34_made_all_42")
    (shap / "faithfulness").mkdir(parents=True)
    (shap / "population.png").write_bytes(b"")
    leads = report.Path("results/compare_leads_resnet34_made_all_42")
    leads.mkdir()
    (leads / "single_lead.csv").write_text("rank,leads\n1,I\n")
    for folder, weights in (
        (shap, "a"),
        (shap / "faithfulness", "a"),
        (report.Path("results/resnet34_made_all_42"), "b"),
    ):
        (folder / "run.json").write_text(json.dumps({"weights": weights}))
    text = words(write("--data-dir", "data/made"))
    assert text.count("explains other weights") == 3 and "Mean share of" not in text
    assert "made from other scores" in text and "python -m ecg.compare --single-leads" in text


def test_scores_of_other_labels_are_left_out(workdir):
    labels = pd.DataFrame({"patient_id": ["A", "B"], **dict.fromkeys(CLASSES, 1), "fold": [1, 2]})
    folder = workdir / "data" / "X"
    folder.mkdir(parents=True)
    (folder / "signals.json").write_text('{"fingerprint": "s"}')
    labels.to_csv(folder / "labels.csv", index=False)
    write_run("resnet34_X_all_42", scores([0.9] * 9))
    says = (
        "resnet34_X_all_42 is left out: the labels have changed since it was scored; run predict.py"
    )
    html = write("--data-dir", "data/X")
    assert says in words(html) and "0.900" not in html
    today = {"labels": labels_digest(labels), "signals": "s"}
    marks = report.Path("results/resnet34_X_all_42/thresholds.json")
    marks.write_text(json.dumps(today))
    html = write("--data-dir", "data/X")
    assert "left out:" not in words(html) and "0.900" in html
    marks.write_text(json.dumps({"labels": today["labels"], "signals": "other"}))
    assert "the signals have changed" in words(write("--data-dir", "data/X"))


def test_classes_whose_threshold_says_little_are_marked(workdir):
    write_run("resnet34_X_all_42", scores([0.9] * 9))
    table = scores([0.9] * 7 + [0.2, 0.6]).assign(n=[10] * 9 + [40], specificity=0.9, recall=0.8)
    table.loc[8, ["recall", "specificity"]] = 1, 1 / 6  # STE: 10 + 25 of 40 called
    write_run("LR_X_42", table)
    html = write("--data-dir", "data/X")
    cells = table_rows(html, "F1, mean over the rounds")["LR"]
    assert cells[2:] == [*["0.900"] * 7, "0.200*", "0.600*", "0.789"]
    text = words(html)
    # 2 x 10 / 50
    assert "STD: no better than calling every record positive (F1 0.400)" in text
    assert "STE: positive in 35 of 40" in text


def test_jobs_of_a_reproduction_and_files_beside_the_report(workdir):
    write_run("resnet34_X_all_42", scores([0.9] * 9))
    folder = workdir / "results" / "times_X"
    folder.mkdir()
    head = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
    for name, row in (
        ("train_a", "90\t0:01:30\t1080.5\t1\t1\t1\t1\t1\t1\t150"),
        ("train_a_r1", "60\t0:01:00\t1090\t1\t1\t1\t1\t1\t1\t90"),
        ("compare_leads", "30\t0:00:30\t1\t1\t1\t1\t1\t1\t1\t6"),
        ("short", "0.3\t0:00:00\tNA\tNA\tNA\tNA\tNA\tNA\tNA\t-"),
    ):
        (folder / f"{name}.tsv").write_text(head + row + "\n")
    (folder / "damaged.tsv").write_text("")
    html = write("--data-dir", "data/X")
    rows = table_rows(html, "Jobs of the reproduction")
    assert list(rows) == ["compare_leads", "short", "train"]
    # a row a rule: 75 s a job, 150 s in all, 240 s of processor, the larger memory
    assert rows["train"] == ["train", "2", "75.0", "90.0", "2.5", "4.0", "1090"]
    assert rows["short"][-2:] == ["", ""]
    for link in re.findall(r'href="([^#"]*)"', html):
        assert link == "data:," or (workdir / "results" / link).is_file()
    assert 'href="resnet34_X_all_42/scores.csv"' in html


HOSTILE = "<script>document.title='run'<img src=x onerror=document.title='run'> & \"q\" 'a'{{7*7}}"


@NEEDS_CHROMIUM
def test_no_name_or_text_of_a_file_is_markup_or_runs(workdir, monkeypatch):
    run = f"resnet34_{HOSTILE}_all_42"
    for name in (run, f"LR_{HOSTILE}_42"):
        write_run(name, scores([0.8] * 9).replace({"class": {"AF": HOSTILE}}))
    text = {"args": {"seed": HOSTILE}, "versions": {HOSTILE: HOSTILE}, "notes": [HOSTILE]}
    (workdir / "results" / run / "run.json").write_text(json.dumps(text))
    write_dataset(HOSTILE, paper_dataset().replace({"class": {"AF": HOSTILE}}))
    folder = workdir / "explanations" / run
    (folder / "patient").mkdir(parents=True)
    values = pd.DataFrame({"patient_id": [HOSTILE], "labels": "AF;" + HOSTILE, "class": "AF"})
    values.assign(predicted=1).to_csv(folder / "values.csv", index=False)
    imsave(folder / "patient" / f"{HOSTILE}.png", np.zeros((4, 4, 3)))
    check = pd.DataFrame({"check": [HOSTILE], "measure": HOSTILE, "class": "all", "n": 1})
    check.assign(mean=1, low=0, high=1).to_csv(folder / "faithfulness.csv", index=False)
    (workdir / "results" / f"times_{HOSTILE}").mkdir()
    (workdir / "results" / f"times_{HOSTILE}" / f"{HOSTILE}.tsv").write_text("s\tx\n1\t1\n")
    html = write("--data-dir", f"data/{HOSTILE}")
    assert html.count("<script") == 1 and "<img src=x" not in html  # its own, that sorts
    seen = run_nothing(workdir / "results" / f"report_{run}.html", workdir / "browser")
    assert seen["scripts"] == 1 and seen["text"].count(HOSTILE) >= 12


@NEEDS_CHROMIUM
def test_a_full_report_fits_any_screen(workdir, monkeypatch):
    for module in (report, runs):
        monkeypatch.setattr(module, "METHODS", (*classifiers.METHODS, "A" * 90))
    write_dataset("CPSC", paper_dataset())
    name = "resnet34_CPSC_all_42"
    write_run(name, scores([0.8] * 9))
    write_run("LR_CPSC_42", scores([0.4] * 9))
    imsave(f"results/{name}/history.png", np.zeros((900, 1600, 3)))
    leads = pd.DataFrame({"rank": range(1, 13), "leads": LEADS, "n": 700})
    for score in ("f1", "auc"):
        for end in ("", "_low", "_high"):
            leads[score + end] = 0.5
    folder = report.Path(f"results/compare_leads_{name}")
    folder.mkdir()
    leads.assign(**{f"f1_{k}": 0.5 for k in CLASSES}).to_csv(
        folder / "single_lead.csv", index=False
    )
    write("--data-dir", "data/CPSC")
    look_at(
        workdir / f"results/report_{name}.html",
        workdir / "browser",
        images=1,
    )


def test_a_p_is_never_nought():
    assert [p_value(value) for value in (0, 0.00099, 0.001, 0.25, np.nan)] == [
        "< 0.001",
        "< 0.001",
        "0.001",
        "0.250",
        "",
    ]


def test_the_table_of_checks_leaves_out_what_repeats_another_row(tmp_path):
    kept = [
        "windows, another seed",
        "pointing game",
        "share in leads",
        "reliability of 100 samples",
    ]
    left = ["leads, another seed", "ranks of single samples, another seed", "deletion top 5%"]
    rows = [["seeds", measure, "all", 4, 0.5, 0.4, 0.6] for measure in [*kept, *left]]
    columns = ["check", "measure", "class", "n", "mean", "low", "high"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "faithfulness.csv", index=False)
    (table,) = explanation_section.checks(tmp_path, CLASSES).tables
    assert [row[1] for row in table.rows] == kept
