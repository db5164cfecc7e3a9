"""Source records: find them in a folder and read the header, the diagnoses and the signal of each.

Two layouts: WFDB as PhysioNet distributes it (a .hea header beside a format-16 .mat or .dat file),
and the CPSC2018 challenge's own (MATLAB structs in TrainingSet1-3 and one REFERENCE.csv). wfdb
itself is not used: it refuses headers whose record name carries '.mat', follows file names out of
the folder, and takes 7 ms a record. For one's own records also tables in mV, .csv with a header
row of lead names and .npy of 12 x n.
"""

import csv
import io
import math
import re
import zlib
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.io
from scipy.signal import resample_poly

from dataset import CLASSES, LEADS, SAMPLE_RATE, UNITS_PER_MV

# SNOMED CT codes, and the words of the first generation of headers, for each class.
CODES = {
    "426783006": "SNR",  # sinus rhythm
    "164889003": "AF",  # atrial fibrillation
    "270492004": "IAVB",  # first-degree atrioventricular block
    "164909002": "LBBB",  # left bundle branch block
    "733534002": "LBBB",  # complete left bundle branch block
    "59118001": "RBBB",  # right bundle branch block
    "713427006": "RBBB",  # complete right bundle branch block
    "284470004": "PAC",  # premature atrial contraction
    "63593006": "PAC",  # supraventricular premature beats
    "164884008": "PVC",  # ventricular ectopics
    "427172004": "PVC",  # premature ventricular contractions
    "17338001": "PVC",  # ventricular premature beats
    "429622005": "STD",  # ST depression
    "164931005": "STE",  # ST elevation
    "normal": "SNR",
    "i-avb": "IAVB",
    **{name.lower(): name for name in CLASSES},
}
# LUDB's headers give diagnoses as sentences; these openings carry one of the classes.
PHRASES = {
    "rhythm: atrial fibrillation": "AF",
    "i degree av block": "IAVB",
    "complete left bundle branch block": "LBBB",
    "complete right bundle branch block": "RBBB",
    "atrial extrasystole": "PAC",
    "ventricular extrasystole": "PVC",
    "stemi": "STE",
}
MV_PER_UNIT = {"v": 1e3, "mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "nv": 1e-6}
DEFAULT_GAIN = 200.0  # WFDB: what a missing gain, or one of 0, stands for
NOT_A_SAMPLE = -32768  # format 16 marks a missing sample so
LEAD_BY_NAME = {lead.upper(): lead for lead in LEADS}
TABLES = (".csv", ".npy")
INT16_MAX_MV = 32.767
HIGH_MV = 20  # no heart reaches this at the skin: a wrong unit, or an artefact

# Bounds that no real record meets, so that a damaged file cannot ask for the machine's memory.
MIN_RATE, MAX_RATE = 50, 10_000  # Hz
MAX_SECONDS = 3600
MAX_HEADER = 1 << 20  # bytes
MAX_STRUCT = 1 << 28  # bytes, inflated
MAX_SIGNALS = 64

FORMAT = re.compile(r"(\d+)(?:x(\d+))?(?::\d+)?(?:\+(\d+))?")
GAIN = re.compile(r"([-+.\deE]*)(?:\(([-+.\d]+)\))?(?:/(\S+))?")
COMMENT = re.compile(r"#\s*<?(\w+)>?\s*:\s*(.*)")


class Channel(NamedTuple):
    """One signal line of a header; sample in mV = (stored - baseline) / gain * mv_per_unit."""

    file: str
    column: int  # its place among the signals of the same file
    columns: int  # how many signals share the file
    offset: int  # bytes before the first sample
    gain: float
    baseline: float
    mv_per_unit: float
    checksum: int | None


class Record(NamedTuple):
    """What a header says; age in years (NaN if not known), dx the diagnoses as written."""

    sample_rate: float
    signal_len: int
    age: float
    sex: str
    dx: tuple
    channels: dict  # lead -> Channel


def find_sources(data_dir):
    """Return the paths of all records below a folder, sorted by record name, then by path.

    A record is a .hea file, or a .mat file without one: a challenge struct.
    """
    root = Path(data_dir)
    files = [
        path
        for path in root.rglob("*")
        if path.suffix.lower() in (".hea", ".mat")
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    ]
    headers = {path.with_suffix("") for path in files if path.suffix.lower() == ".hea"}
    sources = [
        path
        for path in files
        if path.suffix.lower() == ".hea" or path.with_suffix("") not in headers
    ]
    return sorted(sources, key=lambda path: (path.stem, path.relative_to(root).as_posix()))


def find_records(path):
    """Return the sources that a user names: [one], or all of a folder.

    A WFDB record is named by its .hea, .mat or .dat file or without extension, as is any other. In
    a folder, .csv and .npy files count only if it holds neither WFDB nor structs, which come with
    tables of other content. Raises ValueError if nothing is found.
    """
    path = Path(path)
    if path.is_dir():
        tables = (file for file in path.rglob("*") if file.suffix.lower() in TABLES)
        found = find_sources(path) or sorted(file for file in tables if file.is_file())
        if not found:
            raise ValueError("the folder holds no record")
        return found
    if not path.is_file():
        named = [path.with_name(path.name + suffix) for suffix in (".hea", ".mat", *TABLES)]
        found = [file for file in named if path.name and file.is_file()]
        if not found:
            raise ValueError("there is no such record, with or without .hea, .mat, .csv or .npy")
        return found[:1]
    suffix = path.suffix.lower()
    if suffix in (".mat", ".dat"):
        headers = [path.with_suffix(end) for end in (".hea", ".HEA")]
        found = [file for file in headers if file.is_file()]
        if not found and suffix == ".dat":
            raise ValueError("it has no .hea header beside it")
        return found[:1] or [path]
    if suffix == ".hea" or suffix in TABLES:
        return [path]
    raise ValueError("it is not a record: give .hea, .mat, .dat, .csv (a header row of lead names, "
                     "mV) or .npy (12 x n, mV)")  # fmt: skip


def read_reference(data_dir):
    """Read every REFERENCE.csv below a folder: record name -> class names, repeats merged.

    Labels are 1-9 in the order of CLASSES; some copies write 10 where 1 is meant. Returns also the
    paths read. Raises ValueError with the file and line of a label that is no number from 1 to 10.
    """
    labels, paths = {}, []
    for path in sorted(Path(data_dir).rglob("*")):
        if path.name.lower() != "reference.csv":
            continue
        with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
            rows = list(csv.reader(file))
        if not rows or not rows[0] or rows[0][0].strip().lower() != "recording":
            continue  # preprocess.py's own reference.csv, on a file system without case
        paths.append(path)
        for line, row in enumerate(rows[1:], start=2):
            if not row or not row[0].strip():
                continue
            found = labels.setdefault(row[0].strip(), [])
            for text in filter(None, (cell.strip() for cell in row[1:])):
                if not text.isdecimal() or not 1 <= int(text) <= 10:
                    raise ValueError(f"{path}, line {line}: label {text!r} is not a number 1-9")
                name = CLASSES[0 if text == "10" else int(text) - 1]
                if name not in found:
                    found.append(name)
    return labels, paths


def classes_of(dx):
    """Return the set of the nine classes that diagnoses (codes, words or sentences) name.

    SNR counts only where none of the eight abnormal classes is present: outside CPSC2018 its code
    means 'sinus rhythm' and stands beside abnormal findings.
    """
    found = set()
    for text in dx:
        text = text.strip().rstrip(".").lower()
        found.add(CODES.get(text))
        found.update(name for opening, name in PHRASES.items() if text.startswith(opening))
    found.discard(None)
    return found - {"SNR"} or found


def read_header(path):
    """Read a .hea file; raises ValueError with the reason if it cannot be used."""
    if path.stat().st_size > MAX_HEADER:
        raise ValueError("the header is larger than 1 MB")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    fields = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    comments = [line.strip() for line in lines if line.lstrip().startswith("#")]
    if not fields:
        raise ValueError("the header is empty")
    n_signals, sample_rate, signal_len = parse_record_line(fields[0])
    if len(fields) < 1 + n_signals:
        raise ValueError(f"the header has {len(fields) - 1} of {n_signals} signal lines")
    channels = parse_signal_lines(fields[1 : 1 + n_signals])
    missing = [lead for lead in LEADS if lead not in channels]
    if missing:
        raise ValueError(f"lead {', '.join(missing)} is missing")
    return Record(sample_rate, signal_len, *parse_comments(comments), channels)


def parse_record_line(line):
    """Return (signals, Hz, samples) of a line such as 'A0001 12 500 7500 05-Feb-2020 11:39:16'."""
    words = line.split()
    if len(words) < 2 or not words[1].isdecimal() or not 1 <= int(words[1]) <= MAX_SIGNALS:
        raise ValueError("the record line gives no number of signals")
    if "/" in words[0]:
        raise ValueError("multi-segment records are not supported")
    try:
        sample_rate = float(re.split(r"[/(]", words[2])[0]) if len(words) > 2 else 250.0
    except ValueError:
        raise ValueError(f"the sample rate {words[2][:20]!r} is not a number") from None
    if not MIN_RATE <= sample_rate <= MAX_RATE:
        raise ValueError(f"a sample rate of {sample_rate:g} Hz is outside {MIN_RATE}-{MAX_RATE} Hz")
    length = words[3] if len(words) > 3 else "0"  # 0 or none: as many as the file holds
    if not length.isdecimal():
        raise ValueError(f"the number of samples {length[:20]!r} is not a whole number")
    return int(words[1]), sample_rate, int(length[:18])


def parse_signal_lines(lines):
    """Return lead -> Channel for those of the twelve leads that the signal lines name."""
    rows = [line.split(maxsplit=8) for line in lines]
    files = [row[0] for row in rows]
    channels = {}
    for i, row in enumerate(rows):
        lead = LEAD_BY_NAME.get(row[8].strip().upper()) if len(row) > 8 else None
        if lead is None or lead in channels:
            continue
        column, columns = files[:i].count(row[0]), files.count(row[0])
        channels[lead] = parse_channel(row, lead, column, columns)
    return channels


def parse_channel(row, lead, column, columns):
    """Parse the words of one signal line; raises ValueError with the fault."""
    name, layout, gain_text, _, zero, _, checksum, _, _ = row
    if Path(name).name != name or "\\" in name or name in (".", "..", "~"):
        raise ValueError(f"lead {lead}: the signal file {name[:40]!r} is not a plain file name")
    match = FORMAT.fullmatch(layout)
    if not match or match[1] != "16" or match[2] not in (None, "1"):
        raise ValueError(f"lead {lead}: signal format {layout[:20]!r} is not supported, only 16 is")
    gain = GAIN.fullmatch(gain_text)
    try:
        value = float(gain[1] or 0) or DEFAULT_GAIN
        baseline = float(gain[2] or zero)
        unit = MV_PER_UNIT[(gain[3] or "mV").lower()]
    except (TypeError, ValueError, KeyError):
        raise ValueError(f"lead {lead}: gain {gain_text[:30]!r} or zero {zero[:20]!r} cannot be "
                         "read") from None  # fmt: skip
    if not (math.isfinite(value) and math.isfinite(baseline)):
        raise ValueError(f"lead {lead}: gain {gain_text[:30]!r} is not finite")
    expected = int(checksum) if re.fullmatch(r"-?\d{1,6}", checksum) else None
    offset = int((match[3] or "0")[:9])
    return Channel(name, column, columns, offset, value, baseline, unit, expected)


def parse_comments(comments):
    """Return (age, sex, dx) of '#Age: 74', '# Sex: M', '#Dx: 59118001,164889003' and the like.

    In LUDB's headers every line after '#<diagnoses>:' is one diagnosis.
    """
    age, sex, dx, sentences = math.nan, "", [], False
    for line in comments:
        match = COMMENT.fullmatch(line)
        key = match[1].lower() if match else ""
        if sentences:
            dx.append(line.lstrip("# "))
        elif key == "age":
            age = parse_age(match[2])
        elif key == "sex":
            sex = parse_sex(match[2])
        elif key == "dx":
            dx += re.split(r"[,;\s]+", match[2])
        elif key == "diagnoses":
            sentences = True
    return age, sex, tuple(text for text in dx if text)


def parse_age(value):
    """Return an age in years, NaN where it is missing or no number; -1 is kept, as published."""
    try:
        age = float(np.asarray(value).item())
    except (TypeError, ValueError):
        return math.nan
    return age if -1 <= age <= 150 else math.nan


def parse_sex(value):
    """Return 'Male', 'Female' or ''."""
    return {"m": "Male", "f": "Female"}.get(str(value).strip().lower()[:1], "")


def read_wfdb(path):
    """Read a header and its signal: (Record, signal (12, n) float64 mV, notes)."""
    record = read_header(path)
    channels, notes = record.channels, []
    stored = {file: read_stored(path.with_name(file), record, channels) for file in
              {channel.file for channel in channels.values()}}  # fmt: skip
    n = min(len(samples) for samples in stored.values())
    record = record._replace(signal_len=n)
    signal = np.empty((len(LEADS), n))
    wrong = []
    for row, lead in enumerate(LEADS):
        channel = channels[lead]
        samples = stored[channel.file][:n, channel.column]
        total = int(samples.sum(dtype=np.int64))
        if channel.checksum is not None and (total - channel.checksum) % 65536:
            wrong.append(lead)
        signal[row] = (samples - channel.baseline) * (channel.mv_per_unit / channel.gain)
        signal[row, samples == NOT_A_SAMPLE] = np.nan
    if wrong:
        notes.append(f"checksum differs: {' '.join(wrong)}")
    return record, signal, notes


def read_stored(path, record, channels):
    """Return the stored int16 samples of one signal file, (n, columns)."""
    channel = next(channel for channel in channels.values() if channel.file == path.name)
    if not path.is_file():
        raise ValueError(f"its signal file {path.name} is missing")
    available = max(0, path.stat().st_size - channel.offset) // (2 * channel.columns)
    n = record.signal_len or available
    if n > available:
        raise ValueError(f"{path.name} is truncated: {available} of {n} samples")
    if n > MAX_SECONDS * record.sample_rate:
        raise ValueError("it is longer than an hour")
    with open(path, "rb") as file:
        head = file.read(channel.offset)
        data = file.read(2 * channel.columns * n)
    if path.suffix.lower() == ".mat" and channel.offset == 24:
        check_matlab_v4(head, path.name, channel.columns, n)
    return np.frombuffer(data, "<i2").reshape(n, channel.columns)


def check_matlab_v4(head, name, rows, columns):
    """Raise ValueError unless the 24 bytes open a little-endian int16 matrix called 'val'."""
    numbers = np.frombuffer(head[:20], "<i4").tolist()
    if numbers[0] != 30 or numbers[3:] != [0, 4]:
        raise ValueError(
            f"{name} is not the little-endian 16-bit MATLAB matrix its header declares"
        )
    if numbers[1] != rows or numbers[2] < columns:
        raise ValueError(f"{name} holds {numbers[1]} x {numbers[2]} samples, its header declares "
                         f"{rows} x {columns}")  # fmt: skip


def read_struct(path, labels):
    """Read a challenge struct: (Record, signal (12, n) float64 mV, notes).

    `labels` are its classes from REFERENCE.csv, or None if it is not listed there.
    """
    if path.stat().st_size > MAX_STRUCT:
        raise ValueError("the file is larger than 256 MB")
    content = scipy.io.loadmat(io.BytesIO(inflate(path.read_bytes())), simplify_cells=True)
    ecg = content.get("ECG")
    if not isinstance(ecg, dict) or "data" not in ecg:
        raise ValueError("it has no .hea header beside it and is not a challenge struct 'ECG'")
    signal = np.asarray(ecg["data"])
    if signal.ndim != 2 or signal.shape[0] != len(LEADS) or signal.dtype.kind not in "iuf":
        raise ValueError(f"its data are not 12 x n numbers but {signal.dtype} {signal.shape}")
    if signal.shape[1] > MAX_SECONDS * SAMPLE_RATE:
        raise ValueError("it is longer than an hour")
    age, sex = parse_age(ecg.get("age")), parse_sex(ecg.get("sex", ""))
    record = Record(SAMPLE_RATE, signal.shape[1], age, sex, tuple(labels or ()), {})
    notes = [] if labels is not None else ["not listed in REFERENCE.csv"]
    return record, signal.astype(np.float64), notes


def inflate(data):
    """Return the bytes of a MATLAB v5 file with its compressed elements inflated, within bounds."""
    if not data.startswith(b"MATLAB 5.0") or data[126:128] != b"IM":
        raise ValueError("it has no .hea header beside it and is not a little-endian MATLAB 5 file")
    parts, position, size = [data[:128]], 128, 0
    while position + 8 <= len(data):
        kind, length = np.frombuffer(data[position : position + 8], "<u4").tolist()
        element = data[position : position + 8 + length]
        if kind == 15:  # miCOMPRESSED
            element = zlib.decompressobj().decompress(element[8:], MAX_STRUCT - size)
        parts.append(element)
        size += len(element)
        if size >= MAX_STRUCT:
            raise ValueError("it inflates to more than 256 MB")
        position += 8 + length
    return b"".join(parts)


def read_csv_signal(path):
    """Read a .csv of one column per lead: (signal (12, n) float64 as written, notes).

    The first row names the leads, in any order and case; the separator is a comma, a semicolon or
    a tab. Other columns are left out, with a note; an empty cell is a missing sample (NaN).
    """
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        first = file.readline(MAX_HEADER)
        separator = max(",;\t", key=first.count)
        names = [name.strip() for name in next(csv.reader([first], delimiter=separator), [])]
        columns = [LEAD_BY_NAME.get(name.upper()) for name in names]
        missing = [lead for lead in LEADS if lead not in columns]
        twice = [lead for lead in LEADS if columns.count(lead) > 1]
        if not any(names):
            raise ValueError("it is empty")
        if len(missing) == len(LEADS):
            raise ValueError("its first row does not name the leads; write one above the samples: "
                             + ",".join(LEADS))  # fmt: skip
        if missing or twice:
            raise ValueError(f"lead {', '.join(missing or twice)} is "
                             + ("missing" if missing else "there twice"))  # fmt: skip
        # no index column: pandas would take the first one for it if the rows are longer
        table = pd.read_csv(file, sep=separator, header=None, index_col=False, dtype=np.float64,
                            skipinitialspace=True)  # fmt: skip
    if table.shape[1] != len(names):
        raise ValueError(f"its rows have {table.shape[1]} cells, its first row {len(names)}")
    others = [name or "without a name" for name, lead in zip(names, columns, strict=True) if
              lead is None]  # fmt: skip
    notes = [f"column left out: {', '.join(others)}"] if others else []
    return table.to_numpy()[:, [columns.index(lead) for lead in LEADS]].T.copy(), notes


def read_npy_signal(path):
    """Read a .npy of 12 x n numbers, never a pickle: (signal (12, n) float64 as written, notes)."""
    # mapped: a header that claims more than the file holds is refused before memory is asked for
    signal = np.lib.format.open_memmap(path, mode="r")
    if signal.ndim != 2 or signal.shape[0] != len(LEADS) or signal.dtype.kind not in "iuf":
        hint = "; transpose it" if signal.ndim == 2 and signal.shape[1] == len(LEADS) else ""
        raise ValueError(f"its data are not 12 x n numbers but {signal.dtype} {signal.shape}{hint}")
    return np.array(signal, np.float64), []


def read_table(path, sample_rate):
    """Read a .csv or .npy in mV: (Record, signal (12, n) float64 mV, notes).

    Raises ValueError if the numbers cannot be mV: the typical lead spans more than 20 of them.
    """
    if sample_rate is None:
        raise ValueError(f"a {path.suffix.lower()} file does not say its sample rate; give "
                         "--sample-rate in Hz")  # fmt: skip
    if not MIN_RATE <= sample_rate <= MAX_RATE:
        raise ValueError(f"a sample rate of {sample_rate:g} Hz is outside {MIN_RATE}-{MAX_RATE} Hz")
    if path.stat().st_size > MAX_STRUCT:
        raise ValueError("the file is larger than 256 MB")
    try:
        read = read_csv_signal if path.suffix.lower() == ".csv" else read_npy_signal
        signal, notes = read(path)
    except pd.errors.EmptyDataError:
        raise ValueError("it holds no samples") from None
    if signal.shape[1] > MAX_SECONDS * sample_rate:
        raise ValueError("it is longer than an hour")
    if np.isinf(signal).any():
        raise ValueError("it holds infinite values")
    if signal.size:
        # percentiles, so that a few spikes do not count
        ends = np.percentile(np.nan_to_num(signal), (1, 99), axis=1)
        span = np.median(ends[1] - ends[0])
        if span > HIGH_MV:
            raise ValueError(f"its typical lead spans {span:.0f} mV, which no heart gives; if the "
                             "numbers are microvolts, divide them by 1000")  # fmt: skip
    return Record(sample_rate, signal.shape[1], math.nan, "", (), {}), signal, notes


def read_record(path, labels=None, sample_rate=None):
    """Read any record: (Record, signal (12, n) float64 mV at its own rate, notes).

    `sample_rate` in Hz is that of a .csv or .npy file, which cannot say it. Raises ValueError with
    a reason a user can act on; a damaged file may raise other errors too.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in TABLES:
        record, signal, notes = read_table(path, sample_rate)
    else:
        record, signal, notes = read_wfdb(path) if suffix == ".hea" else read_struct(path, labels)
    if record.signal_len < record.sample_rate:
        raise ValueError(f"it is shorter than 1 s ({record.signal_len} samples)")
    return record, signal, notes


def reason(error):
    """Tell in one line, of at most 200 characters, why a record cannot be read."""
    known = isinstance(error, ValueError | OSError)
    text = f"{error}" if known else f"cannot be read ({type(error).__name__}: {error})"
    return " ".join(text.split())[:200]


def resample(signal, sample_rate):
    """Bring (12, n) to 500 Hz with resample_poly's anti-aliasing filter."""
    ratio = Fraction(SAMPLE_RATE / sample_rate).limit_denominator(1000)
    if ratio == 1:
        return signal
    # padtype: the ends are extended by lines, so that an offset makes no step there
    return resample_poly(signal, ratio.numerator, ratio.denominator, axis=-1, padtype="line")


def pack_signal(signal, sample_rate):
    """Turn (12, n) mV into (12, m) int16 microvolts at 500 Hz; return it and what was noticed."""
    notes = []
    missing = np.isnan(signal)
    if missing.any():
        notes.append(f"{missing.sum()} missing samples set to 0 mV")
        signal = np.where(missing, 0, signal)
    constant = [lead for lead, row in zip(LEADS, signal, strict=True) if np.ptp(row) == 0]
    if constant:
        notes.append(f"constant: {' '.join(constant)}")
    if sample_rate != SAMPLE_RATE:
        notes.append(f"resampled from {sample_rate:g} Hz")
        signal = resample(signal, sample_rate)
    if np.abs(signal).max() > HIGH_MV:
        notes.append(f"over {HIGH_MV} mV")
        signal = np.clip(signal, -INT16_MAX_MV, INT16_MAX_MV)
    return np.rint(signal * UNITS_PER_MV).astype("<i2"), notes
