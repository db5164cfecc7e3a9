"""WFDB records as PhysioNet distributes them: a .hea header, and .dat or MATLAB v4 signal files."""

import math
import os
import re
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dataset import LEADS, SAMPLE_RATE
from ecg.io import matlab
from ecg.io.bounds import raise_if_of_machine
from ecg.io.diagnoses import split_diagnoses
from ecg.io.record import (
    MAX_AGE,
    MAX_WORD,
    PATIENT_FOLDER,
    Record,
    check_length,
    check_rate,
    lead_of,
    parse_age,
    parse_sex,
    refuse_twice,
)
from ecg.processing.quality import limb_deviation
from utils import is_safe_name

MV_PER_UNIT = {"v": 1e3, "mv": 1.0, "uv": 1e-3, "nv": 1e-6}
BITS = {"16": 16, "24": 24, "32": 32, "80": 8, "212": 12}  # of a sample, by WFDB format
# LUDB's gains differ between the leads and contradict its samples, which obey the relations of the
# limb leads to .0075 without them; at 1 uV a unit the heights are those of an ECG.
EQUAL_UNIT = 1e-3  # mV
SURE_SUM = 0.02  # of limb_deviation
CHECKSUM = "checksum differs"
GIT_LFS = "version https://git-lfs"
MAX_HEADER = 1 << 20  # bytes; like MAX_SIGNALS, more than in any real record
MAX_SIGNALS = 64
LAYOUT = re.compile(r"(\d+)(?:x1)?(?::\d+)?(?:\+(\d{1,9}))?", re.ASCII)
GAIN = re.compile(r"(-?\d+\.?\d*(?:e[-+]?\d+)?)?(?:\((-?\d+)\))?(?:/(\w+))?", re.ASCII)
UNKNOWN_GAIN = 200.0  # of WFDB where a header gives none, or 0
NO_GAIN = re.compile(r"0+\.?0*(?![\d.])", re.ASCII)  # WFDB: unknown, so 200 units per mV
WHOLE = re.compile(r"-?\d{1,20}", re.ASCII)
COMMENT = re.compile(r"#\s*<?(\w+)>?\s*:\s*(.*)")
FIELD = re.compile(r"<(\w+)>\s*:?\s*([^<]*)")  # several in a line of INCART
# '# patient 1', '# <subject_id>: 1', '#Patient no: 1'; an admission is of one patient
PATIENT = re.compile(
    r"#\s*<?(?:patient|subject|hadm)[\s_]*(?:id|no|number)?\.?>?(?:\s*[:=]\s*(.+)|\s+(\S+))", re.I
)
DIAGNOSES = ("dx", "labels", "label", "diagnosis")  # keys of comments


class Line(NamedTuple):
    """What a header says of the samples of a lead."""

    file: str
    gain: float  # units per `unit`
    baseline: int  # the unit that is 0
    unit: str
    checksum: int  # of the samples, modulo 65536


class SignalFile(NamedTuple):
    """A signal file named in a header; `places` are those of its signals there."""

    path: Path
    layout: str  # the header's word: 16x1+24
    places: list[int]

    @property
    def format(self):
        """The WFDB format, such as 16."""
        return LAYOUT.fullmatch(self.layout)[1]

    @property
    def offset(self):
        """Bytes before the first sample."""
        return int(LAYOUT.fullmatch(self.layout)[2] or 0)

    def samples(self, size):
        """Return the number of samples of each signal in a file of `size` bytes."""
        return max(0, size - self.offset) * 8 // (BITS[self.format] * len(self.places))


def read_wfdb(path):
    """Read a WFDB header and its signal files.

    Its words are read here: of damaged ones wfdb makes 250 Hz for a rate that is not a number, a
    gain of 200 for nan, V for µV, without an error.
    """
    fields, comments = header_lines(path)
    n_signals, sample_rate, n = parse_record_line(fields[0])
    rows = [line.split(maxsplit=8) for line in fields[1 : 1 + n_signals]]
    if len(rows) < n_signals:
        raise ValueError(f"the header has {len(rows)} of {n_signals} signal lines")
    order = find_leads(rows)
    lines = {lead: parse_line(lead, rows[place]) for lead, place in order.items()}
    files = find_files(path, rows, {line.file for line in lines.values()})
    n = bounded_length(files, n, sample_rate)
    columns = {}
    for file in files:
        # numpy takes a hundredth of wfdb's time
        read = read_plain if file.format == "16" and ":" not in file.layout else read_with_wfdb
        columns |= zip(file.places, read(file, n), strict=True)
    stored = np.array([columns[place] for place in order.values()])
    signal, notes = to_physical(stored, lines, files)
    zero = [lead for lead, place in order.items() if NO_GAIN.match(rows[place][2])]
    notes += [f"gain 0 is read as 200 per mV: {' '.join(zero)}"] if zero else []
    record = Record(sample_rate, *parse_comments(comments))
    if not record.patient and PATIENT_FOLDER.fullmatch(path.parent.name):
        record = record._replace(patient=path.parent.name)
    return record, dict(zip(order, signal, strict=True)), notes + age_notes(comments)


def read_plain(file, n):
    """Return the n samples of each signal (S, n) of a SignalFile in format 16."""
    flat = np.fromfile(file.path, "<i2", n * len(file.places), offset=file.offset)
    return flat.reshape(n, -1).T


def read_with_wfdb(file, n):
    """Return the n samples of each signal (S, n) of a SignalFile.

    wfdb reads a header of a few checked words, in a temporary folder, beside a link to the file.
    """
    import wfdb  # here, because it takes half a second and only these formats need it

    with tempfile.TemporaryDirectory() as folder:
        os.symlink(file.path.absolute(), f"{folder}/0.dat")
        text = [
            f"r {len(file.places)} {SAMPLE_RATE} {n}",
            *[f"0.dat {file.layout}"] * len(file.places),
        ]
        Path(folder, "r.hea").write_text("\n".join(text))
        try:
            return wfdb.rdrecord(f"{folder}/r", physical=False, return_res=32).d_signal.T
        except MemoryError:  # not the file's fault
            raise
        except Exception as error:  # wfdb raises almost anything
            raise_if_of_machine(error)
            raise ValueError(
                f"wfdb cannot read it ({type(error).__name__}: {error}); copy or export it again"
            ) from None


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
    if line.startswith(GIT_LFS):
        raise ValueError("it is a git-lfs pointer, not the record; fetch it: git lfs pull")
    if len(words) > 2 and not words[1].isdecimal() and words[2].isdecimal():
        raise ValueError("the record line begins with a name with a blank; rename the record")
    if len(words) < 2 or not words[1].isdecimal() or not 1 <= int(words[1]) <= MAX_SIGNALS:
        raise ValueError("the record line gives no number of signals")
    if re.fullmatch(r".+/\d+", words[0]):
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
    """Return lead -> its place among the signal lines, by its name, of the leads that are there."""
    names = [row[8] if len(row) > 8 else "" for row in rows]
    refuse_twice(names)
    places = {lead_of(name): place for place, name in enumerate(names)}
    order = {lead: places[lead] for lead in LEADS if lead in places}
    if not order:
        few = ", ".join(name.strip() for name in names[:3] if name.strip())
        raise ValueError(
            f"none of its signals is called like a lead ({few or 'they have no names'})"
        )
    return order


def parse_line(lead, row):
    """Return the Line of the nine words of a signal line; raises ValueError."""
    name, _, gain, _, zero, _, checksum, _, _ = row
    if not is_safe_name(name):
        raise ValueError(f"lead {lead}: the signal file {name[:40]!r} is not a plain file name")
    known = GAIN.fullmatch(gain.lower().replace("µ", "u").replace("μ", "u"))  # micro sign, Greek
    if not known:
        raise ValueError(f"lead {lead}: gain {gain[:30]!r} cannot be read")
    for word in (zero, checksum):
        if not WHOLE.fullmatch(word):
            raise ValueError(f"lead {lead}: {word[:20]!r} is not a whole number")
    units, baseline, unit = known.groups()
    unit = unit or "mv"
    if unit not in MV_PER_UNIT:
        units = ", ".join(MV_PER_UNIT)
        raise ValueError(f"lead {lead}: its unit {unit[:20]!r} is none of {units}; correct it")
    gain = float(units or 0) or UNKNOWN_GAIN
    if not math.isfinite(gain):
        raise ValueError(f"lead {lead}: gain {gain} is not finite")
    return Line(name, gain, int(zero if baseline is None else baseline), unit, int(checksum))


def find_files(path, rows, names):
    """Return the SignalFiles of some names; raises ValueError if wfdb does not know a format."""
    files = []
    for name in dict.fromkeys(row[0] for row in rows if row[0] in names):
        places = [i for i, row in enumerate(rows) if row[0] == name and len(row) > 1]
        layouts = {rows[i][1] for i in places}
        match = LAYOUT.fullmatch(min(layouts))
        if len(layouts) > 1 or not match or match[1] not in BITS:
            raise ValueError(
                f"{name}: signal format {', '.join(sorted(layouts))[:30]!r} is not "
                f"supported, only one of {', '.join(BITS)}"
            )
        files.append(SignalFile(path.with_name(name), match[0], places))
    return files


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
            matlab.check_v4_head(file.path, file.format, len(file.places), n)
    check_length(n, sample_rate)
    return n


def to_physical(stored, lines, files):
    """Return the signal (L, n) in mV of stored samples (L, n), and notes.

    `lines` are lead -> Line, `files` the SignalFiles.
    """
    leads, formats = list(lines), {file.path.name: file.format for file in files}
    sums = dict(zip(leads, stored.sum(1, dtype=np.int64).tolist(), strict=True))
    wrong = [lead for lead, line in lines.items() if (sums[lead] - line.checksum) % 65536]
    negative = [lead for lead, line in lines.items() if line.gain < 0]
    signal = stored.astype(float)
    for row, samples, line in zip(signal, stored, lines.values(), strict=True):
        missing = -(1 << BITS[formats[line.file]] - 1)  # WFDB's mark
        row -= line.baseline
        row[samples == missing] = np.nan
    factors = np.array([[MV_PER_UNIT[line.unit] / line.gain] for line in lines.values()])
    equal = gains_contradict(signal, factors, leads)
    signal *= EQUAL_UNIT if equal else factors
    notes = [f"{CHECKSUM}: {' '.join(wrong)}"] if wrong else []
    for file in files if wrong else ():
        check_size(file, len(signal[0]))
    notes += ["gains contradict the samples: 1 unit is taken as 1 uV"] if equal else []
    if negative:
        notes.append(f"negative gain: {' '.join(negative)}")
    return signal, notes


def gains_contradict(samples, factors, leads):
    """Tell whether the limb leads add up without their gains and do not with them, as in LUDB.

    `samples` (L, n) have the baseline subtracted, `factors` (L, 1) make mV of them.
    """
    places = [leads.index(lead) for lead in LEADS[:6] if lead in leads]
    limb, gains = samples[places], factors[places]
    if len(places) < 6 or np.ptp(gains) == 0:
        return False
    return bool(limb_deviation(limb) < SURE_SUM < limb_deviation(limb * gains))


def check_size(file, n):
    """Raise ValueError if a file whose checksums differ has the size of another format."""
    size = file.path.stat().st_size
    if file.samples(size) != n:
        for other in BITS:
            if file._replace(layout=file.layout.replace(file.format, other, 1)).samples(size) == n:
                raise ValueError(
                    f"{file.path.name} is of format {other} by its size, not "
                    f"{file.format} as its header declares"
                )


def parse_comments(comments):
    """Return (age, sex, dx, patient) of '#Age: 74', '# Sex: M', '#Dx: 59118001,164889003' etc.

    In LUDB's headers every line after '#<diagnoses>:' is one diagnosis.
    """
    values, dx, patient, sentences = {}, [], "", False
    for line in comments:
        match = COMMENT.fullmatch(line)
        key = match[1].lower() if match else ""
        person = PATIENT.fullmatch(line)
        if sentences:
            dx.append(line.lstrip("# "))
        elif person:
            patient = (person[1] or person[2]).strip()
        elif key in DIAGNOSES:
            dx += split_diagnoses(match[2])
        elif len(FIELD.findall(line)) > 1:
            values |= {name.lower(): text.strip() for name, text in FIELD.findall(line)}
        elif key:
            values[key] = match[2]
        sentences = sentences or key == "diagnoses"
    age, sex = parse_age(values.get("age")), parse_sex(values.get("sex"))
    return age, sex, tuple(text for text in dx if text), patient


def age_notes(comments):
    """Return a note, in a list, on an age that is no person's."""
    ages = re.findall(r"#.*?age>?\s*:\s*(\d+)", "\n".join(comments), re.IGNORECASE)
    return [f"age {age} left out" for age in ages if int(age) > MAX_AGE]
