"""Tables about records, of labels, patients or folds: csv in any locale, or xlsx.

A column is known by its name, whatever its case and punctuation: see RECORD, PATIENT and so on.
"""

import codecs
import csv
import re
from pathlib import Path
from typing import NamedTuple

from ecg.io.bounds import bounded, raise_if_of_machine

# Names of columns, in small letters without punctuation, as the owners of data sets write them.
RECORD = (
    *("record", "recording", "recordname", "recordid", "filename", "file", "filenamehr", "path"),
    *("ecgid", "examid", "studyid", "name", "id"),
)
PATIENT = ("patient", "patientid", "subject", "subjectid", "person", "patientno")
FOLD = ("fold", "stratfold")
AGE = ("age", "patientage", "ageyears")
SEX = ("sex", "gender")
NAMES = (  # of the column that holds the names of classes
    *("label", "labels", "class", "classes", "diagnosis", "diagnoses", "dx", "finding", "findings"),
)
MAX_MEMORY, MAX_SECONDS = 2 << 30, 120  # of an xlsx file, which is a zip
INSTALL = "python -m pip install -r requirements-layouts.txt"


class Table(NamedTuple):
    """A table of text; every row has a cell for every name."""

    path: Path
    names: list[str]
    rows: list[list[str]]

    def find(self, wanted):
        """Return the place of the column with the first of some known names that is there."""
        plain = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in self.names]
        return next((plain.index(name) for name in wanted if name in plain), None)

    def find_record(self):
        """Return the places of the columns of record and patient; of the latter None if absent.

        A patient_id is the patient beside a column for the record, else the record, as in
        preprocess.py's own tables. Raises ValueError if there is no column for the record.
        """
        record, patient = self.find(RECORD), self.find(PATIENT)
        if record is None and "patient_id" in self.names:
            record = self.names.index("patient_id")
            others = [name for name in PATIENT if name != "patientid"]
            patient = self.find(others)
        if record is None:
            raise ValueError(
                f"no column of {self.path} names the records; call it record, filename or "
                f"patient_id (it has {', '.join(self.names)[:100]})"
            )
        return record, patient

    def cells(self):
        """Yield for each row a function that returns its cell of a column of this name."""
        for row in self.rows:
            yield dict(zip(self.names, row, strict=True)).__getitem__

    def cell(self, row, place):
        """Return a cell of a row; '' if the column is not there."""
        return "" if place is None else row[place]


def read_text(path):
    """Return a text file's content with LF line ends, less a first line `sep=;` for Excel.

    Of an xlsx file, the first sheet with tabs.
    """
    if Path(path).suffix.lower() == ".xlsx":
        return "\n".join("\t".join(row) for row in read_sheet(path))
    data = Path(path).read_bytes()
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        text = data.decode("utf-16", "replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("cp1252", "replace")
    return re.sub(r"\A\s*sep=.*\n", "", text.replace("\r\n", "\n").replace("\r", "\n")).lstrip("\n")


def read_sheet(path):
    """Return the rows of the first sheet of an xlsx file as lists of text."""
    try:
        import openpyxl
    except ImportError:
        raise ValueError(f"xlsx files need openpyxl: {INSTALL}, or save it as csv") from None
    try:
        with bounded(MAX_MEMORY, MAX_SECONDS):
            book = openpyxl.load_workbook(path, read_only=True, data_only=True)
            rows = [list(map(cell_text, row)) for row in book.worksheets[0].values]
            book.close()
    except Exception as error:  # openpyxl raises almost anything on a damaged file
        raise_if_of_machine(error)
        text = str(error) or type(error).__name__
        raise ValueError(f"it cannot be read as an Excel file ({text}); save it as csv") from None
    return [row for row in rows if any(row)]


def cell_text(value):
    """Return a cell of Excel as csv would have it: 1.0 is 1, empty is ''."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def read_table(path):
    """Read a csv or xlsx file with a row of names; raises ValueError with its name and line."""
    path = Path(path)
    if path.suffix.lower() == ".xlsx":
        rows = read_sheet(path)
    else:
        lines = read_text(path).split("\n")
        separator = max(",;\t", key=lines[0].count)
        rows = [list(map(str.strip, row)) for row in csv.reader(lines, delimiter=separator)]
    names, *rows = rows or [[]]
    while names and not names[-1]:
        names.pop()
    twice = [name for name in names if names.count(name) > 1]
    if not names or twice:
        what = f"names the column {twice[0]} twice" if twice else "is empty"
        raise ValueError(f"{path} {what}")
    whole = []
    for line, row in enumerate(rows, start=2):
        if any(row[len(names) :]):
            raise ValueError(f"{path}, line {line}: {len(row)} cells in {len(names)} columns")
        if any(row):
            whole.append((row + [""] * len(names))[: len(names)])
    return Table(path, names, whole)


def parse_fold(text, n_folds):
    """Return a fold 1-10 of a cell, None if it is empty; raises ValueError if it is neither."""
    if not text:
        return None
    number = re.fullmatch(r"(\d+)(?:\.0+)?", text)
    if not number or not 1 <= int(number[1]) <= n_folds:
        raise ValueError(f"fold {text[:20]!r} is not 1-{n_folds}")
    return int(number[1])
