"""Time the 636 expert features of a record on one core, beside the plain way to compute them.

    python -m benchmarks.features                       # random walks of 10, 16 and 60 s
    python -m benchmarks.features --data-dir data/CPSC  # the first records of a packed data set

The plain way goes lead by lead and band by band: eight NumPy calls, and pandas' value_counts for
the entropy. Both take turns on the same records in one process of one thread; the times are its
processor time (what the machine does besides does not count), medians per record.
Ends with status 1 if any two values differ by more than 1e-9, or if it is not 8 times faster.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import time

import numpy as np
import pandas as pd
import pywt
from scipy.stats import entropy

from dataset import LEADS, SAMPLE_RATE, PackedSignals, load_labels
from ecg.processing.features import PAPER_COLUMNS, paper_features, rhythm_features
from ecg.running.command import make_parser, run_main
from utils import positive

TARGET = 8  # times faster
TOLERANCE = 1e-9
CPSC2018 = 6877, 16.0  # records, and their mean length in s


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("--data-dir", help="folder of a packed data set (None: random walks)")
    parser.add_argument("--records", type=positive, default=60, help="records to time")
    return parser.parse_args(argv)


def plain_statistics(values):
    percentiles = [np.percentile(values, q) for q in (5, 25, 75, 95)]
    return [*percentiles, np.median(values), np.mean(values), np.std(values), np.var(values)]


def plain_features(packed):
    features = []
    for lead in packed / 1000:
        features += plain_statistics(lead)
        for band in pywt.wavedec(lead, "db10", level=4):
            shares = pd.Series(band).value_counts(normalize=True).to_numpy()
            features += [entropy(shares) / 10, *plain_statistics(band)]
    return np.array(features)


def random_walks(n):
    rng = np.random.default_rng(0)
    for i in range(n):
        seconds = (10, 10, 10, 16, 16, 60)[i % 6]  # most of CPSC2018 is short, a few are long
        steps = rng.normal(0, 10, (len(LEADS), seconds * SAMPLE_RATE))
        yield np.rint(np.cumsum(steps, axis=1)).astype(np.int16)


def timed(function, packed):
    start = time.process_time()
    values = function(packed)
    return values, time.process_time() - start


def main(args):
    if args.data_dir:
        signals = PackedSignals(args.data_dir)
        records = [signals[name] for name in load_labels(args.data_dir, args.records).patient_id]
    else:
        records = list(random_walks(args.records))
    for function in (paper_features, plain_features, rhythm_features):
        function(records[0])  # imports, caches
    seconds, worst = {"ours": [], "plain": [], "rhythm": []}, 0
    for packed in records:
        ours, ours_time = timed(paper_features, packed)
        plain, plain_time = timed(plain_features, packed)
        rhythm_time = timed(rhythm_features, packed)[1]
        worst = max(worst, np.abs(ours - plain).max())
        for name, value in zip(seconds, (ours_time, plain_time, rhythm_time), strict=True):
            seconds[name].append(value)
    medians = {name: np.median(values) for name, values in seconds.items()}
    ratio = medians["plain"] / medians["ours"]
    length = sum(packed.shape[1] for packed in records) / SAMPLE_RATE
    n, mean_length = CPSC2018
    print(f"{len(records)} records of {length / len(records):.1f} s on average, one core")
    for name, label in (("ours", f"{len(PAPER_COLUMNS)} features"), ("plain", "the plain way")):
        print(f"{label:14} {1000 * medians[name]:8.2f} ms a record (median)")
    print(f"{'rhythm':14} {1000 * medians['rhythm']:8.2f} ms a record (median), the extension")
    print(f"ratio {ratio:.1f} (asked for: {TARGET}); largest difference {worst:.1e}")
    for name, label in (("ours", "features"), ("rhythm", "rhythm extension")):
        total = sum(seconds[name]) / length * n * mean_length
        print(f"CPSC2018, {n} records of {mean_length:.0f} s, {label}: {total:.0f} s on one core")
    if worst > TOLERANCE or ratio < TARGET:
        print("FAILED")
        raise SystemExit(1)


if __name__ == "__main__":
    run_main(main, parse_args)
