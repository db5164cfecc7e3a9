"""The files of records in a folder, and the challenge's table of their labels, REFERENCE.csv."""

import csv
import os
from pathlib import Path

from dataset import CLASSES
from ecg.io.formats import READERS, TABLES
from ecg.io.hospital import find_format

SOURCE_LINE = "#Source: synthetic.py, a model of the cardiac dipole; no patient"


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

    `suffixes` are by default those of READERS that are not tables. If files differ only in their
    suffix, the first in READERS is the record: a .mat file without a .hea file is a struct.
    """
    suffixes = suffixes or [suffix for suffix in READERS if suffix not in TABLES]
    by_name = {}
    for path in walk(data_dir):
        if path.suffix.lower() in suffixes:
            by_name.setdefault(path.with_suffix(""), []).append(path)
    root, sources = Path(data_dir), []
    for paths in by_name.values():
        sources.append(min(paths, key=lambda path: suffixes.index(path.suffix.lower())))
    return sorted(sources, key=lambda path: (path.stem, path.relative_to(root).as_posix()))


def is_synthetic(data_dir):
    """Tell whether ecg.synthetic made every record of a data folder, as their headers say.

    If only packed signals are left of it, evidence.csv says so.
    """
    sources = find_sources(data_dir)
    if not sources:
        return Path(data_dir, "evidence.csv").is_file()
    return all(
        path.suffix.lower() == ".hea" and SOURCE_LINE in path.read_text(errors="replace")
        for path in sources
    )


def find_records(path):
    """Return the sources that a user names: [one], or all of a folder.

    A name may lack its extension; a WFDB record may also be named by its .mat or .dat file. In a
    folder, tables count only if it holds nothing else, because other formats come with tables of
    other content. Raises ValueError if there is no record.
    """
    if not str(path):
        raise ValueError("the name of a record is empty; give a file or a folder, . for this one")
    path = Path(path)
    suffix = path.suffix.lower()
    if path.is_dir():
        tables = [file for file in walk(path) if file.suffix.lower() in TABLES]
        sources = find_sources(path) or sorted(tables)
        if not sources:
            raise ValueError("the folder holds no record")
        return sources
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
