"""The file formats of a record, one reader each in READERS.

To add a format, write `read_xyz(path)` and name it in READERS. A reader returns a Record, a
dictionary of lead -> samples (n,) float64 in mV at its own rate, NaN for missing ones, and notes (a
list of text). It raises ValueError with a reason that a user can act on.
"""

from pathlib import Path

import numpy as np

from dataset import LEADS, SAMPLE_RATE
from ecg.io import matlab
from ecg.io.hospital import SUFFIXES as HOSPITAL
from ecg.io.hospital import read_hospital
from ecg.io.physionet import read_wfdb
from ecg.io.record import (
    Record,
    arrange_leads,
    check_length,
    check_matrix,
    check_rate,
    parse_age,
    parse_sex,
)
from ecg.io.stacks import read_hdf5, read_npy
from ecg.io.text_table import TableFormat, check_unit, read_text_table


def read_struct(path):
    """Read a struct of the CPSC2018 challenge, whose diagnoses are in REFERENCE.csv."""
    ecg = matlab.load_bounded(path).get("ECG")
    if not isinstance(ecg, dict) or "data" not in ecg:
        raise ValueError("it has no .hea header beside it and is not a challenge struct 'ECG'")
    signal = check_matrix(np.asarray(ecg["data"])).astype(np.float64)
    record = Record(SAMPLE_RATE, parse_age(ecg.get("age")), parse_sex(ecg.get("sex", "")))
    return record, dict(zip(LEADS, signal, strict=True)), []


# If two files differ only in their suffix, the one listed first here is the record.
READERS = {
    ".hea": read_wfdb,
    ".mat": read_struct,
    **dict.fromkeys(HOSPITAL, read_hospital),
    ".csv": read_text_table,
    ".tsv": read_text_table,
    ".txt": read_text_table,
    ".xlsx": read_text_table,
    ".npy": read_npy,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
}
TABLES = (".csv", ".tsv", ".txt", ".xlsx", ".npy", ".h5", ".hdf5")  # without a sampling rate
STACKS = (".npy", ".h5", ".hdf5")  # may hold several records
MAX_BYTES = 256 << 20  # of a table


def check_given(sample_rate, suffix):
    """Raise ValueError if the sample rate (Hz) of a table is None or implausible."""
    if sample_rate is None:
        raise ValueError(f"a {suffix} file has no sample rate; give it in Hz: --sample-rate 500")
    check_rate(sample_rate)


def read_record(path, labels=None, needed=LEADS, row=None, **table):
    """Read any record: (Record, signal (12, n) float64 mV at its own rate, notes).

    `labels` are its classes from REFERENCE.csv, None if it is not listed there; `row` is the place
    of the record in a file of several, `table` the fields of a TableFormat, for tables alone. A
    lead that is not `needed` may be missing and is NaN then.
    Raises ValueError with a reason a user can act on; a damaged file may raise other errors too.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    is_table = suffix in TABLES
    if is_table and row is None and path.stat().st_size > MAX_BYTES:
        raise ValueError("the file is larger than 256 MB")
    reader = READERS.get(suffix, read_hospital)  # which goes by content
    if is_table:
        if suffix in STACKS:  # with the rate their length is known before anything is copied
            check_given(table.get("sample_rate"), suffix)
        args = (row,) if suffix in STACKS else ()
        record, rows, notes = reader(path, TableFormat(**table), *args)
        check_unit(rows)
        check_given(record.sample_rate, suffix)
        record = record._replace(dx=())
    else:
        record, rows, notes = reader(path)
    try:
        signal, more = arrange_leads(rows, needed)
    except ValueError as error:
        hint = "; if it was not recorded, leave its column empty" if is_table else ""
        raise ValueError(f"{error}{hint}") from None
    if record.dx is None:
        notes += [] if labels is not None else ["not listed in REFERENCE.csv"]
        record = record._replace(dx=tuple(labels or ()))
    check_length(signal.shape[1], record.sample_rate)
    return record, signal, notes + more
