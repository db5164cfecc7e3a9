"""The file formats of a record: read its header, its diagnoses as written, and its signal in mV.

WFDB as PhysioNet distributes it (a .hea header beside a format-16 .mat or .dat file), the CPSC2018
challenge's MATLAB structs, and for one's own records tables in mV: .csv with a header row of lead
names, .npy of 12 x n. wfdb itself is not used: it refuses headers whose record name carries '.mat',
follows file names out of the folder, and takes 3.5 ms a record and more.
"""

import csv
import io
import math
import re
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.io

from dataset import LEADS, SAMPLE_RATE

MV_PER_UNIT = {"v": 1e3, "mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "nv": 1e-6}
DEFAULT_GAIN = 200.0  # WFDB: what a missing gain, or one of 0, stands for
NOT_A_SAMPLE = -32768  # format 16 marks a missing sample so
LEAD_BY_NAME = {lead.upper(): lead for lead in LEADS}
TABLES = (".csv", ".npy")
HIGH_MV = 20  # no heart reaches this at the skin: a wrong unit, or an artefact
# Bounds that no real record meets, so that a damaged file cannot ask for the machine's memory.
MIN_RATE, MAX_RATE = 50, 10_000  # Hz
MAX_SECONDS = 3600
MAX_HEADER = 1 << 20  # bytes
MAX_STRUCT = 1 << 28  # bytes, inflated
MAX_SIGNALS = 64
MAX_DEPTH = 4  # of a struct in a struct; the challenge's have two
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
    data = inflate(path.read_bytes())
    check_elements(data, 128, len(data))
    content = scipy.io.loadmat(io.BytesIO(data), simplify_cells=True)
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


def check_elements(data, position, end, depth=0):
    """Raise ValueError unless every element of a MATLAB 5 file fits what holds it.

    scipy asks for the memory that an element or its dimensions declare before it reads them.
    """
    number = 0
    while position < end:
        kind, length = np.frombuffer(data[position : position + 8].ljust(8, b"\0"), "<u4").tolist()
        start = position + 8
        if kind >> 16:  # a small element: length and kind in one word, its data in the next
            kind, length, start = kind & 0xFFFF, kind >> 16, position + 4
        if start + length > end or depth > MAX_DEPTH:
            raise ValueError("a part of it declares more bytes than it holds")
        if kind == 14:  # miMATRIX: flags, dimensions, name, content
            check_elements(data, start, start + length, depth + 1)
        elif number == 1:
            dimensions = np.frombuffer(data[start : start + length // 4 * 4], "<i4").tolist()
            if math.prod(dimensions) > MAX_STRUCT // 8:
                raise ValueError(f"an array of it declares {dimensions[:4]} elements")
        position = start + length + (-length % (4 if start == position + 4 else 8))
        number += 1


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
