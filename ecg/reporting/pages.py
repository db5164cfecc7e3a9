"""Fill the templates and write the pages: a run's scores, its explanations, the report.

A page is one file of HTML with its style inside; it needs no network. All text that a template is
given is escaped, so that no name of a file, record or class can be markup. A page's policy allows
no script but that of templates/, by its digest.
"""

import base64
import hashlib
import html
import re
from pathlib import Path
from typing import NamedTuple

import jinja2
import pandas as pd

from ecg.evaluation.caveats import doubtful_classes
from ecg.explanation.attributions import RELIABLE, UNKNOWN, WINDOWS
from ecg.plot.scores import captions
from ecg.processing.beats import REGIONS
from ecg.reporting.pictures import picture
from ecg.reporting.score_tables import challenge_table, one_run_table
from ecg.reporting.tables import is_numeric, links, load_csv, number, percent, without_empty
from utils import RESEARCH_USE, read_json, replacing, results_path

TEMPLATES = Path(__file__).parent / "templates"
REGION_NAMES = dict(zip(REGIONS, ("before QRS", "QRS", "ST-T", "elsewhere"), strict=True))


def policy(script=None):
    """Return a page's content security policy; `script` is the file that the page includes."""
    rules = "default-src 'none'; img-src data: file: 'self'; style-src 'unsafe-inline'; "
    rules += "base-uri 'none'; form-action 'none'"
    if script is None:
        return rules
    text = "\n" + (TEMPLATES / script).read_text(encoding="utf-8")  # as it stands in the page
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"{rules}; script-src 'sha256-{digest}'"


def text_columns(table):
    """Return the places of the columns that hold more than numbers: they are left-aligned."""
    columns = zip(*table.rows, strict=True)
    return {i for i, column in enumerate(columns) if not all(map(is_numeric, column))}


def write(path, template, **values):
    """Fill a template with all the values that it asks for and write it, atomically."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (number, percent, picture, text_columns, without_empty)
    environment.filters |= {function.__name__: function for function in filters}
    environment.globals |= {"policy": policy, "research_use": RESEARCH_USE}
    text = environment.get_template(f"{template}.html").render(values)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_scores(folder, thresholds):
    """Write scores.html of a scored run from the files and beside the figures of its folder.

    `thresholds` are the Thresholds that thresholds.json, which is written last, will hold.
    """
    table = load_csv(folder / "scores.csv")
    challenge = read_json(folder / "challenge.json")
    doubtful = doubtful_classes([table])
    figures = {f"{name}.png": caption for name, caption in captions().items()}
    names = ("scores.csv", "predictions.csv", "thresholds.json", "challenge.json", "history.csv")
    write(
        folder / "scores.html",
        "scores",
        title=f"Scores of {folder.name}",
        records=int(table.n.iloc[-1]),
        rule=thresholds.rule,
        notes=thresholds.notes,
        table=one_run_table(table, thresholds.by_class, doubtful),
        marks=doubtful,
        challenge=challenge and challenge_table(challenge),
        challenge_rule=challenge and challenge["rule"],
        figures=[item for item in figures.items() if (folder / item[0]).is_file()],
        links=links([folder / name for name in names], folder),
    )


def write_index():
    """Write results/report.html, which links to the reports beside it by their titles."""
    reports = {}
    for path in sorted(results_path().glob("report_*.html")):
        title = re.search("<title>(.*?)</title>", path.read_text(encoding="utf-8"), re.S)
        reports[path.name] = html.unescape(title[1]) if title else "unreadable"
    write(results_path("report.html"), "index", title="Reports", reports=reports)


class ClassPage(NamedTuple):
    """What the page of explanations shows of one class."""

    name: str
    n: int  # records predicted as this
    map: dict  # lead -> mean share of |value|
    top: float  # the largest of these
    drawn: bool  # whether its average beat is
    beats: list  # rows of beats.csv, dictionaries
    top_beat: float  # the largest share of a region
    records: list  # rows of values.csv, dictionaries


def class_page(folder, name, leads, tables):
    """Return the ClassPage of a class, from its rows of the tables population, beats, values."""
    population, beats, values = (table[table["class"] == name] for table in tables)
    row = population.iloc[0]
    return ClassPage(
        name=name,
        n=int(row.n),
        map=row[leads].to_dict(),
        top=row[leads].max(),
        drawn=(folder / "beats" / f"{name}.png").is_file(),
        beats=beats.to_dict("records"),
        top_beat=beats[list(REGIONS)].max(axis=None),
        records=values[values.predicted == 1].to_dict("records"),
    )


def write_page(folder, run, leads, unit="SHAP value"):
    """Write index.html of a folder of explanations, from its population, beats and values .csv.

    `unit` is what a value is.
    Without its script the page shows every class and record, one below the other.
    """
    text = {"patient_id": str, "class": str}
    read = {"dtype": text, "keep_default_na": False, "na_values": UNKNOWN}
    population, beats = (
        pd.read_csv(folder / f"{name}.csv", dtype={"class": str})
        for name in ("population", "beats")
    )
    tables = population, beats, pd.read_csv(folder / "values.csv", **read)
    write(
        folder / "index.html",
        "explanations",
        title=f"Explanations of {run}",
        leads=list(leads),
        unit=unit,
        regions=REGION_NAMES,
        windows=WINDOWS,
        reliable=RELIABLE,
        classes=[
            class_page(folder, name, list(leads), tables) for name in population["class"][:-1]
        ],
    )
