"""Tables and links of the pages, and how their numbers are written."""

import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd


class Table(NamedTuple):
    """Rows of text under a head; a row whose first cell is AVG is set off.

    `anchors`, where given, make the table one to search and sort: for each row the class whose
    curves and records its cells lead to, '' for none.
    """

    caption: str
    head: list
    rows: list
    grey: tuple = ()  # names in the head of columns of other data
    anchors: tuple = ()


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
