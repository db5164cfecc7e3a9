"""Time the bootstrap of every score beside a plain scikit-learn loop over the resamples.

    python -m benchmarks.bootstrap

Made-up scores of 700 records and nine classes (a test fold of CPSC2018), 1,000 resamples. The
plain way repeats the drawn records and calls scikit-learn for seven scores of each class, on the
first resamples only, in the same process of one thread; times are processor time, and the ratio is
per resample. Ends with status 1 if any two values differ by more than 1e-9, or if the bootstrap
takes over 10 s.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import time

import numpy as np
from sklearn import metrics as sk

from ecg.evaluation.metrics import N_RESAMPLES, intervals, resample_weights, weighted_scores
from ecg.running.command import make_parser, run_main
from utils import positive

TARGET = 10  # s
TOLERANCE = 1e-9
SCORES = ("precision", "recall", "f1", "auc", "accuracy", "ap", "brier")


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("--records", type=positive, default=700, help="records to score")
    parser.add_argument("--plain", type=positive, default=20, help="resamples of the plain way")
    return parser.parse_args(argv)


def made_up(n):
    """Return y_true and y_score (n, 9), the scores rounded so that many are tied."""
    rng = np.random.default_rng(0)
    y_true = (rng.random((n, 9)) < 0.12).astype(int)
    return y_true, np.clip(0.4 * y_true + 0.6 * rng.random((n, 9)), 0, 1).round(3)


def plain_scores(y_true, y_score, threshold, counts):
    drawn = np.repeat(np.arange(len(y_true)), counts)
    rows = []
    for true, score in zip(y_true[drawn].T, y_score[drawn].T, strict=True):
        pred = score >= threshold
        row = (
            sk.precision_score(true, pred, zero_division=0),
            sk.recall_score(true, pred),
            sk.f1_score(true, pred),
            sk.roc_auc_score(true, score),
            sk.accuracy_score(true, pred),
            sk.average_precision_score(true, score),
            sk.brier_score_loss(true, score),
        )
        rows.append(row)
    return np.array(rows).T  # (scores, 9)


def main(args):
    y_true, y_score = made_up(args.records)
    started = time.process_time()
    weights = resample_weights(args.records, N_RESAMPLES)
    scores = weighted_scores(y_true, y_score, np.full(9, 0.5), weights)
    for values in scores.values():
        intervals(values)
    seconds = time.process_time() - started

    started = time.process_time()
    chosen = weights[: args.plain].astype(int)
    plain = np.stack([plain_scores(y_true, y_score, 0.5, counts) for counts in chosen])
    plain_seconds = (time.process_time() - started) * N_RESAMPLES / args.plain

    ours = np.stack([scores[name][: args.plain] for name in SCORES], axis=1)
    difference = np.abs(ours - plain).max()
    print(f"{args.records} records x 9 classes, {N_RESAMPLES} resamples, one thread")
    print(f"vectorised, nine scores and intervals: {seconds:8.2f} s  (target: {TARGET} s)")
    print(f"scikit-learn loop, seven scores:       {plain_seconds:8.2f} s  (from {args.plain})")
    print(f"ratio {plain_seconds / seconds:.0f}; largest difference {difference:.1e}")
    if difference > TOLERANCE or seconds > TARGET:
        raise SystemExit(1)


if __name__ == "__main__":
    run_main(main, parse_args)
