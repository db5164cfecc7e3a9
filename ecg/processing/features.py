"""The expert features of the paper's baselines, a rhythm extension, and their cache.

The paper's 636 columns are 12 leads x 53, named lead_part_statistic (`V1_signal_p95`,
`V1_d2_entropy`). A part is `signal`, the whole record in mV, or a band of its level-4 db10
wavelet decomposition (Daubechies 1988; symmetric extension), whose coefficients are in mV too. At
500 Hz the bands are about: a4 0-16 Hz, d4 16-31, d3 31-63, d2 63-125, d1 125-250. Statistics:

    p05 p25 p75 p95   percentiles, linear between neighbours (Hyndman & Fan 1996, type 7); mV
    median mean sd    mV; sd is the population's (divided by n)
    var               sd squared; mV^2
    entropy           bands only: Shannon entropy (natural log) of how often each distinct
                      coefficient occurs, divided by 10, as in the paper's code

This entropy says little: real-valued coefficients hardly ever repeat, so it is close to
log(n) / 10, the record's length, unless a lead is flat, clipped or coarsely digitised.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pywt

from dataset import LEADS, SAMPLE_RATE, UNITS_PER_MV, PackedSignals
from ecg.processing.detection import PREMATURE, find_peaks
from ecg.running.workers import workers
from utils import InputError, Progress, file_digest, replacing, write_csv

WAVELET, LEVEL = "db10", 4
PARTS = ("signal", "a4", "d4", "d3", "d2", "d1")
PERCENTILES = {"p05": 0.05, "p25": 0.25, "p75": 0.75, "p95": 0.95, "median": 0.5}
STATISTICS = (*PERCENTILES, "mean", "sd", "var")
ENTROPY_DIVISOR = 10

RHYTHM_STATISTICS = (
    *("leads", "beats", "heart_rate", "rr_mean", "rr_sd", "rr_cv", "rmssd_ratio", "mad_ratio"),
    *("pnn50", "min_ratio", "max_ratio", "premature", "premature_pause", "compensation"),
)

VERSION = 2  # raise it when a definition changes: every cache is then made again
CHUNK = 32  # records given to a worker process at a time


def part_statistics(part):
    """Return the names of a part's statistics, in the order of the columns."""
    return STATISTICS if part == "signal" else ("entropy", *STATISTICS)


PAPER_COLUMNS = tuple(
    f"{lead}_{part}_{name}" for lead in LEADS for part in PARTS for name in part_statistics(part)
)
RHYTHM_COLUMNS = tuple(f"rhythm_{name}" for name in RHYTHM_STATISTICS)


def basic_statistics(values, ordered):
    """Return the eight statistics of each row, (L, 8) in STATISTICS order.

    `values` is (L, n); `ordered` the same with each row sorted, because all five percentiles (and
    the entropy) need it.
    """
    n = values.shape[1]
    place = (n - 1) * np.array(list(PERCENTILES.values()))
    low = place.astype(int)
    below, above = ordered[:, low], ordered[:, np.minimum(low + 1, n - 1)]
    percentiles = below + (above - below) * (place - low)  # (L, 5)
    mean = values.mean(1)
    centred = values - mean[:, None]
    variance = np.einsum("ln,ln->l", centred, centred) / n  # no (L, n) array of squares
    return np.column_stack([percentiles, mean, np.sqrt(variance), variance])


def repeat_entropy(ordered):
    """Return each row's Shannon entropy of its distinct values, in nats: (L, n) sorted to (L,).

    With counts c of the distinct values, -sum(c/n log(c/n)) = log(n) - sum(c log c) / n, to which
    a value that occurs once adds nothing.
    """
    n_leads, n = ordered.shape
    first = np.ones(ordered.shape, bool)
    np.not_equal(ordered[:, 1:], ordered[:, :-1], out=first[:, 1:])
    starts = np.flatnonzero(first)
    counts = np.diff(starts, append=ordered.size)
    repeated = counts > 1
    counts, rows = counts[repeated], starts[repeated] // n
    total = np.bincount(rows, counts * np.log(counts), minlength=n_leads)
    return np.maximum(np.log(n) - total / n, 0)


def paper_features(packed):
    """Compute the paper's features of one record, (12, n) int16 microvolts: (636,) float64.

    They describe the whole record, whatever its length: nothing is cut to 30 s or padded.
    """
    signal = packed / UNITS_PER_MV  # (L, n) float64 mV
    ordered = np.sort(packed, axis=1) / UNITS_PER_MV  # sorting whole numbers is cheaper
    columns = [basic_statistics(signal, ordered)]
    approximation, details = signal, []
    for _ in range(LEVEL):  # pywt.wavedec, without its complaint about records below 0.6 s
        approximation, detail = pywt.dwt(approximation, WAVELET, axis=1)
        details.append(detail)
    for band in (approximation, *reversed(details)):  # a4, d4, d3, d2, d1
        ordered = np.sort(band, axis=1)
        columns += [repeat_entropy(ordered)[:, None] / ENTROPY_DIVISOR]
        columns += [basic_statistics(band, ordered)]
    return np.concatenate(columns, axis=1).ravel()


def rhythm_features(packed):
    """Compute heart rate and RR statistics of one record, (12, n) int16 microvolts: (14,) float64.

    leads            number of leads that are not flat; beats: number found in them (detection.py)
    heart_rate       60 / mean RR interval, per minute
    rr_mean, rr_sd   s; rr_cv: sd / mean
    rmssd_ratio      root mean square of successive differences / mean (Task Force 1996: RMSSD)
    mad_ratio        median |successive difference| / median: high in AF, low with one early beat
    pnn50            share of successive differences above 50 ms (Task Force 1996)
    min_, max_ratio  shortest and longest interval / median
    premature        share of the intervals below 0.85 x median
    premature_pause  share that are premature and followed by one longer than the median
    compensation     mean over the latter of (interval + next) / (2 x median): about 1 if the
                     sinus rhythm continues (most PVC), less if it is reset (most PAC)

    NaN if there are too few beats for a figure; compensation also if no beat is early.
    """
    peaks = find_peaks(packed)
    found = dict.fromkeys(RHYTHM_STATISTICS, np.nan)
    found |= {"leads": (np.ptp(packed, axis=1) > 0).sum(), "beats": len(peaks)}
    rr = np.diff(peaks) / SAMPLE_RATE
    if len(rr):
        median, mean = np.median(rr), rr.mean()
        early = rr < PREMATURE * median
        found |= {"heart_rate": 60 / mean, "rr_mean": mean, "rr_sd": rr.std()}
        found |= {"rr_cv": rr.std() / mean, "premature": early.mean()}
        found |= {"min_ratio": rr.min() / median, "max_ratio": rr.max() / median}
    if len(rr) > 1:
        steps = np.abs(np.diff(rr))
        found |= {"rmssd_ratio": np.sqrt((steps**2).mean()) / mean, "pnn50": (steps > 0.05).mean()}
        found["mad_ratio"] = np.median(steps) / median
        paused = early[:-1] & (rr[1:] > median)
        found["premature_pause"] = paused.mean()
        if paused.any():
            found["compensation"] = ((rr[:-1] + rr[1:])[paused] / (2 * median)).mean()
    return np.array([found[name] for name in RHYTHM_STATISTICS], float)


class FeatureTable(NamedTuple):
    """A cached table: its file, its columns, and the function that computes a record's row."""

    file: str
    columns: tuple
    compute: Callable


PAPER_TABLE = FeatureTable("features.csv", PAPER_COLUMNS, paper_features)
RHYTHM_TABLE = FeatureTable("features_rhythm.csv", RHYTHM_COLUMNS, rhythm_features)
FEATURE_SETS = {"paper": (PAPER_TABLE,), "rhythm": (PAPER_TABLE, RHYTHM_TABLE)}


def add_features_arg(parser):
    """Add the flag of the scripts that use features."""
    parser.add_argument(
        "--features",
        choices=FEATURE_SETS,
        default="paper",
        help="which features; rhythm adds heart rate and RR intervals to the paper's",
    )


def load_features(data_dir, patient_ids, features="paper", jobs=1):
    """Return a DataFrame (N, F) with a row per patient_id, from the cache if that is valid.

    A cache `features.csv` is valid only with its `features.json`: the fingerprint of the packed
    signals, the columns, the definitions' version and the SHA-256 of the csv must agree, and no
    record may be missing. Otherwise it is made again, in one step that leaves the old file or the
    new one, never a part. A second process waits for the first, and then reads its cache.
    """
    signals = PackedSignals(data_dir)
    missing = [name for name in patient_ids if name not in signals]
    if missing:
        raise InputError(
            f"{signals.path} lacks {len(missing)} records of labels.csv (first {missing[0]}); "
            f"run: python preprocess.py --data-dir {data_dir}"
        )
    tables = []
    for file, columns, compute in FEATURE_SETS[features]:
        path = Path(data_dir) / file
        expected = {"signals": signals.fingerprint, "version": VERSION, "columns": list(columns)}
        table, _ = read_cache(path, expected, patient_ids)
        if table is None:
            with one_process(data_dir):
                table, reason = read_cache(path, expected, patient_ids)
                if table is None:
                    print(f"{path}: {reason}; computing {len(columns)} features of each record")
                    rows = compute_all(signals, patient_ids, compute, jobs)
                    table = pd.DataFrame(rows, columns=columns, index=patient_ids)
                    write_cache(path, expected, table)
        tables.append(table)
    return pd.concat(tables, axis=1)


@contextlib.contextmanager
def one_process(folder):
    """Run the block in one process at a time; others wait, on file systems that have locks."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # without locks: both compute, files are still whole
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def read_cache(path, expected, patient_ids):
    """Return (table, None), or (None, why the cache cannot be used)."""
    if not path.is_file():
        return None, "not there yet"
    try:
        evidence = json.loads(path.with_suffix(".json").read_text())
        digest = evidence.pop("sha256")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None, "without a readable json beside it"
    if evidence != expected:
        return None, "made from other signals or with other options"
    if file_digest(path) != digest:
        return None, "damaged"
    table = pd.read_csv(
        path,
        index_col=0,
        dtype={"patient_id": str},
        keep_default_na=False,  # a record may be called NA
        na_values={name: [""] for name in expected["columns"]},
    )
    if not set(patient_ids) <= set(table.index):
        return None, "without some of the records"
    return table.loc[list(patient_ids)].astype(float), None


def write_cache(path, expected, table):
    """Write the csv, then the json that makes it valid: a run killed in between leaves no cache."""
    write_csv(table.rename_axis("patient_id").reset_index(), path)
    evidence = {**expected, "sha256": file_digest(path)}
    with replacing(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(evidence, indent=1) + "\n")


def compute_all(signals, patient_ids, compute, jobs):
    """Apply a feature function to every record: (N, F); `jobs` processes, 1 being this one."""
    one = partial(compute_one, signals, compute)
    bar = {"total": len(patient_ids), "desc": "features", "unit": "record", "leave": False}
    if jobs == 1:
        return np.array(list(Progress(map(one, patient_ids), **bar)))
    try:
        # names and rows of features travel between the processes; each maps the signals itself
        with workers(jobs) as pool:
            rows = pool.map(one, patient_ids, chunksize=CHUNK)
            return np.array(list(Progress(rows, **bar)))
    except BrokenProcessPool:
        raise InputError(
            "a process computing features died (out of memory?); run the same command with --jobs 1"
        ) from None


def compute_one(signals, compute, patient_id):
    """Apply a feature function to one record."""
    return compute(signals[patient_id])
