"""What the report shows of explanations: examples, checks, and whether they are up to date."""

import pandas as pd

from dataset import CLASSES
from ecg.explanation.attributions import RELIABLE, UNKNOWN, WINDOWS
from ecg.reporting.tables import Figure, Table, figures, number, read_table
from utils import read_json

CHECKS = {  # the checks shown by class, and their measures
    "evidence": [
        "times uniform in time",
        "times uniform in leads",
        "times uniform in both",
        "pointing game",
    ],
    "curves": ["deletion top minus random area", "insertion top minus random area"],
}
# measures that repeat what another one shows; they stand in faithfulness.csv
LEFT_OUT = (
    "single samples",
    "ranks of single samples",
    "leads, ",
    "reliability of leads",
    "|residual|",
)
CHECK_FIGURES = {"faithfulness": "The checks", "samples": "What more samples buy"}


def why_outdated(folder, results):
    """Return why a folder of explanations does not belong to the run in `results`; '' if it does.

    Where either does not say from what weights, labels or signals it was made, none is assumed.
    """
    contents = [read_json(path / "run.json") for path in (folder, results)]
    made, trained = (content if isinstance(content, dict) else {} for content in contents)
    both = [
        name for name in ("weights", "labels", "signals") if made.get(name) and trained.get(name)
    ]
    if all(made[name] == trained[name] for name in both):
        return ""
    return (
        f"What stands in {folder} explains other weights, labels or signals than were trained "
        "last; make it again: shap_values.py and python -m ecg.faithfulness, with --force."
    )


def examples(folder):
    """Return one explained record per class: the first by name that is rightly predicted."""
    text = {"patient_id": str, "labels": str, "class": str}
    values = read_table(folder / "values.csv", dtype=text, keep_default_na=False, na_values=UNKNOWN)
    if values is None or not {"predicted", "labels"} <= set(values):
        return None
    values = values[values["predicted"] == 1].sort_values("patient_id")
    pairs = zip(values["class"], values["labels"], strict=True)
    rightly = values[[name in labels.split(";") for name, labels in pairs]]
    shown, without = [], []
    for name in CLASSES:
        rows = rightly[rightly["class"] == name]
        path = folder / "patient" / f"{rows['patient_id'].iloc[0]}.png" if len(rows) else folder
        if path.is_file():
            labels = rows["labels"].iloc[0].replace(";", " + ")
            shown.append(Figure(path, f"{path.stem}: labelled {labels}, predicted {name}"))
        else:
            without.append(name)
    return {
        "count": values["patient_id"].nunique(),
        "figures": shown,
        "without": without,
        "reliability": reliability_text(values),
    }


def reliability_text(values):
    """Say how reliable the maps of the predicted classes are; '' where values.csv does not know."""
    found = values.get("reliability", pd.Series(dtype=float)).dropna()
    if found.empty:
        return ""
    return (
        f"Reliability of their windows of {WINDOWS}: median {found.median():.2f} (range "
        f"{found.min():.2f} to {found.max():.2f}) over {len(found)} records, "
        f"{(found >= RELIABLE).sum()} of them at least {RELIABLE}."
    )


def checks(folder):
    """Return the checks of the explanations: tables by class and over all, and the figures."""
    table = read_table(folder / "faithfulness.csv", keep_default_na=False, na_values=[""])
    if table is None or not {"check", "measure", "n", "mean", "low", "high"} <= set(table):
        return None
    found = []
    for check, measures in CHECKS.items():
        part = table[(table["check"] == check) & table["measure"].isin(measures)]
        if part.empty:
            continue
        wide = part.pivot(index="class", columns="measure", values="mean")
        wide = wide.reindex(
            columns=measures, index=[k for k in [*CLASSES, "all"] if k in wide.index]
        )
        rows = [[str(name), *(number(value, 2) for value in row)] for name, row in wide.iterrows()]
        found.append(Table(f"{check}, mean by class", ["class", *measures], rows))
    # the curves' single points are in the figure
    part = table[(table["class"] == "all") & ~table["measure"].str.endswith("%")]
    part = part[~part["measure"].str.startswith(LEFT_OUT)]
    rows = [
        [row.check, row.measure, str(row.n), *map(number, (row.mean, row.low, row.high))]
        for row in part.itertuples(index=False)
    ]
    head = ["check", "measure", "records", "mean", "95 %: from", "to"]
    found.append(Table("The checks over all classes (more in faithfulness.csv)", head, rows))
    return {"tables": found, "figures": figures(folder, CHECK_FIGURES)}
