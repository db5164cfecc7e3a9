"""Compare detectors of beats: how many they find, how many of theirs are none, and their time.

    python -m benchmarks.beats                          # synthetic records and ../shared/data/ludb
    python -m benchmarks.beats --records 40 --ludb FOLDER

A beat is found if a detection lies within 75 ms of the middle of its QRS (synthetic records, every
beat that lies in the record as a whole) or of the peak that more than half of LUDB's leads have
marked. wfdb's detectors go lead by lead, at 250 Hz; a beat of theirs is what more than half of the
leads that have any find within 80 ms of each other. Prints one line per detector, in percent, with
its processor time per record of 10 s.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import time
from pathlib import Path

import numpy as np
from wfdb.processing import XQRS, gqrs_detect

from dataset import LEADS, SAMPLE_RATE, UNITS_PER_MV
from ecg.explanation.ludb import TOLERANCE, joint_waves, read_ludb, read_marks
from ecg.processing import detection
from ecg.running.command import make_parser, run_main
from ecg.simulation.heart import MIX, simulate
from utils import natural, positive

LUDB = Path(__file__).parents[2] / "shared/data/ludb"
VOTE = 0.08  # s
HALF = SAMPLE_RATE // 2  # Hz


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("--records", type=positive, default=400, help="synthetic records to make")
    parser.add_argument("--seed", type=natural, default=0, help="seed of the synthetic records")
    text = "LUDB's folder (left out if it is missing)"
    parser.add_argument("--ludb", type=Path, default=LUDB, help=text)
    return parser.parse_args(argv)


def xqrs(row):
    detector = XQRS(row, HALF)
    detector.detect(verbose=False)
    return detector.qrs_inds


def gqrs(row):
    return gqrs_detect(sig=row, fs=HALF, adc_gain=UNITS_PER_MV, adc_zero=0)


def vote(packed, detect):
    """Return the beats (B,) on which more than half of the leads agree."""
    signal = packed[:, : packed.shape[1] // 2 * 2].reshape(len(packed), -1, 2).mean(2)
    times, voters = [], []
    for lead, row in enumerate(signal / (UNITS_PER_MV if detect is xqrs else 1)):
        try:
            found = 2 * np.asarray(detect(row), float)
        except Exception:  # wfdb raises whatever NumPy and SciPy raise on a lead it cannot take
            continue
        times.append(found)
        voters.append(np.full(len(found), lead))
    times, voters = (np.concatenate([*lists, []]) for lists in (times, voters))
    order = np.argsort(times, kind="stable")
    cuts = np.flatnonzero(np.diff(times[order]) > VOTE * SAMPLE_RATE) + 1
    leads = len(np.unique(voters))
    groups = np.split(order, cuts) if len(order) else []
    agreed = [times[g] for g in groups if 2 * len(np.unique(voters[g])) > leads]
    return np.array([np.median(group) for group in agreed])


DETECTORS = {
    "XQRS, votes of the leads": lambda packed: vote(packed, xqrs),
    "GQRS, votes of the leads": lambda packed: vote(packed, gqrs),
    "detection.find_peaks": detection.find_peaks,
}


def synthetic_records(seed, n):
    """Yield (signal, middles of QRS, kinds, whether inside) of n records, blocked PACs left out."""
    for number in range(1, n + 1):
        rng = np.random.default_rng([seed, number])
        signal, heart = simulate(rng, MIX[(number - 1) % len(MIX)].split("+"), 10)
        beats = heart.beats
        seen = beats.kind != "blocked PAC"
        onset, j = SAMPLE_RATE * beats.onset[seen], SAMPLE_RATE * beats.j[seen]
        inside = (onset >= 0) & (j <= signal.shape[1])
        yield signal, (onset + j) / 2, beats.kind[seen], inside


def ludb_records(folder):
    """Yield the same of LUDB; beats beyond the outermost marks are not inside."""
    for path in sorted(folder.glob("*.hea")):
        marks = read_marks(path.with_suffix(""))
        middle = joint_waves(marks, "qrs")[:, 1]
        outer = np.concatenate([marks[lead]["qrs"][:, 1] for lead in LEADS])
        ends = outer.min(), outer.max()
        yield read_ludb(path), middle, np.full(len(middle), "LUDB"), ends


def count(records, detect):
    """Return the found and all beats by kind, the true and all detections, and s per record."""
    found, true, total, spent = {}, 0, 0, 0.0
    for signal, middle, kinds, inside in records:
        start = time.process_time()
        places = np.asarray(detect(signal))
        spent += time.process_time() - start
        near = np.abs(middle[:, None] - places) <= TOLERANCE * SAMPLE_RATE
        if isinstance(inside, tuple):  # LUDB leaves the first and last beats unmarked
            reach = TOLERANCE * SAMPLE_RATE
            counts = (places >= inside[0] - reach) & (places <= inside[1] + reach)
            inside = np.ones(len(middle), bool)
        else:  # a detection in a beat cut by an end of the record is neither right nor wrong
            counts = ~near[~inside].any(0)
        for kind in np.unique(kinds):
            part = inside & (kinds == kind)
            hits, beats = found.get(kind, (0, 0))
            found[kind] = hits + near[part].any(1).sum(), beats + part.sum()
        true, total = true + near.any(0)[counts].sum(), total + counts.sum()
    return found, (true, total), spent / len(records)


def percent(part, whole):
    return f"{100 * part / max(whole, 1):.2f} ({part}/{whole})"


def main(args):
    synthetic = list(synthetic_records(args.seed, args.records))
    ludb = list(ludb_records(args.ludb)) if args.ludb.is_dir() else []
    print("| detector | PVC | PAC | sinus | PPV | LUDB: beats | PPV | ms a record |")
    print("|---|---|---|---|---|---|---|---:|")
    for name, detect in DETECTORS.items():
        found, right, seconds = count(synthetic, detect)
        cells = [percent(*found.get(kind, (0, 0))) for kind in ("PVC", "PAC", "sinus")]
        cells.append(percent(*right))
        if ludb:
            found, right, _ = count(ludb, detect)
            cells += [percent(*found["LUDB"]), percent(*right)]
        else:
            cells += ["", ""]
        print(f"| {name} | {' | '.join(cells)} | {1000 * seconds:.1f} |", flush=True)


if __name__ == "__main__":
    run_main(main, parse_args)
