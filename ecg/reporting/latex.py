"""The tables of the report as LaTeX: a file with a tabular for each, to input in a paper."""

import re

from ecg.reporting.tables import Table, is_number, without_empty
from utils import RESEARCH_USE, replacing

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "–": "--",
} | {letter: "\\" + letter for letter in "&%$#_{}"}


def escape(text):
    """Return text as LaTeX shows it, in one line."""
    line = " ".join(text.split())
    return re.sub("|".join(map(re.escape, SPECIAL)), lambda found: SPECIAL[found[0]], line)


def tabular(table):
    """Return a table as a tabular: columns of numbers on the right, the average set off."""
    table = without_empty(table)
    columns = list(zip(*table.rows, strict=True))
    places = "".join("r" if i and all(map(is_number, c)) else "l" for i, c in enumerate(columns))
    lines = [f"% {escape(RESEARCH_USE)} {escape(table.caption)}", f"\\begin{{tabular}}{{{places}}}"]
    lines += ["\\hline", " & ".join(map(escape, table.head)) + r" \\", "\\hline"]
    for row in table.rows:
        lines += ["\\hline"] * (row[0] == "AVG")
        # a first cell that begins with [ would be taken for the argument of the line break before
        lines.append(" & ".join(["{}" * (row[0][:1] in "[*") + escape(row[0])]
                                + [escape(cell) for cell in row[1:]]) + r" \\")  # fmt: skip
    return "\n".join([*lines, "\\hline", "\\end{tabular}"]) + "\n"


def find_tables(value):
    """Yield the tables in nested lists and dictionaries, in their order."""
    if isinstance(value, Table):
        yield value
    elif isinstance(value, dict | list):
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
