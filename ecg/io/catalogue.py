"""What is in a data folder: its records, and what tables say of them.

A Catalogue is made from the folder alone (`list_folder`), by a layout (ecg/io/layouts), and
completed from a table of labels (`add_labels`).
"""

import math
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from dataset import CLASSES
from ecg.io.diagnoses import classes_of
from ecg.io.formats import READERS, TABLES
from ecg.io.own_tables import COLUMNS
from ecg.io.record import record_name
from ecg.io.sources import Source, find_sources, read_reference, walk
from ecg.io.text_table import TableFormat


class Facts(NamedTuple):
    """What a table says of a record; empty where it says nothing."""

    dx: tuple[str, ...] = ()  # diagnoses, as written
    cells: tuple[int | None, ...] | None = None  # of each class 1, 0, or None for unknown
    patient: str = ""
    fold: int | None = None
    age: float = math.nan
    sex: str = ""


class Catalogue(NamedTuple):
    """The records of a data folder."""

    sources: list[Source]
    facts: dict[str, Facts]  # by patient_id
    classes: tuple[str, ...] = CLASSES
    tables: tuple[Path, ...] = ()  # where the facts are from
    labels: Path | None = None  # the table that must agree with the headers
    table_format: TableFormat = TableFormat()
    layout: str = ""  # the data set in words
    notes: tuple[str, ...] = ()


class RecordNames:
    """Finds records by the names that tables give them: with or without ending, or as a path."""

    def __init__(self, sources, data_dir):
        self.data_dir, self.sources = Path(data_dir), defaultdict(list)
        for source in sources:
            if source.row is None:
                path = PurePosixPath(source.path.relative_to(data_dir).as_posix())
                keys = {str(path), str(path.with_suffix("")), path.name, path.stem, source.name}
            else:
                keys = {source.name}
            for key in keys:
                self.sources[key].append(source)

    def find(self, text):
        """Return the Source that a cell names, or None; raises ValueError if it names two."""
        path = PurePosixPath(text.strip().replace("\\", "/"))
        for prefix in (str(self.data_dir), "."):
            if path.is_relative_to(prefix):
                path = path.relative_to(prefix)
        bare = path.with_suffix("") if path.suffix.lower() in (*READERS, ".dat") else path
        for key in dict.fromkeys((str(path), str(bare), path.name, bare.name)):
            found = self.sources.get(key, [])
            # a table of samples beside a record of that name is not meant
            found = [each for each in found if each.path.suffix.lower() not in TABLES] or found
            if len(found) > 1:
                a, b, *_ = (each.path for each in found)
                raise ValueError(f"{text} may be {a} or {b}; name the records by their paths")
            if found:
                return found[0]
        return None


def list_folder(data_dir):
    """Return the Catalogue of a folder whose files, or REFERENCE.csv, hold the diagnoses."""
    sources = [Source(path, record_name(path)) for path in find_sources(data_dir)]
    labels, references = read_reference(data_dir)
    facts = {name: Facts(dx=tuple(dx)) for name, dx in labels.items()}
    return Catalogue(sources, facts, tables=tuple(references), labels=next(iter(references), None))


def add_labels(catalogue, labels, data_dir):
    """Return a Catalogue completed by a LabelTable, whose records are looked for in a folder.

    Files that state no sampling rate (.csv, .npy ...) are records if the table names them. If it
    names no file, one .npy of as many records as the table has rows is meant.
    """
    listed, known = set(COLUMNS), {source.path for source in catalogue.sources}
    tables = [
        Source(path, record_name(path))
        for path in walk(data_dir)
        if path.suffix.lower() in TABLES
        and path.name not in listed
        and path not in known
        and path.resolve() != labels.path.resolve()
    ]
    names = RecordNames([*catalogue.sources, *tables], data_dir)
    facts, found, missing = dict(catalogue.facts), {}, []
    for text, each in zip(labels.records, labels.facts, strict=True):
        source = names.find(text)
        if source is None:
            missing.append(text)
        elif found.setdefault(source.name, source) != source:
            raise ValueError(f"{labels.path} names two records {source.name}; rename one of them")
        else:
            facts[source.name] = complete(each, facts.get(source.name, Facts()))
    if not found:
        found = stacked(tables, labels)
        facts |= {name: each for name, each in zip(found, labels.facts, strict=True)}
        missing = []
    if not found:
        raise ValueError(
            f"{labels.path} names no record of {data_dir} (its first is {labels.records[0]}); "
            "name each like its file, with or without the ending, or by its path there"
        )
    sources = [each for each in catalogue.sources if found.get(each.name, each) == each]
    sources += [each for each in found.values() if each not in catalogue.sources]
    left = [each.name for each in sources if each.name not in found]
    notes = [f"{list_some(left)} not in {labels.path}"] if left else []
    notes += [f"{list_some(missing)} of {labels.path} without a file"] if missing else []
    return catalogue._replace(
        sources=sorted(sources, key=lambda each: (each.name, each.path)),
        facts=facts,
        classes=labels.classes,
        tables=(*catalogue.tables, labels.path),
        labels=labels.path,
        notes=(*catalogue.notes, *labels.notes, *notes),
    )


def stacked(tables, labels):
    """Return name -> Source of the records of one .npy (N, ...), in the order of the labels."""
    for source in tables:
        if source.path.suffix.lower() == ".npy":
            shape = np.load(source.path, mmap_mode="r").shape
            if len(shape) == 3:
                if shape[0] != len(labels.records):
                    raise ValueError(
                        f"{labels.path} has {len(labels.records)} rows, {source.path} "
                        f"{shape[0]} records; give a row for each, in their order"
                    )
                return {
                    name: Source(source.path, name, row) for row, name in enumerate(labels.records)
                }
    return {}


def complete(new, old):
    """Return Facts with what they do not say taken from older ones."""
    labelled = new.cells is not None or new.dx
    return Facts(
        new.dx if labelled else old.dx,
        new.cells if labelled else old.cells,
        new.patient or old.patient,
        new.fold or old.fold,
        old.age if math.isnan(new.age) else new.age,
        new.sex or old.sex,
    )


def list_some(names):
    """Return '12 records (a, b, c ...)'."""
    some = ", ".join(names[:3]) + " ..." * (len(names) > 3)
    return f"{len(names)} record{'s' * (len(names) != 1)} ({some})"


def join_facts(rows, catalogue):
    """Return Rows of packing.py with what a Catalogue says of them.

    Raises ValueError with the first contradictions between its table of labels and the headers.
    """
    joined, against = [], []
    for row in rows:
        facts = catalogue.facts.get(row.patient_id)
        if facts is None or row.skipped:
            joined.append(row)
            continue
        if catalogue.labels:
            against += contradictions(row, facts, catalogue.classes)
        labelled = facts.dx or facts.cells is not None
        written = not catalogue.layout and classes_of(row.dx.split(";"))  # in the header, as agreed
        joined.append(
            row._replace(
                dx=";".join(facts.dx) if labelled and not written else row.dx,
                age=row.age if math.isnan(facts.age) else facts.age,
                sex=facts.sex or row.sex,
                patient=facts.patient or row.patient,
            )
        )
    if against:
        more = f" (and {len(against) - 3} more)" if len(against) > 3 else ""
        raise ValueError(
            f"{catalogue.labels} and the records contradict each other: "
            f"{'; '.join(against[:3])}{more}; correct the table, or the files"
        )
    return joined


def contradictions(row, facts, classes):
    """Return in what Facts and a record's own header disagree."""
    found, said = [], classes_of(row.dx.split(";"))
    if facts.cells is None:
        listed, known = classes_of(facts.dx), set(CLASSES) if facts.dx else set()
    else:
        cells = dict(zip(classes, facts.cells, strict=True))
        listed = {name for name in CLASSES if cells.get(name)}
        known = {name for name in CLASSES if cells.get(name) is not None}
    if said and known and said & known != listed:
        text = " ".join(name for name in CLASSES if name in listed) or "none of its classes"
        header = " ".join(name for name in CLASSES if name in said)
        found.append(f"{row.patient_id} is {text} in the table, {header} in its header")
    if row.sex and facts.sex and row.sex != facts.sex:
        found.append(f"{row.patient_id} is {facts.sex} in the table, {row.sex} in its header")
    age = math.nan if row.age is None or row.age < 0 else row.age
    if abs(age - facts.age) > 1:
        text = f"{row.patient_id} is aged {facts.age:g} in the table, {age:g} in its header"
        found.append(text)
    return found
