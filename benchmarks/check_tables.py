"""Rows of the tables of docs/explanations.md, for `benchmarks.tables`; this is no command.

They show the results of ecg.faithfulness and benchmarks.twin. `tables` are {name of MODELS: its
faithfulness.csv}, or {name: csv of results/twin}; the functions return the head and the other rows,
as text.
"""

import numpy as np
from scipy.stats import spearmanr

from dataset import CLASSES
from ecg.reporting.tables import p_value, short

AGREEMENT = {
    "windows": "Pearson, windows of 40 ms",
    "single samples": "Pearson, single samples",
    "ranks of single samples": "Spearman, single samples",
    "leads": "Pearson, shares of the leads",
}
MODELS = {  # and the records that they explain
    "demo": "demo's, synthetic",
    "demo_ig": "demo's, ig",
    "general": "general, synthetic",
    "general_ig": "general, ig",
    "real": "general, CPSC2018",
}


def look_up(table, measure, name="all", column="mean"):
    """Return a figure of a faithfulness.csv, NaN if it is not there; `name` is a class."""
    row = table[(table["measure"] == measure) & (table["class"] == name)]
    return row[column].item() if len(row) else np.nan


def brief(value):
    """Write a correlation, a share or a factor with two digits; nothing where it is not known."""
    if not np.isfinite(value):
        return ""
    text = f"{round(value, 2) + 0.0:.2f}"  # + 0.0: no minus before a zero
    return text.replace("0.", ".", 1) if abs(value) < 0.995 else text


def agreement_rows(tables):
    """Return how far two halves, seeds, trainings and a random network agree, by measure."""
    kinds = {f"halves of {n}": f"halves of {n} samples" for n in (100, 200, 300)}
    kinds |= {word: word for word in ("another seed", "another training")}
    kinds |= {"random from output to stem": "a random network"}
    rows = [["model", "agreement of, with", "records", *AGREEMENT.values()]]
    for name, table in tables.items():
        for kind, text in kinds.items():
            cells = [brief(look_up(table, f"{measure}, {kind}")) for measure in AGREEMENT]
            n = look_up(table, f"windows, {kind}", column="n")
            rows.append([MODELS[name], text, f"{n:.0f}", *cells])
    return rows


def noise_rows(tables):
    """Return, by class, how far two halves agree in windows and what a reliability of .9 takes."""
    needed = "samples for 0.9, 600 at most"
    rows = [["model", "", *CLASSES, "all"]]
    for name, table in tables.items():
        columns = [*CLASSES, "all"]
        counts = [f"{look_up(table, needed, k, 'n'):.0f}" for k in columns]
        rows.append([MODELS[name], "records", *counts])
        for n in (100, 200, 300):
            cells = [brief(look_up(table, f"windows, halves of {n}", k)) for k in columns]
            rows.append([MODELS[name], f"halves of {n} samples", *cells])
        for n in (200, 400, 600):
            parts = [look_up(table, f"windows reach 0.9 of {n} samples", k) for k in columns]
            cells = [f"{100 * part:.0f} %" for part in parts]
            rows.append([MODELS[name], f"reach .9 with {n} samples", *cells])
        medians = [look_up(table, needed, k, "median") for k in columns]
        cells = [f"{m:.0f}" if m < 600 else "over 600" for m in medians]
        rows.append([MODELS[name], "samples for .9, median", *cells])
    return rows


def truth_rows(tables):
    """Return where the values are beside the known place of each criterion, by model and method."""
    measures = {
        "times uniform in time": "in time",
        "times uniform in both": "in time and leads",
        "pointing game": "pointing game",
        "evidence lead above another": "evidence lead above another",
    }
    rows = [["model, method", "", *CLASSES]]
    for name, table in tables.items():
        counts = [look_up(table, "pointing game", k, "n") for k in CLASSES]
        rows.append([MODELS[name], "records", *(f"{n:.0f}" for n in counts)])
        for measure, text in measures.items():
            cells = [brief(look_up(table, measure, k)) for k in CLASSES]
            rows.append([MODELS[name], text, *cells])
    return rows


def visible_rows(tables):
    """Return, by class, how many of a twin's records are found, by how visible they are."""
    head = ["class", "records", "F1", "recall", "visible as"]
    head += ["least visible third: recall (records)", "middle third", "most visible third"]
    head += ["found above missed"]
    rows = [head]
    for row in tables["visible"].set_index("class").itertuples():
        cells = [row.Index, str(row.n), brief(row.f1), brief(row.recall)]
        if isinstance(row.measure, str):
            cells.append(row.measure)
            cells += [visible_third(row, i) for i in (1, 2, 3)]
            cells.append(brief(getattr(row, "above", np.nan)))
        rows.append(cells + [""] * (len(head) - len(cells)))
    return rows


def visible_third(row, i):
    """Write how visible a third of a class's records is, their recall and their number."""
    low, high, n = (getattr(row, f"{name}_{i}", np.nan) for name in ("from", "to", "n"))
    if not n > 0:
        return ""
    span = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
    return f"{span}: {brief(getattr(row, f'recall_{i}'))} ({n:.0f})"


def ranked(a, b):
    """Write Spearman's correlation of two columns and its p; nothing where one is constant."""
    if a.nunique() < 2 or b.nunique() < 2:
        return ""
    result = spearmanr(a, b)
    return f"{brief(result.statistic)} (p {p_value(result.pvalue).replace('0.', '.')})"


def lead_rows(tables):
    """Return, by class, the leads of the evidence beside those of single-lead models and maps."""
    head = ["class", "leads of the evidence (% of records, from 20 on)", "best single leads (AUC)"]
    head += ["best in how many rounds", "rank correlation of AUC and evidence"]
    head += ["recall of a lead that is evidence; that is not"]
    head += ["rank correlation of evidence and the map; its ratio to the mean of all classes"]
    rows = [head]
    for name, group in tables["leads"].groupby("class", sort=False):
        group, evidence = group.set_index("lead"), group.set_index("lead")["in_evidence"]
        first = evidence.sort_values(ascending=False, kind="stable")
        first = [f"{lead} {100 * share:.0f}" for lead, share in first[first >= 0.2].items()]
        best = group["auc"].sort_values(ascending=False)[:3]
        best = [f"{lead} {short(auc)}" for lead, auc in best.items()]
        aucs = group.filter(regex=r"^auc_\d").round(3)
        ties = (aucs == aucs.max()).sum() > 1
        won = aucs.idxmax().mask(ties, "several alike").value_counts()
        cells = [", ".join(best), ", ".join(f"{lead} {n}" for lead, n in won.items())]
        if evidence.nunique() > 1:
            both = group[["recall_in", "recall_out"]].dropna().mean()
            shown = "; ".join(map(brief, both)) if both.notna().all() else ""
            maps = "; ".join(ranked(group[key], evidence) for key in ("map", "map_ratio"))
            cells = [", ".join(first), *cells, ranked(group["auc"], evidence), shown, maps]
        else:
            cells = ["all", *cells, *[""] * 3]
        rows.append([name, *cells])
    return rows
