"""Caveats on classes whose threshold says little, against counts of the predictions."""

import numpy as np
import pytest

from ecg.evaluation.caveats import doubtful_classes
from ecg.evaluation.metrics import format_table, score_table

NAMES = ("A", "B", "C", "D")


def tables_of(seed, thresholds):
    rng = np.random.default_rng(seed)
    y_true = (rng.random((40, 4)) < [0.3, 0.3, 0.2, 0.1]).astype(int)
    y_true[:, 3] = 0  # D is not in the data
    y_score = 0.5 * y_true + 0.5 * rng.random((40, 4))
    y_score[:, 1] = rng.random(40)
    return y_true, y_score >= thresholds, score_table(y_true, y_score, thresholds, NAMES)


@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_marks_are_those_of_the_counted_predictions(seeds):
    parts = [tables_of(seed, np.array([0.5, 0.95, 0.05, 0.5])) for seed in seeds]
    marks = doubtful_classes([table for _, _, table in parts])
    called = sum(y_pred[:, 2].sum() for _, y_pred, _ in parts)
    every = [2 * y.sum(0) / (y.sum(0) + len(y)) for y, _, _ in parts]  # F1 of calling every record
    f1 = np.mean([table["f1"][:3] for _, _, table in parts], axis=0)
    assert called > 20 * len(seeds) and (f1 > np.mean(every, axis=0)[:3]).tolist()[0]
    assert f1[1] <= np.mean(every, axis=0)[1]
    assert set(marks) == {"B", "C"}  # D has no positive
    assert f"positive in {called} of {40 * len(seeds)}" in marks["C"]
    f1 = np.mean(every, axis=0)[1]
    assert marks["B"] == f"no better than calling every record positive (F1 {f1:.3f})"


def test_printed_table_marks_the_class_and_says_why_and_the_columns_stay():
    table = tables_of(1, np.array([0.5, 0.95, 0.05, 0.5]))[2]
    columns = list(table.columns)
    lines = format_table(table).splitlines()
    assert [line.split()[0] for line in lines[1:6]] == ["A", "B*", "C*", "D", "AVG"]
    assert any(line.startswith("* B: no better than") for line in lines[6:])
    assert list(table.columns) == columns and list(table["class"]) == [*NAMES, "AVG"]


def test_a_table_without_the_columns_has_no_marks():
    table = tables_of(1, np.full(4, 0.05))[2]
    assert doubtful_classes([table]) and not doubtful_classes([table[["class", "n", "f1"]]])


def test_marks_count_the_records_in_which_a_class_is_known():
    y_true, y_pred, _ = tables_of(1, np.full(4, 0.05))
    unknown = np.random.default_rng(0).random(40) < 0.4
    y_score, y_true = 0.9 * y_pred, y_true.astype(float)
    y_true[unknown, 2] = np.nan
    table = score_table(y_true, y_score, np.full(4, 0.05), NAMES)
    called, known = y_pred[~unknown, 2].sum(), (~unknown).sum()
    assert f"positive in {called} of {known}" in doubtful_classes([table])["C"]
