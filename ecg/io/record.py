"""What a reader of a file format returns, and bounds that no real record reaches."""

import math
from typing import NamedTuple

import numpy as np

from dataset import LEADS

N_LEADS = len(LEADS)
IMPLAUSIBLE_MV = 20  # more than any ECG reaches: a wrong unit, or an artefact
MIN_RATE, MAX_RATE = 50, 10_000  # Hz
MAX_SECONDS = 3600


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


def arrange_leads(rows):
    """Return (12, n) in the order of LEADS of a dict lead -> samples (n,), and notes.

    Devices often store eight leads, as III and the augmented ones are sums of I and II.
    """
    rows, made = dict(rows), []
    if "I" in rows and "II" in rows:
        i, ii = rows["I"], rows["II"]
        sums = {"III": ii - i, "aVR": -(i + ii) / 2, "aVL": i - ii / 2, "aVF": ii - i / 2}
        made = [lead for lead in sums if lead not in rows]
        rows |= {lead: sums[lead] for lead in made}
    missing = [lead for lead in LEADS if lead not in rows]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise ValueError(f"lead{'s' * (verb == 'are')} {', '.join(missing)} {verb} missing")
    notes = [f"calculated from I and II: {' '.join(made)}"] if made else []
    return np.stack([rows[lead] for lead in LEADS]), notes


def parse_age(value):
    """Return an age in years, NaN if missing or not a number; -1 is kept, as published."""
    try:
        age = float(np.asarray(value).item())
    except (TypeError, ValueError):
        return math.nan
    return age if -1 <= age <= 150 else math.nan


def parse_sex(value):
    """Return 'Male', 'Female' or ''."""
    return {"m": "Male", "f": "Female"}.get(str(value).strip().lower()[:1], "")


def describe_error(error):
    """Say in one line, of at most 200 characters, why a record cannot be read."""
    known = isinstance(error, ValueError | OSError)
    text = f"{error}" if known else f"cannot be read ({type(error).__name__}: {error})"
    return " ".join(text.split())[:200]
