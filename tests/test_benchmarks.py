"""Benchmarks load; what benchmarks/twin.py says of a twin, on evidence and scores by hand."""

import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from benchmarks import pointing, transfer, twin
from dataset import CLASSES, LEADS

FOLDER = Path(__file__).parents[1] / "benchmarks"
BENCHMARKS = {path.stem for path in FOLDER.glob("*.py")} - {
    "__init__",
    "check_tables",
    "other_methods",
}


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_a_benchmark_loads_and_says_how_it_is_called(name):
    module = importlib.import_module(f"benchmarks.{name}")
    assert f"    python -m benchmarks.{name}" in module.__doc__
    assert module.parse_args and module.main


def rows_of(names, name, leads, lengths):
    """Return evidence of one row for each record, `lengths` samples from the first on."""
    columns = ["patient_id", "class", "start", "stop", "leads"]
    rows = [(i, name, 0, n, text) for i, n, text in zip(names, lengths, leads, strict=True)]
    return pd.DataFrame(rows, columns=columns)


def labelled(names, name):
    """Return rows of labels.csv: the first half of the records shows a class, the others SNR."""
    labels = pd.DataFrame(0, index=range(len(names)), columns=list(CLASSES))
    labels.loc[: len(names) // 2 - 1, name] = 1
    labels.loc[len(names) // 2 :, "SNR"] = 1
    return labels.assign(patient_id=names)


def test_recall_rises_with_what_is_visible_where_only_long_pr_is_found():
    names = [f"S{i:02d}" for i in range(12)]
    evidence = rows_of(names[:6], "IAVB", ["all"] * 6, [130, 110, 120, 150, 140, 160])
    scores, k = np.zeros((12, 9)), CLASSES.index("IAVB")
    scores[[3, 4, 5], k] = 0.9  # PR of 280 ms and more
    table = twin.visible_table(evidence, labelled(names, "IAVB"), scores, np.full((12, 9), 0.5))
    row = table.set_index("class").loc["IAVB"]
    assert row[["n", "recall"]].tolist() == [6, 0.5] and "above" not in row  # too few were missed
    ends = [f"{end}_{i}" for i in (1, 2, 3) for end in ("from", "to")]
    assert row[ends].tolist() == [220, 240, 260, 280, 300, 320]
    assert row[[f"recall_{i}" for i in (1, 2, 3)]].tolist() == [0, 0.5, 1]
    assert row["f1"] == pytest.approx(2 * 3 / (2 * 3 + 3))


def test_records_of_one_value_stand_in_one_group():
    names = [f"S{i:02d}" for i in range(80)]
    shown = ["V5;V6"] * 5 + ["V4;V5;V6"] * 30 + ["I;V4;V5;V6"] * 5
    evidence = rows_of(names[:40], "STE", shown, [60] * 40)
    scores, k = np.zeros((80, 9)), CLASSES.index("STE")
    scores[10:40, k] = 0.9
    table = twin.visible_table(evidence, labelled(names, "STE"), scores, np.full((80, 9), 0.5))
    row = table.set_index("class").loc["STE"]
    groups = [row[[f"{name}_{i}" for name in ("from", "to", "n")]].tolist() for i in (1, 2)]
    assert groups == [[2, 3, 35], [4, 4, 5]]
    # 10 missed: five of 2 leads, five of 3; 30 found: 25 of 3 leads, five of 4
    pairs = (25 * 5 + 5 * 10 + 0.5 * 25 * 5) / 300
    assert row["above"] == pytest.approx(pairs)


def test_beats_count_in_the_ten_seconds_that_hold_most():
    starts = [0, 400, 4999, 5000, 9000, 9500, 9600, 13000, 14100]
    assert twin.densest(pd.DataFrame({"start": starts})) == 5  # from 9000 on: 13000, 5000 to 9999


def test_a_lead_is_asked_where_it_shows_the_class_and_where_it_does_not():
    names = [f"S{i:02d}" for i in range(80)]
    shown = ["V5;V6"] * 15 + ["II;III"] * 25
    evidence = rows_of(names[:40], "STD", shown, [60] * 40)
    scores, k = np.zeros((80, 9)), CLASSES.index("STD")
    scores[:15, k], scores[15:20, k] = 0.9, 0.8  # all with V5, and five of the 25 without it
    parts = {lead: [(labelled(names, "STD"), scores, np.full((80, 9), 0.5))] for lead in LEADS}
    labels = parts["I"][0][0].assign(**{name: [1, 0] * 40 for name in CLASSES if name != "STD"})
    parts = {lead: [(labels, *arrays) for _, *arrays in part] for lead, part in parts.items()}
    shares = pd.DataFrame(0.1, index=[*CLASSES, "AVG"], columns=list(LEADS))
    shares.loc["STD", "V5"] = 0.2
    table = twin.lead_table(evidence, parts, shares).set_index(["class", "lead"]).loc["STD"]
    assert table.loc["V5", "in_evidence"] == 15 / 40 and table.loc["I", "in_evidence"] == 0
    assert table.loc["V5", ["recall_in", "recall_out"]].tolist() == [1, 0.2]
    assert table.loc["V5", ["map", "map_ratio"]].tolist() == [0.2, 2]
    assert table["recall_in"].notna().sum() == 4  # I and aVL show it nowhere, the others too
    # 40 positives, of which 20 stand above all 40 others and 20 beside them
    assert table.loc["V5", "auc_0"] == pytest.approx(0.5 + 0.5 * 0.5)


def test_irregular_rhythm_is_more_visible():
    steady = pd.DataFrame({"stop": [100, 500, 900, 1300]})
    assert twin.variation(steady) == 0
    assert twin.variation(steady.assign(stop=[100, 300, 900, 1300])) > 0.3


def test_scores_of_transfer_leave_out_what_is_unknown_and_follow_the_weights():
    rng = np.random.default_rng(4)
    y_true = (rng.random((60, 3)) < 0.4).astype(float)
    y_pred = np.where(rng.random((60, 3)) < 0.8, y_true, 1 - y_true)
    y_true[rng.random(60) < 0.3, 1], y_true[:, 2] = np.nan, 0
    weights = np.stack([np.ones(60), rng.integers(0, 3, 60)])
    found = transfer.f1(y_true, y_pred, weights)
    for b, weight in enumerate(weights):
        rows = np.repeat(np.arange(60), weight.astype(int))
        for k in (0, 1):
            known = rows[np.isfinite(y_true[rows, k])]
            assert found[b, k] == pytest.approx(
                f1_score(y_true[known, k], y_pred[known, k], zero_division=0)
            )
        right = [
            all(t == p for t, p in zip(y_true[i], y_pred[i], strict=True) if t == t) for i in rows
        ]
        assert transfer.exactly(y_true, y_pred, weights)[b] == pytest.approx(np.mean(right))
    assert np.isnan(found[:, 2]).all()  # no positive


def test_of_ludb_all_records_count_and_two_classes_are_unknown(tmp_path):
    (tmp_path / "nine_classes.csv").write_text("record,labels\n1,\n7,PAC;STE\n13,IAVB\n")
    rows = transfer.ludb_labels(tmp_path).set_index("patient_id")
    assert rows[["SNR", "STD"]].isna().all(axis=None) and len(rows) == 3
    assert rows.loc["7", ["PAC", "STE", "IAVB"]].tolist() == [1, 1, 0]
    assert rows.loc["1", ["AF", "PVC"]].tolist() == [0, 0]


def test_pointing_counts_the_highest_frame_and_the_overlap_by_hand():
    shares = np.array([0, 0.2, 1, 1, 0, 0, 0, 0])
    found = pointing.measure(np.array([0.1, 0.3, 0.9, 0.6, 0.8, 0, 0, 0]), shares)
    assert found == {"inside": True, "chance": 3 / 8, "overlap": 2 / 3}
    assert not pointing.measure(np.array([0.1, 0.3, 0.2, 0.2, 0.4, 0, 0, 0]), shares)["inside"]


def test_pointing_takes_p_to_qrs_for_iavb_and_qrs_for_a_block():
    p, qrs = np.array([[400, 430, 450]]), np.array([[520, 545, 570]])
    marks = {lead: {"p": p, "qrs": qrs, "t": np.empty((0, 3), int)} for lead in LEADS}
    assert pointing.marked_spans(marks, "IAVB") == [(400, 520)]
    assert pointing.marked_spans(marks, "LBBB") == [(520, 570)]
