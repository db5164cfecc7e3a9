"""What a reader of a file format returns, and bounds that no real record reaches."""

import math
from typing import NamedTuple

import numpy as np

from dataset import LEADS

N_LEADS = len(LEADS)
IMPLAUSIBLE_MV = 20  # more than any ECG reaches: a wrong unit, or an artefact
MIN_RATE, MAX_RATE = 50, 10_000  # Hz
MAX_SECONDS = 3600
MAX_WORD = 1000  # characters of a header's word or a table's cell: reading longer ones takes hours


class Record(NamedTuple):
    """What a file holds besides its signal; None or empty if the format has no field for it."""

    sample_rate: float | None  # Hz
    age: float = math.nan  # years
    sex: str = ""  # 'Male', 'Female' or ''
    dx: tuple | None = None  # the diagnoses as written; None: they are in REFERENCE.csv
    patient: str = ""  # records of one patient share a fold


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
