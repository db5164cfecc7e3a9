import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

import metrics

CLASSES = ("a", "b", "c")


@pytest.fixture
def scored():
    rng = np.random.default_rng(3)
    y_true = (rng.random((200, 3)) < (0.3, 0.5, 0.1)).astype(int)
    y_score = np.clip(0.3 * y_true + 0.7 * rng.random((200, 3)), 0, 1)
    return y_true, y_score.round(2)  # rounded: many ties with the grid and with each other


def test_apply_thresholds_includes_the_threshold():
    assert metrics.apply_thresholds(np.array([[0.5, 0.5]]), np.array([0.5, 0.51])).tolist() == [
        [1, 0]
    ]


def test_find_thresholds_equals_a_plain_search(scored):
    y_true, y_score = scored
    for k, found in enumerate(metrics.find_thresholds(y_true, y_score)):
        best, best_f1 = None, -1
        for threshold in np.linspace(0, 1, 100):
            f1 = sk.f1_score(y_true[:, k], y_score[:, k] >= threshold, zero_division=0)
            if f1 > best_f1 + 1e-12:
                best, best_f1 = threshold, f1
        assert found == best


def test_find_thresholds_without_positives_is_a_half(scored):
    y_true, y_score = scored
    y_true[:, 1] = 0
    assert metrics.find_thresholds(y_true, y_score)[1] == 0.5


def test_score_table_equals_sklearn(scored):
    y_true, y_score = scored
    thresholds = np.array([0.4, 0.5, 0.6])
    table = metrics.score_table(y_true, y_score, thresholds, CLASSES).set_index("class")
    for k, name in enumerate(CLASSES):
        true, pred = y_true[:, k], y_score[:, k] >= thresholds[k]
        row = table.loc[name]
        assert row["n"] == true.sum()
        assert row["precision"] == pytest.approx(sk.precision_score(true, pred))
        assert row["recall"] == pytest.approx(sk.recall_score(true, pred))
        assert row["f1"] == pytest.approx(sk.f1_score(true, pred))
        assert row["auc"] == pytest.approx(sk.roc_auc_score(true, y_score[:, k]))
        assert row["accuracy"] == pytest.approx(sk.accuracy_score(true, pred))
    pred = y_score >= thresholds
    assert table.loc["AVG", "f1"] == pytest.approx(sk.f1_score(y_true, pred, average="macro"))
    assert table.loc["AVG", "auc"] == pytest.approx(sk.roc_auc_score(y_true, y_score))


def test_a_class_without_positives_has_empty_cells_and_stays_out_of_the_average(scored):
    y_true, y_score = scored
    full = metrics.score_table(y_true[:, :2], y_score[:, :2], np.full(2, 0.5), CLASSES[:2])
    y_true[:, 2] = 0
    table = metrics.score_table(y_true, y_score, np.full(3, 0.5), CLASSES)
    assert table.loc[2, ["precision", "recall", "f1", "auc", "accuracy"]].isna().all()
    assert table.loc[2, "n"] == 0
    pd.testing.assert_series_equal(
        table.iloc[-1].drop("n"), full.iloc[-1].drop("n"), check_names=False
    )


def test_mean_log_loss_equals_sklearn(scored):
    y_true, y_score = scored
    expected = np.mean([sk.log_loss(y_true[:, k], y_score[:, k]) for k in range(3)])
    assert metrics.mean_log_loss(y_true, y_score) == pytest.approx(expected, rel=1e-5)


def test_evaluate_run_takes_thresholds_from_validation_alone(scored, tmp_path):
    y_true, y_score = scored
    labels = pd.DataFrame(y_true, columns=list(CLASSES))
    labels.insert(0, "patient_id", [f"{i:03d}" for i in range(200)])
    labels["fold"] = np.repeat([9, 10], 100)
    parts = [labels[:100], labels[100:]]
    table = metrics.evaluate_run(tmp_path, *parts, [y_score[:100], y_score[100:]], CLASSES)

    stored = json.loads((tmp_path / "thresholds.json").read_text())
    thresholds = metrics.find_thresholds(y_true[:100], y_score[:100])
    assert list(stored["thresholds"].values()) == thresholds.tolist()
    expected = sk.f1_score(y_true[100:, 0], y_score[100:, 0] >= thresholds[0])
    assert table.loc[0, "f1"] == pytest.approx(expected)
    predictions = pd.read_csv(tmp_path / "predictions.csv", dtype={"patient_id": str})
    assert list(predictions) == ["patient_id", "fold", *CLASSES]
    assert predictions["patient_id"].tolist() == labels["patient_id"].tolist()
    np.testing.assert_allclose(predictions[list(CLASSES)], y_score)
    assert "esearch use only" in (tmp_path / "thresholds.json").read_text()


def test_evaluate_run_notes_a_class_that_validation_lacks(scored, tmp_path):
    y_true, y_score = scored
    y_true[:100, 2] = 0
    labels = pd.DataFrame(y_true, columns=list(CLASSES)).assign(patient_id="x", fold=9)
    metrics.evaluate_run(
        tmp_path, labels[:100], labels[100:], [y_score[:100], y_score[100:]], CLASSES
    )
    stored = json.loads((tmp_path / "thresholds.json").read_text())
    assert stored["thresholds"]["c"] == 0.5
    assert stored["notes"] == ["c: no positives in the validation fold, so 0.5"]


def test_format_table_leaves_unknown_cells_blank(scored):
    y_true, y_score = scored
    y_true[:, 2] = 0
    text = metrics.format_table(metrics.score_table(y_true, y_score, np.full(3, 0.5), CLASSES))
    assert text.splitlines()[3].split() == ["c", "0"]
    assert "nan" not in text.lower()
