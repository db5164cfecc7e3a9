import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from ecg.evaluation import metrics, scored_run
from ecg.evaluation.challenge import challenge_scores
from ecg.evaluation.scored_run import Digests, Scored

CLASSES = ("a", "b", "c")
NINE = ("SNR", "AF", "IAVB", "LBBB", "RBBB", "PAC", "PVC", "STD", "STE")


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
    for k, found in enumerate(metrics.find_thresholds(y_true, y_score, "first")):
        best, best_f1 = None, -1
        for threshold in np.linspace(0, 1, 100):
            f1 = sk.f1_score(y_true[:, k], y_score[:, k] >= threshold, zero_division=0)
            if f1 > best_f1 + 1e-12:
                best, best_f1 = threshold, f1
        assert found == best


def longest_run(points):
    """Return the longest run of consecutive numbers in a sorted list, the first if several."""
    runs = [[points[0]]]
    for point in points[1:]:
        if point == runs[-1][-1] + 1:
            runs[-1].append(point)
        else:
            runs.append([point])
    return max(runs, key=len)


def test_find_thresholds_takes_the_middle_of_the_longest_plateau():
    rng = np.random.default_rng(1)
    separate = 0
    for _ in range(40):
        y_true = (rng.random((12, 1)) < 0.3).astype(int)
        y_true[0] = 1
        y_score = np.clip(0.2 * y_true + 0.8 * rng.random((12, 1)), 0, 1)
        grid = np.linspace(0, 1, 100)
        f1 = [sk.f1_score(y_true, y_score >= t, zero_division=0) for t in grid]
        best = [i for i in range(100) if np.isclose(f1[i], max(f1), rtol=1e-12)]
        run = longest_run(best)
        separate += len(run) < len(best)
        (found,) = metrics.find_thresholds(y_true, y_score)
        assert found == grid[run[(len(run) - 1) // 2]]
    assert separate  # some of these had several plateaus


def test_two_records_far_apart_get_a_threshold_between_them():
    y_true, y_score = np.array([[0], [1]]), np.array([[0.01], [0.99]])
    assert metrics.find_thresholds(y_true, y_score) == pytest.approx(0.5, abs=0.01)
    assert metrics.find_thresholds(y_true, y_score, "first") == pytest.approx(0.02, abs=0.01)


def test_a_plateau_to_the_end_of_the_grid_has_its_middle():
    y_true, y_score = np.array([[0], [1]]), np.array([[0.5], [1.0]])
    assert metrics.find_thresholds(y_true, y_score) == pytest.approx(0.75, abs=0.01)


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


@pytest.fixture
def parts():
    """Return a validation and a test fold of 100 records, Scored."""
    rng = np.random.default_rng(3)
    y_true = (rng.random((200, 9)) < 0.3).astype(int)
    y_score = np.clip(0.3 * y_true + 0.7 * rng.random((200, 9)), 0, 1).round(2)
    labels = pd.DataFrame(y_true, columns=list(NINE))
    labels.insert(0, "patient_id", [f"{i:03d}" for i in range(200)])
    labels["fold"] = np.repeat([9, 10], 100)
    return Scored(labels[:100], y_score[:100]), Scored(labels[100:], y_score[100:])


def test_evaluate_run_takes_thresholds_from_validation_alone(parts, tmp_path):
    validation, test = parts
    table, found = scored_run.evaluate_run(tmp_path, *parts)
    scored_run.write_thresholds(tmp_path, found, Digests())

    stored = json.loads((tmp_path / "thresholds.json").read_text())
    thresholds = metrics.find_thresholds(validation.y_true, validation.y_score)
    assert list(stored["thresholds"].values()) == thresholds.tolist() == found.array(NINE).tolist()
    expected = sk.f1_score(test.y_true[:, 0], test.y_score[:, 0] >= thresholds[0])
    assert table.loc[0, "f1"] == pytest.approx(expected)
    predictions = pd.read_csv(tmp_path / "predictions.csv", dtype={"patient_id": str})
    assert list(predictions) == ["patient_id", "fold", *NINE]
    assert predictions["patient_id"].tolist() == [f"{i:03d}" for i in range(200)]
    for part, rows in zip(parts, (predictions[:100], predictions[100:]), strict=True):
        np.testing.assert_allclose(rows[list(NINE)], part.y_score)
    assert "esearch use only" in (tmp_path / "thresholds.json").read_text()


def test_evaluate_run_notes_a_class_that_validation_lacks(parts, tmp_path):
    validation, test = parts
    validation = validation._replace(labels=validation.labels.assign(PAC=0))
    _, found = scored_run.evaluate_run(tmp_path, validation, test)
    assert found.by_class["PAC"] == 0.5
    assert found.notes == ("PAC: no positives in the validation fold to choose a threshold by",)
    scored_run.write_thresholds(tmp_path, found, Digests())
    assert json.loads((tmp_path / "thresholds.json").read_text())["notes"] == [*found.notes]


def test_the_mark_of_finished_scores_is_gone_while_they_are_written(parts, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    _, found = scored_run.evaluate_run(tmp_path, *parts)
    scored_run.write_thresholds(tmp_path, found, Digests("w", "l", "s"))
    mark = json.loads((tmp_path / "thresholds.json").read_text())
    assert list(mark) == ["thresholds", "rule", "notes", "weights", "labels", "signals", "use"]
    assert (mark["weights"], mark["labels"], mark["signals"]) == ("w", "l", "s")
    for function in ("write_csv", "score_table"):
        scored_run.write_thresholds(tmp_path, found, Digests())
        with monkeypatch.context() as patch:
            patch.setattr(scored_run, function, killed)
            with pytest.raises(KeyboardInterrupt):
                scored_run.evaluate_run(tmp_path, *parts)
        assert not (tmp_path / "thresholds.json").exists()


def test_a_score_is_added_in_one_place(scored, monkeypatch):
    youden = metrics.Score("Youden's J", "J", lambda c: c.hits / c.positives + c.specificity() - 1)
    monkeypatch.setitem(metrics.SCORES, "youden", youden)
    table = metrics.score_table(*scored, np.full(3, 0.5), CLASSES, 20)
    assert list(table)[-3:] == ["youden_low", "youden_high", "ece_floor"]
    expected = sk.balanced_accuracy_score(scored[0][:, 0], scored[1][:, 0] >= 0.5, adjusted=True)
    assert table.loc[0, "youden"] == pytest.approx(expected)
    assert " J" in metrics.format_table(table).splitlines()[0]


def test_format_table_leaves_unknown_cells_blank(scored):
    y_true, y_score = scored
    y_true[:, 2] = 0
    text = metrics.format_table(metrics.score_table(y_true, y_score, np.full(3, 0.5), CLASSES))
    assert text.splitlines()[3].split() == ["c", "0"]
    assert "nan" not in text.lower()


def calibration_error(true, score):
    """Go bin by bin: the weighted mean of |share of positives - mean probability|."""
    error = 0
    for i in range(10):
        low, high = i / 10, (i + 1) / 10
        held = (score >= low) & ((score < high) if i < 9 else (score <= 1))
        if held.any():
            error += held.mean() * abs(true[held].mean() - score[held].mean())
    return error


SKLEARN = {
    "precision": lambda true, pred, score: sk.precision_score(true, pred, zero_division=0),
    "recall": lambda true, pred, score: sk.recall_score(true, pred),
    "f1": lambda true, pred, score: sk.f1_score(true, pred),
    "auc": lambda true, pred, score: sk.roc_auc_score(true, score),
    "accuracy": lambda true, pred, score: sk.accuracy_score(true, pred),
    "specificity": lambda true, pred, score: sk.recall_score(true, pred, pos_label=0),
    "ap": lambda true, pred, score: sk.average_precision_score(true, score),
    "brier": lambda true, pred, score: sk.brier_score_loss(true, score),
    "ece": lambda true, pred, score: calibration_error(true, score),
}


def test_every_score_of_every_resample_equals_sklearn(scored):
    y_true, y_score = scored
    y_score = (0.9731 * y_score).round(4)  # no score on the edge of a bin
    thresholds = np.array([0.4, 0.5, 0.6])
    weights = metrics.resample_weights(200, 20, seed=1)
    found = metrics.weighted_scores(y_true, y_score, thresholds, weights)
    assert list(found) == list(SKLEARN)
    for b, counts in enumerate(weights.astype(int)):
        drawn = np.repeat(np.arange(200), counts)  # the resample itself, record by record
        for k in range(3):
            true, score = y_true[drawn, k], y_score[drawn, k]
            for name, function in SKLEARN.items():
                expected = function(true, score >= thresholds[k], score)
                assert found[name][b, k] == pytest.approx(expected), (name, b, k)


def test_resamples_draw_as_many_records_as_there_are_and_follow_the_seed():
    weights = metrics.resample_weights(50, 2000, seed=7)
    assert (weights.sum(1) == 50).all()
    # drawn with replacement: a record's count is binomial, mean 1 and variance 1 - 1/50
    assert weights.mean(0) == pytest.approx(np.ones(50), abs=0.12)
    assert weights.var() == pytest.approx(0.98, abs=0.03)
    assert (weights == metrics.resample_weights(50, 2000, seed=7)).all()
    assert (weights != metrics.resample_weights(50, 2000, seed=8)).any()


def test_a_score_without_a_formula_has_the_percentiles_of_the_resamples(scored):
    y_true, y_score = scored
    table = metrics.score_table(y_true, y_score, np.full(3, 0.5), CLASSES, 60, seed=5)
    ap = []
    for counts in metrics.resample_weights(200, 60, seed=5).astype(int):
        drawn = np.repeat(np.arange(200), counts)
        ap.append(sk.average_precision_score(y_true[drawn], y_score[drawn], average=None))
    expected = np.quantile(ap, [0.025, 0.975], axis=0)
    many = table["n"][:3].between(1, 199)
    assert many.sum() >= 2
    ends = table[["ap_low", "ap_high"]].to_numpy().T[:, :3]
    assert ends[:, many] == pytest.approx(expected[:, many])
    assert (table["auc_low"] < table["auc"]).all() and (table["auc"] < table["auc_high"]).all()


def test_the_floor_is_the_error_of_calibrated_scores_and_shrinks_with_records():
    """Mean |share - p| of n labels of one probability, .5, is about sqrt(.5 / (pi n))."""
    floors = []
    for n in (40, 700):
        true, p = np.zeros((n, 2)), np.full((n, 2), 0.5)
        p[:, 1] = 0  # of scores without chance it is 0
        floors.append(metrics.calibration_floor(true, p, draws=2000))
        assert floors[-1][0] == pytest.approx(np.sqrt(0.5 / (np.pi * n)), rel=0.05)
        assert floors[-1][1] == 0
    assert floors[0][0] == pytest.approx(0.063, abs=0.003)


def test_the_interval_of_a_share_is_as_wide_as_the_normal_one():
    rng = np.random.default_rng(0)
    y_true = (rng.random((2000, 1)) < 0.5).astype(int)
    y_score = np.where(rng.random((2000, 1)) < 0.8, y_true, 1 - y_true).astype(float)
    row = metrics.score_table(y_true, y_score, np.array([0.5]), ("a",), 1000).iloc[0]
    half = 1.96 * np.sqrt(row["accuracy"] * (1 - row["accuracy"]) / 2000)
    assert row["accuracy_low"] == pytest.approx(row["accuracy"] - half, abs=0.003)
    assert row["accuracy_high"] == pytest.approx(row["accuracy"] + half, abs=0.003)


def test_a_class_that_a_resample_lacks_stays_out_of_its_average(scored):
    y_true, y_score = scored
    y_true[:, 2] = 0
    y_true[0, 2] = 1
    weights = np.ones((2, 200))
    weights[1, 0] = 0
    scores = metrics.weighted_scores(y_true, y_score, np.full(3, 0.5), weights)
    assert np.isnan([values[1, 2] for values in scores.values()]).all()
    f1 = scores["f1"]
    averages = metrics.with_average(f1)[:, 3]
    assert averages == pytest.approx([f1[0].mean(), f1[1, :2].mean()])


def test_records_may_have_thresholds_of_their_own(scored):
    y_true, y_score = scored
    thresholds = np.repeat([[0.3, 0.4, 0.5], [0.7, 0.6, 0.5]], 100, axis=0)
    table = metrics.score_table(y_true, y_score, thresholds, CLASSES)
    pred = [*(y_score[:100, 0] >= 0.3), *(y_score[100:, 0] >= 0.7)]
    assert table.loc[0, "f1"] == pytest.approx(sk.f1_score(y_true[:, 0], pred))


def test_a_class_without_negatives_has_neither_auc_nor_specificity(scored):
    y_true, y_score = scored
    y_true[:, 0] = 1
    row = metrics.score_table(y_true, y_score, np.full(3, 0.5), CLASSES).iloc[0]
    assert row[["auc", "specificity"]].isna().all()
    assert row[["f1", "ap", "brier", "ece"]].notna().all() and row["ap"] == 1


def one_hot(rows):
    """Return an array with ones at the named classes of each row."""
    return np.array([[int(name in row) for name in NINE] for row in rows])


def test_challenge_score_of_a_matrix_counted_by_hand():
    # right: SNR twice, AF, AF (second label of a pair), LBBB, PVC; wrong: the last three
    labels = [["SNR"], ["SNR"], ["AF"], ["AF", "RBBB"], ["LBBB"], ["PAC", "PVC"]]
    labels += [["SNR"], ["IAVB", "STD"], ["PVC"]]
    answers = [["SNR"], ["SNR"], ["AF"], ["AF"], ["LBBB"], ["PVC"], ["AF"], ["RBBB"], ["PAC"]]
    found = challenge_scores(one_hot(labels), 0.1 + 0.5 * one_hot(answers), NINE)
    expected = {
        "SNR": 2 * 2 / (3 + 2),  # three SNR in the rows, two answers
        "AF": 2 * 2 / (2 + 3),
        "IAVB": 0,  # the pair's first label takes the wrong answer
        "LBBB": 1,
        "RBBB": 0,  # answered once; the pair AF, RBBB is counted under AF
        "PAC": 0,
        "PVC": 2 * 1 / (2 + 1),
        "STD": None,  # neither in the rows nor answered
        "STE": None,
    }
    assert found["classes"] == pytest.approx(expected)
    known = [value for value in expected.values() if value is not None]
    assert found["F1"] == pytest.approx(np.mean(known))
    assert found["F_AF"] == pytest.approx(4 / 5)
    assert found["F_Block"] == pytest.approx(2 * 1 / (1 + 0 + 1 + 1 + 0 + 1))
    assert found["F_PC"] == pytest.approx(2 * 1 / (0 + 1 + 2 + 1))
    assert found["F_ST"] is None
    assert (found["n"], found["ambiguous"]) == (9, 1)


def test_challenge_score_is_one_for_any_right_label_and_ignores_unlabelled_records():
    labels = [[name] for name in NINE] + [["AF", "PVC"], []]
    answers = [[name] for name in NINE] + [["PVC"], ["SNR"]]
    found = challenge_scores(one_hot(labels), one_hot(answers) * 0.3, NINE)
    assert [found[name] for name in ("F1", "F_AF", "F_Block", "F_PC", "F_ST")] == [1] * 5
    assert found["n"] == 10


def test_write_scores_writes_the_table_and_the_challenge_score(parts, tmp_path):
    test = parts[1]._replace(thresholds=np.full(9, 0.5))
    table = scored_run.write_scores(tmp_path, test)
    stored = json.loads((tmp_path / "challenge.json").read_text())
    assert stored["F1"] == pytest.approx(np.mean(list(stored["classes"].values())))
    assert stored["F1"] == challenge_scores(test.y_true, test.y_score, NINE)["F1"]
    assert "esearch use only" in stored["use"] and "icbeb" in stored["rule"]
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "scores.csv"), table)


def test_other_classes_and_unknown_labels_have_no_challenge_score(parts, tmp_path):
    nine = parts[1]._replace(thresholds=np.full(9, 0.5))
    labels = nine.labels.drop(columns="STE")
    eight = Scored(labels, nine.y_score[:, :-1], np.full(8, 0.5))
    unknown = nine._replace(
        labels=nine.labels.assign(PVC=nine.labels.PVC.where(nine.labels.AF == 0))
    )
    for scored, n_rows in ((eight, 9), (unknown, 10)):
        scored_run.write_scores(tmp_path, nine)
        assert (tmp_path / "challenge.json").exists()
        assert len(scored_run.write_scores(tmp_path, scored)) == n_rows
        assert not (tmp_path / "challenge.json").exists()


def test_the_seed_of_the_intervals_reaches_the_table(parts, tmp_path):
    test = parts[1]._replace(thresholds=np.full(9, 0.5))
    low = [scored_run.write_scores(tmp_path, test, seed)["auc_low"] for seed in (5, 6)]
    expected = metrics.score_table(test.y_true, test.y_score, np.full(9, 0.5), NINE, 1000, seed=5)
    assert np.array_equal(low[0], expected["auc_low"]) and not np.array_equal(*low)


def test_the_printed_table_fits_100_columns_and_names_what_is_left_out():
    rng = np.random.default_rng(0)
    y_true, y_score = (rng.random((7000, 9)) < 0.3).astype(int), rng.random((7000, 9))
    y_true[:, 8] = 0
    table = metrics.score_table(y_true, y_score, np.full(9, 0.5), NINE, 20)
    lines = metrics.format_table(table).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[9].split() == ["STE", "0"]
    row = table.iloc[0]
    assert f"{row['f1']:.3f} [{row['f1_low']:.3f}, {row['f1_high']:.3f}]" in lines[1]
    assert lines[-1] == "no positives, so left out of the average: STE"


def with_unknown(scored):
    """Return labels of which every class lacks some, and the probabilities."""
    y_true, y_score = scored
    y_true = y_true.astype(float)
    y_true[np.random.default_rng(8).random(y_true.shape) < 0.3] = np.nan
    return y_true, y_score


def test_unknown_labels_are_left_out_of_their_class_s_scores(scored):
    y_true, y_score = with_unknown(scored)
    limits = np.array([0.4, 0.5, 0.6])
    table = metrics.score_table(y_true, y_score, limits, CLASSES, 30)
    for k in range(3):
        known = np.isfinite(y_true[:, k])
        alone = metrics.score_table(
            y_true[known, k, None].astype(int), y_score[known, k, None], limits[[k]], CLASSES[:1]
        )
        assert table.loc[k, "n"] == alone.loc[0, "n"] and table.loc[k, "known"] == known.sum()
        for name in metrics.SCORES:
            assert table.loc[k, name] == pytest.approx(alone.loc[0, name]), name
        true, p = y_true[known, k], y_score[known, k]
        assert table.loc[k, "auc"] == pytest.approx(sk.roc_auc_score(true, p))
        assert table.loc[k, "f1"] == pytest.approx(sk.f1_score(true, p >= limits[k]))
        assert table.loc[k, "accuracy"] == pytest.approx(np.mean(true == (p >= limits[k])))
    assert table.loc[3, "f1"] == pytest.approx(table.f1[:3].mean())
    assert "known" not in metrics.score_table(*scored, limits, CLASSES)


def test_a_resample_with_unknown_labels_is_the_score_of_its_records(scored):
    y_true, y_score = with_unknown(scored)
    weights = metrics.resample_weights(len(y_true), 3, seed=1)
    drawn = metrics.weighted_scores(y_true, y_score, np.full(3, 0.5), weights)
    for b, times in enumerate(weights.astype(int)):
        rows = np.repeat(np.arange(len(y_true)), times)
        for k in range(3):
            true, p = y_true[rows, k], y_score[rows, k]
            known = np.isfinite(true)
            expected = sk.roc_auc_score(true[known], p[known])
            assert drawn["auc"][b, k] == pytest.approx(expected)
            assert drawn["brier"][b, k] == pytest.approx(((true - p)[known] ** 2).mean())


def test_thresholds_and_loss_are_of_the_known_labels(scored):
    y_true, y_score = with_unknown(scored)
    found = metrics.find_thresholds(y_true, y_score)
    losses = []
    for k in range(3):
        known = np.isfinite(y_true[:, k])
        true, p = y_true[known, k, None], y_score[known, k, None]
        assert found[k] == metrics.find_thresholds(true.astype(int), p)[0]
        p = np.clip(p[:, 0].astype(float), 1e-7, 1 - 1e-7)
        losses += [*np.where(true[:, 0] == 1, -np.log(p), -np.log(1 - p))]
    assert metrics.mean_log_loss(y_true, y_score) == pytest.approx(np.mean(losses))


def test_a_class_that_is_known_of_no_record_has_no_score(scored):
    y_true, y_score = scored[0].astype(float), scored[1]
    y_true[:, 1] = np.nan
    table = metrics.score_table(y_true, y_score, np.full(3, 0.5), CLASSES, 20)
    assert (table.loc[1, "n"], table.loc[1, "known"]) == (0, 0)
    assert table.loc[1].drop(["class", "n", "known"]).isna().all()
    assert metrics.find_thresholds(y_true, y_score)[1] == 0.5
    assert "no positives" in metrics.format_table(table)


def test_thresholds_of_one_or_two_positives_are_said_to_be_a_guess():
    y_true = np.array([[0, 1, 1, 1], [0, 0, 1, 1], [0, np.nan, 0, 1]])
    assert metrics.threshold_notes(y_true, "abcd") == [
        "a: no positives in the validation fold to choose a threshold by",
        "b: only one positive in the validation fold, so its threshold is a guess",
        "c: only 2 positives in the validation fold, so its threshold is a guess",
    ]


def test_steady_thresholds_of_few_positives_stay_near_the_start():
    y_true = np.zeros((200, 3), int)
    y_true[0, 0] = y_true[:90, 1] = 1  # one positive, ninety, none
    y_score = np.where(y_true, 0.03, 0.0)
    middle = metrics.find_thresholds(y_true, y_score)[0]
    assert 0 < middle < 0.03
    found = metrics.find_thresholds(y_true, y_score, "steady")
    # by hand: the best one counts as often as there are positives, 0.5 ten times
    assert found == pytest.approx([(middle + 5) / 11, (90 * middle + 5) / 100, 0.5])
    assert found.min() > 0.05
    start = np.array([0.3, 0.9, 0.7])
    found = metrics.find_thresholds(y_true, y_score, "steady", start)
    assert found == pytest.approx([(middle + 3) / 11, (90 * middle + 9) / 100, 0.7])


def test_thresholds_at_a_prevalence_are_those_of_as_many_copies_of_the_positives():
    rng = np.random.default_rng(3)
    y_true = (rng.random((400, 2)) < 0.5).astype(int)
    y_true[:, 1] = 0
    y_score = np.clip(0.35 * y_true + 0.65 * rng.random((400, 2)), 0, 1)
    positive = y_true[:, 0] == 1
    share = 3 * positive.sum() / (3 * positive.sum() + (~positive).sum())  # each positive thrice
    scores = np.concatenate([y_score[:, 0], *[y_score[positive, 0]] * 2])
    truth = np.concatenate([y_true[:, 0], *[y_true[positive, 0]] * 2])
    grid = np.linspace(0, 1, 1001)
    f1 = np.array([sk.f1_score(truth, scores >= threshold) for threshold in grid])
    best = grid[f1 >= f1.max() - 0.005]
    found = metrics.prevalence_thresholds(y_true, y_score, share)
    assert found[0] == pytest.approx(((best[0] + best[-1]) / 2 + 0.5) / 2, abs=1e-6)
    assert found[1] == 0.5
    rare = metrics.prevalence_thresholds(y_true, y_score, 0.05)
    assert rare[0] > metrics.prevalence_thresholds(y_true, y_score, 0.5)[0]
