"""The paper's values, and the table of the data set beside them.

paper.csv holds an evidence grade for each: A read in the paper, B second-hand but consistent with
it, C computed from its data.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from dataset import CLASSES
from ecg.reporting.tables import Table, number

PAPER = Path(__file__).parent / "paper.csv"
DATA_COLUMNS = {
    "records": "records",
    "percent": "%",
    "male_percent": "male %",
    "age_mean": "age, mean",
    "age_sd": "age, sd",
    "seconds_mean": "seconds, mean",
    "seconds_sd": "seconds, sd",
}


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
