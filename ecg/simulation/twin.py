"""A twin of a data set: a synthetic record for each row of a table of its records.

The table has the columns record, labels (such as AF;RBBB), age, sex and n_samples (at 500 Hz).

All labels of a row are drawn into its record. Where they cannot be in one heart at one time:
SNR beside another class is left to that class, as preprocess.py does; AF beside PAC or IAVB, which
need a P wave, sets in midway; STE beside STD is an infarction whose reciprocal depression is beyond
the limit too; an ST shift beside a bundle branch block comes on top of the block's own shift, and
is what is left of both. LBBB beside RBBB is refused.
"""

import re
from typing import NamedTuple

import numpy as np
import pandas as pd

from dataset import CLASSES, SAMPLE_RATE
from ecg.simulation.heart import draw_heart, render
from utils import is_safe_name

COLUMNS = ["record", "labels", "age", "sex", "n_samples"]
SHORTEST, LONGEST = 5, 3600  # s: shorter ones have no room for an early beat and its pause


class Row(NamedTuple):
    """A record of the table."""

    name: str
    labels: tuple  # in the order of CLASSES
    age: str  # years as a header writes them; NaN where it is missing
    sex: str  # Male, Female or Unknown
    n: int  # samples

    @property
    def group(self):
        """Return the folder that PhysioNet's copy of CPSC2018 has the record in: 1,000 in each."""
        digits = re.search(r"\d+$", self.name)
        return f"g{int(digits[0]) // 1000 + 1 if digits else 1}"

    @property
    def drawn(self):
        """Return the classes that the signal shows."""
        return [name for name in self.labels if name != "SNR"] or ["SNR"]


def read_table(path):
    """Return the rows of a table of records; a ValueError names the line and what is wrong."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    missing = [column for column in COLUMNS if column not in table]
    if missing or table.empty:
        lacking = f"column {missing[0]}" if missing else "rows"
        raise ValueError(f"it has no {lacking}; it needs {','.join(COLUMNS)}")
    rows, seen = [], set()
    for line, cells in enumerate(table[COLUMNS].itertuples(index=False), start=2):
        try:
            rows.append(read_row(*cells))
            if rows[-1].name in seen:
                raise ValueError(f"{rows[-1].name} is there twice")
        except ValueError as error:
            raise ValueError(f"line {line}: {error}") from None
        seen.add(rows[-1].name)
    return rows


def read_row(name, labels, age, sex, n):
    """Return a Row of the cells of a line; raises ValueError."""
    classes = set(re.split(r"[;, ]+", labels.strip()))
    unknown = sorted(classes - set(CLASSES))
    if unknown:
        raise ValueError(f"unknown label {unknown[0]!r}; choose from {' '.join(CLASSES)}")
    if {"LBBB", "RBBB"} <= classes:
        raise ValueError("LBBB and RBBB are not drawn in one record")
    if not is_safe_name(name) or not re.fullmatch(r"\w[\w-]{0,99}", name):
        raise ValueError(f"{name!r} cannot be a record name")
    if not n.isdecimal() or not SHORTEST <= int(n) / SAMPLE_RATE <= LONGEST:
        raise ValueError(f"n_samples {n!r} is not {SHORTEST} to {LONGEST} s at {SAMPLE_RATE} Hz")
    years = "NaN" if age.strip().lower() in ("", "nan") else age.strip()
    if years != "NaN" and not re.fullmatch(r"-1(\.0)?|\d{1,3}(\.\d+)?", years):
        raise ValueError(f"age {age!r} is not a number of years, -1 or nothing")
    years = years if years == "NaN" else f"{float(years):g}"
    words = {"m": "Male", "male": "Male", "f": "Female", "female": "Female"}
    known = words.get(sex.strip().lower(), "Unknown")
    return Row(name, tuple(c for c in CLASSES if c in classes), years, known, int(n))


def make_twin(seed, row, with_signal=True):
    """Return signal (12, n) int16 uV, or None, and the list of Evidence of a Row.

    Both depend on the seed and the row alone; leaving out the signal takes a fraction of the time.
    A record without evidence of one of its classes is drawn again.
    """
    seconds, years = row.n / SAMPLE_RATE, float(row.age)
    age = {"age": int(years)} if years > 0 else {}  # NaN or -1: unknown
    for attempt in range(100):
        rng = np.random.default_rng([seed, *row.name.encode(), attempt])
        heart = draw_heart(rng, row.drawn, seconds, sex=row.sex, **age)
        if {evidence.name for evidence in heart.evidence} == set(row.drawn):
            return render(rng, heart) if with_signal else None, heart.evidence
    labels = ";".join(row.labels)
    raise ValueError(f"{row.name}: no record of {seconds:g} s that shows {labels}")
