"""The file formats of a record, one reader each in READERS.

To add a format, write `read_xyz(path)` and name it in READERS. A reader returns a Record, the
signal (12, n) float64 in mV in the order of LEADS at its own rate, NaN where a sample is missing,
and notes (a list of text). It raises ValueError with a reason that a user can act on.
"""

import csv
from pathlib import Path

import numpy as np
import pandas as pd

from dataset import LEADS, SAMPLE_RATE
from ecg.io import matlab
from ecg.io.physionet import MAX_HEADER, read_wfdb
from ecg.io.record import Record, check_length, check_rate, parse_age, parse_sex

HIGH_MV = 20  # no heart reaches this at the skin: a wrong unit, or an artefact


def read_struct(path):
    """Read a struct of the CPSC2018 challenge, whose diagnoses are in REFERENCE.csv."""
    ecg = matlab.load_bounded(path).get("ECG")
    if not isinstance(ecg, dict) or "data" not in ecg:
        raise ValueError("it has no .hea header beside it and is not a challenge struct 'ECG'")
    signal = check_matrix(np.asarray(ecg["data"]))
    record = Record(SAMPLE_RATE, parse_age(ecg.get("age")), parse_sex(ecg.get("sex", "")))
    return record, signal.astype(np.float64), []


def check_matrix(signal):
    """Return an array if it is 12 x n numbers; raises ValueError."""
    if signal.ndim != 2 or signal.shape[0] != len(LEADS) or signal.dtype.kind not in "iuf":
        hint = "; transpose it" if signal.ndim == 2 and signal.shape[1] == len(LEADS) else ""
        raise ValueError(f"its data are not 12 x n numbers but {signal.dtype} {signal.shape}{hint}")
    return signal


def read_csv(path):
    """Read a .csv in mV of one column per lead.

    The first row names the leads, in any order and case; the separator is a comma, a semicolon or
    a tab. Other columns are left out, with a note; an empty cell is a missing sample (NaN).
    """
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        first = file.readline(MAX_HEADER)
        separator = max(",;\t", key=first.count)
        names = [name.strip() for name in next(csv.reader([first], delimiter=separator), [])]
        leads = [name.upper() for name in names]
        missing = [lead for lead in LEADS if lead.upper() not in leads]
        twice = [lead for lead in LEADS if leads.count(lead.upper()) > 1]
        if not any(names):
            raise ValueError("it is empty")
        if len(missing) == len(LEADS):
            raise ValueError(
                "its first row does not name the leads; write one above the samples: "
                + ",".join(LEADS)
            )
        if missing or twice:
            fault = "missing" if missing else "there twice"
            raise ValueError(f"lead {', '.join(missing or twice)} is {fault}")
        try:
            # no index column: pandas would take the first one for it if the rows are longer
            table = pd.read_csv(
                file,
                sep=separator,
                header=None,
                index_col=False,
                dtype=np.float64,
                skipinitialspace=True,
            )
        except pd.errors.EmptyDataError:
            raise ValueError("it holds no samples") from None
        except ValueError as error:
            raise ValueError(
                f"its samples are not all numbers ({error}); write mV with a decimal "
                "point, and nothing where a sample is missing"
            ) from None
    if table.shape[1] != len(names):
        raise ValueError(f"its rows have {table.shape[1]} cells, its first row {len(names)}")
    known = {lead.upper() for lead in LEADS}
    others = [name or "without a name" for name in names if name.upper() not in known]
    notes = [f"column left out: {', '.join(others)}"] if others else []
    columns = [leads.index(lead.upper()) for lead in LEADS]
    return Record(None), table.to_numpy()[:, columns].T.copy(), notes


def read_npy(path):
    """Read a .npy of 12 x n numbers in mV, never a pickle."""
    try:
        # mapped: a header that claims more than the file holds is refused before memory is taken
        signal = np.lib.format.open_memmap(path, mode="r")
    except ValueError as error:
        raise ValueError(
            f"it is not a whole .npy file of numbers ({error}); write it again with numpy.save"
        ) from None
    return Record(None), np.array(check_matrix(signal), np.float64), []


def check_unit(signal):
    """Raise ValueError if a table's numbers cannot be mV: the typical lead spans more than 20."""
    if np.isinf(signal).any():
        raise ValueError("it holds infinite values")
    if signal.size:
        # percentiles, so that a few spikes do not count
        ends = np.percentile(np.nan_to_num(signal), (1, 99), axis=1)
        span = np.median(ends[1] - ends[0])
        if span > HIGH_MV:
            raise ValueError(
                f"its typical lead spans {span:.0f} mV, which no heart gives; if the "
                "numbers are microvolts, divide them by 1000"
            )


# Where two files differ in their suffix alone, the suffix that stands first is the record.
READERS = {".hea": read_wfdb, ".mat": read_struct, ".csv": read_csv, ".npy": read_npy}
TABLES = (".csv", ".npy")  # those that say neither rate nor unit, and are read as mV


def read_record(path, labels=None, sample_rate=None):
    """Read any record: (Record, signal (12, n) float64 mV at its own rate, notes).

    `labels` are its classes from REFERENCE.csv, None if it is not listed there; `sample_rate` in
    Hz is that of a table, which cannot say it. Raises ValueError with a reason a user can act on;
    a damaged file may raise other errors too.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in TABLES:
        if sample_rate is None:
            raise ValueError(
                f"a {suffix} file does not say its sample rate; give --sample-rate in Hz"
            )
        check_rate(sample_rate)
        if path.stat().st_size > matlab.MAX_BYTES:
            raise ValueError("the file is larger than 256 MB")
    record, signal, notes = READERS[suffix](path)
    if suffix in TABLES:
        check_unit(signal)
        record = record._replace(sample_rate=sample_rate, dx=())
    if record.dx is None:
        notes += [] if labels is not None else ["not listed in REFERENCE.csv"]
        record = record._replace(dx=tuple(labels or ()))
    check_length(signal.shape[1], record.sample_rate)
    return record, signal, notes
