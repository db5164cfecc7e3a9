"""Measure how often 95 % intervals hold the true score, by simulation: before and after.

    python -m benchmarks.coverage

Records of four classes have normal scores of known AUC; their thresholds call 8 % of the
negatives, so that precision, recall and F1 are known too. Each row is of
one number of records. 'Before' are percentiles of the resamples, as they were until the formulas
came; 'after' are the columns of scores.csv (`ecg.evaluation.intervals`). Ends with the calibration
error that perfectly calibrated scores show, and its floor as scores.csv gives it. Writes
results/coverage.csv; benchmarks/README.md holds its output.
"""

import numpy as np
import pandas as pd
from scipy.stats import norm

from ecg.evaluation import metrics
from ecg.evaluation.intervals import sound_intervals
from ecg.running.command import make_parser, run_main
from utils import positive, results_path, write_csv

RECORDS = (40, 100, 400, 700)
SHARES = np.array([0.04, 0.1, 0.2, 0.3])  # of positives, at least 3
AUCS = np.array([0.99, 0.98, 0.97, 0.9])
CLASSES = tuple("abcd")
CALLED = 0.08  # share of the negatives at or above the threshold
SHIFTS = norm.ppf(AUCS) * np.sqrt(2)  # of the positives, in standard deviations
CUTS = np.full(4, norm.isf(CALLED))
SHOWN = {"auc": "AUC", "f1": "F1", "recall": "recall"}


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("--repeats", type=positive, default=300, help="data sets of each size")
    parser.add_argument("--resamples", type=positive, default=300, help="resamples of each")
    return parser.parse_args(argv)


def counts_of(n):
    """Return the positives of each class among n records, (4,)."""
    return np.maximum(np.rint(SHARES * n).astype(int), 3)


def draw(rng, n):
    """Return y_true and y_score (n, 4): other records are positive in each class."""
    places = rng.random((n, 4)).argsort(0).argsort(0)
    y_true = (places < counts_of(n)).astype(int)
    return y_true, rng.normal(SHIFTS * y_true)


def true_scores(n):
    """Return {score: (5,)}, the classes and their average, of the same classes without chance."""
    recall = norm.sf(CUTS - SHIFTS)
    share = counts_of(n) / n
    f1 = 2 * recall * share / (share + recall * share + CALLED * (1 - share))
    scores = {"auc": AUCS, "f1": f1, "recall": recall}
    return {name: np.append(values, values.mean()) for name, values in scores.items()}


def held(rng, n, args):
    """Return whether each interval holds the truth: {(score, way): (5,)} of one data set."""
    y_true, y_score = draw(rng, n)
    weights = metrics.resample_weights(n, args.resamples, int(rng.integers(1 << 31)))
    once, drawn = (
        metrics.Counts(y_true, y_score, CUTS, rows) for rows in (np.ones((1, n)), weights)
    )
    result = {}
    for name, truth in true_scores(n).items():
        values, resampled = (metrics.SCORES[name].function(counts) for counts in (once, drawn))
        resampled = np.where(drawn.positives > 0, resampled, np.nan)
        before = metrics.intervals(metrics.with_average(resampled))
        values = metrics.with_average(values)[0]
        after = sound_intervals(name, once, values, resampled, before)
        for way, (low, high) in (("before", before), ("after", after)):
            result[name, way] = (low <= truth) & (truth <= high)
    return result


def coverage_rows(args):
    """Return a row for each number of records, score and way: the share held, by class."""
    rng, rows = np.random.default_rng(0), []
    for n in RECORDS:
        repeats = [held(rng, n, args) for _ in range(args.repeats)]
        labels = [f"{auc} ({count})" for auc, count in zip(AUCS, counts_of(n), strict=True)]
        for name, way in repeats[0]:
            shares = np.mean([one[name, way] for one in repeats], axis=0)
            row = {"records": n, "score": SHOWN[name], "way": way, "classes": ", ".join(labels)}
            rows.append(row | dict(zip((*CLASSES, "macro"), shares, strict=True)))
    return pd.DataFrame(rows)


def floor_row(rng, n):
    """Return the calibration error of perfectly calibrated scores, and the floor of one table."""
    errors, floors = [], []
    for _ in range(50):
        p = rng.beta(0.5, 2, (n, 1))
        true = (rng.random((n, 1)) < p).astype(float)
        errors.append(metrics.calibration_errors(true, p, np.ones((1, n))).item())
        floors.append(metrics.calibration_floor(true, p).item())
    return f"| {n} | {np.mean(errors):.3f} | {np.mean(floors):.3f} |"


def main(args):
    table = coverage_rows(args)
    write_csv(table, results_path("coverage.csv"))
    print(f"{args.repeats} data sets a row, {args.resamples} resamples; share of intervals that")
    print("hold the truth, by AUC of the class (positives)\n")
    for n, part in table.groupby("records"):
        print(f"| {n} records | way | {' | '.join(part.classes.iloc[0].split(', '))} | macro |")
        print("|---" * 7 + "|")
        for row in part.to_dict("records"):
            cells = [f"{row[name]:.3f}".removeprefix("0") for name in (*CLASSES, "macro")]
            print(f"| {row['score']} | {row['way']} | {' | '.join(cells)} |")
        print()
    print("| records | error of perfectly calibrated scores | floor |\n|---|---|---|")
    rng = np.random.default_rng(1)
    for n in RECORDS:
        print(floor_row(rng, n))


if __name__ == "__main__":
    run_main(main, parse_args)
