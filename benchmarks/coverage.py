"""Measure how often 95 % intervals hold the true score, by simulation.

    python -m benchmarks.coverage

Records of four classes are drawn at random. Their logits are normal and of known AUC; a threshold
calls 8 % of the negatives, so precision, recall and F1 are known too. 'Percentiles' are those of
the resamples, 'formulas' the columns of scores.csv (`ecg.evaluation.intervals`). The second table
is of the AUC alone, for logits of other shapes. Ends with the calibration error that perfectly
calibrated scores show, and its floor as scores.csv gives it. Writes results/coverage.csv;
benchmarks/README.md holds its output.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import norm

from ecg.evaluation import metrics
from ecg.evaluation.intervals import score_intervals
from ecg.running.command import make_parser, run_main
from utils import positive, results_path, write_csv

RECORDS = (40, 100, 400, 700)
SHARES = np.array([0.04, 0.1, 0.2, 0.3])  # of positives, at least 3 records
AUCS = np.array([0.99, 0.98, 0.97, 0.9])
CLASSES = tuple("abcd")
CALLED = 0.08  # share of the negatives at or above the threshold
CUTS = np.full(4, norm.isf(CALLED))
SHOWN = {"auc": "AUC", "f1": "F1", "precision": "precision", "recall": "recall"}
WAYS = ("percentiles", "formulas")


class Shape(NamedTuple):
    """Logits: normal, with the positives' standard deviation if the negatives' is 1, or skewed."""

    label: str
    sd: float | None

    def draw(self, rng, y_true):
        """Return the logits (n, 4) of records with these labels."""
        if self.sd is None:  # of exponential variables, one AUC / (1 - AUC) times as large
            return np.log(rng.exponential(size=y_true.shape)) + y_true * logit(AUCS)
        spread = np.where(y_true == 1, self.sd, 1.0)
        return rng.normal(y_true * norm.ppf(AUCS) * np.hypot(self.sd, 1), spread)


PLAIN = Shape("positives as wide as negatives", 1.0)
SHAPES = (
    PLAIN,
    Shape("positives 1.7 times as wide", 1.7),
    Shape("positives 0.6 times as wide", 0.6),
    Shape("skewed, a long tail of missed positives", None),
)


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("--repeats", type=positive, default=600, help="data sets of each size")
    parser.add_argument("--resamples", type=positive, default=300, help="resamples of each")
    return parser.parse_args(argv)


def counts_of(n):
    """Return the expected positives of each class among n records, (4,)."""
    return np.maximum(np.rint(SHARES * n).astype(int), 3)


def draw_labels(rng, n):
    """Return y_true (n, 4) with at least one positive of each class."""
    while True:
        y_true = rng.random((n, 4)) < counts_of(n) / n
        if y_true.any(0).all():
            return y_true.astype(int)


def true_scores(n):
    """Return {score: (5,)}, the classes and their average, of the same classes without chance."""
    recall = norm.sf(CUTS - norm.ppf(AUCS) * np.sqrt(2))
    hits, false = recall * counts_of(n) / n, CALLED * (1 - counts_of(n) / n)
    f1 = 2 * hits / (counts_of(n) / n + hits + false)
    scores = {"auc": AUCS, "f1": f1, "precision": hits / (hits + false), "recall": recall}
    return {name: np.append(values, values.mean()) for name, values in scores.items()}


def held(rng, n, shape, scores, args):
    """Return whether each interval holds the truth: {(score, way): (5,)} of one data set."""
    y_true = draw_labels(rng, n)
    y_score = expit(shape.draw(rng, y_true))
    weights = metrics.resample_weights(n, args.resamples, int(rng.integers(1 << 31)))
    once, drawn = (
        metrics.Counts(y_true, y_score, expit(CUTS), rows) for rows in (np.ones((1, n)), weights)
    )
    result = {}
    for name in scores:
        values, resampled = (metrics.SCORES[name].function(counts) for counts in (once, drawn))
        resampled = np.where(drawn.positives > 0, resampled, np.nan)
        percentiles = metrics.intervals(metrics.with_average(resampled))
        values = metrics.with_average(values)[0]
        formulas = score_intervals(name, once, values, resampled, percentiles)
        truth = true_scores(n)[name]
        for way, (low, high) in zip(WAYS, (percentiles, formulas), strict=True):
            result[name, way] = (low <= truth) & (truth <= high)
    return result


def coverage_rows(shape, scores, args):
    """Return a row for each number of records, score and way: the share held, by class."""
    rng, rows = np.random.default_rng(0), []
    for n in RECORDS:
        repeats = [held(rng, n, shape, scores, args) for _ in range(args.repeats)]
        for name, way in repeats[0]:
            shares = np.mean([one[name, way] for one in repeats], axis=0)
            row = {"records": n, "logits": shape.label, "score": SHOWN[name], "way": way}
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


def print_table(n, part, column):
    """Print the rows of one number of records; `column` tells them apart."""
    labels = [f"{auc} ({count})" for auc, count in zip(AUCS, counts_of(n), strict=True)]
    print(f"| {n} records | intervals | {' | '.join(labels)} | macro |")
    print("|---" * 7 + "|")
    for row in part.to_dict("records"):
        cells = [f"{row[name]:.3f}".removeprefix("0") for name in (*CLASSES, "macro")]
        print(f"| {row[column]} | {row['way']} | {' | '.join(cells)} |")
    print()


def main(args):
    first = coverage_rows(PLAIN, SHOWN, args)
    others = [coverage_rows(shape, ["auc"], args) for shape in SHAPES[1:]]
    write_csv(pd.concat([first, *others]), results_path("coverage.csv"))
    print(f"{args.repeats} data sets a row, {args.resamples} resamples; share of intervals that")
    print("hold the truth, by AUC of the class (expected positives)\n")
    for n, part in first.groupby("records"):
        print_table(n, part, "score")
    print("AUC, logits of other shapes\n")
    for n, part in pd.concat(others).groupby("records"):
        print_table(n, part, "logits")
    print("| records | error of perfectly calibrated scores | floor |\n|---|---|---|")
    rng = np.random.default_rng(1)
    for n in RECORDS:
        print(floor_row(rng, n))


if __name__ == "__main__":
    run_main(main, parse_args)
