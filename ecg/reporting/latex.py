"""The tables of the report as LaTeX: a file with a tabular for each, to input in a paper."""

import re

import pandas as pd

from ecg.reporting.tables import Table, is_numeric, without_empty
from utils import RESEARCH_USE, replacing

NOTE = r"% needs \usepackage{booktabs}"


def one_line(text):
    """Return text without line breaks and with single spaces."""
    return " ".join(text.split())


def tabular(table):
    """Return a table as a tabular: columns of numbers on the right, the average set off."""
    table = without_empty(table)
    frame = pd.DataFrame(table.rows, columns=list(map(one_line, table.head))).map(one_line)
    columns = list(zip(*table.rows, strict=True))
    places = "".join("r" if i and all(map(is_numeric, c)) else "l" for i, c in enumerate(columns))
    text = frame.to_latex(index=False, escape=True, column_format=places)
    text = text.replace("−", "$-$").replace("–", "--").replace("\nAVG & ", "\n\\midrule\nAVG & ")
    # a first cell that begins with [ or * would be taken for an argument of the line break before
    text = re.sub(r"^(?=[\[*])", "{}", text, flags=re.M)
    return f"% {RESEARCH_USE} {one_line(table.caption)}\n{NOTE}\n{text}"


def find_tables(value):
    """Yield the tables in nested lists, tuples and dictionaries, in their order."""
    if isinstance(value, Table):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from find_tables(part)


def write(folder, values):
    """Write each table in `values` to a file named after its caption; return how many."""
    tables = [table for table in find_tables(values) if table.rows]
    for table in tables:
        name = re.sub(r"\W+", "-", re.split("[:(]", table.caption)[0].lower()).strip("-")
        with replacing(folder / f"{name}.tex") as temporary:
            temporary.write_text(tabular(table), encoding="utf-8")
    return len(tables)
