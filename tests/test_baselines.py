import hashlib
import json
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB

import baselines
import preprocess
from dataset import CLASSES, LEADS, PackedSignals, labels_digest, load_labels
from ecg import synthetic
from ecg.evaluation import runs as finished
from ecg.evaluation.classifiers import Classifier
from utils import InputError

N_RECORDS = 200


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Return a synthetic data set, preprocessed."""
    folder = tmp_path_factory.mktemp("data") / "synthetic"
    options = ["--data-dir", str(folder), "--records", str(N_RECORDS), "--seed", "0"]
    synthetic.main(synthetic.parse_args(options))
    preprocess.main(preprocess.parse_args(["--data-dir", str(folder), "--jobs", "1"]))
    return folder


@pytest.fixture(scope="module")
def runs(data_dir, tmp_path_factory):
    """Return a working folder in which all four classifiers have been run."""
    work = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(work)
        run(data_dir, "--scale", "standard")
    return work


def run(data_dir, *options):
    args = ["--data-dir", str(data_dir), "--jobs", "1", *options]
    baselines.main(baselines.parse_args(args))


def test_an_openmp_that_is_missing_is_said_before_anything_is_computed(tiny, tmp_path, monkeypatch):
    """A slim container has no libgomp: LightGBM cannot be loaded there."""
    reason = "libgomp.so.1: cannot open shared object file: No such file or directory"
    (tmp_path / "lightgbm.py").write_text(f"raise OSError({reason!r})\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "lightgbm", raising=False)
    monkeypatch.setattr(baselines, "load_features", lambda *args: pytest.fail("computed"))
    with pytest.raises(InputError, match=r"libgomp.so.1.*apt-get install libgomp1.*--classifier"):
        run(tiny)


pytestmark = pytest.mark.usefixtures("plain_figures")
NAMES = [f"{name}-standard_synthetic_42" for name in baselines.CLASSIFIERS]


@pytest.mark.parametrize("name", NAMES)
def test_each_classifier_beats_chance_by_a_wide_margin(runs, data_dir, name):
    # The paper's features know amplitudes and no rhythm: of the classes, LBBB shows in them (RBBB
    # less: old infarcts and strain resemble it). Chance is an AUC of 0.5, with a standard error of
    # 0.12 over the 40 records of validation and test fold, 6 of them positive. Asked for: 0.85
    scores = pd.read_csv(runs / "results" / name / "predictions.csv", dtype={"patient_id": str})
    labels = pd.read_csv(data_dir / "labels.csv").set_index("patient_id").loc[scores.patient_id]
    assert sorted(scores["fold"].unique()) == [9, 10]
    assert roc_auc_score(labels["LBBB"], scores["LBBB"]) >= 0.85


@pytest.mark.parametrize("name", NAMES)
def test_scores_follow_from_the_predictions_and_the_validation_thresholds(runs, data_dir, name):
    folder = runs / "results" / name
    scores = pd.read_csv(folder / "predictions.csv").query("fold == 10")
    labels = pd.read_csv(data_dir / "labels.csv").set_index("patient_id").loc[scores.patient_id]
    thresholds = json.loads((folder / "thresholds.json").read_text())["thresholds"]
    table = pd.read_csv(folder / "scores.csv").set_index("class")
    for c in CLASSES:
        if labels[c].any():
            expected = f1_score(labels[c], scores[c] >= thresholds[c], zero_division=0)
            assert table.loc[c, "f1"] == pytest.approx(expected)


def test_every_run_keeps_its_files_and_options(runs):
    for name in NAMES:
        assert (runs / "models" / f"{name}.joblib").stat().st_size > 0
        content = json.loads((runs / "results" / name / "run.json").read_text())
        assert content["args"]["features"] == "paper" and content["args"]["scale"] == "standard"
        assert content["records"] == [160, 20, 20]


def test_importances_are_shares_of_the_leads(runs):
    for name in (NAMES[0], NAMES[2]):
        folder = runs / "results" / name
        leads = pd.read_csv(folder / "importance_leads.csv").set_index("class")
        assert list(leads.columns) == list(LEADS)
        assert list(leads.index) == [*CLASSES, "AVG"]
        assert leads.sum(axis=1).to_numpy() == pytest.approx(1)
        assert (folder / "importance.png").read_bytes().startswith(b"\x89PNG")
        full = pd.read_csv(folder / "importance.csv").set_index("feature")
        assert full.shape == (636, 9)
        v1 = full[full.index.str.startswith("V1_")].sum() / full.sum()
        assert leads["V1"].drop("AVG").to_numpy() == pytest.approx(v1.to_numpy())


def test_importance_of_a_known_line_points_to_its_feature():
    rng = np.random.default_rng(0)
    x = rng.normal(0, [1, 100, 1, 0.001], (300, 4))
    y = np.zeros((300, len(CLASSES)), int)
    y[:, 0] = x[:, 0] > 0
    y[:, 1] = x[:, 1] > 0  # its coefficient is small, because its unit is
    y[:, 2] = x[:, 2] > 0
    for classifier in ("LR", "LGB"):
        model = baselines.make_model(classifier, "none", seed=42, jobs=1)
        notes = baselines.fit(model, x, y, CLASSES)
        found = baselines.importances(model, x)
        assert found[:3].argmax(1).tolist() == [0, 1, 2], classifier
        assert np.isnan(found[3:]).all()
        assert notes[0].startswith("no training record with LBBB, RBBB, PAC")
        assert (model.predict_proba(x)[:, 3:] == 0).all()


def test_closing_table_has_both_scores_of_every_classifier(runs):
    folder = runs / "results" / "baselines-standard_synthetic_42"
    table = pd.read_csv(folder / "table.csv")
    assert list(table.columns) == ["classifier", "score", *CLASSES, "AVG"]
    assert list(table["classifier"]) == ["LR", "RF", "LGB", "MLP"] * 2
    for name, run_folder in zip(baselines.CLASSIFIERS, NAMES, strict=True):
        scores = pd.read_csv(runs / "results" / run_folder / "scores.csv").set_index("class")
        for score in ("f1", "auc"):
            chosen = (table["classifier"] == name) & (table["score"] == score.upper())
            row = table[chosen].iloc[0, 2:]
            assert np.allclose(row.astype(float), scores[score], equal_nan=True)


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("classifier", baselines.CLASSIFIERS)
def test_scores_depend_on_the_seed_and_not_on_the_number_of_workers(classifier):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 12))
    y = np.zeros((90, len(CLASSES)), int)
    y[:, :2] = x[:, :2] + rng.normal(size=(90, 2)) > 0

    def scores(jobs, seed=42):
        model = baselines.make_model(classifier, "none", seed, jobs)
        baselines.fit(model, x, y, CLASSES)
        return model.predict_proba(x)

    one = scores(jobs=1)
    assert np.array_equal(one, scores(jobs=3))
    if classifier in ("RF", "MLP"):  # the other two draw nothing with these settings
        assert not np.array_equal(one, scores(jobs=1, seed=7))


def test_options_and_rounds_have_runs_of_their_own(data_dir, work):
    run(data_dir, "--classifier", "LR")
    run(data_dir, "--classifier", "LR", "--scale", "standard", "--round", "3")
    found = sorted(path.name for path in (work / "results").iterdir())
    assert found == ["LR-standard_synthetic_42_r3", "LR_synthetic_42"]
    predictions = pd.read_csv(work / "results" / found[0] / "predictions.csv")
    assert set(predictions["fold"]) == {2, 3}  # round 0 has 9 and 10


def test_a_classifier_is_added_in_one_place(data_dir, work, monkeypatch):
    added = Classifier(lambda seed, jobs: OneVsRestClassifier(GaussianNB()))
    monkeypatch.setitem(baselines.CLASSIFIERS, "NB", added)
    run(data_dir, "--classifier", "NB")
    assert len(pd.read_csv(work / "results/NB_synthetic_42/scores.csv")) == 10
    assert not list(work.rglob("importance*"))


def test_the_iterations_are_those_of_the_papers_code():
    limits = {"LR": 1000, "MLP": 500}
    for name, limit in limits.items():
        model = baselines.make_model(name, "none", 42, 1)[-1]
        assert getattr(model, "estimator", model).max_iter == limit


def test_scores_carry_the_digests_of_labels_signals_and_model(data_dir, work):
    run(data_dir, "--classifier", "LR")
    folder = work / "results/LR_synthetic_42"
    mark = json.loads((folder / "thresholds.json").read_text())
    assert mark["labels"] == labels_digest(load_labels(data_dir))
    assert mark["signals"] == PackedSignals(data_dir).fingerprint
    model = (work / "models/LR_synthetic_42.joblib").read_bytes()
    assert mark["weights"] == hashlib.sha256(model).hexdigest()
    stored = json.loads((folder / "run.json").read_text())
    assert [stored[name] == mark[name] for name in ("labels", "signals", "weights")] == [True] * 3


@pytest.mark.parametrize("file", ["scores.csv", "importance.png", "run.json"])
def test_a_run_killed_before_its_end_is_not_taken_for_scored(data_dir, work, monkeypatch, file):
    run(data_dir, "--classifier", "LR")
    assert 0 in finished.finished_rounds(
        {0: "LR_synthetic_42"}, finished.read_data_folder(data_dir)
    )
    replace = os.replace

    def killed(source, target):
        if Path(target).name == file:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        run(data_dir, "--classifier", "LR")
    assert finished.scored_rounds({0: "LR_synthetic_42"}) == {}


def test_the_rule_of_the_thresholds_can_be_the_papers(data_dir, work):
    found = []
    for rule in ("first", "middle"):
        run(data_dir, "--classifier", "LR", "--thresholds", rule)
        mark = json.loads((work / "results/LR_synthetic_42/thresholds.json").read_text())
        assert rule in mark["rule"]
        found.append(np.array(list(mark["thresholds"].values())))
    assert (found[0] <= found[1]).any() and not np.array_equal(*found)


def test_a_folder_that_cannot_be_written_is_one_line(data_dir, work):
    (work / "models").write_text("a file")
    with pytest.raises(InputError) as stop:
        run(data_dir, "--classifier", "LR")
    err = str(stop.value)
    assert "models cannot be written" in err


def test_a_model_that_does_not_converge_is_named_in_one_line_and_kept(
    data_dir, work, capfd, monkeypatch
):
    make_model = baselines.make_model

    def make_impatient_model(*args):
        model = make_model(*args)
        model[-1].estimator.max_iter = 2
        return model

    monkeypatch.setattr(baselines, "make_model", make_impatient_model)
    run(data_dir, "--classifier", "LR")
    out, err = capfd.readouterr()
    note = f"did not converge within 2 iterations (ConvergenceWarning): {', '.join(CLASSES)}"
    assert f"LR_synthetic_42: note: {note}" in out.splitlines()
    assert "Warning" not in err
    content = json.loads((work / "results/LR_synthetic_42/run.json").read_text())
    assert content["notes"] == [note]


def test_rhythm_features_have_a_run_and_a_column_of_their_own(data_dir, work):
    run(data_dir, "--classifier", "LR", "--features", "rhythm", "--limit", "40")
    folder = work / "results" / "LR-rhythm_synthetic_42"
    leads = pd.read_csv(folder / "importance_leads.csv")
    assert list(leads.columns) == ["class", *LEADS, "rhythm"]
    assert (leads["rhythm"].dropna() > 0).all()
    full = pd.read_csv(folder / "importance.csv")
    assert len(full) == 636 + 14


def test_other_warnings_are_counted_not_lost():
    class Noisy:
        def fit(self, x, y):
            for _ in range(3):
                warnings.warn("something odd\nat length", RuntimeWarning, stacklevel=1)

        def __getitem__(self, i):
            return self

    notes = baselines.fit(Noisy(), np.zeros((2, 1)), np.ones((2, 9), int), CLASSES)
    assert notes == ["3 x RuntimeWarning: something odd"]


class Model:
    """A model whose fit warns, and which has run into its limit of iterations."""

    max_iter, n_iter_ = 5, 5

    def __init__(self, text, category):
        self.warning = text, category

    def fit(self, x, y):
        warnings.warn(*self.warning, stacklevel=1)

    def __getitem__(self, i):
        return self


def test_a_warning_is_told_apart_by_its_category_and_origin_not_by_its_words():
    stopped = "did not converge within 5 iterations (ConvergenceWarning): all classes"
    x, y = np.zeros((2, 1)), np.ones((2, 9), int)
    assert baselines.fit(Model("in other words", ConvergenceWarning), x, y, CLASSES) == [stopped]
    text = "solver diverges; Label 2 is present in all training examples."
    y[:, 0] = 0
    assert baselines.fit(Model(text, UserWarning), x, y, CLASSES) == [
        "no training record with SNR",
        stopped,
        f"1 x UserWarning: {text}",
    ]
    # what scikit-learn itself says of the class without a record is in the note
    model = baselines.make_model("LR", "none", 42, 1)
    x, y = np.arange(8.0)[:, None], np.tile([[0, 1]], (8, 1)) * (np.arange(8)[:, None] > 3)
    y = np.hstack([y, np.tile(y[:, 1:], 7)])
    assert baselines.fit(model, x, y, CLASSES) == ["no training record with SNR"]


def test_network_row_is_shown_only_for_the_same_test_records(data_dir, work, capsys):
    run(data_dir, "--classifier", "LR")
    scores = pd.read_csv("results/LR_synthetic_42/scores.csv")
    folder = work / "results" / "resnet34_synthetic_all_42"
    folder.mkdir()
    args = baselines.parse_args(["--data-dir", str(data_dir)])
    scores.to_csv(folder / "scores.csv", index=False)
    baselines.write_comparison(args, {"LR": scores})
    table = pd.read_csv("results/baselines_synthetic_42/table.csv")
    assert list(table["classifier"]) == ["LR", "resnet34"] * 2
    scores.assign(n=scores["n"] + 1).to_csv(folder / "scores.csv", index=False)
    baselines.write_comparison(args, {"LR": scores})
    assert "left out of the table" in capsys.readouterr().out
    assert list(pd.read_csv("results/baselines_synthetic_42/table.csv")["classifier"]) == ["LR"] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--classifier", "SVM"], "SVM"),
        (["--data-dir", "nowhere"], "preprocess.py"),
        (["--jobs", "0"], "--jobs"),
    ],
)
def test_bad_input_is_one_line_and_status_2(work, options, message):
    with pytest.raises(InputError) as stop:
        baselines.main(baselines.parse_args(options))
    assert message in str(stop.value)
    assert not (work / "results").exists()


def test_a_class_is_fitted_on_the_records_in_which_it_is_known():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(90, 4))
    y = (x[:, :3] + rng.normal(size=(90, 3)) > 0).astype(float)
    y[rng.random(y.shape) < 0.4] = np.nan
    y[np.isfinite(y[:, 2]), 2] = 0
    for classifier in baselines.CLASSIFIERS:
        model = baselines.make_model(classifier, "none", 42, 1)
        notes = baselines.fit(model, x, y, "abc")
        assert "no training record with c" in notes and "in which it is known" in notes[1]
        p = model.predict_proba(x)
        assert p.shape == (90, 3) and (p[:, 2] == 0).all()
        if classifier == "LR":
            for k in range(2):
                known = np.isfinite(y[:, k])
                alone = LogisticRegression(max_iter=1000).fit(x[known], y[known, k])
                np.testing.assert_allclose(p[:, k], alone.predict_proba(x)[:, 1])


def test_one_class_alone_is_fitted_and_scored():
    x = np.random.default_rng(3).normal(size=(60, 2))
    y = (x[:, :1] > 0).astype(int)
    for classifier in ("LR", "MLP"):
        model = baselines.make_model(classifier, "none", 42, 1)
        baselines.fit(model, x, y, ["a"])
        p = model.predict_proba(x)
        assert p.shape == (60, 1) and roc_auc_score(y, p) > 0.99
