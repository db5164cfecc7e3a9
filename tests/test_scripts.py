"""The steps, end to end on 40 tiny records, judged by the files they leave."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import DX, noise, write_record
from sklearn.metrics import f1_score

import main
import predict
import preprocess
import resnet
from dataset import CLASSES, LEADS, PackedSignals, labels_digest, load_labels
from ecg.inference.model import Model
from resnet import ResNet1d
from utils import InputError

pytestmark = pytest.mark.usefixtures("plain_figures")
TINY = ["--data-dir", "data/tiny"]
SMALL = [*TINY, "--arch", "resnet18"]
TRAIN = [*SMALL, "--seconds", "2", "--epochs", "2", "--lr", "1e-3"]
RUN = "resnet18_tiny_all_42"


@pytest.fixture
def workdir(tiny, monkeypatch):
    """Work beside data/tiny, as a user does in the repository, with a thin network."""
    monkeypatch.setattr(resnet, "WIDTHS", (8, 8, 16, 16))
    monkeypatch.chdir(tiny.parents[1])
    return tiny.parents[1]


def step(script, *argv):
    script.main(script.parse_args(list(argv)))


def weights(run=RUN):
    return torch.load(f"models/{run}.pth", weights_only=True)["state_dict"]


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def refused(capsys, script, *argv):
    """Run a step that must be refused; return its one line on stderr."""
    capsys.readouterr()
    with pytest.raises(InputError) as stop:
        step(script, *argv)
    return str(stop.value)


@pytest.mark.figures
def test_train_and_predict_write_what_they_promise(workdir, capsys):
    step(main, *TRAIN)
    checkpoint = torch.load(f"models/{RUN}.pth", weights_only=True)
    assert checkpoint["leads"] == list(LEADS) and checkpoint["classes"] == list(CLASSES)
    assert checkpoint["args"]["seconds"] == 2 and checkpoint["args"]["data_dir"] == "tiny"
    assert checkpoint["versions"]["torch"] == torch.__version__
    history = pd.read_csv(f"results/{RUN}/history.csv")
    assert history["epoch"].tolist() == [1, 2]
    assert checkpoint["epoch"] == 1 + history["val_f1"].argmax()
    assert (workdir / f"results/{RUN}/history.png").stat().st_size > 10_000
    described = json.loads((workdir / f"results/{RUN}/run.json").read_text())
    assert described["precision"] == "float32" and described["peak_memory_mb"] > 100
    assert len(described["seconds_per_epoch"]) == 2

    step(predict, *SMALL)
    out = capsys.readouterr().out
    assert "esearch use only" in out and "AVG" in out
    labels = pd.read_csv("data/tiny/labels.csv")
    predictions = pd.read_csv(f"results/{RUN}/predictions.csv")
    assert list(predictions) == ["patient_id", "fold", *CLASSES]
    assert predictions["fold"].tolist() == sorted(predictions["fold"])
    expected = labels[labels["fold"] >= 9]
    assert set(predictions["patient_id"]) == set(expected["patient_id"])

    # the probabilities, by hand: load the weights, cut the last 2 s, sigmoid
    model = ResNet1d("resnet18", 12, 9).eval()
    model.load_state_dict(checkpoint["state_dict"])
    packed = PackedSignals("data/tiny")
    row = predictions.iloc[0]
    signal = torch.tensor(packed[row["patient_id"]][:, -1000:] / 1000).float()[None]
    with torch.no_grad():
        probability = torch.sigmoid(model(signal))[0].numpy()
    np.testing.assert_allclose(row[list(CLASSES)].to_numpy(float), probability, atol=1e-4)

    # the scores, by hand: stored thresholds on the test fold
    thresholds = json.loads((workdir / f"results/{RUN}/thresholds.json").read_text())["thresholds"]
    scores = pd.read_csv(f"results/{RUN}/scores.csv").set_index("class")
    assert list(scores.index) == [*CLASSES, "AVG"]
    assert list(scores)[:6] == ["n", "precision", "recall", "f1", "auc", "accuracy"]
    test = predictions[predictions["fold"] == 10].merge(labels, on="patient_id")
    for name in CLASSES:
        true = test[f"{name}_y"]
        assert scores.loc[name, "n"] == true.sum()
        if true.any():
            pred = test[f"{name}_x"] >= thresholds[name]
            f1 = f1_score(true, pred, zero_division=0)
            assert scores.loc[name, "f1"] == pytest.approx(f1)
        else:
            assert scores.loc[name].drop("n").isna().all()
    assert (workdir / f"results/{RUN}/confusion.png").stat().st_size > 10_000


def test_the_same_command_gives_the_same_weights_whatever_the_workers(workdir):
    step(main, *TRAIN)
    first = weights()
    step(main, *TRAIN, "--num-workers", "2")
    assert same(first, weights())
    step(main, *TRAIN[:-6], "--seconds", "2", "--epochs", "2", "--lr", "1e-3", "--seed", "43")
    assert not same(first, weights("resnet18_tiny_all_43"))


def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(workdir, monkeypatch, capsys):
    step(main, *TRAIN)
    last = torch.load(f"models/{RUN}.last.pth", weights_only=True)["state_dict"]
    best, history = weights(), pd.read_csv(f"results/{RUN}/history.csv")
    shutil.rmtree("models")

    calls = []
    forward = ResNet1d.forward

    def power_loss(self, x):
        calls.append(1)
        if len(calls) == 3:  # one training step and one validation an epoch: in epoch 2
            raise KeyboardInterrupt
        return forward(self, x)

    monkeypatch.setattr(ResNet1d, "forward", power_loss)
    with pytest.raises(KeyboardInterrupt):
        step(main, *TRAIN)
    monkeypatch.setattr(ResNet1d, "forward", forward)
    assert "other lr" in refused(capsys, main, *TRAIN, "--lr", "1e-2", "--resume")
    step(main, *TRAIN, "--resume")
    assert same(best, weights())
    resumed = torch.load(f"models/{RUN}.last.pth", weights_only=True)["state_dict"]
    assert same(last, resumed)
    again = pd.read_csv(f"results/{RUN}/history.csv")
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), history.drop(columns="seconds"))


def test_a_loss_that_is_not_finite_stops_with_the_records_names(workdir, monkeypatch, capsys):
    forward = ResNet1d.forward
    monkeypatch.setattr(ResNet1d, "forward", lambda self, x: forward(self, x) * float("nan"))
    line = refused(capsys, main, *TRAIN)
    labels = pd.read_csv("data/tiny/labels.csv")
    named = [name for name in labels["patient_id"] if name in line]
    assert len(named) == (labels["fold"] <= 8).sum()  # one batch holds them all
    assert not list(workdir.glob("models/*"))


def test_a_subset_of_leads_has_its_own_run_and_is_not_mixed_up(workdir, capsys):
    step(main, *TRAIN, "--leads", "V5,I")
    run = "resnet18_tiny_I-V5_42"
    assert weights(run)["stem.0.weight"].shape[1] == 2
    step(predict, *SMALL, "--leads", "I,V5")
    assert (workdir / f"results/{run}/scores.csv").exists()
    path = ["--model-path", f"models/{run}.pth"]
    assert "trained on leads I,V5, not I" in refused(capsys, predict, *SMALL, *path, "--leads", "I")
    assert "trained on leads I,V5" in refused(capsys, predict, *SMALL, *path, "--leads", "all")
    assert "python main.py" in refused(capsys, predict, *SMALL)
    step(predict, *SMALL, *path)  # the checkpoint's own leads


def test_another_round_has_its_own_run_and_folds(workdir, capsys):
    step(main, *TRAIN, "--round", "3")
    step(predict, *SMALL, "--round", "3")
    predictions = pd.read_csv(f"results/{RUN}_r3/predictions.csv")
    assert predictions["fold"].unique().tolist() == [2, 3]
    line = refused(capsys, predict, *SMALL, "--model-path", f"models/{RUN}_r3.pth")
    assert "--round 3" in line


def test_other_folds_than_in_training_are_refused(workdir, capsys):
    step(main, *TRAIN)
    step(preprocess, *TINY, "--seed", "5", "--jobs", "1")
    assert "other labels" in refused(capsys, predict, *SMALL)
    assert not (workdir / f"results/{RUN}/scores.csv").exists()


def test_a_copy_of_the_training_data_is_no_other_data_set(workdir):
    step(main, *TRAIN)
    shutil.copytree("data/tiny", "data/copy")
    step(predict, "--data-dir", "data/copy", "--model-path", f"models/{RUN}.pth")
    predictions = pd.read_csv(f"results/{RUN}_on_copy/predictions.csv")
    assert set(predictions["fold"]) == {9, 10}  # none that the model was trained on


def test_resume_refuses_other_labels(workdir, capsys):
    step(main, *TRAIN)
    labels = pd.read_csv("data/tiny/labels.csv")
    labels["AF"] = 1 - labels["AF"]
    labels.to_csv("data/tiny/labels.csv", index=False)
    assert "other labels" in refused(capsys, main, *TRAIN, "--resume")


def test_weights_of_another_network_are_refused(workdir, capsys, monkeypatch):
    step(main, *TRAIN)
    monkeypatch.setattr(resnet, "WIDTHS", (4, 4, 4, 4))
    assert "other weights than those" in refused(capsys, predict, *SMALL)


def test_another_data_set_is_scored_whole_with_the_models_thresholds(workdir, capsys):
    step(main, *TRAIN)
    for i in range(4):
        write_record(workdir / "data" / "other", f"X{i}", noise(100 + i, 1500), DX["AF"])
    step(preprocess, "--data-dir", "data/other", "--jobs", "1")
    argv = ["--data-dir", "data/other", "--model-path", f"models/{RUN}.pth"]
    step(predict, *SMALL)
    assert "has seen" in refused(capsys, predict, *SMALL, "--part", "all")
    assert "use --part all" in refused(capsys, predict, *argv, "--part", "test")
    assert "leave --thresholds out" in refused(capsys, predict, *argv, "--thresholds", "first")
    # as a training anew without predict.py would leave it
    (workdir / f"results/{RUN}/thresholds.json").write_text('{"thresholds": {}}')
    step(predict, *argv, "--part", "all")
    folder = workdir / f"results/{RUN}_on_other"
    scores = pd.read_csv(folder / "scores.csv").set_index("class")
    assert scores.loc["AF", "n"] == 4 and scores.loc["SNR"].drop("n").isna().all()
    mark = json.loads((folder / "thresholds.json").read_text())
    checkpoint = torch.load(f"models/{RUN}.pth", weights_only=True)
    assert mark["thresholds"] == checkpoint["thresholds"] and mark["notes"] == []
    assert mark["labels"] == labels_digest(load_labels("data/other"))
    assert mark["signals"] == PackedSignals("data/other").fingerprint
    predictions = pd.read_csv(folder / "predictions.csv")
    af = predictions["AF"] >= mark["thresholds"]["AF"]
    assert scores.loc["AF", "recall"] == pytest.approx(af.mean())


def test_records_that_the_model_has_seen_are_left_out_by_name(workdir, capsys):
    step(main, *TRAIN)
    labels = pd.read_csv("data/tiny/labels.csv")
    shutil.copytree("data/tiny", "data/other")
    labels.assign(AF=1 - labels["AF"]).to_csv("data/other/labels.csv", index=False)
    argv = ["--data-dir", "data/other", "--model-path", f"models/{RUN}.pth"]
    capsys.readouterr()
    step(predict, *argv)
    seen = labels.loc[labels["fold"] != 10, "patient_id"]
    assert f"left out: {len(seen)} records" in capsys.readouterr().out
    folder = workdir / f"results/{RUN}_on_other"
    scored = set(pd.read_csv(folder / "predictions.csv")["patient_id"])
    assert scored == set(labels.loc[labels["fold"] == 10, "patient_id"])
    (note,) = json.loads((folder / "thresholds.json").read_text())["notes"]
    assert all(name in note for name in seen) and not any(name in note for name in scored)
    labels[labels["fold"] != 10].assign(AF=1).to_csv("data/other/labels.csv", index=False)
    assert "name another data set" in refused(capsys, predict, *argv)


def test_other_signals_under_the_same_labels_are_refused(workdir, capsys):
    step(main, *TRAIN)
    for path in Path("data/tiny").rglob("*.hea"):
        path.write_text(path.read_text().replace("1000/mV", "2000/mV"))
    step(preprocess, *TINY, "--jobs", "1")
    assert "other signals" in refused(capsys, predict, *SMALL)
    shutil.copytree("data/tiny", "data/copy")
    argv = ["--data-dir", "data/copy", "--model-path", f"models/{RUN}.pth"]
    assert "other signals" in refused(capsys, predict, *argv)


def test_rules_for_thresholds_reach_the_scores_and_without_one_the_models_own_do(workdir):
    step(main, *TRAIN)
    found = {}
    for rule in ("first", "middle"):
        step(predict, *SMALL, "--thresholds", rule)
        found[rule] = json.loads((workdir / f"results/{RUN}/thresholds.json").read_text())
        assert rule in found[rule]["rule"]
    assert found["middle"]["thresholds"] != found["first"]["thresholds"]
    step(predict, *SMALL)
    own = json.loads((workdir / f"results/{RUN}/thresholds.json").read_text())
    model = Model.load(workdir / f"models/{RUN}.pth")
    assert own["thresholds"] == model.thresholds and model.threshold_rule in own["rule"]


@pytest.mark.parametrize("file", ["predictions.csv", "scores.csv", "reliability.svg"])
def test_a_scoring_killed_before_its_end_is_not_taken_for_finished(workdir, monkeypatch, file):
    step(main, *TRAIN)
    step(predict, *SMALL)
    mark = workdir / f"results/{RUN}/thresholds.json"
    whole, replace = mark.read_text(), os.replace

    def killed(source, target):
        if Path(target).name == file:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            step(predict, *SMALL)
    assert not mark.exists()
    step(predict, *SMALL)
    assert mark.read_text() == whole


def test_results_that_cannot_be_written_are_one_line(workdir, capsys):
    step(main, *TRAIN)
    shutil.rmtree("results")
    Path("results").write_text("a file")
    assert "cannot be written" in refused(capsys, predict, *SMALL)


@pytest.mark.parametrize(
    ("script", "argv", "text"),
    [
        (main, ["--data-dir", "data/none"], "python preprocess.py --data-dir data/none"),
        (predict, ["--data-dir", "data/none"], "python preprocess.py --data-dir data/none"),
        (predict, SMALL, "python main.py --data-dir data/tiny --leads all"),
        (main, [*TRAIN, "--leads", "V9"], "unknown lead 'V9'"),
        (main, [*TRAIN, "--epochs", "0"], "'0' is not a whole number"),
        (main, [*TRAIN, "--resume"], "without --resume"),
        (main, [*TRAIN, "--limit", "3"], "hold no record"),
    ],
)
def test_bad_input_is_one_line_that_names_the_next_step(script, argv, text, workdir, capsys):
    assert text in refused(capsys, script, *argv)
    assert not list(workdir.glob("models/*")) and not list(workdir.glob("results/*"))


def test_use_gpu_without_one_is_refused(workdir, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for script in (main, predict):
        assert "without --use-gpu" in refused(capsys, script, *SMALL, "--use-gpu")
