"""Recordings of your own: how the files are found and read, and what can be said before scoring."""

import sys
from dataclasses import dataclass
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
from ecg.processing.detection import find_peaks
from ecg.processing.quality import Caution
from utils import UNSAFE_NAME, fail, is_safe_name, printable

COUNTED = 60  # s, the last ones, in which beats are counted
RATES = (20, 300)  # beats per minute that a heart may have


class Skipped(NamedTuple):
    """A file or folder that cannot be read."""

    path: str
    reason: str


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


def examine(signal, sample_rate, model, name, path="", warnings=(), notes=()):
    """Return the Recording of a signal (12, n) in mV, NaN where a sample is missing.

    `model` is the Model that will score it, `warnings` and `notes` are those of its file. Raises
    ValueError if no lead holds an ECG.
    """
    packed, _ = pack_signal(signal, sample_rate)
    window = None if model.window else model.flags.seconds
    rows = [LEADS.index(lead) for lead in model.leads]
    found = [*warnings, *missing_samples(signal[rows]), *implausible_leads(signal)]
    found += quality.silence_cautions(to_mv(packed))
    live = np.concatenate(quality.live_parts(packed), axis=1)
    found += quality.record_warnings(
        to_mv(live), sample_rate, window, model.settings.shortest, model.leads
    )
    scored = quality.scored_part(packed, window)
    live = np.concatenate(quality.live_parts(scored), axis=1)
    return Recording(
        name,
        path,
        sample_rate,
        round(signal.shape[1] / sample_rate, 3),
        packed,
        *heart_rate(scored),
        flat=tuple(lead for lead in quality.flat_leads(to_mv(live)) if lead in model.leads),
        warnings=tuple(found),
        notes=tuple(notes),
    )


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


def heart_rate(packed):
    """Return the mean heart rate (per minute) of (12, n) int16 microvolts, or None; and why not.

    It is 60 s over the mean interval between R peaks, of the last minute. Of a recording that falls
    silent for a while, no interval across that counts.
    """
    parts = quality.live_parts(packed[:, -COUNTED * SAMPLE_RATE :])
    peaks = [find_peaks(part) for part in parts]
    most = int(np.argmax([len(places) for places in peaks]))
    if not quality.has_beats(to_mv(parts[most]), peaks[most]):
        return None, "no QRS complex repeats"
    if len(peaks[most]) < 3:
        return None, "fewer than three beats were found"
    intervals = np.concatenate([np.diff(places) for places in peaks])
    rate = 60 * SAMPLE_RATE * len(intervals) / intervals.sum()
    low, high = RATES
    if not low <= rate <= high:
        return None, f"{rate:.0f} bpm is implausible"
    return round(rate, 1), None


def read_recording(path, name, model, table):
    """Read a file; return its Recording for a Model. `table` is the TableFormat of tables.

    Raises ValueError, with a reason that a user can act on, if there is nothing to score; a damaged
    file may raise other errors too.
    """
    record, signal, remarks = read_record(path, (), model.leads, **table._asdict())
    if path.suffix.lower() in TABLES:
        warnings, notes = (), remarks
    else:
        warnings, notes = map(Caution, remarks), unused_flags(table)
    return examine(signal, record.sample_rate, model, name, str(path), warnings, notes)


def unused_flags(table):
    """Return a note, in a list, on the flags of tables that another file makes no use of."""
    given = [f"--{name.replace('_', '-')}" for name, value in table._asdict().items() if value]
    return [f"{', '.join(given)}: for tables alone; this file states its own"] if given else []


class Recordings:
    """The recordings that a user names: found at once, read as they are needed.

    `sources` are their paths, each once; `skipped` gathers what cannot be read. Stops if nothing
    is found at all.
    """

    def __init__(self, paths):
        sources, self.skipped = [], []
        for path in paths:
            try:
                if Path(path).is_dir():
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

    def batches(self, model, table, size):
        """Yield lists of up to `size` Recordings for a Model; `table` is a TableFormat.

        A name that was there before gets a number: names are those of the pages.
        """
        taken = set()
        for start in range(0, len(self.sources), size):
            batch, n_reported = [], len(self.skipped)
            for path in self.sources[start : start + size]:
                name, number = path.stem, 1
                while name in taken:
                    number += 1
                    name = f"{path.stem}-{number}"
                try:
                    if not is_safe_name(path.stem):
                        raise ValueError(f"{UNSAFE_NAME}; rename it")
                    batch.append(read_recording(path, name, model, table))
                except Exception as error:  # a damaged file makes libraries raise almost anything
                    self.skipped.append(Skipped(str(path), describe_error(error)))
                else:
                    taken.add(name)
            self.report_skipped(n_reported)
            yield batch

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
        fail(": ".join(self.skipped[0]) if one else "none of the records can be read")
