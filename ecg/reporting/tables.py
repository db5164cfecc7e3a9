"""The tables of the pages: data set, scores beside the paper's, baselines, leads.

All of it is read from results/; the paper's values from paper.csv, where an evidence grade says how
each is known: A read in the paper, B second-hand but consistent with it, C computed from its data.
A file that is missing or damaged gives None; its section of the report says so.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import t as student

from dataset import CLASSES
from ecg.evaluation.caveats import doubtful_classes
from ecg.evaluation.challenge import CHALLENGE_GROUPS
from ecg.evaluation.metrics import SCORES
from ecg.evaluation.pairs import corrected_error
from utils import results_path

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
    grey: tuple = ()  # names in the head of columns of other data
    sortable: bool = False


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


def is_numeric(cell):
    """Tell whether a cell is right-aligned: a number, or nothing."""
    return not cell or bool(re.match(r"(< )?[-+−]?\.?\d", cell))


def without_empty(table):
    """Return a table without the columns in which no row has anything; the first stays."""
    kept = [i for i, cells in enumerate(zip(*table.rows, strict=True)) if not i or any(cells)]
    rows = [[row[i] for i in kept] for row in table.rows]
    return table._replace(head=[table.head[i] for i in kept], rows=rows)


def span(low, high, sign=False):
    """Write an interval; nothing where it is not known, or has no width."""
    return f"{number(low, sign=sign)} to {number(high, sign=sign)}" if low < high else ""


def load_csv(path, column="class", **options):
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
    wanted = [Figure(folder / f"{name}.png", prefix + text) for name, text in captions.items()]
    return [figure for figure in wanted if figure.path.is_file()]


def read_paper():
    """Return paper.csv: table, row, column, value (text), evidence."""
    return pd.read_csv(PAPER, dtype=str, keep_default_na=False)


def paper_value(paper, table, row, column):
    """Return (value, evidence grade) of a cell of the paper; (NaN, '') where it is not known."""
    hit = paper[(paper.table == table) & (paper.row == row) & (paper.column == column)]
    return (float(hit.value.iloc[0]), hit.evidence.iloc[0]) if len(hit) else (np.nan, "")


def is_cpsc2018(table, paper):
    """Tell whether a data set table is CPSC2018's: every class has the paper's count and share."""
    table = table.set_index("class")
    if list(table.index) != list(CLASSES):
        return False
    for row in table.itertuples():
        for column in ("records", "percent"):
            value, _ = paper_value(paper, "dataset", row.Index, column)
            if not abs(getattr(row, column) - value) < 0.006:
                return False
    return True


def data_table(table, paper):
    """Return the data set table, the paper's figures beside it if `paper` is given."""
    head, rows = ["class"], []
    for label in DATA_COLUMNS.values():
        head += [f"{label}: paper", "here"] if paper is not None else [label]
    for row in table.set_index("class").itertuples():
        cells = [str(row.Index)]
        for column in DATA_COLUMNS:
            digits = 0 if column == "records" else 2
            if paper is not None:
                value, _ = paper_value(paper, "dataset", row.Index, column)
                cells.append(number(value, digits))
            cells.append(number(getattr(row, column), digits))
        rows.append(cells)
    return Table("Records per class", head, rows)


def read_rounds(runs):
    """Return {round: scores.csv indexed by class} of {round: run}; damaged files are left out."""
    tables = {}
    for i, run in runs.items():
        table = load_csv(results_path(run, "scores.csv"))
        if table is not None and table.iloc[-1].get("class") == "AVG":
            tables[i] = table.set_index("class")
    return tables


def classes_of_methods(methods):
    """Return the classes of {method: {round: table}}, each once, in their order."""
    tables = [table for rounds in methods.values() for table in rounds.values()]
    names = dict.fromkeys(name for table in tables for name in table.index)
    return [name for name in names if name != "AVG"]


def mean_over_rounds(tables, score):
    """Return the mean of a score by class over {round: table}."""
    return pd.concat([table[score] for table in tables.values()], axis=1).mean(axis=1)


def over_rounds(tables, score):
    """Return class, n, mean, sd, low and high of a score over {round: table}.

    The interval is the 95 % one of the mean, from `corrected_error`. Fewer than MIN_ROUNDS rounds,
    or rounds that are all equal, say next to nothing about the sd: their interval is made from
    those of each scores.csv, whose test records are not shared, by adding the squares of the
    distances to either end (of one round: that of its scores.csv).
    """
    values = pd.concat([table[score] for table in tables.values()], axis=1)
    count, mean, sd = values.notna().sum(axis=1), values.mean(axis=1), values.std(axis=1)
    width = student.ppf(0.975, (count - 1).clip(lower=1)) * corrected_error(sd, count)
    known = (sd > 0) & (len(tables) >= MIN_ROUNDS)
    result = pd.DataFrame({"n": sum(table.n for table in tables.values())})
    result = result.assign(mean=mean, sd=sd)
    for end, sign in (("low", -1), ("high", 1)):
        ends = [table.get(f"{score}_{end}", table[score] * np.nan) for table in tables.values()]
        squares = (pd.concat(ends, axis=1).to_numpy() - values) ** 2
        other = np.sqrt(squares.sum(axis=1, min_count=1)) / count
        result[end] = (mean + sign * width.where(known, other)).clip(0, 1)
    return result


def doubtful_over(tables):
    """Return {class: why} of the classes whose threshold says little over {round: table}."""
    return doubtful_classes([table.reset_index() for table in tables.values()])


def starred(name, doubtful):
    """Return the name of a class, with a star if it is among the doubtful ones."""
    return f"{name}*" if name in doubtful else str(name)


def score_over_rounds(tables, score, paper, doubtful=()):
    """Return the table of one score: the paper's, ours, the difference, whether inside."""
    head = ["class", "n", "ours", "sd over rounds", "95 % interval"]
    if paper is not None:
        head = [*head[:2], "paper", "evidence", *head[2:], "ours − paper", "paper inside"]
    rows = []
    for row in over_rounds(tables, score).itertuples():
        interval = span(row.low, row.high)
        ours = [number(row.mean), number(row.sd), interval]
        cells = [starred(row.Index, doubtful), str(int(row.n))]
        if paper is None:
            rows.append(cells + ours)
            continue
        value, grade = paper_value(paper, "scores", row.Index, score)
        inside = ""
        if interval and np.isfinite(value):
            inside = "yes" if row.low <= value <= row.high else "no"
        difference = number(row.mean - value, sign=True)
        rows.append([*cells, number(value), grade, *ours, difference, inside])
    return Table(f"{PAPER_SCORES[score]}, test folds", head, rows)


def class_table(tables, paper, doubtful):
    """Return class x precision, recall, F1 and AUC with intervals, the paper's values beside.

    Where the data are not the paper's (`paper` is None) its columns are grey, are named after
    CPSC2018, and there are no differences.
    """
    values, other = (read_paper(), "CPSC2018") if paper is None else (paper, "paper")
    first = next(iter(tables.values()))
    names, head, grey = list(first.index), ["class", "n"], []
    columns = [[starred(name, doubtful) for name in names]]
    columns.append([str(int(sum(table.n[name] for table in tables.values()))) for name in names])
    comparable = names == [*CLASSES, "AVG"]  # else the average is of other classes
    for score in ("precision", "recall", "f1", "auc"):
        ours, label = over_rounds(tables, score).loc[names], SCORES[score].label
        theirs = [
            paper_value(values, "scores", name, score)[0] if name != "AVG" or comparable else np.nan
            for name in names
        ]
        cells = []
        for row in ours.itertuples():
            interval = f" [{number(row.low)}, {number(row.high)}]" if row.low < row.high else ""
            cells.append(number(row.mean) + interval)
        head += [label, f"{label}: {other}"]
        columns += [cells, [number(value) for value in theirs]]
        if paper is None:
            grey.append(head[-1])
        else:
            head.append(f"{label}: ours − paper")
            pairs = zip(ours["mean"], theirs, strict=True)
            columns.append([number(mean - value, sign=True) for mean, value in pairs])
    rows = [list(row) for row in zip(*columns, strict=True)]
    return Table("Scores by class, 95 % intervals in brackets", head, rows, tuple(grey), True)


def glance_table(tables, paper):
    """Return the two scores that the paper is known for, in one small table."""
    rows = []
    for score in ("f1", "auc"):
        table = score_over_rounds(tables, score, paper)
        average = next(row for row in table.rows if row[0] == "AVG")
        rows.append([f"macro {PAPER_SCORES[score]}", *average[1:]])
    head = ["score", *table.head[1:]]
    return Table("At a glance, mean over the rounds", head, rows)


def score_tables(tables, paper, doubtful):
    """Return the tables of the network's scores over {round: table}."""
    result = [class_table(tables, paper, doubtful)]
    result += [score_over_rounds(tables, score, paper, doubtful) for score in PAPER_SCORES]
    means = {
        label: mean_over_rounds(tables, score)
        for score, label in OTHER_SCORES.items()
        if all(score in table for table in tables.values())
    }
    if means:
        rows = [[str(name), *map(number, row)] for name, row in pd.DataFrame(means).iterrows()]
        result.append(Table("Other scores, mean over the rounds", ["class", *means], rows))
    return result


def summary_table(methods):
    """Return method x macro F1, macro AUC, AUC of the classes, of {method: {round: table}}."""
    rows, classes = [], classes_of_methods(methods)
    for name, tables in methods.items():
        f1, auc = (mean_over_rounds(tables, score) for score in ("f1", "auc"))
        rows.append([name, *map(number, [f1.AVG, auc.AVG, *auc.reindex(classes)])])
    head = ["", "macro F1", "macro AUC", *(f"AUC {name}" for name in classes)]
    return Table("Test folds, mean over the rounds", head, rows)


def one_run_table(table, thresholds, doubtful):
    """Return a run's scores.csv with its {class: threshold} as a table to read."""
    rows, counts = [], ["n", "known"] if "known" in table else ["n"]
    for row in table.set_index("class").itertuples():
        name = str(row.Index)
        cells = [starred(name, doubtful), *(str(getattr(row, count)) for count in counts)]
        cells.append(number(thresholds.get(name, np.nan), 2))
        for score in SCORES:
            cell = number(getattr(row, score))
            if score in INTERVALS and cell:
                low, high = (number(getattr(row, f"{score}_{end}")) for end in ("low", "high"))
                cell += f" [{low}, {high}]" if low else ""
            if score == "ece" and cell:
                cell += f" (by chance {number(getattr(row, 'ece_floor', np.nan))})"
            cells.append(cell)
        rows.append(cells)
    head = ["class", *counts, "threshold", *(score.label for score in SCORES.values())]
    return Table("", head, rows)


def challenge_table(challenge):
    """Return challenge.json as a table of one row."""
    names, counts = ["F1", *CHALLENGE_GROUPS], ["n", "ambiguous"]
    row = ["" if challenge[name] is None else number(challenge[name]) for name in names]
    row += [str(challenge[name]) for name in counts]
    return Table("", [*names, "records", "ambiguous"], [row])


def baseline_tables(methods, doubtful):
    """Return classifier x class, F1 and AUC, of {classifier: {round: table}}.

    `doubtful` is {classifier: {class: why}}, whose F1 gets a star.
    """
    result, classes = [], classes_of_methods(methods)
    for score in ("f1", "auc"):
        rows = []
        for name, tables in methods.items():
            stars = doubtful.get(name, {}) if score == "f1" else {}
            cells = [name, str(len(tables))]
            for key, value in mean_over_rounds(tables, score).reindex([*classes, "AVG"]).items():
                cells.append(number(value) + ("*" if key in stars else ""))
            rows.append(cells)
        head = ["classifier", "rounds", *classes, "AVG"]
        result.append(Table(f"{PAPER_SCORES[score]}, mean over the rounds", head, rows))
    return result


def pair_table(arch, pairs):
    """Return network minus classifier, pooled, from {classifier: differences.csv}, or None."""
    rows = []
    for name, table in pairs.items():
        row = table.set_index("class").loc["AVG"]
        cells = [name, str(int(row.n))]
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
    rows, others = [], {"f1_low", "f1_high", "f1_mean"}
    columns = [name for name in table if name.startswith("f1_") and name not in others]
    for row in table.to_dict("records"):
        cells = [str(row["rank"]), str(row["leads"])]
        for score in ("f1", "auc"):
            value, low, high = (row[f"{score}{end}"] for end in ("", "_low", "_high"))
            cells += [number(row.get(f"{score}_mean", np.nan)), number(value), span(low, high)]
        rows.append([*cells, *(number(row[name]) for name in columns)])
    head = ["rank", "leads"]
    for score in ("F1", "AUC"):
        head += [f"macro {score}: mean", "pooled", "95 % interval"]
    return Table("Models by lead", head + [f"F1 {name[3:]}" for name in columns], rows)
