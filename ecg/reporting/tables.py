"""The tables of the pages: data set, scores beside the paper's, baselines, leads.

All of it is read from results/; the paper's values from paper.csv, where an evidence grade says how
each is known: A read in the paper, B second-hand but consistent with it, C computed from its data.
A file that is missing or damaged gives None, and its section says so.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import t as student

from dataset import CLASSES
from ecg.evaluation.challenge import CHALLENGE_GROUPS
from ecg.evaluation.marks import doubtful_classes
from ecg.evaluation.metrics import SCORES
from ecg.evaluation.pairs import corrected_error

PAPER = Path(__file__).parent / "paper.csv"
PAPER_SCORES = {name: SCORES[name].label for name in ("f1", "auc", "precision", "recall")}
OTHER_SCORES = {name: score.label for name, score in SCORES.items() if name not in PAPER_SCORES}
INTERVALS = ("f1", "auc")  # shown with them; the others are in the files
MIN_ROUNDS = 5  # for an interval from the sd over the rounds
DATA_COLUMNS = {
    "records": "records",
    "percent": "%",
    "male_percent": "male %",
    "age_mean": "age, mean",
    "age_sd": "age, sd",
    "seconds_mean": "seconds, mean",
    "seconds_sd": "seconds, sd",
}


class Table(NamedTuple):
    """Rows of text under a head; a row whose first cell is AVG is set off."""

    caption: str
    head: list
    rows: list


class Figure(NamedTuple):
    """A PNG file and what it shows."""

    path: Path
    caption: str


def number(value, digits=3, sign=False):
    """Write a number with so many decimals; nothing where it is not known."""
    return f"{value:{'+' if sign else ''}.{digits}f}" if np.isfinite(value) else ""


def short(value):
    """Write a score as .931; nothing where it is not known."""
    text = f"{value:.3f}" if np.isfinite(value) else ""
    return text.removeprefix("0") if text.startswith("0.") else text


def p_value(value):
    """Write a p; nothing where it is not known."""
    return "< 0.001" if value < 0.001 else number(value)


def percent(value):
    """Write a share as percent, a dash for NaN."""
    return f"{value:.1%}" if np.isfinite(value) else "–"


def is_number(cell):
    """Tell whether a cell is right-aligned: a number, or nothing."""
    return not cell or bool(re.match(r"(< )?[-+−]?\.?\d", cell))


def without_empty(table):
    """Return a table without the columns in which no row has anything; the first stays."""
    kept = [i for i, cells in enumerate(zip(*table.rows, strict=True)) if not i or any(cells)]
    rows = [[row[i] for i in kept] for row in table.rows]
    return Table(table.caption, [table.head[i] for i in kept], rows)


def span(low, high, sign=False):
    """Write an interval; nothing where it is not known, or has no width."""
    return f"{number(low, sign=sign)} to {number(high, sign=sign)}" if low < high else ""


def read_table(path, column="class", **options):
    """Return a csv with at least that column and a row, or None if it is missing or damaged."""
    try:
        table = pd.read_csv(path, **options)
    except (OSError, ValueError):
        return None
    return table if len(table) and column in table else None


def links(paths, folder):
    """Return the links from `folder` to those files that are there."""
    return [Path(os.path.relpath(path, folder)).as_posix() for path in paths if path.is_file()]


def figures(folder, captions, prefix=""):
    """Return the figures of a folder that are there; `captions` is {stem: caption}."""
    found = [Figure(folder / f"{name}.png", prefix + text) for name, text in captions.items()]
    return [figure for figure in found if figure.path.is_file()]


def read_paper():
    """Return paper.csv: table, row, column, value (text), evidence."""
    return pd.read_csv(PAPER, dtype=str, keep_default_na=False)


def paper_value(paper, table, row, column):
    """Return (value, evidence grade) of a cell of the paper; (NaN, '') where it is not known."""
    hit = paper[(paper["table"] == table) & (paper["row"] == row) & (paper["column"] == column)]
    return (float(hit["value"].iloc[0]), hit["evidence"].iloc[0]) if len(hit) else (np.nan, "")


def is_cpsc2018(table, paper):
    """Tell whether a data set table is CPSC2018's: every class has the paper's count and share."""
    if list(table["class"]) != list(CLASSES):
        return False
    return all(
        abs(row[column] - paper_value(paper, "dataset", row["class"], column)[0]) < 0.006
        for _, row in table.iterrows()
        for column in ("records", "percent")
    )


def data_table(table, paper):
    """Return the data set table, the paper's figures beside it if `paper` is given."""
    head, rows = ["class"], []
    for label in DATA_COLUMNS.values():
        head += [f"{label}: paper", "here"] if paper is not None else [label]
    for _, row in table.iterrows():
        cells = [str(row["class"])]
        for column in DATA_COLUMNS:
            digits = 0 if column == "records" else 2
            if paper is not None:
                value, _ = paper_value(paper, "dataset", row["class"], column)
                cells.append(number(value, digits))
            cells.append(number(row[column], digits))
        rows.append(cells)
    return Table("Records per class", head, rows)


def read_rounds(runs):
    """Return {round: scores.csv indexed by class} of {round: run}; what is damaged is left out."""
    tables = {i: read_table(Path("results", run, "scores.csv")) for i, run in runs.items()}
    whole = {i: t for i, t in tables.items() if t is not None and t["class"].iloc[-1] == "AVG"}
    return {i: table.set_index("class") for i, table in whole.items()}


def over_rounds(tables, score):
    """Return class, n, mean, sd, low and high of a score over {round: table}.

    The interval is the 95 % one of the mean, from `corrected_error`. Fewer than MIN_ROUNDS rounds,
    or rounds that are all equal, tell next to nothing of the sd: their interval is made from those
    of each scores.csv, whose test records are not shared, by adding the squares of the distances to
    either end (of one round: that of its scores.csv).
    """
    values = pd.concat([table[score] for table in tables.values()], axis=1)
    result = pd.DataFrame({"n": sum(table["n"] for table in tables.values())})
    count = values.notna().sum(axis=1)
    result["mean"], result["sd"] = values.mean(axis=1), values.std(axis=1)
    width = student.ppf(0.975, (count - 1).clip(lower=1)) * corrected_error(result["sd"], count)
    spread = (result["sd"] > 0) & (len(tables) >= MIN_ROUNDS)
    for end, sign in (("low", -1), ("high", 1)):
        ends = [table.get(f"{score}_{end}", table[score] * np.nan) for table in tables.values()]
        squares = (pd.concat(ends, axis=1).to_numpy() - values) ** 2
        other = np.sqrt(squares.sum(axis=1, min_count=1)) / count
        result[end] = (result["mean"] + sign * width.where(spread, other)).clip(0, 1)
    return result


def doubtful_over(tables):
    """Return {class: why} of the classes whose calls say little over {round: table}."""
    return doubtful_classes([table.reset_index() for table in tables.values()])


def score_over_rounds(tables, score, paper, marks=()):
    """Return the table of one score: the paper's, ours, the difference, whether inside."""
    head = ["class", "n", "ours", "sd over rounds", "95 % interval"]
    if paper is not None:
        head = [*head[:2], "paper", "evidence", *head[2:], "ours − paper", "paper inside"]
    rows = []
    for name, row in over_rounds(tables, score).iterrows():
        interval = span(row["low"], row["high"])
        ours = [number(row["mean"]), number(row["sd"]), interval]
        cells = [f"{name}*" if name in marks else str(name), str(int(row["n"]))]
        if paper is None:
            rows.append(cells + ours)
            continue
        value, grade = paper_value(paper, "scores", name, score)
        known = interval and np.isfinite(value)
        inside = ("yes" if row["low"] <= value <= row["high"] else "no") if known else ""
        difference = number(row["mean"] - value, sign=True)
        rows.append([*cells, number(value), grade, *ours, difference, inside])
    return Table(f"{PAPER_SCORES[score]}, test folds", head, rows)


def glance_table(tables, run, paper):
    """Return the two scores that the paper is known for, in one small table."""
    found = {score: score_over_rounds(tables, score, paper) for score in ("f1", "auc")}
    rows = [
        [f"macro {PAPER_SCORES[score]}", *row[1:]]
        for score, table in found.items()
        for row in table.rows
        if row[0] == "AVG"
    ]
    return Table(
        f"At a glance: {run}, mean over the rounds", ["score", *found["f1"].head[1:]], rows
    )


def score_tables(tables, paper, marks):
    """Return the tables of the network's scores over {round: table}."""
    found = [score_over_rounds(tables, score, paper, marks) for score in PAPER_SCORES]
    means = {
        label: over_rounds(tables, score)["mean"]
        for score, label in OTHER_SCORES.items()
        if all(score in table for table in tables.values())
    }
    if means:
        rows = [[str(name), *map(number, row)] for name, row in pd.DataFrame(means).iterrows()]
        found.append(Table("Other scores, mean over the rounds", ["class", *means], rows))
    return found


def one_run_table(table, thresholds, marks):
    """Return a run's scores.csv with its {class: threshold} as a table to read."""
    rows = []
    for _, row in table.iterrows():
        name = str(row["class"])
        cells = [f"{name}*" if name in marks else name, str(row["n"])]
        cells.append(number(thresholds.get(name, np.nan), 2))
        cells += [number(row[score]) for score in SCORES]
        for place, score in enumerate(SCORES, 3):
            if score in INTERVALS and cells[place]:
                low, high = (number(row[f"{score}_{end}"]) for end in ("low", "high"))
                cells[place] += f" [{low}, {high}]"
        rows.append(cells)
    head = ["class", "n", "threshold", *(score.label for score in SCORES.values())]
    return Table("", head, rows)


def challenge_table(challenge):
    """Return challenge.json as a table of one row."""
    names = ["F1", *CHALLENGE_GROUPS]
    row = ["" if challenge[name] is None else number(challenge[name]) for name in names]
    counts = [str(challenge["n"]), str(challenge["ambiguous"])]
    return Table("", [*names, "records", "ambiguous"], [row + counts])


def baseline_tables(found, marks):
    """Return classifier x class, F1 and AUC, of {classifier: {round: table}}."""
    result = []
    for score in ("f1", "auc"):
        rows = []
        for name, tables in found.items():
            mean = over_rounds(tables, score)["mean"].reindex([*CLASSES, "AVG"])
            star = marks.get(name, {}) if score == "f1" else {}
            cells = [number(value) + "*" * (key in star) for key, value in mean.items()]
            rows.append([name, str(len(tables)), *cells])
        head = ["classifier", "rounds", *CLASSES, "AVG"]
        result.append(Table(f"{PAPER_SCORES[score]}, mean over the rounds", head, rows))
    return result


def pair_table(arch, found):
    """Return network minus classifier, pooled, from {classifier: differences.csv}."""
    rows = []
    for name, table in found.items():
        row = table.set_index("class").loc["AVG"]
        cells = [name, str(int(row["n"]))]
        for score in ("f1", "auc"):
            ends = [row[f"{score}_diff_{end}"] for end in ("low", "high")]
            cells += [number(row[f"{score}_diff"], sign=True), span(*ends, sign=True)]
            mean, p = (row.get(f"{score}_{end}", np.nan) for end in ("diff_rounds", "p_rounds"))
            cells += [p_value(row[f"{score}_p"]), number(mean, sign=True), p_value(p)]
        rows.append(cells)
    head = ["against", "records"]
    for score in ("F1", "AUC"):
        head += [f"macro {score}", "95 % interval", "p", "rounds: mean", "p"]
    return Table(f"{arch} minus classifier", head, rows) if rows else None


def lead_table(table):
    """Return the models by lead, from single_lead.csv."""
    rows = []
    for _, row in table.iterrows():
        cells = [str(row["rank"]), str(row["leads"])]
        for score in ("f1", "auc"):
            cells += [number(row.get(f"{score}_mean", np.nan)), number(row[score])]
            cells += [span(row[f"{score}_low"], row[f"{score}_high"])]
        rows.append([*cells, *(number(row[f"f1_{name}"]) for name in CLASSES)])
    head = ["rank", "leads"]
    for score in ("F1", "AUC"):
        head += [f"macro {score}: mean", "pooled", "95 % interval"]
    return Table("Models by lead", head + [f"F1 {name}" for name in CLASSES], rows)
