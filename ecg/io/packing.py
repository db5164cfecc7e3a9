"""The packed signals of a data folder: signals-<hash>.i16, and signals.json, which names it."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from dataset import LEADS, SAMPLE_RATE, UNITS_PER_MV, signal_digest, to_mv
from ecg.io.formats import TABLES, read_record
from ecg.io.physionet import signal_files
from ecg.io.record import IMPLAUSIBLE_MV, describe_error
from ecg.io.text_table import TableFormat
from ecg.processing.quality import (
    DISAGREE,
    flat_leads,
    limb_leads_agree,
    live_parts,
    standard_deviation,
    tallest_span,
)
from ecg.running.workers import workers
from utils import UNSAFE_NAME, Progress, is_safe_name, read_json, remove, replacing

FORMAT_VERSION = 3  # of signals.json and what it names; a change packs again
CHUNK = 256  # records given to the worker processes at a time, to bound memory
INT16_MAX_MV = 32.767


class Row(NamedTuple):
    """A record in reference.csv, which has the fields up to `note`."""

    patient_id: str
    sample_rate: float | None = None  # Hz, of the file
    signal_len: int | None = None  # samples at that rate
    age: float | None = None  # years
    sex: str = ""
    dx: str = ""  # the diagnoses as written, separated by ;
    note: str = ""  # what is odd about it, separated by "; "; why it is skipped
    patient: str = ""
    signal: str | None = None  # the digest of its packed signal; None: it is skipped
    span: float | None = None  # mV, of the tallest lead in a typical second; if flat, in all
    standardised: bool = False  # whether each lead was divided by its standard deviation
    passing: bool = False  # it is skipped for a reason of the machine, which may pass

    @classmethod
    def skip(cls, patient_id, why, span=None, passing=False):
        """Return the row of a record that is not packed; `span` if only because it is flat."""
        return cls(patient_id, note=f"skipped: {why}", span=span, passing=passing)

    @property
    def skipped(self):
        """Whether the record is not packed."""
        return self.signal is None

    @property
    def notes(self):
        """What is odd about the record, as a list."""
        return self.note.split("; ") if self.note else []

    def add_note(self, text):
        """Return the row with one more note."""
        return self._replace(note="; ".join([*self.notes, text]))

    def entry(self):
        """Return the row as signals.json keeps it."""
        if self.skipped:
            flat = {} if self.span is None else {"span": self.span}
            return {"patient_id": self.patient_id, "note": self.note, **flat}
        return {name: value for name, value in self._asdict().items() if name != "passing"}


class Reading(NamedTuple):
    """How records are read."""

    table_format: TableFormat = TableFormat()
    needed: tuple[str, ...] = LEADS  # leads without which a record is skipped
    jobs: int = 1  # processes


class Index(NamedTuple):
    """What signals.json says of a packing: the name of its binary file, and a Row per record."""

    file: str
    rows: list

    @property
    def packed(self):
        """The rows of the records that are packed."""
        return [row for row in self.rows if not row.skipped]


def resample(signal, sample_rate):
    """Bring (12, n) to 500 Hz with resample_poly's anti-aliasing filter."""
    ratio = Fraction(SAMPLE_RATE / sample_rate).limit_denominator(1000)
    if ratio == 1:
        return signal
    from scipy.signal import resample_poly  # half a second, for which few first answers wait

    # padtype: extends the ends by lines, so that an offset does not end in a step
    return resample_poly(signal, ratio.numerator, ratio.denominator, axis=-1, padtype="line")


def pack_signal(signal, sample_rate):
    """Turn (12, n) mV into (12, m) int16 microvolts at 500 Hz; return it and notes on it."""
    notes = []
    missing = np.isnan(signal)
    absent = missing.all(1)
    if missing.any():
        if not absent.all() and absent.any():
            notes.append(f"not recorded: {name_rows(absent)}")
        single = missing.sum() if absent.all() else missing[~absent].sum()
        notes += [f"{single} missing samples set to 0 mV"] if single else []
        signal = np.where(missing, 0, signal)
    constant = (np.ptp(signal, axis=1) == 0) & (~absent | absent.all())
    if constant.any():
        notes.append(f"constant: {name_rows(constant)}")
    if sample_rate != SAMPLE_RATE:
        notes.append(f"resampled from {sample_rate:g} Hz")
        signal = resample(signal, sample_rate)
    if np.abs(signal).max() > IMPLAUSIBLE_MV:
        notes.append(f"over {IMPLAUSIBLE_MV} mV")
        signal = np.clip(signal, -INT16_MAX_MV, INT16_MAX_MV)
    return np.rint(signal * UNITS_PER_MV).astype("<i2"), notes


def name_rows(chosen):
    """Return the names of the leads whose entry in (12,) is true."""
    return " ".join(lead for lead, yes in zip(LEADS, chosen, strict=True) if yes)


def sources_digest(sources, references, data_dir, reading=None):
    """Hash the names, sizes and times of all source files; any change packs again."""
    digest = hashlib.sha256(f"{FORMAT_VERSION} {SAMPLE_RATE} {LEADS}".encode())
    reading = reading or Reading()
    digest.update(repr([*reading.table_format, reading.needed]).encode())
    named = [(source.name, source.row) for source in sources]
    digest.update(repr(named).encode())
    paths = {source.path for source in sources}
    stems = {path.with_suffix("") for path in paths}
    files = set(paths)
    for folder in {path.parent for path in paths}:
        files.update(path for path in folder.iterdir() if path.with_suffix("") in stems)
    for path in paths:
        if path.suffix.lower() == ".hea":  # its signal files may have any name
            files.update(signal_files(path))
    for path in [*sorted(path for path in files if path.is_file()), *references]:
        info = path.stat()
        name = os.fsencode(os.path.relpath(path, data_dir))
        digest.update(name + f" {info.st_size} {info.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def read_source(source, labels, reading=None):
    """Return (Row, packed signal) of a Source, or (Row, None) if it is skipped."""
    reading, name = reading or Reading(), source.name
    try:
        # a name that is not UTF-8 is so in the path alone
        if not (is_safe_name(name) and is_safe_name(source.path.stem)):
            raise ValueError(f"{UNSAFE_NAME}; rename its files")
        record, signal, notes = read_record(
            source.path, labels, reading.needed, source.row, **reading.table_format._asdict()
        )
        factor = reading.table_format.units_per_mv
        if factor and source.path.suffix.lower() not in TABLES:
            signal = signal / factor  # the header's unit is wrong
        packed, more = pack_signal(signal, record.sample_rate)
        live = np.concatenate(live_parts(packed), axis=1)
        if len(flat_leads(to_mv(live))) == len(LEADS):
            span = float(np.ptp(np.nan_to_num(signal), axis=1).max())
            return Row.skip(name, "all leads are flat", span), None
    except Exception as error:  # a damaged file makes the libraries raise almost anything
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise  # not the record's fault
        passing = isinstance(error, OSError | MemoryError)
        return Row.skip(name, describe_error(error), passing=passing), None
    in_mv = to_mv(live)
    if not limb_leads_agree(in_mv):
        more.append(DISAGREE)
    if live.shape[1] < packed.shape[1]:
        more.append("silent for a while in all leads")
    row = Row(
        name,
        record.sample_rate,
        signal.shape[1],
        age=None if np.isnan(record.age) else record.age,
        sex=record.sex,
        dx=";".join(record.dx),
        note="; ".join(notes + more),
        patient=record.patient,
        signal=signal_digest(packed),
        span=round(tallest_span(in_mv), 6),
        standardised=standard_deviation(in_mv) is not None,
    )
    return row, packed


def read_all(sources, labels, reading):
    """Yield read_source's result of every source, in order, a bounded number at a time."""
    listed = [labels.get(source.name) for source in sources]
    if reading.jobs == 1:
        yield from map(read_source, sources, listed, [reading] * len(sources))
        return
    with workers(reading.jobs) as pool:
        for start in range(0, len(sources), CHUNK):
            part = slice(start, start + CHUNK)
            same = [reading] * len(sources[part])
            yield from pool.map(read_source, sources[part], listed[part], same, chunksize=8)


@contextlib.contextmanager
def interim(path):
    """Yield a path; a file that the block leaves there, as after Ctrl-C, is removed."""
    was_there = path.exists()
    try:
        yield path
    finally:
        if not was_there:
            path.unlink(missing_ok=True)


def pack(data_dir, catalogue, key, reading, check):
    """Write signals-<hash>.i16 and signals.json, which names it; return its Index.

    The hash is that of the records' names and samples: the same signals have the same name,
    wherever they were packed. `key` is the digest of the sources, `reading` a Reading;
    `check(index)` may stop the run before anything is replaced. signals.json is renamed into place
    last: a run killed earlier leaves the old one and its binary file.
    """
    rows, records, paths, start, sources = [], [], {}, 0, catalogue.sources
    labels = {name: facts.dx for name, facts in catalogue.facts.items()}
    digest = hashlib.sha256()
    with interim(data_dir / f"signals-{key}.i16") as written:
        with replacing(written) as temporary, open(temporary, "wb") as file:
            results = read_all(sources, labels, reading)
            read = zip(sources, results, strict=True)
            for source, (row, packed) in Progress(read, "reading", len(sources), unit="record"):
                name = row.patient_id
                if not row.skipped and name in paths:
                    row = Row.skip(name, f"same name as {paths[name]}")
                if not row.skipped:
                    paths[name] = source.path.relative_to(data_dir).as_posix()
                    content = packed.tobytes()
                    records.append([name, start, packed.shape[1], row.note])
                    digest.update(f"{name} {len(content)}\n".encode() + content)
                    file.write(content)
                    start += packed.size
                rows.append(row)
            fingerprint = digest.hexdigest()[:16]
            index = Index(f"signals-{fingerprint}.i16", note_duplicates(rows))
            check(index)
        content = {
            # no key where a record may be readable the next time: that run reads all of them again
            "sources": None if any(row.passing for row in index.rows) else key,
            "fingerprint": fingerprint,
            "file": index.file,
            "sample_rate": SAMPLE_RATE,
            "records": records,
            "reference": [row.entry() for row in index.rows],
        }
        written.replace(data_dir / index.file)
    with replacing(data_dir / "signals.json") as temporary:
        temporary.write_text(json.dumps(content))
    return index


def note_duplicates(rows):
    """Return the rows; each with the samples of an earlier one has a note with that one's name."""
    first, noted = {}, []
    for row in rows:
        if not row.skipped and first.setdefault(row.signal, row.patient_id) != row.patient_id:
            row = row.add_note(f"same signal: {first[row.signal]}")
        noted.append(row)
    return noted


def read_index(data_dir, key):
    """Return the Index if its file is whole and made from the same sources; else None."""
    content = read_json(data_dir / "signals.json")
    try:
        size = sum(n for _, _, n, _ in content["records"]) * len(LEADS) * 2
        index = Index(content["file"], [Row(**entry) for entry in content["reference"]])
        whole = (data_dir / index.file).stat().st_size == size
        return index if whole and index.rows and content["sources"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove_unused(data_dir, kept):
    """Remove all packed signals except the file `kept`, and files that a process reads."""
    for path in data_dir.glob("signals-*.i16"):
        if not re.fullmatch(r"signals-[0-9a-f]{16}\.i16", path.name):
            continue  # the user's
        if path.name != kept and is_read(path):
            print(f"{path.name} is being read by another process; a later run removes it")
        elif path.name != kept:
            remove(path)


def is_read(path):
    """Tell whether a process reads a packed file: PackedSignals holds a lock on it."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # gone, or a file system without locks
        pass
    return False
