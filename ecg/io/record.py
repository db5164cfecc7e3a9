"""What a reader of a file format returns, and bounds that no real record reaches."""

import math
import os
import re
from typing import NamedTuple

import numpy as np

from dataset import LEADS

N_LEADS = len(LEADS)
IMPLAUSIBLE_MV = 20  # more than any ECG reaches: a wrong unit, or an artefact
MIN_RATE, MAX_RATE = 50, 10_000  # Hz
MAX_SECONDS = 3600
MAX_AGE = 120  # years
PATIENT_FOLDER = re.compile(r"patient\d+", re.IGNORECASE)  # of PTB
SPELLING = {lead.upper(): lead for lead in LEADS}
SPELLING |= {"D" + lead: lead for lead in ("I", "II", "III")} | {"MLII": "II"}
LEAD_WORD = rf"(?:(?:lead|ecg|ekg)[ ._]*)?({'|'.join(sorted(SPELLING, key=len, reverse=True))})"
LEAD_NAME = re.compile(LEAD_WORD, re.IGNORECASE)
MAX_WORD = 1000  # characters of a header's word or a table's cell: reading longer ones takes hours


class Record(NamedTuple):
    """What a file holds besides its signal; None or empty if the format has no field for it."""

    sample_rate: float | None  # Hz
    age: float = math.nan  # years
    sex: str = ""  # 'Male', 'Female' or ''
    dx: tuple | None = None  # the diagnoses as written; None: they are in REFERENCE.csv
    patient: str = ""  # records of one patient share a fold
    recorded: str = ""  # date and time of day, as ISO 8601 with a blank between
    identity: str = ""  # name and date of birth; only for whoever reads the answer


def check_rate(sample_rate):
    """Raise ValueError if a sample rate (Hz) is implausible."""
    if not MIN_RATE <= sample_rate <= MAX_RATE:
        raise ValueError(f"a sample rate of {sample_rate:g} Hz is outside {MIN_RATE}-{MAX_RATE} Hz")


def check_length(n, sample_rate):
    """Raise ValueError if n samples last less than 1 s or more than an hour."""
    if n > MAX_SECONDS * sample_rate:
        raise ValueError("it is longer than an hour")
    if n < sample_rate:
        raise ValueError(f"it is shorter than 1 s ({n} samples)")


def check_matrix(signal, n_rows=N_LEADS):
    """Return an array of 12 x n numbers (or `n_rows` x n); raises ValueError if it is another."""
    if signal.ndim != 2 or signal.shape[0] != n_rows or signal.dtype.kind not in "iuf":
        hint = "; transpose it" if signal.ndim == 2 and signal.shape[1] == n_rows else ""
        raise ValueError(
            f"its data are not {n_rows} x n numbers but {signal.dtype} {signal.shape}{hint}"
        )
    return signal


def lead_of(name):
    """Return the lead that a name means ('AVR', 'Lead I', 'ECG I', 'DII', 'MLII'), or None."""
    match = LEAD_NAME.fullmatch(name.strip())
    return SPELLING[match[1].upper()] if match else None


def refuse_twice(names):
    """Raise ValueError if two of some names mean the same lead."""
    leads = [lead for lead in map(lead_of, names) if lead]
    for lead in LEADS:
        if leads.count(lead) > 1:
            raise ValueError(f"lead {lead} is there twice; rename or remove the one not meant")


def arrange_leads(rows, needed=LEADS):
    """Return (12, n) in the order of LEADS of a dict lead -> samples (n,), and notes.

    Devices often store eight leads, as III and the augmented ones are sums of I and II. Other
    leads that are not there are NaN; raises ValueError if one of `needed` is not.
    """
    rows, made = dict(rows), []
    if "I" in rows and "II" in rows:
        i, ii = rows["I"], rows["II"]
        sums = {"III": ii - i, "aVR": -(i + ii) / 2, "aVL": i - ii / 2, "aVF": ii - i / 2}
        made = [lead for lead in sums if lead not in rows]
        rows |= {lead: sums[lead] for lead in made}
    missing = [lead for lead in needed if lead not in rows]
    if missing or not rows:
        verb = "is" if len(missing) == 1 else "are"
        text = f"lead{'s' * (verb == 'are')} {', '.join(missing)} {verb} missing"
        raise ValueError(text if rows else "it holds none of the twelve leads")
    notes = [f"calculated from I and II: {' '.join(made)}"] if made else []
    blank = np.full(len(next(iter(rows.values()))), np.nan)
    return np.stack([rows.get(lead, blank) for lead in LEADS]), notes


def record_name(path):
    """Return a record's patient_id: its file's name without the ending."""
    return os.fsencode(path.stem).decode("utf-8", "replace")


def parse_age(value):
    """Return an age in years, NaN if missing or no person's; -1 is kept, as published."""
    try:
        age = float(np.asarray(value).item())
    except (TypeError, ValueError):
        return math.nan
    return age if -1 <= age <= MAX_AGE else math.nan


def parse_sex(value):
    """Return 'Male', 'Female' or ''."""
    return {"m": "Male", "f": "Female"}.get(str(value).strip().lower()[:1], "")


def describe_error(error):
    """Say in one line, of at most 200 characters, why a record cannot be read."""
    known = isinstance(error, ValueError | OSError)
    text = f"{error}" if known else f"cannot be read ({type(error).__name__}: {error})"
    text = " ".join(text.split())
    return text if len(text) <= 200 else f"{text[:196]} ..."
