"""Rows of the tables of docs/explanations.md, for `benchmarks.tables`; this is no command.

They show the results of ecg.faithfulness and benchmarks.twin. `tables` are {name of MODELS: its
faithfulness.csv}, or {name: csv of results/twin}; the functions return the head and the other rows,
as text.
"""

import numpy as np
from scipy.stats import spearmanr

from dataset import CLASSES
from ecg.reporting.tables import p_value, short

METHODS = {  # as they are called in the tables
    "shap": "expected gradients",
    "ig": "integrated gradients",
    "evidence": "evidence head",
    "grad-cam": "Grad-CAM",
    "guided-backprop": "guided backpropagation",
    "averaged": "integrated gradients, mean of trainings",
}
EDITIONS = {
    "general": "third edition",
    "first": "first edition",
}
TRUTH = {
    "times uniform in time": "in time",
    "times uniform in both": "in time and leads",
    "pointing game in time": "pointing game in time",
    "pointing game": "pointing game",
    "evidence lead above another": "evidence lead above another",
}
CHANCE = {name: f"{name}, chance" for name in ("pointing game in time", "pointing game")}
FOUND = {
    "reliability of windows": "claimed by the halves",
    "windows, another seed": "with another background",
    "windows, another training": "with another training",
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


def interval(table, measure, name="all"):
    """Write a mean with its 95 % interval over records; nothing where it is not known.

    One record has no interval.
    """
    mean, low, high = (look_up(table, measure, name, key) for key in ("mean", "low", "high"))
    if look_up(table, measure, name, "n") < 2:
        return brief(mean)
    return f"{brief(mean)} [{brief(low)}, {brief(high)}]" if np.isfinite(mean) else ""


def beside_null(table, measure, name):
    """Write a mean with its interval: bold if above the null map, italic if below.

    That is, if the interval of the paired difference lies above 0, or below.
    """
    text, gain = interval(table, measure, name), f"{measure}, less null"
    low, high = (look_up(table, gain, name, key) for key in ("low", "high"))
    mark = "**" if low > 0 else "*" if high < 0 else ""
    return f"{mark}{text}{mark}" if "[" in text else text


def truth_rows(tables):
    """Return where the values are beside the known place of each criterion, by model and method.

    The null map is that of the method with most records: it is the same for all.
    """
    rows = [["model", "method", "", *CLASSES]]
    counts = {
        key: [look_up(t, "pointing game", k, "n") for k in CLASSES] for key, t in tables.items()
    }
    most = tables[max(counts, key=lambda key: sum(counts[key]))]
    nulls = {f"{measure}, null": ("null map", text) for measure, text in TRUTH.items()}
    nulls |= {chance: ("chance", TRUTH[measure]) for measure, chance in CHANCE.items()}
    for measure, names in nulls.items():
        rows.append(["", *names, *(brief(look_up(most, measure, k)) for k in CLASSES)])
    for key, table in tables.items():
        names = EDITIONS[table.model.iloc[0]], METHODS[table.method.iloc[0]]
        rows.append([*names, "records", *(f"{n:.0f}" for n in counts[key])])
        for measure, text in TRUTH.items():
            rows.append([*names, text, *(beside_null(table, measure, k) for k in CLASSES)])
    return rows


def equal_rows(tables):
    """Return how far values spread over equal beats, and what removing the highest does."""
    head = ["model", "method", "spread over equal beats", "records", "agreement with the head"]
    rows = [[*head, "deletion: highest less random", "highest less lowest", "records"]]
    for table in tables.values():
        cells = [EDITIONS[table.model.iloc[0]], METHODS[table.method.iloc[0]]]
        for measure in ("spread over equal beats", "deletion top minus random area"):
            n = look_up(table, measure, column="n")
            cells += [interval(table, measure), f"{n:.0f}" if n > 0 else ""]
            if len(cells) == 4:
                cells.append(interval(table, "windows, positive values and the evidence head"))
        cells.insert(-1, interval(table, "deletion top minus lowest area"))
        rows.append(cells)
    return rows


def reliability_rows(tables):
    """Return, by class, the reliability that is claimed and the agreement that others find."""
    rows = [["model", "method", "agreement in windows of 40 ms", *CLASSES, "all", "records"]]
    for table in tables.values():
        names = EDITIONS[table.model.iloc[0]], METHODS[table.method.iloc[0]]
        for measure, text in FOUND.items():
            if np.isfinite(look_up(table, measure)):
                cells = [brief(look_up(table, measure, k)) for k in CLASSES]
                n = f"{look_up(table, measure, column='n'):.0f}"
                rows.append([*names, text, *cells, interval(table, measure), n])
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
