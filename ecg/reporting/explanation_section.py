"""What the report shows of explanations: examples, checks, and whether they are up to date."""

from typing import NamedTuple

import pandas as pd

from ecg.evaluation.runs import read_digests
from ecg.evaluation.scored_run import Digests
from ecg.explanation.attributions import RELIABLE, UNKNOWN, WINDOWS
from ecg.reporting.pictures import Figure, figures
from ecg.reporting.tables import Table, load_csv, number

SHOWN_BY_CLASS = {  # check -> the measures that the report shows by class
    "evidence": [
        "times uniform in time",
        "times uniform in leads",
        "times uniform in both",
        "pointing game",
    ],
    "curves": ["deletion top minus random area", "insertion top minus random area"],
}
# measures that repeat what another one shows; faithfulness.csv has them
LEFT_OUT = (
    "single samples",
    "ranks of single samples",
    "leads, ",
    "reliability of leads",
    "|residual|",
)
CHECK_FIGURES = {"faithfulness": "The checks", "samples": "What more samples buy"}


class Explained(NamedTuple):
    """What the report shows of the explained records."""

    count: int  # of explained records
    figures: dict[str, list[Figure]]  # class -> its average beat, and an example
    reliability: str  # a sentence, '' if unknown


class Checks(NamedTuple):
    """The checks of the explanations that the report shows."""

    tables: list[Table]
    figures: list[Figure]


def why_explanations_outdated(folder, results):
    """Return why a folder of explanations does not belong to the run in `results`; '' if it does.

    A digest that either of them lacks is not compared.
    """
    made, trained = (read_digests(path / "run.json") or Digests() for path in (folder, results))
    if not any(a and b and a != b for a, b in zip(made, trained, strict=True)):
        return ""
    return (
        f"What stands in {folder} explains other weights, labels or signals than were trained "
        "last; make it again: shap_values.py and python -m ecg.faithfulness, with --force."
    )


def explained_classes(folder, classes):
    """Return the Explained of a folder, or None: the average beat of each class and one record.

    The record is the first by name that is rightly predicted.
    """
    text = {"patient_id": str, "labels": str, "class": str}
    values = load_csv(folder / "values.csv", dtype=text, keep_default_na=False, na_values=UNKNOWN)
    if values is None or not {"predicted", "labels"} <= set(values):
        return None
    values = values[values.predicted == 1].sort_values("patient_id").set_index("class")
    first = {}  # class -> its first row that is right
    for row in values.itertuples():
        if row.Index in row.labels.split(";"):
            first.setdefault(row.Index, row)
    shown = {}
    for name in classes:
        wanted = [Figure(folder / "beats" / f"{name}.png", f"Average beat of {name}")]
        if name in first:
            record, labels = first[name].patient_id, first[name].labels.replace(";", " + ")
            caption = f"{record}: labelled {labels}, predicted {name}"
            wanted.append(Figure(folder / "patient" / f"{record}.png", caption))
        shown[name] = [figure for figure in wanted if figure.png.is_file()]
    return Explained(values.patient_id.nunique(), shown, reliability_text(values))


def reliability_text(values):
    """Say how reliable the maps of the predicted classes are; '' where values.csv does not know."""
    known = values.get("reliability", pd.Series(dtype=float)).dropna()
    if known.empty:
        return ""
    return (
        f"Reliability of their windows of {WINDOWS}: median {known.median():.2f} (range "
        f"{known.min():.2f} to {known.max():.2f}) over {len(known)} records, "
        f"{(known >= RELIABLE).sum()} of them at least {RELIABLE}."
    )


def checks(folder, classes):
    """Return the Checks of the explanations: tables by class and over all, and the figures."""
    table = load_csv(folder / "faithfulness.csv", keep_default_na=False, na_values=[""])
    if table is None or not {"check", "measure", "n", "mean", "low", "high"} <= set(table):
        return None
    tables = []
    for check, measures in SHOWN_BY_CLASS.items():
        part = table[(table.check == check) & table.measure.isin(measures)]
        if part.empty:
            continue
        wide = part.pivot(index="class", columns="measure", values="mean")
        names = [name for name in [*classes, "all"] if name in wide.index]
        wide = wide.reindex(columns=measures, index=names)
        rows = [[str(name), *(number(value, 2) for value in row)] for name, row in wide.iterrows()]
        tables.append(Table(f"{check}, mean by class", ["class", *measures], rows))
    # the curves' single points are in the figure
    part = table[(table["class"] == "all") & ~table.measure.str.endswith("%")]
    part = part[~part.measure.str.startswith(LEFT_OUT)]
    rows = [
        [row.check, row.measure, str(row.n), *map(number, (row.mean, row.low, row.high))]
        for row in part.itertuples(index=False)
    ]
    head = ["check", "measure", "records", "mean", "95 %: from", "to"]
    tables.append(Table("The checks over all classes (more in faithfulness.csv)", head, rows))
    return Checks(tables, figures(folder, CHECK_FIGURES))
