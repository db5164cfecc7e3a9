"""The page explanations/<run>/index.html: browse a run's explanations from disk, without a network.

One file of HTML with its style and a short script inside; the figures stay beside it. Without the
script every class and record is shown one below the other.
"""

from html import escape
from urllib.parse import quote

import numpy as np
import pandas as pd

from dataset import CLASSES
from ecg.processing.beats import REGIONS
from utils import RESEARCH_USE, replacing

REGION_NAMES = dict(zip(REGIONS, ("before QRS", "QRS", "ST-T", "elsewhere"), strict=True))

STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8882; --accent: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --accent: #6cb8ee; } }
body { font: 16px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 76rem; padding: 1rem; }
h1 { font-size: 1.3rem; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
nav { display: flex; flex-wrap: wrap; gap: .4rem; }
nav a { border: 1px solid var(--line); border-radius: .4rem; padding: .3rem .7rem; }
a { color: var(--accent); } nav a { text-decoration: none; }
nav a[aria-current] { background: var(--accent); color: Canvas; }
.wide { overflow-x: auto; } .note { font-size: .875rem; opacity: .8; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .5rem; text-align: right; }
th:first-child, td:first-child, .text { text-align: left; } tr:hover { background: var(--soft); }
.share { background: rgb(86 180 233 / calc(var(--part) * .8)); }
img { display: block; width: 100%; height: auto; background: white; border-radius: .3rem; }
.wide img { min-width: 44rem; }
"""

SCRIPT = """
const sections = [...document.querySelectorAll("section")];
function show() {
  let id = location.hash.slice(1);
  try { id = decodeURIComponent(id); } catch { /* no anchor of this page */ }
  const target = document.getElementById(id);
  const section = target && target.closest("section") || sections.find(s => s.dataset.n > 0)
    || sections[0];
  for (const s of sections) s.hidden = s !== section;
  for (const a of document.querySelectorAll("nav a")) {
    if (a.hash === "#" + section.id) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
  for (const part of section.children) {  // the overview of the class, or one record
    part.hidden = target && target !== section ? part !== target : part.tagName === "ARTICLE";
  }
  scrollTo(0, 0);
}
addEventListener("hashchange", show);
show();
"""

POLICY = "default-src 'none'; img-src file: 'self'; style-src 'unsafe-inline'; "
POLICY += "script-src 'unsafe-inline'"


def percent(value):
    """Return a share as text, a dash for NaN."""
    return f"{value:.1%}" if np.isfinite(value) else "–"


def table_html(head, rows):
    """Return a table; cells are text or (text, class and style), the first of each row its head."""
    cells = "".join(f"<th>{name}</th>" for name in head)
    lines = ["".join(row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table><tr>{cells}</tr>{body}</table></div>'


def share_cell(value, top):
    """Return a cell with a share, coloured by its part of the largest."""
    if not np.isfinite(value):
        return "<td>–</td>"
    return f'<td class="share" style="--part:{value / max(top, 1e-30):.2f}">{percent(value)}</td>'


def map_html(row, leads):
    """Return a class's row of the heat map."""
    top = row[leads].max()
    cells = "".join(share_cell(row[lead], top) for lead in leads)
    head = "".join(f"<th>{lead}</th>" for lead in leads)
    return (f'<h3>Its map: mean share of |SHAP value| per lead</h3><div class="wide"><table><tr>'
            f"{head}</tr><tr>{cells}</tr></table></div>")  # fmt: skip


def beats_html(name, beats, drawn):
    """Return a class's average beats and its table of lead by part of the beat."""
    figure = "<p>No beat to average.</p>"
    if drawn:
        path = f"beats/{quote(name)}.png"
        figure = f'<div class="wide"><a href="{path}"><img loading="lazy" src="{path}" ' \
                 f'alt="Average beat of {name}, coloured by SHAP value"></a></div>'  # fmt: skip
    rows, top = [], beats[list(REGIONS)].max(axis=None)
    for _, row in beats.iterrows():
        cells = [share_cell(row[region], top) for region in REGIONS]
        rows.append([f'<td class="text">{row["lead"]}</td>', *cells])
    first = beats.iloc[0]
    cells = [f"<td>{percent(first[f'time_{region}'])}</td>" for region in REGIONS]
    rows.append(['<td class="text">share of the time</td>', *cells])
    table = table_html(["lead", *REGION_NAMES.values()], rows)
    return (f"<h3>Its average beat</h3>{figure}<h3>Share of |SHAP value| by part of the beat</h3>"
            f"{table}")  # fmt: skip


def records_html(records):
    """Return a class's list of records, and the articles that show one record each."""
    rows, articles = [], []
    names = list(records["patient_id"])
    for place, row in enumerate(records.to_dict("records")):
        name, anchor = escape(row["patient_id"]), escape(quote("record-" + row["patient_id"]))
        true = escape(row["labels"].replace(";", " + ")) or "none of the nine"
        cells = [
            f'<td class="text"><a href="#{anchor}">{name}</a></td><td class="text">{true}</td>'
        ]
        cells += [f"<td>{row['probability']:.2f}</td><td>{row['residual']:+.2f}</td>"]
        rows.append([*cells, f"<td>{percent(row['padding_share'])}</td>"])
        path = f"patient/{escape(quote(row['patient_id']))}.png"
        others = [(names[place - 1], "previous")] if place else []
        others += [(names[place + 1], "next")] if place + 1 < len(names) else []
        links = [f'<a href="#{escape(quote("record-" + n))}">{text}</a>' for n, text in others]
        links += [f'<a href="#{row["class"]}">back to {row["class"]}</a>']
        articles.append(
            f'<article id="{escape("record-" + row["patient_id"])}"><h2>{name}: predicted '
            f"{row['class']} ({row['probability']:.2f}), labelled {true}</h2><p>"
            f'{" · ".join(links)}</p><div class="wide"><a href="{path}"><img loading="lazy" '
            f'src="{path}" alt="ECG of {name}, coloured by SHAP value"></a></div></article>'
        )
    head = ["record", "labelled", "probability", "residual", "in padding"]
    return f"<h3>Its records</h3>{table_html(head, rows)}", "".join(articles)


def section_html(folder, name, leads, tables):
    """Return everything about one class."""
    population, beats, values = (table[table["class"] == name] for table in tables)
    count = int(population["n"].iloc[0])
    head = f'<section id="{name}" data-n="{count}">'
    title = f"<h2>{name}: n = {count}, the records predicted as this</h2>"
    if not count:
        return f"{head}{title}<p>No record predicted as this.</p></section>"
    drawn = (folder / "beats" / f"{name}.png").exists()
    parts = [map_html(population.iloc[0], leads), beats_html(name, beats, drawn)]
    listed, articles = records_html(values[values["predicted"] == 1])
    return f"{head}<div>{title}{''.join(parts)}{listed}</div>{articles}</section>"


def write_page(folder, run, leads):
    """Write index.html of a folder from its population.csv, beats.csv and values.csv."""
    read = {"dtype": {"patient_id": str}, "keep_default_na": False, "na_values": {}}
    population, beats = (pd.read_csv(folder / f"{name}.csv") for name in ("population", "beats"))
    values = pd.read_csv(folder / "values.csv", **read)
    tables = population, beats, values
    sections = "".join(section_html(folder, name, list(leads), tables) for name in CLASSES)
    counts = population.set_index("class")["n"]
    links = "".join(f'<a href="#{name}">{name} ({counts[name]})</a>' for name in CLASSES)
    title = f"Explanations of {escape(run)}"
    note = (
        "A SHAP value says how far a sample moves the logit of the predicted class: orange up, "
        "blue down. Shares leave out the padding in front of short records. Residual: what the "
        "values of a record miss of the change of its logit."
    )
    html = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<style>{STYLE}</style></head><body>
<h1>{title}</h1><p class="note">{RESEARCH_USE} {note} All classes:
<a href="population.png">mean shares</a>, <a href="population_signed.png">signed sums</a>; tables:
<a href="values.csv">values.csv</a>, <a href="population.csv">population.csv</a>,
<a href="beats.csv">beats.csv</a>.</p>
<nav aria-label="classes">{links}</nav>
{sections}
<script>{SCRIPT}</script></body></html>
"""
    with replacing(folder / "index.html") as temporary:
        temporary.write_text(html, encoding="utf-8")
