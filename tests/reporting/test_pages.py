"""The page of a run: complete on disk, safe, and working in a browser."""

import json
import re
import shutil
import time
from html.parser import HTMLParser
from urllib.parse import unquote

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from browser import NEEDS_CHROMIUM, browser, run_nothing
from jinja2 import UndefinedError

from dataset import CLASSES, LEADS
from ecg.evaluation.scored_run import Digests, Scored, evaluate_run, write_thresholds
from ecg.explanation.beat_averages import BeatAverages
from ecg.plot.scores import captions
from ecg.reporting import pages
from ecg.reporting.pages import write_page

ODD = 'R&<b>"2"#3%'  # a record's name may be any file name


@pytest.fixture
def folder(tmp_path):
    """Write what shap_values.py leaves: two records of AF, one of STE, none of the others."""
    names = [("R1", "AF", "AF;PVC"), (ODD, "AF", ""), ("R3", "STE", "STE")]
    columns = ["patient_id", "class", "labels"]
    values = pd.DataFrame(names, columns=columns).assign(predicted=1, probability=0.75)
    values = values.assign(residual=-0.25, padding_share=0.125)
    values = values.assign(reliability=[0.83, 0.95, np.nan], reliability_leads=[0.97, np.nan, 1.0])
    values = values.assign(samples=[200, 180, 40], start=[2.5, 0, 0])
    values.loc[3] = ["R3", "AF", "STE", 0, 0.1, 0, 0, 0.1, 0.1, 200, 0]  # with --classes all
    values.to_csv(tmp_path / "values.csv", index=False)
    shares = np.full((10, 12), np.nan)
    shares[[1, 8, 9]] = np.arange(1, 13) / 78
    population = pd.DataFrame(shares, columns=list(LEADS))
    population.insert(0, "class", [*CLASSES, "AVG"])
    population.insert(1, "n", [0, 2, 0, 0, 0, 0, 0, 0, 1, 3])
    population.to_csv(tmp_path / "population.csv", index=False)
    averages = BeatAverages(CLASSES, LEADS)
    averages.records[[1, 8]] = 2, 1
    averages.shares[[1, 8]] = np.array([[0.25, 1, 0.5, 0.25], [0.2, 0.3, 0.4, 0.1]])[:, None]
    averages.table().to_csv(tmp_path / "beats.csv", index=False)
    for path in ("beats/AF", "patient/R1", f"patient/{ODD}", "patient/R3", "population"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        plt.imsave(tmp_path / f"{path}.png", np.zeros((40, 300)))
    for name in ("population_signed.png", "population_both.png", "population_both.svg"):
        shutil.copy(tmp_path / "population.png", tmp_path / name)
    for path in list(tmp_path.glob("patient/*.png")):
        shutil.copy(path, path.with_suffix(".pdf"))
    write_page(tmp_path, "resnet34_CPSC_all_42", LEADS)
    return tmp_path


class Links(HTMLParser):
    """Collects the targets of links and images, and the names of anchors."""

    def __init__(self):
        super().__init__()
        self.targets, self.anchors = [], []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.targets += [found[name] for name in ("href", "src") if name in found]
        self.anchors += [found["id"]] if "id" in found else []


def test_every_link_leads_to_a_file_or_an_anchor_and_none_to_a_network(folder):
    text = (folder / "index.html").read_text()
    links = Links()
    links.feed(text)
    assert len(links.targets) > 20 and len(set(links.anchors)) == len(links.anchors)
    for target in links.targets:
        path = unquote(target)
        if path.startswith("#"):
            assert path[1:] in links.anchors
        elif path != "data:,":  # the page has no icon
            assert (folder / path).is_file()
    assert not re.search(r"https?:|//[a-z]", text)
    assert "Research use only" in text and "&lt;b&gt;" in text and "<b>" not in text


def test_numbers_of_the_page_are_those_of_the_tables(folder):
    text = (folder / "index.html").read_text()
    parts = dict(re.findall(r'<section id="(\w+)"(.*?)</section>', text, re.S))
    assert list(parts) == list(CLASSES)
    assert "No record predicted as this" in parts["SNR"] and "<img" not in parts["SNR"]
    assert "15.4%" in parts["AF"]  # 12 / 78 in V6
    assert "12.5%" in parts["AF"] and "50.0%" in parts["AF"]  # 0.25 / 2, 1 / 2
    assert "AF + PVC" in parts["AF"] and "none of the classes" in parts["AF"]
    assert parts["AF"].count("<article") == 2 and "R3" not in parts["AF"]
    articles = dict(re.findall(r'<article id="record-(\w+).*?>(.*?)</article>', text, re.S))
    assert "windows\n0.83, of the\nleads' shares 0.97, from 200 samples" in articles["R1"]
    assert "should not be read" in articles["R1"] and "2.5 s" in articles["R1"]
    assert "windows\n0.95, from 180 samples" in articles["R"]  # ODD, with less than three leads
    assert "should not be read" not in articles["R"]
    assert "reliability is not known" in articles["R3"] and "nan" not in text.lower()
    assert "<td>0.83</td>" in parts["AF"] and "windows of 40 ms" in text
    assert "No beat to average" in parts["STE"] and "40.0%" in parts["STE"]


@NEEDS_CHROMIUM
def test_page_in_a_browser(folder, tmp_path):
    look = """(() => { const seen = s => [...document.querySelectorAll(s)].filter(
        e => e.checkVisibility()), names = s => seen(s).map(e => e.id).join();
        return [names("section"), names("article"), seen("nav [aria-current]").length,
        seen("img").every(e => e.complete && e.naturalWidth == 300),
        document.documentElement.scrollWidth <= innerWidth].join("|"); })()"""
    steps = [  # the first class that has records, then by clicks: a class, a record, the next
        (None, "AF||1|true|true"),
        ('nav a[href="#STE"]', "STE||1|true|true"),
        ('nav a[href="#AF"]', "AF||1|true|true"),
        ('td a[href="#record-R1"]', "AF|record-R1|1|true|true"),
        ("article:not([hidden]) p a", f"AF|record-{ODD}|1|true|true"),
        ('nav a[href="#SNR"]', "SNR||1|true|true"),
    ]
    with browser(tmp_path / "profile") as page:
        for width, dark in ((1280, False), (400, True)):
            page.open(folder / "index.html", width, dark)
            for link, expected in steps:
                if link:
                    page.evaluate(f"document.querySelector('{link}').click()")
                limit = time.monotonic() + 20
                while page.evaluate(look) != expected and time.monotonic() < limit:
                    time.sleep(0.05)  # a picture is loaded when it comes into view
                assert page.evaluate(look) == expected
        page.evaluate("location.hash = '#%'")  # no such record
        time.sleep(0.1)
        assert page.evaluate(look).startswith("AF||1|")
        assert page.complaints() == []


HOSTILE = "<script>document.title='run'<img src=x onerror=document.title='run'> & \"q\" 'a'{{7*7}}"


@NEEDS_CHROMIUM
def test_no_record_class_or_run_is_markup_on_the_page_of_explanations(folder, tmp_path):
    for name in ("values", "population", "beats"):
        table = pd.read_csv(folder / f"{name}.csv", dtype=str, keep_default_na=False)
        table = table.replace({"R1": HOSTILE, "AF": HOSTILE, "AF;PVC": HOSTILE})
        table.to_csv(folder / f"{name}.csv", index=False)
    for part, old in (("patient", "R1"), ("beats", "AF")):
        shutil.copy(folder / part / f"{old}.png", folder / part / f"{HOSTILE}.png")
    write_page(folder, HOSTILE, LEADS)
    seen = run_nothing(folder / "index.html", tmp_path / "profile")
    assert seen["scripts"] == 1 and seen["text"].count(HOSTILE) >= 7
    with browser(tmp_path / "profile") as page:  # the page's own script works, and no other may
        page.open(folder / "index.html", 1280)
        page.evaluate("document.querySelector('td a').click()")
        time.sleep(0.2)
        assert page.evaluate("document.querySelector('article:not([hidden])').id").endswith(HOSTILE)
        page.evaluate("""document.body.insertAdjacentHTML("beforeend", "<img src=x: onerror="
            + "document.title='run'>"); const s = document.createElement("script");
            s.textContent = "document.title = 'run'"; document.body.append(s)""")
        time.sleep(0.2)
        assert page.evaluate("document.title") != "run" and page.complaints()


@pytest.fixture
def scored(tmp_path):
    """Write what predict.py leaves of 40 records, all of which are called STE; none is STD."""
    rng = np.random.default_rng(0)
    labels = pd.DataFrame((rng.random((40, 9)) < 0.3).astype(int), columns=list(CLASSES))
    labels = labels.assign(STD=0, fold=1).assign(patient_id=[f"P{i}" for i in range(40)])
    scores = 0.6 * labels[list(CLASSES)].to_numpy() + 0.4 * rng.random((40, 9))
    scores[:, 8] = 0.5
    folder = tmp_path / "results" / "resnet34_X_all_42"
    folder.mkdir(parents=True)
    scored = Scored(labels, scores)
    _, thresholds = evaluate_run(folder, scored, scored)
    write_thresholds(folder, thresholds, Digests())
    for name in captions():
        plt.imsave(folder / f"{name}.png", np.zeros((40, 300)))
    return folder, thresholds


def test_page_of_scores_shows_the_files_of_the_run(scored):
    folder, thresholds = scored
    pages.write_scores(folder, thresholds)
    text = (folder / "scores.html").read_text()
    table = pd.read_csv(folder / "scores.csv").set_index("class")
    rows = [re.findall("<td[^>]*>(.*?)</td>", part) for part in text.split("<tr")]
    rows = {row[0]: row for row in rows if row}
    f1, low, high = table.loc["AVG", ["f1", "f1_low", "f1_high"]]
    assert rows["AVG"][5] == f"{f1:.3f} [{low:.3f}, {high:.3f}]"
    assert rows["AF"][1:3] == [str(table.loc["AF", "n"]), f"{thresholds.by_class['AF']:.2f}"]
    assert rows["STD"][3:] == [""] * 9  # not in the data
    assert "STE*" in rows and "STE: positive in 40 of 40" in text
    challenge = json.loads((folder / "challenge.json").read_text())
    assert f"{challenge['F1']:.3f}" in text and challenge["rule"][:20] in text
    links = Links()
    links.feed(text)
    assert {*(f"{name}.png" for name in captions()), "scores.csv"} <= set(links.targets)
    assert all((folder / link).is_file() for link in links.targets if link != "data:,")
    assert "Research use only" in text and not re.search(r"https?:|//[a-z]", text)


@NEEDS_CHROMIUM
def test_no_class_run_or_note_is_markup_on_the_page_of_scores(scored, tmp_path):
    folder, thresholds = scored
    folder = folder.rename(folder.with_name(HOSTILE))
    table = pd.read_csv(folder / "scores.csv").replace({"AF": HOSTILE})
    table.to_csv(folder / "scores.csv", index=False)
    pages.write_scores(folder, thresholds._replace(notes=[HOSTILE], rule=HOSTILE))
    seen = run_nothing(folder / "scores.html", tmp_path / "profile")
    assert seen["scripts"] == 0 and seen["text"].count(HOSTILE) >= 4


def test_a_value_that_a_template_is_not_given_stops_and_leaves_the_old_page(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("old")
    with pytest.raises(UndefinedError):
        pages.write(path, "scores", title="no more than a title")
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1
