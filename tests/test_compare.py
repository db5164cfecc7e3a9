"""Comparing runs, on made-up predictions of 600 records."""

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from dataset import CLASSES, labels_digest, split_labels
from ecg import compare, report
from ecg.evaluation import pairs, runs
from ecg.evaluation.scored_run import Digests, Scored, evaluate_run, write_thresholds
from utils import InputError

DATA = ["--data-dir", "data/made"]
ROUNDS = (0, 1, 4)
N = 600
LEAD_NOISE = {"all": 0.4, "I": 1.8, "V1": 0.7, "aVR": 1.1}  # so the order of merit is known


def make_run(folder, labels, round_number, noise, seed):
    """Write what predict.py writes for a round, from scores that are the truth and noise."""
    parts = split_labels(labels, round_number)[1:]
    rng = np.random.default_rng([seed, round_number])
    scored = []
    for part in parts:
        y = part[list(CLASSES)].to_numpy()
        y_score = 1 / (1 + np.exp(2 - 4 * y - 4 * noise * rng.normal(size=y.shape)))
        scored.append(Scored(part, y_score))
    _, thresholds = evaluate_run(folder, *scored)
    write_thresholds(folder, thresholds, Digests(None, labels_digest(labels), "packed"))


def mark(folder, labels, signals="packed"):
    """Say in thresholds.json on what a run was scored."""
    path = Path(folder) / "thresholds.json"
    content = json.loads(path.read_text()) | {"labels": labels, "signals": signals}
    path.write_text(json.dumps(content))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make labels, four choices of leads and a classifier with three rounds each."""
    root = tmp_path_factory.mktemp("compare")
    rng = np.random.default_rng(0)
    labels = pd.DataFrame((rng.random((N, 9)) < 0.2).astype(int), columns=list(CLASSES))
    labels.insert(0, "patient_id", [f"P{i:04d}" for i in range(N)])
    labels["fold"] = rng.permutation(np.arange(N) % 10) + 1
    (root / "data" / "made").mkdir(parents=True)
    labels.to_csv(root / "data" / "made" / "labels.csv", index=False)
    (root / "data" / "made" / "signals.json").write_text('{"fingerprint": "packed"}')
    runs = {f"resnet34_made_{leads}_42": noise for leads, noise in LEAD_NOISE.items()}
    for seed, (run, noise) in enumerate({**runs, "LR_made_42": 1.5}.items()):
        for i in (0, 1) if "_I_" in run else ROUNDS:
            folder = root / "results" / (f"{run}_r{i}" if i else run)
            make_run(folder, labels, i, noise, seed)
    return root


@pytest.fixture
def labels(made, monkeypatch):
    """Work in the folder of the runs; return labels.csv."""
    monkeypatch.chdir(made)
    return pd.read_csv("data/made/labels.csv")


def run_compare(*argv):
    compare.main(compare.parse_args([*argv, *DATA]))


def refused(capsys, *argv):
    capsys.readouterr()
    with pytest.raises(InputError) as stop:
        run_compare(*argv)
    return str(stop.value)


def stored(run, labels, fold):
    """Return truth, scores and thresholds of a fold of a run, from its files."""
    table = pd.read_csv(f"results/{run}/predictions.csv").query(f"fold == {fold}")
    thresholds = json.loads(Path(f"results/{run}/thresholds.json").read_text())["thresholds"]
    true = labels.set_index("patient_id").loc[table["patient_id"], list(CLASSES)].to_numpy()
    return true, table[list(CLASSES)].to_numpy(), np.array([thresholds[k] for k in CLASSES])


def test_rounds_give_mean_and_sd_and_name_the_missing_ones(labels, capsys):
    run_compare("--rounds")
    folder = "results/compare_rounds_resnet34_made_all_42"
    table = pd.read_csv(f"{folder}/rounds.csv").set_index("class")
    f1 = []
    for i in ROUNDS:
        run = f"resnet34_made_all_42_r{i}" if i else "resnet34_made_all_42"
        true, score, thresholds = stored(run, labels, (9 + i) % 10 + 1)
        f1.append(f1_score(true, score >= thresholds, average=None))
    f1 = np.column_stack([f1, np.mean(f1, axis=1)])
    assert list(table.index) == [*CLASSES, "AVG"]
    assert table["f1_mean"].to_numpy() == pytest.approx(f1.mean(0))
    assert table["f1_sd"].to_numpy() == pytest.approx(f1.std(0, ddof=1))
    assert (table["rounds"] == 3).all() and table.loc["AVG", "n"] == 180
    out = capsys.readouterr().out
    assert "missing rounds: 2, 3, 5, 6, 7, 8, 9" in out and "esearch use only" in out
    assert f"{f1.mean(0)[9]:.3f} ± {f1.std(0, ddof=1)[9]:.3f}" in out


def test_pooled_predictions_are_those_of_the_round_that_tests_the_record(labels):
    run_compare("--rounds", "--arch", "LR")
    folder = "results/compare_rounds_LR_made_42"
    pooled = pd.read_csv(f"{folder}/pooled.csv")
    tested = labels[labels["fold"].isin([10, 1, 4])]
    assert sorted(pooled["patient_id"]) == sorted(tested["patient_id"])
    true, called = [], []
    for i, fold in zip(ROUNDS, (10, 1, 4), strict=True):
        y_true, score, thresholds = stored(f"LR_made_42_r{i}" if i else "LR_made_42", labels, fold)
        rows = pooled[pooled["fold"] == fold]
        np.testing.assert_array_equal(np.sort(rows[list(CLASSES)], 0), np.sort(score, 0))
        true.append(y_true)
        called.append(score >= thresholds)
    f1 = f1_score(np.concatenate(true), np.concatenate(called), average="macro")
    scores = pd.read_csv(f"{folder}/scores.csv").set_index("class")
    assert scores.loc["AVG", "f1"] == pytest.approx(f1)
    assert scores.loc["AVG", "f1_low"] < f1 < scores.loc["AVG", "f1_high"]


def test_two_runs_differ_by_what_sklearn_says_and_by_the_exact_mcnemar_test(labels):
    run_compare("resnet34_made_all_42", "results/LR_made_42")
    table = pd.read_csv("results/compare_resnet34_made_all_42_vs_LR_made_42/differences.csv")
    true, score_a, thresholds_a = stored("resnet34_made_all_42", labels, 10)
    _, score_b, thresholds_b = stored("LR_made_42", labels, 10)
    pred_a, pred_b = score_a >= thresholds_a, score_b >= thresholds_b
    for k, row in table[:9].iterrows():
        f1 = [f1_score(true[:, k], pred[:, k]) for pred in (pred_a, pred_b)]
        auc = [roc_auc_score(true[:, k], score[:, k]) for score in (score_a, score_b)]
        assert row[["f1_a", "f1_b", "f1_diff"]].tolist() == pytest.approx([*f1, f1[0] - f1[1]])
        assert row["auc_diff"] == pytest.approx(auc[0] - auc[1])
        right_a, right_b = pred_a[:, k] == true[:, k], pred_b[:, k] == true[:, k]
        a, b = (right_a & ~right_b).sum(), (right_b & ~right_a).sum()
        assert (row["only_a_right"], row["only_b_right"]) == (a, b)
        tail = sum(math.comb(a + b, i) for i in range(min(a, b) + 1)) / 2 ** (a + b)
        assert row["mcnemar_p"] == pytest.approx(min(1, 2 * tail))
    average = table.iloc[9]
    assert average["f1_diff"] == pytest.approx(table["f1_diff"][:9].mean())
    assert 0 < average["auc_diff_low"] < average["auc_diff"] < average["auc_diff_high"]
    assert average["auc_p"] == pytest.approx(2 / 1001)  # no resample favours the noisier run


def test_a_run_does_not_differ_from_itself_and_swapping_changes_the_sign_only(labels):
    run_compare("LR_made_42", "LR_made_42")
    table = pd.read_csv("results/compare_LR_made_42_vs_LR_made_42/differences.csv")
    assert (table[["f1_diff", "auc_diff"]] == 0).all(axis=None)
    # nothing of no width, such as 0 to 0, passes for an interval
    assert table[[name for name in table if name.endswith(("_low", "_high"))]].isna().all(axis=None)
    assert (table[["f1_p", "auc_p"]] == 1).all(axis=None) and (table["mcnemar_p"][:9] == 1).all()
    names = ["resnet34_made_all_42", "LR_made_42"]
    for pair in (names, names[::-1]):
        run_compare(*pair)
    first, second = (
        pd.read_csv(f"results/compare_{a}_vs_{b}/differences.csv") for a, b in (names, names[::-1])
    )
    swapped = pytest.approx(-second["f1_diff_high"].to_numpy(), nan_ok=True)
    assert first["f1_diff_low"].to_numpy() == swapped and first["f1_diff_low"].notna().iloc[-1]
    assert first["f1_p"].to_numpy() == pytest.approx(second["f1_p"].to_numpy())


def scored(y_true, y_score):
    """Return records with thresholds of one half."""
    labels = pd.DataFrame(y_true, columns=list(CLASSES))
    return Scored(labels, y_score, np.full(y_score.shape, 0.5))


def test_a_class_with_fewer_than_ten_positives_gets_no_interval():
    rng = np.random.default_rng(1)
    true = np.zeros((200, 9), int)
    for k, count in enumerate((9, 10, *[60] * 7)):
        true[rng.permutation(200)[:count], k] = 1
    runs = [scored(true, noise * rng.random((200, 9)) + 0.3 * true) for noise in (1, 2)]
    table = pairs.differences(*runs, 0)
    ends = table[[f"{score}_diff_{end}" for score in ("f1", "auc") for end in ("low", "high")]]
    assert ends.iloc[0].isna().all() and ends.iloc[1:].notna().all(axis=None)
    text = compare.with_interval(table.iloc[0], "auc_diff")
    assert text == f"{table['auc_diff'][0]:.3f}"  # and no word nan


def test_holm_corrects_each_p_for_those_that_are_not_rejected_yet():
    # by hand: .01 x 4, .03 x 3, .04 x 2 raised to the one before, .9
    result = pairs.holm([0.04, 0.01, np.nan, 0.03, 0.9])
    assert result == pytest.approx([0.09, 0.04, np.nan, 0.09, 0.9], nan_ok=True)
    # nine true hypotheses: one of the nine is below .05 in 37 %, corrected in at most 5 %
    p = np.random.default_rng(0).random((2000, 9))
    assert (p.min(1) < 0.05).mean() == pytest.approx(0.37, abs=0.03)
    assert np.mean([pairs.holm(row).min() < 0.05 for row in p]) < 0.06


def test_p_values_of_equal_runs_are_spread_evenly(monkeypatch):
    monkeypatch.setattr(pairs, "N_RESAMPLES", 200)
    # 60 pairs of equally noisy runs: about one in ten gets p < 0.1, as a test must
    p = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        true = (rng.random((150, 9)) < 0.3).astype(int)
        runs = [scored(true, 0.3 * true + 0.7 * rng.random((150, 9))) for _ in "ab"]
        table = pairs.differences(*runs, seed)
        p.append(table["auc_p"].iloc[-1])
    assert 0.01 < np.mean(np.array(p) < 0.1) < 0.25
    assert 0.3 < np.median(p) < 0.7


def test_pooled_rounds_of_two_runs_can_be_compared(labels, capsys):
    run_compare("--rounds")
    run_compare("--rounds", "--arch", "LR")
    names = ["compare_rounds_resnet34_made_all_42", "compare_rounds_LR_made_42"]
    run_compare(*names)
    folder = "results/compare_rounds_resnet34_made_all_42_vs_rounds_LR_made_42"
    table = pd.read_csv(f"{folder}/differences.csv").set_index("class")
    assert table.loc["AVG", "n"] == 180
    pooled = [pd.read_csv(f"results/{name}/scores.csv").set_index("class") for name in names]
    expected = pooled[0].loc["AVG", "f1"] - pooled[1].loc["AVG", "f1"]
    assert table.loc["AVG", "f1_diff"] == pytest.approx(expected)
    # the second p: Nadeau and Bengio's t by hand, over the differences of the rounds
    by_round = []
    for end in ("", "_r1", "_r4"):
        a, b = (
            pd.read_csv(f"results/{name}_made_{kind}42{end}/scores.csv").set_index("class")
            for name, kind in (("resnet34", "all_"), ("LR", ""))
        )
        by_round.append((a["auc"] - b["auc"]).tolist())
    by_round = np.array(by_round)
    assert table["auc_diff_rounds"].tolist() == pytest.approx(by_round.mean(0).tolist())
    t = by_round.mean(0) / np.sqrt((1 / 3 + 1 / 8) * by_round.var(0, ddof=1))
    p = 1 - np.abs(t) / np.sqrt(2 + t**2)  # Student's with 2 degrees of freedom, two-sided
    assert table["auc_p_rounds"].tolist() == pytest.approx(p.tolist())
    names = ["diff_rounds", "p_rounds", "p_rounds_holm"]
    assert list(table.columns[-6:]) == [
        f"{score}_{end}" for score in ("f1", "auc") for end in names
    ]
    assert table["auc_p_rounds_holm"].isna().tolist() == [False] * 9 + [True]
    out = capsys.readouterr().out
    assert "spread between trainings" in out and "Nadeau and Bengio" in out and "p, rounds" in out


def copy_results(tmp_path, monkeypatch, epochs):
    """Work in a copy of the runs in which one has had another number of epochs."""
    shutil.copytree(".", tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    for run, n in epochs.items():
        content = {"labels": "x", "args": {"epochs": n, "round": len(run)}}
        Path("results", run, "run.json").write_text(json.dumps(content))


def test_rounds_made_with_other_settings_are_left_out_and_named(
    labels, tmp_path, monkeypatch, capsys
):
    name = "resnet34_made_all_42"
    copy_results(tmp_path, monkeypatch, {name: 40, f"{name}_r1": 1, f"{name}_r4": 40})
    run_compare("--rounds")
    out = capsys.readouterr().out
    assert f"{name}_r1 is left out: made with other epochs than {name}" in out
    table = pd.read_csv(f"results/compare_rounds_{name}/rounds.csv")
    assert set(table["rounds"]) == {2}


def test_a_choice_of_several_leads_is_ranked_too_and_other_settings_are_named(
    labels, tmp_path, monkeypatch, capsys
):
    copy_results(tmp_path, monkeypatch, {"resnet34_made_all_42": 40, "resnet34_made_V1_42": 3})
    for end in ("", "_r1"):
        shutil.copytree(f"results/resnet34_made_V1_42{end}", f"results/resnet34_made_I-V5_42{end}")
    run_compare("--single-leads")
    assert "I-V5" in list(pd.read_csv(find_table())["leads"])
    out = capsys.readouterr().out
    assert "resnet34_made_V1_42 was made with other epochs than resnet34_made_all_42" in out
    report.main(report.parse_args(DATA))
    note = "<p>resnet34_made_V1_42 was made with other epochs than resnet34_made_all_42.</p>"
    assert note in next(Path("results").glob("report_*.html")).read_text()


def find_table():
    return "results/compare_leads_resnet34_made_all_42/single_lead.csv"


def test_rounds_that_only_one_has_are_left_out_of_a_comparison(
    labels, tmp_path, monkeypatch, capsys
):
    copy_results(tmp_path, monkeypatch, {})
    shutil.rmtree("results/resnet34_made_all_42_r1")
    for arch in ("resnet34", "LR"):
        run_compare("--rounds", "--arch", arch)
    names = [f"compare_rounds_{name}" for name in ("resnet34_made_all_42", "LR_made_42")]
    run_compare(*names)
    assert "rounds in common: 2; records of others left out" in capsys.readouterr().out
    table = pd.read_csv(f"results/{names[0]}_vs_rounds_LR_made_42/differences.csv")
    assert table["n"].iloc[-1] == 120


def test_a_round_that_was_trained_again_and_not_scored_is_left_out(
    labels, tmp_path, monkeypatch, capsys
):
    name = "resnet34_made_all_42"
    copy_results(tmp_path, monkeypatch, {})
    for file, digest in (("run.json", "new"), ("thresholds.json", "old")):
        path = Path("results", f"{name}_r1", file)
        content = json.loads(path.read_text()) if path.exists() else {"args": {}}
        path.write_text(json.dumps(content | {"weights": digest}))
    run_compare("--rounds")
    assert f"{name}_r1 is left out: trained again" in capsys.readouterr().out
    assert set(pd.read_csv(f"results/compare_rounds_{name}/rounds.csv")["rounds"]) == {2}


def test_a_comparison_knows_when_its_scores_have_changed(labels, tmp_path, monkeypatch):
    copy_results(tmp_path, monkeypatch, {})
    run_compare("--rounds")
    folder = Path("results/compare_rounds_resnet34_made_all_42")
    data = runs.read_data_folder("data/made")
    assert runs.read_sources(folder, data) == ["missing rounds: 2, 3, 5, 6, 7, 8, 9"]
    with open("results/resnet34_made_all_42/predictions.csv", "a") as file:
        file.write("\n")
    assert runs.read_sources(folder, data) is None


def test_leads_are_ranked_over_the_rounds_that_all_have(labels, capsys):
    run_compare("--single-leads")
    folder = "results/compare_leads_resnet34_made_all_42"
    table = pd.read_csv(f"{folder}/single_lead.csv")
    assert table["leads"].tolist() == ["12 leads", "V1", "aVR", "I"]  # by their noise
    assert table["rank"].tolist() == [1, 2, 3, 4] and (table["n"] == 120).all()
    parts = [stored(f"resnet34_made_V1_42{end}", labels, f) for end, f in (("", 10), ("_r1", 1))]
    pred = np.concatenate([score >= thresholds for _, score, thresholds in parts])
    expected = f1_score(np.concatenate([true for true, _, _ in parts]), pred, average=None)
    row = table.set_index("leads").loc["V1"]
    assert row[[f"f1_{name}" for name in CLASSES]].tolist() == pytest.approx(expected.tolist())
    assert row["f1"] == pytest.approx(expected.mean())
    assert row["f1_low"] < row["f1"] < row["f1_high"]
    each = [
        f1_score(true, score >= thresholds, average="macro") for true, score, thresholds in parts
    ]
    assert row["f1_mean"] == pytest.approx(np.mean(each)) and row["f1_mean"] != row["f1"]
    out = capsys.readouterr().out
    assert "rounds in common, pooled: 0, 1" in out and "esearch use only" in out
    assert "not scored: II, III, aVL, aVF, V2, V3, V4, V5, V6" in out
    for name in ("single_lead.csv", "single_lead.png", "single_lead.svg"):
        assert Path(folder, name).read_bytes()


def test_runs_on_other_records_are_refused(labels, capsys):
    err = refused(capsys, "LR_made_42", "resnet34_made_all_42_r1")
    assert "share 0" in err and not list(compare.Path("results").glob("compare_LR_made_42_vs_*r1"))
    assert "predict.py" in refused(capsys, "LR_made_42", "no_such_run")
    assert "no round of RF_made_42" in refused(capsys, "--rounds", "--arch", "RF")
    assert "no round" in refused(capsys, "--single-leads", "--arch", "resnet18")


@pytest.mark.parametrize(
    ("name", "spoil", "says"),
    [
        ("predictions.csv", lambda text: text.replace("P0", "Q0"), "not tested on the folds"),
        ("predictions.csv", lambda text: re.sub(r"0\.\d+", "nan", text, count=30), "damaged"),
        ("predictions.csv", lambda text: text.replace("AF", "XX"), "damaged"),
        ("thresholds.json", lambda text: text[:-40], "damaged"),
    ],
)
def test_spoilt_files_are_refused(labels, capsys, name, spoil, says):
    folder = compare.Path("results/spoilt_made_42")
    shutil.copytree("results/LR_made_42", folder, dirs_exist_ok=True)
    (folder / name).write_text(spoil((folder / name).read_text()))
    assert says in refused(capsys, "LR_made_42", "spoilt_made_42")


def test_predictions_of_other_folds_are_refused(labels, capsys, monkeypatch, tmp_path):
    shutil.copytree("data", tmp_path / "data")
    shutil.copytree("results/LR_made_42", tmp_path / "results" / "LR_made_42")
    monkeypatch.chdir(tmp_path)
    other = labels.assign(fold=labels["fold"] % 10 + 1)
    other.to_csv("data/made/labels.csv", index=False)
    mark("results/LR_made_42", labels_digest(other))
    assert "not tested on the folds" in refused(capsys, "--rounds", "--arch", "LR")


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["a"],
        ["a", "b", "c"],
        ["a", "b", "--rounds"],
        ["--rounds", "--single-leads"],
        ["--leads", "I"],
        ["--rounds", "--leads", "X"],
        ["--single-leads", "--leads", "I"],
    ],
)
def test_only_one_comparison_at_a_time(argv):
    with pytest.raises(InputError) as stop:
        compare.parse_args(argv)
    assert "--help" in str(stop.value)


def test_a_model_on_another_data_set_is_tested_on_all_its_records(labels):
    for run in ("a_on_made", "b_on_made"):
        folder = compare.Path("results") / run
        folder.mkdir(exist_ok=True)
        shutil.copy("results/LR_made_42/thresholds.json", folder)
        rng = np.random.default_rng(len(run) + ord(run[0]))
        scores = pd.DataFrame(rng.random((N, 9)), columns=CLASSES)
        labels[["patient_id", "fold"]].join(scores).to_csv(folder / "predictions.csv", index=False)
    run_compare("a_on_made", "b_on_made")
    table = pd.read_csv("results/compare_a_on_made_vs_b_on_made/differences.csv")
    assert table["n"].iloc[-1] == N


@pytest.mark.parametrize("what", ["labels", "signals", "unknown"])
def test_scores_of_other_labels_or_signals_are_left_out_and_named(
    labels, tmp_path, monkeypatch, capsys, what
):
    copy_results(tmp_path, monkeypatch, {})
    name = "LR_made_42"
    run_compare("--rounds", "--arch", "LR")
    if what == "labels":  # AF in ten more records, after scoring
        changed = labels.copy()
        changed.loc[changed.index[labels["AF"] == 0][:10], "AF"] = 1
        changed.to_csv("data/made/labels.csv", index=False)
        mark(f"results/{name}", labels_digest(changed))
        mark(f"results/{name}_r4", labels_digest(changed))
        says = "the labels have changed since it was scored"
    elif what == "signals":
        mark(f"results/{name}_r1", labels_digest(labels), "others")
        says = "the signals have changed since it was scored"
    else:
        mark(f"results/{name}_r1", None)
        says = "its thresholds.json does not say on which labels it was scored"
    folder = f"compare_rounds_{name}"
    pooled = refused(capsys, folder, folder)
    assert "made from other scores or data" in pooled and "compare --rounds" in pooled
    single = refused(capsys, f"{name}_r1", f"{name}_r1")
    assert says in single and "baselines.py" in single
    run_compare("--rounds", "--arch", "LR")
    assert f"{name}_r1 is left out: {says}; run predict.py" in capsys.readouterr().out
    assert set(pd.read_csv(f"results/{folder}/rounds.csv")["rounds"]) == {2}
    for end in ("", "_r1", "_r4"):
        mark(f"results/{name}{end}", None)
    assert f"{name} is left out" in refused(capsys, "--rounds", "--arch", "LR")


def test_a_comparison_needs_the_packed_signals_to_compare_with(
    labels, tmp_path, monkeypatch, capsys
):
    copy_results(tmp_path, monkeypatch, {})
    Path("data/made/signals.json").unlink()
    assert "preprocess.py" in refused(capsys, "--rounds")


def test_rounds_that_do_not_differ_have_p_one_and_one_round_has_none():
    mean, p = pairs.resampled_t([[0.0, 0.1, np.nan], [0.0, 0.2, 0.1]])
    assert mean.tolist() == pytest.approx([0, 0.15, 0.1])
    assert p[0] == 1 and 0 < p[1] < 1 and np.isnan(p[2])
