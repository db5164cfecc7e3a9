"""The files of records in a folder, and the challenge's table of their labels, REFERENCE.csv."""

import csv
import os
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from dataset import CLASSES
from ecg.io.formats import READERS, TABLES
from ecg.io.hospital import find_format
from ecg.io.physionet import CHECKSUM
from utils import read_json

SOURCE_LINE = "#Source: synthetic.py, a model of the cardiac dipole; no patient"


class Source(NamedTuple):
    """Where the signal of a record is."""

    path: Path
    name: str  # its patient_id
    row: int | None = None  # in a file that holds several records


def walk(folder):
    """Yield every file below a folder except hidden ones; linked folders are read once."""
    seen, folders, links = set(), [Path(folder)], []
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)  # links come last
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                (links if entry.is_symlink() else folders).append(folder / entry.name)
            elif entry.is_file():
                yield folder / entry.name


def find_sources(data_dir, suffixes=None):
    """Return the paths of all records below a folder, sorted by record name, then by path.

    `suffixes` are by default those of READERS that are not tables. A .mat file is the signal of a
    .hea file of its name, else a struct; other files of one name are a record each, in the order
    of READERS.
    """
    suffixes = suffixes or [suffix for suffix in READERS if suffix not in TABLES]
    paths = [path for path in walk(data_dir) if path.suffix.lower() in suffixes]
    headers = {path.with_suffix("") for path in paths if path.suffix.lower() == ".hea"}
    sources = [
        path
        for path in paths
        if path.suffix.lower() != ".mat" or path.with_suffix("") not in headers
    ]
    root = Path(data_dir)

    def place(path):
        order = suffixes.index(path.suffix.lower())
        return path.stem, path.relative_to(root).with_suffix("").as_posix(), order

    return sorted(sources, key=place)


class Survey(NamedTuple):
    """What is in a folder that a user names."""

    records: list[Path]
    others: Counter  # endings of the files that are none of them -> how many

    def describe(self):
        """Say how many files are no records, by their ending; '' if there is none."""
        listed = [
            f"{n} {ending or 'without an ending'}" for ending, n in sorted(self.others.items())
        ]
        return ", ".join(listed)


def survey(folder):
    """Return the Survey of a folder and all below it.

    Tables count only if it holds nothing else, because other formats come with tables of other
    content. Raises ValueError if there is no record.
    """
    files = list(walk(folder))
    tables = [path for path in files if path.suffix.lower() in TABLES]
    records = find_sources(folder) or sorted(tables)
    if not records:
        raise ValueError("the folder holds no record")
    names = {path.with_suffix("") for path in records if path.suffix.lower() == ".hea"}
    known = set(records)
    others = Counter(
        path.suffix.lower()
        for path in files
        if path not in known
        and not (path.suffix.lower() in (".mat", ".dat") and path.with_suffix("") in names)
    )
    return Survey(records, others)


def is_synthetic(data_dir):
    """Tell whether ecg.synthetic made every record of a data folder.

    Their headers say so, of all that are there; and each packed record is listed in evidence.csv,
    and had the signal that its header declares: a header may have been put on another's signal.
    """
    sources, index = find_sources(data_dir), read_json(Path(data_dir, "signals.json")) or {}
    packed = index.get("records", [])
    said = all(
        path.suffix.lower() == ".hea" and SOURCE_LINE in path.read_text(errors="replace")
        for path in sources
    )
    if not said or not (sources or packed):
        return False
    made = made_records(Path(data_dir, "evidence.csv"))
    return all(name in made and CHECKSUM not in note for name, _, _, note in packed)


def made_records(path):
    """Return the names of the records that an evidence.csv lists; none if it is not there."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return {row["patient_id"] for row in csv.DictReader(file)}
    except (OSError, KeyError, ValueError):
        return set()


def find_records(path):
    """Return the sources that a user names: [one], or all of a folder.

    A name may lack its extension; a WFDB record may also be named by its .mat or .dat file. Raises
    ValueError if there is no record.
    """
    if not str(path):
        raise ValueError("the name of a record is empty; give a file or a folder, . for this one")
    path = Path(path)
    suffix = path.suffix.lower()
    if path.is_dir():
        return survey(path).records
    if not path.is_file():
        for ending in READERS if path.name else ():
            if path.with_name(path.name + ending).is_file():
                return [path.with_name(path.name + ending)]
        raise ValueError(f"there is no such record, with or without {', '.join(READERS)}")
    if suffix in (".mat", ".dat"):  # the signal file of a header stands for its record
        for ending in (".hea", ".HEA"):
            if path.with_suffix(ending).is_file():
                return [path.with_suffix(ending)]
    if suffix == ".dat":
        raise ValueError("it has no .hea header beside it")
    if suffix not in READERS:
        find_format(path)  # raises ValueError if the content is not a recording either
    return [path]


def is_challenge(text):
    """Tell whether a REFERENCE.csv is to be read like the challenge's, or has a fault there.

    Another has a row of names that begins with another word.
    """
    first = re.split(r"[,;\t]", text.partition("\n")[0])
    named = len(first) > 1 and not any(cell.strip().isdecimal() for cell in first)
    return not named or first[0].strip().lower() == "recording"


def read_reference(data_dir):
    """Read every REFERENCE.csv below a folder: record name -> class names.

    Labels are 1-9 in the order of CLASSES; some copies write 10 for 1. Returns also the paths of
    the tables. Raises ValueError, with file and line, for a table or a label that cannot be read,
    and for two rows that give a record different labels.
    """
    labels, places, paths = {}, {}, []
    for path in sorted(walk(data_dir)):
        if path.name.lower() != "reference.csv":
            continue
        with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
            lines = file.read().splitlines()
        separator = max(",;\t", key=lines[0].count) if lines else ","
        rows = list(csv.reader(lines, delimiter=separator))
        head = rows[0][0].strip().lower() if rows and rows[0] else ""
        if head == "patient_id":
            continue  # preprocess.py's own reference.csv, on a file system without case
        if not is_challenge(lines[0] if lines else ""):
            continue  # a table as for --labels
        if head != "recording":
            raise ValueError(
                f"{path} is empty or its first row does not begin with Recording; the "
                "challenge's begins Recording,First_label"
            )
        paths.append(path)
        for line, row in enumerate(rows[1:], start=2):
            if not row or not row[0].strip():
                continue
            name, classes = row[0].strip(), []
            for text in filter(None, (cell.strip() for cell in row[1:])):
                if not text.isdecimal() or not 1 <= int(text) <= 10:
                    raise ValueError(f"{path}, line {line}: label {text!r} is not a number 1-9")
                label = CLASSES[0 if text == "10" else int(text) - 1]
                classes += [label] if label not in classes else []
            if set(labels.setdefault(name, classes)) != set(classes):
                raise ValueError(
                    f"{path}, line {line}: {name} is {' '.join(classes)}, but "
                    f"{' '.join(labels[name])} in {places[name]}"
                )
            places.setdefault(name, f"{path}, line {line}")
    return labels, paths
