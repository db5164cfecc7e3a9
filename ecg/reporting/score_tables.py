"""The tables of scores: the network's beside the paper's, baselines, leads.

All of it is read from results/. A file that is missing or damaged gives None; its section of the
report says so.
"""

import numpy as np
import pandas as pd
from scipy.stats import t as student

from dataset import CLASSES
from ecg.evaluation.caveats import doubtful_classes
from ecg.evaluation.challenge import CHALLENGE_GROUPS
from ecg.evaluation.metrics import SCORES
from ecg.evaluation.pairs import corrected_error
from ecg.reporting.paper import paper_value, read_paper
from ecg.reporting.tables import Table, load_csv, number, p_value, span
from utils import results_path

PAPER_SCORES = {name: SCORES[name].label for name in ("precision", "recall", "f1", "auc")}
OTHER_SCORES = {name: score.label for name, score in SCORES.items() if name not in PAPER_SCORES}
INTERVALS = ("f1", "auc")  # shown with them; the others are in the files
MIN_ROUNDS = 5  # for an interval from the sd over the rounds
UNKNOWN = np.nan, ""  # value and grade


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


def outside(value, row):
    """Return a mark where a value of the paper is outside our interval."""
    return "†" if row.low < row.high and not row.low <= value <= row.high else ""


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
    for score, label in PAPER_SCORES.items():
        ours, theirs, differences = [], [], []
        for row in over_rounds(tables, score).loc[names].itertuples():
            known = row.Index != "AVG" or comparable
            value, grade = paper_value(values, "scores", row.Index, score) if known else UNKNOWN
            interval = f" [{number(row.low)}, {number(row.high)}]" if row.low < row.high else ""
            ours.append(number(row.mean) + interval)
            theirs.append(f"{number(value)} {grade}".strip())
            difference = number(row.mean - value, sign=True)
            differences.append(difference and difference + outside(value, row))
        head += [label, f"{label}: {other}"]
        columns += [ours, theirs]
        if paper is None:
            grey.append(head[-1])
        else:
            head.append(f"{label}: ours − paper")
            columns.append(differences)
    rows = [list(row) for row in zip(*columns, strict=True)]
    anchors = tuple("" if name == "AVG" else name for name in names)
    return Table("Scores by class, 95 % intervals in brackets", head, rows, tuple(grey), anchors)


def glance_table(tables, paper):
    """Return the two scores that the paper is known for, in one small table."""
    rows, compared = [], ["paper", "ours − paper"] if paper is not None else []
    for score in ("f1", "auc"):
        row = over_rounds(tables, score).loc["AVG"]
        cells = [f"macro {PAPER_SCORES[score]}", str(int(row.n)), number(row["mean"])]
        cells.append(span(row.low, row.high))
        if compared:
            value, grade = paper_value(paper, "scores", "AVG", score)
            difference = number(row["mean"] - value, sign=True) + outside(value, row)
            cells += [f"{number(value)} {grade}", difference]
        rows.append(cells)
    head = ["score", "n", "ours", "95 % interval", *compared]
    return Table("At a glance, mean over the rounds", head, rows)


def by_class(caption, columns):
    """Return a table of {column: Series by class}."""
    rows = [[str(name), *map(number, row)] for name, row in pd.DataFrame(columns).iterrows()]
    return Table(caption, ["class", *columns], rows)


def as_twin(table):
    """Mark a table that has the paper's columns as one of a synthetic twin of its data."""
    if not any("paper" in cell for cell in table.head):
        return table
    marked = [cell == "paper" or cell.endswith(": paper") for cell in table.head]
    pairs = zip(table.head, marked, strict=True)
    head = [f"{cell} (not comparable)" if mark else cell for cell, mark in pairs]
    caption = f"{table.caption}; synthetic twin: not comparable with the paper"
    return table._replace(caption=caption, head=head)


def score_tables(tables, paper, doubtful):
    """Return the tables of the network's scores over {round: table}."""
    result = [class_table(tables, paper, doubtful)]
    if len(tables) > 1:
        spread = {label: over_rounds(tables, name).sd for name, label in PAPER_SCORES.items()}
        result.append(by_class("Standard deviation over the rounds", spread))
    means = {
        label: mean_over_rounds(tables, score)
        for score, label in OTHER_SCORES.items()
        if all(score in table for table in tables.values())
    }
    if means:
        result.append(by_class("Other scores, mean over the rounds", means))
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
