"""The tables of the report: data set, scores beside the paper's, baselines, single leads.

All of it is read from results/; the paper's values from paper.csv, where an evidence grade says how
each is known: A read in the paper, B second-hand but consistent with it, C computed from its data.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t as student

from dataset import CLASSES, LEADS, N_FOLDS
from ecg.evaluation.classifiers import CLASSIFIERS
from ecg.evaluation.runs import finished_rounds, read_sources, round_runs
from ecg.reporting.document import Figure, Table, Text

PAPER = Path(__file__).parent / "paper.csv"
PAPER_SCORES = {"f1": "F1", "auc": "AUC", "precision": "precision", "recall": "recall"}
OTHER_SCORES = {
    "accuracy": "accuracy", "specificity": "specificity", "ap": "average precision",
    "brier": "Brier score", "ece": "calibration error",
}  # fmt: skip
MIN_ROUNDS = 5  # for an interval from the sd over the rounds
TEST_TO_TRAIN = 1 / (N_FOLDS - 2)  # records tested on per record trained on, in every round
NOT_RUN = "Not run: {} is not there."
OUTDATED = "{} was made from other scores than those that stand here now; run it again: compare.py."
DATA_COLUMNS = {
    "records": "records", "percent": "%", "male_percent": "male %", "age_mean": "age, mean",
    "age_sd": "age, sd", "seconds_mean": "seconds, mean", "seconds_sd": "seconds, sd",
}  # fmt: skip


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


def number(value, digits=3, sign=False):
    """Write a number with so many decimals; nothing where it is not known."""
    return f"{value:{'+' if sign else ''}.{digits}f}" if np.isfinite(value) else ""


def data_blocks(table, paper, path):
    """Return the data set table, the paper's figures beside it if `paper` is given."""
    if table is None:
        return [Text(NOT_RUN.format(path))]
    head, rows = ["class"], []
    for label in DATA_COLUMNS.values():
        head += [f"{label}: paper", "here"] if paper is not None else [label]
    for _, row in table.iterrows():
        cells = [row["class"]]
        for column in DATA_COLUMNS:
            digits = 0 if column == "records" else 2
            if paper is not None:
                value, _ = paper_value(paper, "dataset", row["class"], column)
                cells.append(number(value, digits))
            cells.append(number(row[column], digits))
        rows.append(cells)
    note = "A record with several of the nine labels counts in each; % is of all labelled records."
    if paper is not None:
        note += " Paper: evidence C, computed from the published labels, ages, sexes and lengths."
    return [Table("Records per class", head, rows), Text(note)]


def read_table(path, column="class", **options):
    """Return a csv with at least that column and a row, or None if it is missing or damaged."""
    try:
        table = pd.read_csv(path, **options)
    except (OSError, ValueError):
        return None
    return table if len(table) and column in table else None


def named_run(args, leads, method=None):
    """Name the first round's run of a network or (`method`) of a classifier."""
    return round_runs(method or args.arch, args.data_dir, args.seed, leads)[0]


def read_rounds(args, leads, arch=None):
    """Return {round: scores.csv indexed by class} of the finished rounds of a run."""
    runs = finished_rounds(round_runs(arch or args.arch, args.data_dir, args.seed, leads))
    tables = {i: read_table(Path("results", run, "scores.csv")) for i, run in runs.items()}
    whole = {i: t for i, t in tables.items() if t is not None and t["class"].iloc[-1] == "AVG"}
    return {i: table.set_index("class") for i, table in whole.items()}


def over_rounds(tables, score):
    """Return class, n, mean, sd, low and high of a score over {round: table}.

    The interval is the 95 % one of the mean. Rounds share most of their training records, so its
    variance is not sd^2 / rounds but sd^2 (1 / rounds + test / training records), after Nadeau and
    Bengio (2003). Fewer than MIN_ROUNDS rounds tell next to nothing of the sd: their interval is
    made from the bootstrap's of each scores.csv, whose test records are not shared, by adding the
    squares of the distances to either end (of one round: the bootstrap's itself).
    """
    values = pd.concat([table[score] for table in tables.values()], axis=1)
    result = pd.DataFrame({"n": sum(table["n"] for table in tables.values())})
    count = values.notna().sum(axis=1)
    result["mean"], result["sd"] = values.mean(axis=1), values.std(axis=1)
    if len(tables) < MIN_ROUNDS:
        for end, sign in (("low", -1), ("high", 1)):
            ends = [table.get(f"{score}_{end}", table[score] * np.nan) for table in tables.values()]
            squares = (pd.concat(ends, axis=1).to_numpy() - values) ** 2
            result[end] = result["mean"] + sign * np.sqrt(squares.sum(axis=1, min_count=1)) / count
        return result
    width = student.ppf(0.975, (count - 1).clip(lower=1)) * result["sd"]
    width = width * np.sqrt(1 / count.clip(lower=1) + TEST_TO_TRAIN)
    result["low"] = (result["mean"] - width).clip(0, 1)
    result["high"] = (result["mean"] + width).clip(0, 1)
    return result


def score_table(tables, score, label, paper):
    """Return the table of one score: the paper's, ours, the difference, and is it inside."""
    head = ["class", "n", "ours", "sd over rounds", "95 % interval"]
    if paper is not None:
        head = [*head[:2], "paper", "evidence", *head[2:], "ours − paper", "paper inside"]
    rows = []
    for name, row in over_rounds(tables, score).iterrows():
        interval = f"{row['low']:.3f} to {row['high']:.3f}" if np.isfinite(row["low"]) else ""
        ours = [number(row["mean"]), number(row["sd"]), interval]
        cells = [str(name), str(int(row["n"]))]
        if paper is None:
            rows.append(cells + ours)
            continue
        value, grade = paper_value(paper, "scores", name, score)
        known = interval and np.isfinite(value)
        inside = ("yes" if row["low"] <= value <= row["high"] else "no") if known else ""
        difference = number(row["mean"] - value, sign=True)
        rows.append([*cells, number(value), grade, *ours, difference, inside])
    return Table(f"{label}, test folds", head, rows)


def glance_blocks(args, leads, paper):
    """Return the two scores that the paper is known for, in one small table."""
    tables = read_rounds(args, leads)
    rows = []
    for score, label in {"f1": "macro F1", "auc": "macro AUC"}.items():
        table = score_table(tables, score, label, paper) if tables else None
        rows += [[label, *row[1:]] for row in table.rows if row[0] == "AVG"] if tables else []
    if not rows:
        return []
    return [Table(f"At a glance: {named_run(args, leads)}", ["score", *table.head[1:]], rows)]


def main_blocks(args, leads, paper):
    """Return the tables of the network's scores."""
    tables = read_rounds(args, leads)
    if not tables:
        return [Text(NOT_RUN.format(f"results/{named_run(args, leads)}/scores.csv"))]
    count = len(tables)
    which = ", ".join(map(str, tables))
    text = f"{named_run(args, leads)}: {count} of {N_FOLDS} rounds scored ({which}). "
    if count >= MIN_ROUNDS:
        text += ("Mean and sd over them; the interval is of the mean and allows for training sets "
                 "that overlap (Nadeau and Bengio 2003).")  # fmt: skip
    elif count > 1:
        text += (f"Mean and sd over them; fewer than {MIN_ROUNDS} rounds give no sd to use, so "
                 "the interval of the mean is over resamples of the test records.")  # fmt: skip
    else:
        text += "One round has no sd; the interval is over 1,000 resamples of its test records."
    blocks = [Text(text)]
    blocks += [score_table(tables, *item, paper) for item in PAPER_SCORES.items()]
    columns = {label: over_rounds(tables, score)["mean"] for score, label in OTHER_SCORES.items()
               if all(score in table for table in tables.values())}  # fmt: skip
    if columns:
        rows = [[name, *(number(column[name]) for column in columns.values())]
                for name in [*CLASSES, "AVG"]]  # fmt: skip
        blocks.append(Table("Other scores, mean over the rounds", ["class", *columns], rows))
    if paper is not None:
        text = "Paper: evidence A is read in the paper, B second-hand but consistent with its "
        text += "abstract. Its scores beyond these four are not known here: no column."
        blocks.append(Text(text))
    text = "A class without a positive record in a test fold has empty cells, left out of AVG."
    return [*blocks, Text(text)]


def baseline_blocks(args, leads, paper):
    """Return classifier x class, F1 and AUC, and the network against each classifier."""
    found = {name: read_rounds(args, None, name) for name in CLASSIFIERS}
    found = {name: tables for name, tables in found.items() if tables}
    if not found:
        return [Text(NOT_RUN.format("the scores of the baselines in results/"))]
    found[args.arch] = read_rounds(args, leads)
    blocks = []
    for score, label in {"f1": "F1", "auc": "AUC"}.items():
        rows = []
        for name, tables in found.items():
            if tables:
                mean = over_rounds(tables, score)["mean"]
                rows.append([name, str(len(tables)), *map(number, mean)])
        head = ["classifier", "rounds", *CLASSES, "AVG"]
        blocks.append(Table(f"{label}, mean over the rounds", head, rows))
    blocks += pair_blocks(args, leads)
    if paper is not None:
        blocks.append(Text("The paper's own table of baselines is not known here: no column."))
    return blocks


def pair_blocks(args, leads):
    """Return the differences network - classifier on the pooled test folds."""
    base, rows, old = named_run(args, leads), [], []
    for name in CLASSIFIERS:
        other = named_run(args, None, name)
        path = Path("results", f"compare_rounds_{base}_vs_rounds_{other}", "differences.csv")
        table = read_table(path)
        if table is None:
            continue
        notes = read_sources(path.parent)
        if notes is None:
            old.append(Text(OUTDATED.format(path.parent)))
            continue
        row = table.set_index("class").loc["AVG"]
        cells = [name, str(int(row["n"]))]
        for score in ("f1", "auc"):
            low, high = row[f"{score}_diff_low"], row[f"{score}_diff_high"]
            cells += [number(row[f"{score}_diff"], sign=True)]
            cells += [f"{low:+.3f} to {high:+.3f}", number(row[f"{score}_p"])]
        rows.append(cells)
    head = [
        "against",
        "records",
        "macro F1",
        "95 % interval",
        "p",
        "macro AUC",
        "95 % interval",
        "p",
    ]
    note = "Pooled test folds, the same records; interval and p over paired resamples of records."
    found = [Table(f"{args.arch} minus classifier", head, rows), Text(note)] if rows else []
    return found + old


def lead_blocks(args, paper):
    """Return the table and the figure of the single-lead models."""
    folder = Path("results", f"compare_leads_{named_run(args, LEADS)}")
    path = folder / "single_lead.csv"
    table, notes = read_table(path, "rank"), read_sources(folder)
    if table is None:
        return [Text(NOT_RUN.format(path))]
    if notes is None:
        return [Text(OUTDATED.format(folder))]
    rows = []
    for _, row in table.iterrows():
        cells = [str(row["rank"]), row["leads"]]
        for score in ("f1", "auc"):
            cells += [
                number(row[score]),
                f"{row[f'{score}_low']:.3f} to {row[f'{score}_high']:.3f}",
            ]
        rows.append([*cells, *(number(row[f"f1_{name}"]) for name in CLASSES)])
    head = ["rank", "leads", "macro F1", "95 % interval", "macro AUC", "95 % interval"]
    head += [f"F1 {name}" for name in CLASSES]
    text = f"Rounds in common pooled, {table['n'].max()} records; ranked by macro F1."
    if paper is not None:
        best = paper[paper["table"] == "single_lead"].iloc[0]
        text += f" The paper's best single leads: {best['value']} (evidence {best['evidence']}); "
        text += "its table of single leads is not known here: no column."
    blocks = [Text(text), Table("Models by lead", head, rows)]
    blocks += [Text(f"{note}.") for note in notes if "made with other" in note]
    figure = folder / "single_lead.png"
    return blocks + [Figure(figure, "Macro scores by lead")] * figure.is_file()
