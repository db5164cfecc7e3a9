"""A table of labels, of one's own or of a data set: records, their classes, and what else it says.

The classes are columns of 0 and 1 (an empty cell is unknown), or one column of names separated by
`;`. Names that are all known as one of the nine classes (ecg/io/diagnoses.py) are those; other
names are classes as written.
"""

import re
from pathlib import Path
from typing import NamedTuple

from dataset import CLASSES, N_FOLDS, is_class_name
from ecg.io.catalogue import Facts
from ecg.io.diagnoses import class_of
from ecg.io.record import parse_age, parse_sex
from ecg.io.sources import is_challenge, walk
from ecg.io.tables import AGE, FOLD, NAMES, SEX, parse_fold, read_table, read_text

CELLS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1, "": None, "nan": None}
OWN_REFERENCE = "patient_id,sample_rate"  # begins a reference.csv of preprocess.py


class LabelTable(NamedTuple):
    """A table of labels; `facts` belong to `records`, the names as written."""

    path: Path
    classes: tuple[str, ...]
    records: list[str]
    facts: list[Facts]
    notes: tuple[str, ...]


def read_label_table(path):
    """Read a table of labels; raises ValueError with file, line and fault."""
    table = read_table(path)
    record, patient = table.find_record()
    places = {
        name: table.find(known) for name, known in (("fold", FOLD), ("age", AGE), ("sex", SEX))
    }
    taken = {record, patient, *places.values()}
    classes, columns, others = class_columns(table, taken)
    names = None if columns else table.find(NAMES)
    if names is None and not columns:
        raise ValueError(
            f"no column of {path} holds 0 and 1, and none with the names of classes is called "
            f"label or diagnosis (it has {', '.join(table.names)[:100]})"
        )
    if names is not None:
        others.remove(table.names[names])
        classes = named_classes(table, names)
    facts, seen = [], {}
    for line, row in enumerate(table.rows, start=2):
        where = f"{path}, line {line}"
        if not row[record]:
            raise ValueError(f"{where}: it names no record")
        if seen.setdefault(row[record], row) != row:
            raise ValueError(f"{where}: {row[record]} is listed twice, differently")
        dx = split_names(row[names]) if names is not None else ()
        if columns:
            cells = tuple(CELLS[row[i].lower()] for i in columns)
            dx = tuple(name for name, cell in zip(classes, cells, strict=True) if cell)
        elif classes == CLASSES:
            cells = None
        else:
            cells = tuple(int(name in dx) for name in classes) if dx else None
        try:
            fold = parse_fold(table.cell(row, places["fold"]), N_FOLDS)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        facts.append(
            Facts(
                dx,
                cells,
                re.sub(r"\.0$", "", table.cell(row, patient)),
                fold,
                parse_age(table.cell(row, places["age"])),
                parse_sex(table.cell(row, places["sex"])),
            )
        )
    if not facts:
        raise ValueError(f"{path} lists no record")
    notes = (f"columns of {path} left out: {', '.join(others)}",) if others else ()
    return LabelTable(Path(path), classes, [row[record] for row in table.rows], facts, notes)


def class_columns(table, taken):
    """Return the classes of the columns of 0 and 1, their places, and the other columns' names.

    Raises ValueError for a cell of such a column that is neither.
    """
    classes, places, others = [], [], []
    for i, name in enumerate(table.names):
        if i in taken:
            continue
        cells = [row[i].lower() for row in table.rows]
        wrong = [line for line, cell in enumerate(cells, start=2) if cell not in CELLS]
        filled = sum(bool(cell) for cell in cells)
        if wrong and len(wrong) < filled / 10:
            cell = table.rows[wrong[0] - 2][i]
            raise ValueError(
                f"{table.path}, line {wrong[0]}: {name} is {cell!r}, not 0, 1 or empty"
            )
        if wrong or not filled and name not in CLASSES:
            others.append(name)
        elif not is_class_name(name):
            raise ValueError(f"{table.path}: a class cannot be called {name!r}")
        else:
            classes.append(name)
            places.append(i)
    return tuple(classes), places, others


def split_names(cell):
    """Return the names of a cell, separated by ;."""
    return tuple(name.strip() for name in cell.split(";") if name.strip())


def named_classes(table, place):
    """Return the nine classes if all names of a column are known as one of them, else the names."""
    names = list(dict.fromkeys(name for row in table.rows for name in split_names(row[place])))
    if not names:
        raise ValueError(f"the column {table.names[place]} of {table.path} is empty")
    if all(map(class_of, names)):
        return CLASSES
    for name in names:
        if not is_class_name(name):
            raise ValueError(f"{table.path}: a class cannot be called {name!r}")
    return tuple(sorted(names))


def find_label_table(data_dir):
    """Return the path of a REFERENCE.csv (or .xlsx) that is not the challenge's, or None.

    Raises ValueError if there are two.
    """
    found = []
    for path in walk(data_dir):
        if path.name.lower() == "reference.xlsx":
            found.append(path)
        elif path.name.lower() == "reference.csv" and path != data_dir / "reference.csv":
            text = read_text(path)
            if not is_challenge(text) and not text.startswith(OWN_REFERENCE):
                found.append(path)
    if len(found) > 1:
        raise ValueError(f"{found[0]} and {found[1]} may both be the labels; name one: --labels")
    return next(iter(found), None)
