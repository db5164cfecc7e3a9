"""The tables of a data folder as DataFrames: reference.csv, labels.csv and dataset_table.csv."""

import pandas as pd

from dataset import CLASSES, classes_of
from ecg.io import diagnoses
from ecg.io.packing import Row

REFERENCE_COLUMNS = [*Row._fields[: Row._fields.index("note") + 1]]


def reference_frame(rows):
    """Return Rows as a DataFrame with the columns of reference.csv."""
    frame = pd.DataFrame(rows, columns=Row._fields)[REFERENCE_COLUMNS]
    return frame.astype({"signal_len": "Int64"})


def make_labels(reference, catalogue=None):
    """Return patient_id and the classes as 1, 0 or empty of the labelled records, by name.

    `reference` has the columns of reference.csv, of packed records alone. A record is labelled if
    it has a class, or if a Catalogue says which of its classes it does not have.
    """
    reference = reference.sort_values("patient_id")
    facts, classes = ({}, CLASSES) if catalogue is None else (catalogue.facts, catalogue.classes)
    names, cells = [], []
    for name, dx in zip(reference.patient_id, reference.dx, strict=True):
        known = facts[name].cells if name in facts else None
        if known is None:
            present = diagnoses.classes_of(dx.split(";")) if classes == CLASSES else ()
            known = tuple(int(each in present) for each in classes) if present else ()
        if any(cell is not None for cell in known):
            names.append(name)
            cells.append(known)
    labels = pd.DataFrame(cells, columns=list(classes), dtype="Int64")
    whole = [name for name in classes if not labels[name].isna().any()]
    labels = labels.astype(dict.fromkeys(whole, "int64"))
    labels.insert(0, "patient_id", names)
    return labels


def dataset_table(reference, labels):
    """Return the paper's table: per class records, %, male %, age and seconds as mean and sd.

    Percentages are of all labelled records; an age of -1 is kept in the means, as in the paper.
    """
    reference = reference.set_index("patient_id")
    rows = []
    for name in classes_of(labels):
        part = reference.loc[labels.patient_id[(labels[name] == 1).fillna(False)]]
        age = part.age.astype(float)
        known = part.sex.isin(("Male", "Female")).any()
        seconds = (part.signal_len / part.sample_rate).astype(float)
        rows.append(
            {
                "class": name,
                "records": len(part),
                "percent": 100 * len(part) / len(labels),
                "male_percent": 100 * (part.sex == "Male").mean() if known else None,
                "age_mean": age.mean(),
                "age_sd": age.std(),
                "seconds_mean": seconds.mean(),
                "seconds_sd": seconds.std(),
            }
        )
    return pd.DataFrame(rows).round(2)
