"""Recordings of your own: how the files are found and read, and what can be said before scoring."""

import math
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from dataset import LEADS, SAMPLE_RATE, to_mv
from ecg.io.formats import TABLES, read_record
from ecg.io.packing import pack_signal
from ecg.io.record import IMPLAUSIBLE_MV, describe_error
from ecg.io.sources import find_records, survey
from ecg.processing import quality
from ecg.processing.ecg_intervals import Intervals, measure_intervals
from ecg.processing.quality import Caution
from ecg.processing.trace import Trace
from utils import UNSAFE_NAME, InputError, is_safe_name, printable

COUNTED = 60  # s, the last ones, in which beats are counted
JUMP_MV = 1.5  # by which a whole second lies off the median of its lead
RATES = (20, 300)  # beats per minute that a heart may have


class Skipped(NamedTuple):
    """A file or folder that cannot be read."""

    path: str
    reason: str


class Person(NamedTuple):
    """Whose recording it is, and from when, as far as the file says so."""

    identity: str = ""  # name and date of birth
    patient: str = ""  # number
    age: float | None = None  # years
    sex: str = ""  # 'Male', 'Female' or ''
    recorded: str = ""  # date and time of day, as ISO 8601 with a blank between

    @classmethod
    def of(cls, record, anonymous=False):
        """Return that of a Record of a file; `anonymous`: age and sex alone."""
        age = None if math.isnan(record.age) or record.age < 0 else record.age
        if anonymous:
            return cls(age=age, sex=record.sex)
        return cls(record.identity, record.patient, age, record.sex, record.recorded)

    def text(self):
        """Return what is known, in a line; '' if nothing is."""
        age = "" if self.age is None else f"{self.age:.0f} years"
        parts = [self.identity, self.patient, age, self.sex.lower(), self.recorded]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording that is ready to be scored."""

    name: str  # of its answer and its pages
    path: str  # '' for a signal that comes from no file
    sample_rate: float  # Hz, of the source
    seconds: float
    packed: np.ndarray  # (12, n) int16 microvolts at 500 Hz
    heart_rate: float | None  # beats per minute
    heart_rate_unknown: str | None  # why it cannot be measured
    flat: tuple[str, ...]  # leads without a signal
    warnings: tuple[Caution, ...]
    notes: tuple[str, ...] = ()  # on the file; none of them changes the answer
    intervals: Intervals = Intervals()
    person: Person = Person()
    lost: tuple[str, ...] = ()  # leads that were not recorded


def examine(signal, sample_rate, model, name, path="", warnings=(), notes=()):
    """Return the Recording of a signal (12, n) in mV, NaN where a sample is missing.

    `model` is the Model that will score it, `warnings` and `notes` are those of its file. Raises
    ValueError if no lead holds an ECG.
    """
    packed, _ = pack_signal(signal, sample_rate)
    window = None if model.window else model.flags.seconds
    rows = [LEADS.index(lead) for lead in model.leads]
    found = [*warnings, *missing_samples(signal[rows]), *implausible_leads(signal)]
    whole = Trace(to_mv(packed))
    found += quality.silence_cautions(whole.signal) + jumping_leads(whole)
    shortest = model.settings.shortest
    found += quality.record_warnings(whole.live, sample_rate, window, shortest, model.leads)
    scored = whole.end(window)
    rate, unknown = heart_rate(scored)
    flat = tuple(lead for lead in quality.flat_leads(scored.live.signal) if lead in model.leads)
    lost = np.isnan(signal).all(1) | (np.ptp(packed, axis=1) == 0)
    return Recording(
        name,
        path,
        sample_rate,
        round(signal.shape[1] / sample_rate, 3),
        packed,
        rate,
        unknown,
        flat=flat,
        warnings=tuple(found),
        notes=tuple(notes),
        intervals=Intervals() if rate is None else beat_intervals(scored, rate, flat),
        lost=tuple(lead for lead, yes in zip(LEADS, lost, strict=True) if yes),
    )


def beat_intervals(trace, rate, flat):
    """Return the Intervals of the last minute of a Trace whose heart rate is `rate`.

    Of a recording that falls silent for a while, they are those of its longest part. `flat` are
    leads without a signal.
    """
    part = max(trace.end(COUNTED).readable.parts, key=lambda part: part.signal.shape[1])
    dark = [*flat, *(lead for lead, row in zip(LEADS, part.signal, strict=True) if not row.any())]
    return measure_intervals(part.signal, part.peaks, dark)._replace(rate=rate)


def missing_samples(signal):
    """Return warnings about the samples of (12, n) that are NaN: whole leads, and single ones."""
    missing = np.isnan(signal)
    lost = missing.all(1)
    n_leads, n_samples = lost.sum(), missing[~lost].sum()
    found = []
    if n_leads:
        text = "1 lead was" if n_leads == 1 else f"{n_leads} leads were"
        found.append(Caution(f"{text} not recorded"))
    if n_samples:
        text = "1 sample is missing and counts" if n_samples == 1 else ""
        text = text or f"{n_samples} samples are missing and count"
        found.append(Caution(f"{text} as 0 mV"))
    return found


def implausible_leads(signal):
    """Return a warning, in a list, if leads of (12, n) in mV go beyond what an ECG can reach."""
    tops = np.fmax.reduce(np.abs(signal), axis=1)  # NaN, without a warning, if all of a lead is
    high = [lead for lead, top in zip(LEADS, tops, strict=True) if top > IMPLAUSIBLE_MV]
    if not high:
        return []
    text = f"beyond {IMPLAUSIBLE_MV} mV in {' '.join(high)}: probably an artefact"
    return [Caution(f"{text}; the findings may be wrong", critical=True)]


def jumping_leads(trace):
    """Return a warning, in a list, if leads of a Trace are off for seconds."""
    seconds = np.median(quality.by_second(trace.signal), axis=2)
    off = np.abs(seconds - trace.baseline[:, None]) > JUMP_MV  # (12, seconds)
    found = []
    for lead, row in zip(LEADS, off, strict=True):
        if row.any():
            places = np.flatnonzero(row)
            found.append(f"{lead} ({places[0]}-{places[-1] + 1} s)")
    text = f"more than {JUMP_MV:g} mV off its baseline: {', '.join(found)}"
    return [Caution(text, critical=True)] if found else []


def heart_rate(trace):
    """Return the mean heart rate (per minute) of a Trace, or None; and why not.

    It is 60 s over the mean interval between R peaks, of the last minute, in the leads that are not
    noise. Of a recording that falls silent for a while, no interval across that counts.
    """
    trace = trace.end(COUNTED).readable
    if not trace.signal.any():
        return None, "no QRS complex repeats"
    most = max(trace.parts, key=lambda part: len(part.peaks))
    if not most.repeats:
        return None, "no QRS complex repeats"
    if len(most.peaks) < 3:
        return None, "fewer than three beats were found"
    rr = np.concatenate([np.diff(part.peaks) for part in trace.parts])
    rate = 60 * SAMPLE_RATE * len(rr) / rr.sum()
    low, high = RATES
    if not low <= rate <= high:
        return None, f"{rate:.0f} bpm is implausible"
    return round(rate, 1), None


def read_recording(path, name, model, table, anonymous=False):
    """Read a file; return its Recording for a Model. `table` is the TableFormat of tables.

    `anonymous`: without name, number and date.

    Raises ValueError, with a reason that a user can act on, if there is nothing to score; a damaged
    file may raise other errors too.
    """
    if not is_safe_name(path.stem):
        raise ValueError(f"{UNSAFE_NAME}; rename it")
    record, signal, remarks = read_record(path, (), model.leads, **table._asdict())
    if path.suffix.lower() in TABLES:
        warnings, notes = (), remarks
    else:
        warnings, notes = map(Caution, remarks), unused_flags(table)
    found = examine(signal, record.sample_rate, model, name, str(path), warnings, notes)
    return replace(found, person=Person.of(record, anonymous))


def unused_flags(table):
    """Return a note, in a list, on the flags of tables that another file makes no use of."""
    given = [f"--{name.replace('_', '-')}" for name, value in table._asdict().items() if value]
    return [f"{', '.join(given)}: for tables alone; this file states its own"] if given else []


class Recordings:
    """The recordings that a user names: found at once, read as they are needed.

    `sources` are their paths, each once; `skipped` gathers what cannot be read. Raises InputError
    if nothing is found at all. `anonymous`: names, numbers and dates of the files are left out.
    """

    def __init__(self, paths, anonymous=False):
        sources, self.skipped, self.anonymous = [], [], anonymous
        for path in paths:
            try:
                if str(path) and Path(path).is_dir():
                    found = survey(path)
                    sources += found.records
                    self.report_others(path, found)
                else:
                    sources += find_records(path)
            except (ValueError, OSError) as error:
                self.skipped.append(Skipped(str(path), describe_error(error)))
        self.sources = list(dict.fromkeys(sources))
        self.n = len(self.sources) + len(self.skipped)
        self.report_skipped()
        if not self.sources:
            self.fail_unread()

    def batches(self, size):
        """Yield lists of up to `size` (path, name); each name is there once: pages bear them."""
        taken, batch = Counter(), []
        for path in self.sources:
            taken[path.stem] += 1
            number = taken[path.stem]
            batch.append((path, path.stem if number == 1 else f"{path.stem}-{number}"))
            if len(batch) == size:
                yield batch
                batch = []
        if batch:
            yield batch

    def skip(self, skipped):
        """Add to what cannot be read, and say so on stderr."""
        n_reported = len(self.skipped)
        self.skipped += skipped
        self.report_skipped(n_reported)

    def report_others(self, folder, found):
        """Say on stderr which files of a folder are no records, by their endings."""
        if found.others:
            text = f"in {folder}, not read as records: {found.describe()}"
            tables = any(ending in TABLES for ending in found.others)
            hint = "; to read a table there, name the file" if tables else ""
            tqdm.write(f"{text}{hint}", file=sys.stderr)

    def report_skipped(self, start=0):
        """Name on stderr what was skipped, from the `start`-th on, unless one file is all."""
        for path, why in self.skipped[start:] if self.n > 1 else ():
            tqdm.write(printable(f"skipped: {path}: {why}"), file=sys.stderr)

    def fail_unread(self):
        """Stop, as none of the recordings can be read."""
        one = len(self.skipped) == 1
        raise InputError(": ".join(self.skipped[0]) if one else "none of the records can be read")
