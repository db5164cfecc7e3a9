"""Compare measured PR, QRS and QT with cardiologists' marks and with what the simulator drew.

    python -m benchmarks.ecg_intervals                  # synthetic records and ../shared/data/ludb
    python -m benchmarks.ecg_intervals --ludb FOLDER --records 60

The marks of LUDB are medians over the leads and beats of a record. The constants of
ecg/processing/ecg_intervals.py were chosen on its records 3, 7, 11 ...; 1, 5, 9 ... are 'kept'.
Where NeuroKit2 is installed (pip install neurokit2) its discrete wavelet method is measured too,
in lead II and as the median of its results in the leads. Writes results/intervals/errors.csv, a
row per record and interval, in ms. It takes some minutes.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from dataset import LEADS, SAMPLE_RATE, to_mv
from ecg.evaluation.scored_run import write_research_json
from ecg.explanation import ludb
from ecg.processing.detection import find_peaks
from ecg.processing.ecg_intervals import measure_intervals
from ecg.running.command import make_parser, run_main
from ecg.simulation.heart import simulate
from utils import positive, results_path, software_versions, write_csv

try:
    import neurokit2
except ImportError:
    neurokit2 = None

LUDB = Path(__file__).parents[2] / "shared/data/ludb"
INTERVALS = ("PR", "QRS", "QT")
OUT = results_path("intervals")


def parse_args(argv=None):
    parser = make_parser(__doc__)
    text = "LUDB's folder (left out if it is missing)"
    parser.add_argument("--ludb", type=Path, default=LUDB, help=text)
    parser.add_argument("--records", type=positive, default=60, help="synthetic records to make")
    return parser.parse_args(argv)


def marked(marks):
    """Return PR, QRS and QT (3,) in ms by the marks of a record of LUDB, NaN where not marked."""
    p, qrs, t = (ludb.joint_waves(marks, wave) for wave in ("p", "qrs", "t"))
    before = ludb.match(p, qrs[:, 0], -0.45, 0)[:, 0]
    after = ludb.match(t, qrs[:, 2], 0, 0.6)[:, 2]
    pr = np.median((qrs[:, 0] - before)[before >= 0]) if (before >= 0).mean() > 0.5 else np.nan
    qt = np.median((after - qrs[:, 0])[after >= 0]) if (after >= 0).any() else np.nan
    return np.array([pr, np.median(qrs[:, 2] - qrs[:, 0]), qt]) / SAMPLE_RATE * 1000


def drawn(heart):
    """Return PR, QRS and QT (3,) in ms of the beats that the simulator drew, PR NaN without P."""
    beats = heart.beats
    parts = [beats.onset - beats.p, beats.j - beats.onset, beats.t_end - beats.onset]
    return 1000 * np.array([np.nanmedian(part) for part in parts])


def ours(packed):
    """Return PR, QRS and QT (3,) in ms as answers have them."""
    found = measure_intervals(to_mv(packed), find_peaks(packed))
    return np.array([found.pr, found.qrs, found.qt], float)


def neurokit(packed, leads):
    """Return NeuroKit2's PR, QRS and QT (3,) in ms: medians of the beats, and of some leads."""
    rows = []
    for row in to_mv(packed, [LEADS.index(lead) for lead in leads]):
        try:
            clean = neurokit2.ecg_clean(row, SAMPLE_RATE)
            peaks = neurokit2.ecg_peaks(clean, SAMPLE_RATE)[1]["ECG_R_Peaks"]
            places = neurokit2.ecg_delineate(clean, peaks, SAMPLE_RATE, method="dwt")[1]
        except Exception:  # it raises whatever NumPy and SciPy raise on a lead it cannot take
            continue
        names = ("ECG_P_Onsets", "ECG_R_Onsets", "ECG_R_Offsets", "ECG_T_Offsets")
        p, onset, end, t = (np.array(places[name], float) for name in names)
        rows.append([np.nanmedian(part) for part in (onset - p, end - onset, t - onset)])
    return np.nanmedian(rows, axis=0) / SAMPLE_RATE * 1000 if rows else np.full(3, np.nan)


TOOLS = {"this project": ours}
if neurokit2:
    name = f"NeuroKit2 {neurokit2.__version__}"
    TOOLS[f"{name}, lead II"] = lambda packed: neurokit(packed, ["II"])
    TOOLS[f"{name}, median of leads"] = lambda packed: neurokit(packed, LEADS)


def records(args):
    """Yield (set, record, packed (12, n), true PR, QRS and QT (3,) in ms)."""
    for path in sorted(args.ludb.glob("*.hea"), key=lambda path: int(path.stem)):
        part = "LUDB, kept" if int(path.stem) % 4 == 1 else "LUDB, chosen on"
        yield part, path.stem, ludb.read_ludb(path), marked(ludb.read_marks(path.with_suffix("")))
    names = ["SNR", "IAVB", "RBBB", "LBBB", "STD", "STE"]
    for number in range(args.records):
        rng = np.random.default_rng([17, number])
        packed, heart = simulate(rng, [names[number % len(names)]], 10)
        yield "synthetic", f"S{number}", packed, drawn(heart)


def main(args):
    rows = []
    for part, record, packed, true in records(args):
        for tool, measure in TOOLS.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # NeuroKit2's, of leads without a P
                found = measure(packed)
            rows += zip([part] * 3, [record] * 3, [tool] * 3, INTERVALS, true, found, strict=True)
    table = pd.DataFrame(rows, columns=["set", "record", "tool", "interval", "true", "measured"])
    OUT.mkdir(parents=True, exist_ok=True)
    write_csv(table, OUT / "errors.csv")
    write_research_json(OUT / "errors.json", {"versions": software_versions()})
    for key, group in table.groupby(["set", "interval", "tool"], sort=False):
        error = (group["measured"] - group["true"]).dropna()
        n = group["true"].notna().sum()
        numbers = f"mean {error.mean():+.1f} sd {error.std():.1f} |error| {error.abs().mean():.1f}"
        print(", ".join(key), f"{len(error)} of {n}: {numbers} ms", flush=True)


if __name__ == "__main__":
    run_main(main, parse_args)
