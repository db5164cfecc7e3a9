"""The file formats of a record, one reader each in READERS.

To add a format, write `read_xyz(path)` and name it in READERS. A reader returns a Record, the
signal (12, n) float64 in mV in the order of LEADS at its own rate, NaN for missing samples, and
notes (a list of text). It raises ValueError with a reason that a user can act on.
"""

from pathlib import Path

import numpy as np

from dataset import SAMPLE_RATE
from ecg.io import matlab
from ecg.io.dicom import read_dicom
from ecg.io.physionet import read_wfdb
from ecg.io.record import Record, check_length, check_matrix, check_rate, parse_age, parse_sex
from ecg.io.text_table import check_unit, read_npy, read_text_table


def read_struct(path):
    """Read a struct of the CPSC2018 challenge, whose diagnoses are in REFERENCE.csv."""
    ecg = matlab.load_bounded(path).get("ECG")
    if not isinstance(ecg, dict) or "data" not in ecg:
        raise ValueError("it has no .hea header beside it and is not a challenge struct 'ECG'")
    signal = check_matrix(np.asarray(ecg["data"]))
    record = Record(SAMPLE_RATE, parse_age(ecg.get("age")), parse_sex(ecg.get("sex", "")))
    return record, signal.astype(np.float64), []


# If two files differ only in their suffix, the one listed first here is the record.
READERS = {
    ".hea": read_wfdb,
    ".mat": read_struct,
    ".dcm": read_dicom,
    ".csv": read_text_table,
    ".tsv": read_text_table,
    ".txt": read_text_table,
    ".npy": read_npy,
}
TABLES = (".csv", ".tsv", ".txt", ".npy")  # without a sampling rate
# How to convert a format that has no reader.
CONVERTERS = {
    ".edf": "edf2mit of PhysioNet's WFDB software package turns it into a WFDB record",
    ".xml": "ecg2dcm-convert, from python -m pip install ecg2dcm in an environment of its own, "
    "turns GE MUSE and HL7 aECG files into DICOM",
    ".scp": "the C# ECG Toolkit (sourceforge.net/projects/ecgtoolkit-cs) turns it into DICOM",
}


def read_record(path, labels=None, sample_rate=None, **table):
    """Read any record: (Record, signal (12, n) float64 mV at its own rate, notes).

    `labels` are its classes from REFERENCE.csv, None if it is not listed there; `sample_rate` in
    Hz and `table`, the other arguments of `read_text_table`, are for tables alone.
    Raises ValueError with a reason a user can act on; a damaged file may raise other errors too.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    is_table = suffix in TABLES
    if is_table:
        if sample_rate is None:
            raise ValueError(
                f"a {suffix} file has no sample rate; give it in Hz: --sample-rate 500"
            )
        check_rate(sample_rate)
        table |= {"sample_rate": sample_rate} if suffix == ".npy" else {}
    if path.stat().st_size > matlab.MAX_BYTES:
        raise ValueError("the file is larger than 256 MB")
    record, signal, notes = READERS[suffix](path, **table if is_table else {})
    if is_table:
        check_unit(signal)
        record = record._replace(sample_rate=sample_rate, dx=())
    if record.dx is None:
        notes += [] if labels is not None else ["not listed in REFERENCE.csv"]
        record = record._replace(dx=tuple(labels or ()))
    check_length(signal.shape[1], record.sample_rate)
    return record, signal, notes
