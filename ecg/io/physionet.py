"""WFDB records as PhysioNet distributes them: a .hea header, and .dat or MATLAB v4 signal files."""

import math
import os
import re
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dataset import LEADS
from ecg.io import matlab
from ecg.io.record import MAX_WORD, Record, check_length, check_rate, parse_age, parse_sex
from utils import is_safe_name

MV_PER_UNIT = {"v": 1e3, "mv": 1.0, "uv": 1e-3, "nv": 1e-6}
BITS = {"16": 16, "24": 24, "32": 32, "80": 8, "212": 12}  # of a sample, by WFDB format
MAX_HEADER = 1 << 20  # bytes; like MAX_SIGNALS, more than in any real record
MAX_SIGNALS = 64
# The words that wfdb reads correctly; of others it reads a part, without an error.
LAYOUT = re.compile(r"(\d+)(?:x1)?(?::\d+)?(?:\+(\d{1,9}))?", re.ASCII)
GAIN = re.compile(r"(?:-?\d+\.?\d*(?:e[-+]?\d+)?)?(?:\(-?\d+\))?(?:/\w+)?", re.ASCII)
WHOLE = re.compile(r"-?\d{1,20}", re.ASCII)
COMMENT = re.compile(r"#\s*<?(\w+)>?\s*:\s*(.*)")


class SignalFile(NamedTuple):
    """A signal file named in a header; lines: place in the header -> words for wfdb."""

    path: Path
    format: str
    offset: int  # bytes before the first sample
    lines: dict

    def samples(self, size):
        """Return the number of samples of each signal in a file of `size` bytes."""
        return max(0, size - self.offset) * 8 // (BITS[self.format] * len(self.lines))


def read_wfdb(path):
    """Read a WFDB header and its signal files.

    wfdb misreads damaged headers without an error: 250 Hz for a rate that is not a number, a gain
    of 200 for nan, V for µV. So it reads a copy of the words that were checked, in a temporary
    folder, beside links to the signal files.
    """
    import wfdb  # here, because it takes half a second and only this format needs it

    fields, comments = header_lines(path)
    n_signals, sample_rate, n = parse_record_line(fields[0])
    rows = [line.split(maxsplit=8) for line in fields[1 : 1 + n_signals]]
    if len(rows) < n_signals:
        raise ValueError(f"the header has {len(rows)} of {n_signals} signal lines")
    order = find_leads(rows)
    files = find_files(path, rows, order)
    n = bounded_length(files, n, sample_rate)
    places = [place for file in files for place in file.lines]
    with tempfile.TemporaryDirectory() as folder:
        lines = [f"r {len(places)} {sample_rate} {n}"]
        for i, file in enumerate(files):
            os.symlink(file.path.absolute(), f"{folder}/{i}.dat")
            lines += [f"{i}.dat {words}" for words in file.lines.values()]
        Path(folder, "r.hea").write_text("\n".join(lines))
        try:
            read = wfdb.rdrecord(
                f"{folder}/r",
                channels=[places.index(place) for place in order],
                physical=False,
                return_res=32,
            )
        except (OSError, MemoryError):  # not the file's fault
            raise
        except Exception as error:  # wfdb raises almost anything
            raise ValueError(
                f"wfdb cannot read it ({type(error).__name__}: {error}); copy or export it again"
            ) from None
    signal, notes = to_physical(read, files)
    return Record(sample_rate, *parse_comments(comments)), signal, notes


def header_lines(path):
    """Return a header's lines and its comments, without the blanks around each."""
    if path.stat().st_size > MAX_HEADER:
        raise ValueError("the header is larger than 1 MB")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    lines = [line.strip() for line in lines if line.strip()]
    fields = [line for line in lines if not line.startswith("#")]
    if not fields:
        raise ValueError("the header is empty")
    if any(len(word) > MAX_WORD for line in fields for word in line.split()):
        raise ValueError(f"a word of the header has more than {MAX_WORD} characters")
    return fields, [line for line in lines if line.startswith("#")]


def signal_files(path):
    """Return the paths of the signal files named in a header; none if it is damaged."""
    try:
        names = {line.split()[0] for line in header_lines(path)[0][1:]}
    except (OSError, ValueError):
        return []
    return [path.with_name(name) for name in sorted(names) if is_safe_name(name)]


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
    check_rate(sample_rate)
    length = words[3] if len(words) > 3 else "0"  # 0 or none: all samples of the file
    if not length.isdecimal():
        raise ValueError(f"the number of samples {length[:20]!r} is not a whole number")
    return int(words[1]), sample_rate, int(length[:18])


def find_leads(rows):
    """Return the place of each of the twelve leads among the signal lines, by its name."""
    names = [row[8].strip().upper() if len(row) > 8 else None for row in rows]
    missing = [lead for lead in LEADS if lead.upper() not in names]
    if missing:
        raise ValueError(f"lead {', '.join(missing)} is missing")
    return [names.index(lead.upper()) for lead in LEADS]


def find_files(path, rows, order):
    """Return the SignalFiles that hold the leads; other signals in them keep their places."""
    files = {}
    for lead, place in zip(LEADS, order, strict=True):
        name, _, gain, _, zero, _, checksum, _, _ = rows[place]
        known = gain.lower().replace("µ", "u").replace("μ", "u")  # micro sign, Greek letter
        if not is_safe_name(name):
            raise ValueError(f"lead {lead}: the signal file {name[:40]!r} is not a plain file name")
        if not GAIN.fullmatch(known):
            raise ValueError(f"lead {lead}: gain {gain[:30]!r} cannot be read")
        for word in (zero, checksum):
            if not WHOLE.fullmatch(word):
                raise ValueError(f"lead {lead}: {word[:20]!r} is not a whole number")
        files.setdefault(name, {})[place] = f"{known} 0 {zero} 0 {checksum} 0 {lead}"
    signal_files = []
    for name, words in files.items():
        lines = {}
        for i, row in enumerate(rows):
            if row[0] == name and len(row) > 1:
                lines[i] = f"{row[1]} {words.get(i, '')}"
        layouts = {line.split()[0] for line in lines.values()}
        match = LAYOUT.fullmatch(min(layouts))
        if len(layouts) > 1 or not match or match[1] not in BITS:
            raise ValueError(
                f"{name}: signal format {', '.join(sorted(layouts))[:30]!r} is not "
                f"supported, only one of {', '.join(BITS)}"
            )
        signal_files.append(SignalFile(path.with_name(name), match[1], int(match[2] or 0), lines))
    return signal_files


def bounded_length(files, n, sample_rate):
    """Return the number of samples to read: n, or if it is 0 all that the files hold."""
    sizes = []
    for file in files:
        if not file.path.is_file():
            raise ValueError(f"its signal file {file.path.name} is missing")
        sizes.append(file.samples(file.path.stat().st_size))
    n = n or min(sizes)
    for file, available in zip(files, sizes, strict=True):
        if n > available:
            raise ValueError(f"{file.path.name} is truncated: {available} of {n} samples")
        if file.path.suffix.lower() == ".mat" and file.offset == 24:
            matlab.check_v4_head(file.path, file.format, len(file.lines), n)
    check_length(n, sample_rate)
    return n


def to_physical(read, files):
    """Return the signal (12, n) in mV of wfdb's record of stored samples, and notes."""
    signal = np.empty(read.d_signal.shape[::-1])
    wrong, negative = [], []
    for i, lead in enumerate(LEADS):
        samples, gain, baseline = read.d_signal[:, i], read.adc_gain[i], float(read.baseline[i])
        if read.units[i].lower() not in MV_PER_UNIT:
            raise ValueError(f"lead {lead}: a gain in {read.units[i][:20]!r} cannot become mV")
        if not (math.isfinite(gain) and math.isfinite(baseline)):
            raise ValueError(f"lead {lead}: gain {gain} or baseline {baseline} is not finite")
        if (samples.sum(dtype=np.int64) - read.checksum[i]) % 65536:
            wrong.append(lead)
        if gain < 0:
            negative.append(lead)
        signal[i] = (samples - baseline) * (MV_PER_UNIT[read.units[i].lower()] / gain)
        signal[i, samples == -(1 << BITS[read.fmt[i]] - 1)] = np.nan  # WFDB's mark of a missing one
    notes = [f"checksum differs: {' '.join(wrong)}"] if wrong else []
    for file in files if wrong else ():
        check_size(file, len(signal[0]))
    if negative:
        notes.append(f"negative gain: {' '.join(negative)}")
    return signal, notes


def check_size(file, n):
    """Raise ValueError if a file whose checksums differ has the size of another format."""
    size = file.path.stat().st_size
    if file.samples(size) != n:
        for other in BITS:
            if file._replace(format=other).samples(size) == n:
                raise ValueError(
                    f"{file.path.name} is of format {other} by its size, not "
                    f"{file.format} as its header declares"
                )


def parse_comments(comments):
    """Return (age, sex, dx, patient) of '#Age: 74', '# Sex: M', '#Dx: 59118001,164889003' etc.

    In LUDB's headers every line after '#<diagnoses>:' is one diagnosis.
    """
    values, dx, sentences = {}, [], False
    for line in comments:
        match = COMMENT.fullmatch(line)
        key = match[1].lower() if match else ""
        if sentences:
            dx.append(line.lstrip("# "))
        elif key == "dx":
            dx += re.split(r"[,;\s]+", match[2])
        elif key:
            values[key] = match[2]
        sentences = sentences or key == "diagnoses"
    patient = values.get("patient") or values.get("patient_id") or ""
    age, sex = parse_age(values.get("age")), parse_sex(values.get("sex"))
    return age, sex, tuple(text for text in dx if text), patient.strip()
