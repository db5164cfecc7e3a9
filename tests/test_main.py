"""Training where it needs processes of its own: killed, on a full disk, several at once."""

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import faults
import gradients
import numpy as np
import pandas as pd
import pytest
import thin_model
import torch

import dataset
import main
import predict
import resnet
from ecg.evaluation import metrics
from ecg.running.command import run_main
from ecg.training import loop, training
from utils import InputError

pytestmark = pytest.mark.usefixtures("plain_figures")
TESTS = Path(__file__).parent
TRAIN = "--data-dir data/tiny --arch resnet18 --seconds 2 --lr 1e-3 --batch-size 7".split()
RUN = "resnet18_tiny_all_42"
TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29518"]


@pytest.fixture
def workdir(tiny, monkeypatch):
    monkeypatch.setattr(resnet, "WIDTHS", (8, 8, 16, 16))
    monkeypatch.chdir(tiny.parents[1])
    return tiny.parents[1]


def train(*flags):
    main.main(main.parse_args([*TRAIN, *flags]))


def train_apart(*flags, before=lambda: None):
    """Train as a process of its own, forked; return its exit status and stderr."""

    def run(argv):
        torch.set_num_threads(1)
        before()
        run_main(main.main, lambda: main.parse_args(argv))

    return faults.run(run, [*TRAIN, *flags], Path.cwd())[:2]


def load(name):
    return torch.load(f"models/{name}.pth", weights_only=True)


def test_batches_hold_every_row_once_in_an_order_of_seed_and_epoch():
    batches = dataset.make_batches(45, 8, seed=3, epoch=1)
    assert [len(batch) for batch in batches] == [8] * 5 + [5]
    assert sorted(sum(batches, [])) == list(range(45))
    assert dataset.make_batches(45, 8, seed=3, epoch=1) == batches
    assert dataset.make_batches(45, 8, seed=3, epoch=2) != batches
    assert dataset.make_batches(45, 8, seed=4, epoch=1) != batches


def kill_in_step(number):
    """Kill this process in its forward pass of a training step; steps count from 1."""
    steps, forward = [], resnet.ResNet1d.forward

    def power_loss(self, x):
        steps.extend([1] * self.training)
        if len(steps) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return forward(self, x)

    resnet.ResNet1d.forward = power_loss


def test_a_run_killed_in_mid_epoch_and_resumed_is_the_unbroken_run(workdir):
    train("--epochs", "4")
    whole = {name: load(name) for name in (RUN, f"{RUN}.last")}
    Path("models").rename("whole")

    status, _ = train_apart("--epochs", "4", before=lambda: kill_in_step(2 * 5 + 3))
    assert status == -signal.SIGKILL  # in the third of the third epoch's five steps
    assert load(f"{RUN}.last")["epoch"] == 2

    train("--epochs", "4", "--resume")
    for name, before in whole.items():
        after = load(name)
        assert after["epoch"] == before["epoch"] and after["best_f1"] == before["best_f1"]
        for key, tensor in before["state_dict"].items():
            assert torch.equal(tensor, after["state_dict"][key]), key
    before, after = (
        one["optimizer"]["state"] for one in (whole[f"{RUN}.last"], load(f"{RUN}.last"))
    )
    for key, state in before.items():
        assert torch.equal(state["exp_avg_sq"], after[key]["exp_avg_sq"])


SETS = {"I": "I", "all": "all", "V5,aVR": "aVR-V5"}  # as they are given, and in file names


def numbers_of(leads):
    """Return what a training and its scores leave, but for times and places."""
    run = f"resnet18_tiny_{leads}_42"
    model, folder = load(run), Path("results", run)
    history = [{**row, "seconds": 0} for row in model["history"]]
    args = {**model["args"], "resume": None}
    described = json.loads((folder / "run.json").read_text())
    texts = [(folder / name).read_text() for name in ("predictions.csv", "scores.csv")]
    state = {name: value.numpy().tobytes() for name, value in model["state_dict"].items()}
    return state, model["thresholds"], history, args, described["weights"], texts


def test_choices_of_leads_in_one_process_are_the_single_trainings(workdir):
    names = TRAIN[:4]  # data and network
    for leads in SETS:
        train("--epochs", "2", "--leads", leads)
        predict.main(predict.parse_args([*names, "--leads", leads]))
    alone = {leads: numbers_of(leads) for leads in SETS.values()}
    shutil.rmtree("models")
    shutil.rmtree("results")
    # killed in the second epoch of the second model: the first is not trained again
    apart = ["--epochs", "2", "--resume", "auto", "--lead-sets", *SETS]
    status, _ = train_apart(*apart, before=lambda: kill_in_step(10 + 5 + 2))
    assert status == -signal.SIGKILL
    first = Path("models/resnet18_tiny_I_42.pth").stat().st_mtime_ns
    assert load("resnet18_tiny_all_42.last")["epoch"] == 1
    train(*apart)
    assert Path("models/resnet18_tiny_I_42.pth").stat().st_mtime_ns == first
    predict.main(predict.parse_args([*names, "--lead-sets", *SETS]))
    for leads, numbers in alone.items():
        assert numbers_of(leads) == numbers, leads


def test_a_class_that_is_not_learnt_gets_a_threshold_that_a_model_may_have():
    y_true = np.array([[1, 0], [1, 1], [0, 0], [1, 1]])
    y_score = np.array([[0.002, 0.1], [0.001, 0.9], [0.003, 0.2], [0.001, 0.8]])
    found, _ = main.choose_thresholds(y_true, y_score, None)
    # of three positives the best threshold is 0, which is drawn to 0.5
    assert found[0] == pytest.approx(5 / 13) and 0.2 < found[1] <= 0.8
    assert thin_model.make_model(limits=dict.fromkeys(dataset.CLASSES, found[0]))


@pytest.mark.parametrize("step", [main, predict])
def test_leads_and_lead_sets_exclude_each_other(step):
    with pytest.raises(InputError, match="not allowed with"):
        step.parse_args(["--leads", "I", "--lead-sets", "I", "V5"])


def test_a_full_disk_leaves_the_last_good_checkpoint(workdir):
    train("--epochs", "1")
    size = Path(f"models/{RUN}.last.pth").stat().st_size
    before = {path: path.read_bytes() for path in Path("models").iterdir()}
    assert sorted(path.name for path in before) == [f"{RUN}.last.pth", f"{RUN}.pth"]
    limit = (size // 2, size // 2)  # bytes a file may have: what a full disk does to a write
    status, err = train_apart(
        "--epochs", "3", "--resume", before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    )
    assert status == 2 and "Traceback" not in err
    assert "free some space, then resume: the same command with --resume" in err
    assert {path: path.read_bytes() for path in Path("models").iterdir()} == before


def test_signals_that_have_changed_are_not_gone_on_with(workdir, tmp_path, monkeypatch):
    shutil.copytree(workdir, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    train("--epochs", "1")
    path = Path("data/tiny/signals.json")
    index = json.loads(path.read_text())
    path.write_text(json.dumps(index | {"fingerprint": "other"}))
    with pytest.raises(InputError) as stop:
        train("--epochs", "2", "--resume")
    assert "made with other signals" in str(stop.value)


def test_a_truncated_checkpoint_is_refused(workdir):
    train("--epochs", "1")
    path = Path(f"models/{RUN}.last.pth")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError) as stop:
        train("--epochs", "2", "--resume")
    assert "truncated" in str(stop.value)


def test_patience_stops_early(workdir):
    train("--epochs", "30", "--patience", "2", "--lr", "1e-9")
    history = pd.read_csv(f"results/{RUN}/history.csv")
    best = 1 + history["val_f1"].argmax()
    assert len(history) == best + 2 < 30
    train("--epochs", "30", "--patience", "2", "--lr", "1e-9", "--resume")  # nothing is left to do
    assert len(pd.read_csv(f"results/{RUN}/history.csv")) == len(history)


def refused(capsys, *flags):
    capsys.readouterr()
    with pytest.raises(InputError) as stop:
        train(*flags)
    return str(stop.value)


def same(a, b):
    return all(torch.equal(tensor, b["state_dict"][key]) for key, tensor in a["state_dict"].items())


def test_the_model_keeps_the_thresholds_that_predict_finds_and_its_records(workdir):
    train("--epochs", "2")
    model = load(RUN)
    flags = ["--data-dir", "data/tiny", "--arch", "resnet18"]
    predict.main(predict.parse_args(flags))
    found = json.loads(Path(f"results/{RUN}/thresholds.json").read_text())
    assert found["thresholds"] == model["thresholds"] and model["threshold_rule"] in found["rule"]
    labels, packed = dataset.load_labels("data/tiny"), dataset.PackedSignals("data/tiny")
    used = labels.loc[labels["fold"] <= 9, "patient_id"]
    assert set(model["training_records"]) == set(used)
    name = used.iloc[0]
    by_hand = hashlib.sha256(packed[name].astype("<i2").tobytes()).hexdigest()[:16]
    assert model["training_records"][name] == by_hand
    assert model["signals"] == packed.fingerprint


def thresholds_by_hand(weights):
    """Return the best thresholds of weights on the validation fold: its four last 2 s, in mV."""
    network = resnet.ResNet1d("resnet18", 12, 9).eval()
    network.load_state_dict(weights)
    labels, packed = dataset.load_labels("data/tiny"), dataset.PackedSignals("data/tiny")
    fold = labels[labels["fold"] == 9]
    x = np.stack([packed[name][:, -1000:] for name in fold["patient_id"]]) / np.float32(1000)
    with torch.no_grad():
        scores = torch.sigmoid(network(torch.from_numpy(x).float())).numpy()
    return metrics.find_thresholds(fold[list(dataset.CLASSES)].to_numpy(), scores, "steady")


def test_the_models_thresholds_are_those_of_its_best_weights_not_of_its_last(workdir, monkeypatch):
    monkeypatch.setattr(training.Schedule, "best_epoch", lambda self, history: 1)
    train("--epochs", "3", "--lr", "1e-2")
    model, last = load(RUN), load(f"{RUN}.last")
    assert (model["epoch"], last["epoch"]) == (1, 3)
    best, other = (thresholds_by_hand(one["state_dict"]) for one in (model, last))
    assert list(model["thresholds"].values()) == pytest.approx(best, abs=1e-5)
    assert (np.abs(best - other) > 0.01).any()


def test_the_loss_of_an_epoch_is_the_mean_over_its_records(workdir, monkeypatch):
    seen, entropy = [], torch.nn.functional.binary_cross_entropy_with_logits

    def spy(logits, y):
        loss = entropy(logits, y)
        seen.append((loss.item(), len(y)))
        return loss

    monkeypatch.setattr(loop, "cross_entropy", spy)
    train("--epochs", "1")
    losses, sizes = np.transpose(seen)
    assert sizes.tolist() == [7, 7, 7, 7, 4]  # a record of the small batch counts like any other
    history = pd.read_csv(f"results/{RUN}/history.csv")
    expected = np.average(losses, weights=sizes)
    assert history["train_loss"].item() == pytest.approx(expected, rel=1e-6)


def test_a_training_started_anew_and_killed_leaves_the_model_of_the_one_before(
    workdir, monkeypatch
):
    train("--epochs", "2")
    first = {path: path.read_bytes() for path in [*Path("models").glob("*"), *results()]}
    monkeypatch.setattr(training.Training, "save", stop_after_writing)
    with pytest.raises(KeyboardInterrupt):
        train("--epochs", "2", "--lr", "1e-2")
    monkeypatch.undo()
    monkeypatch.setattr(resnet, "WIDTHS", (8, 8, 16, 16))
    monkeypatch.chdir(workdir)
    state = Path(f"models/{RUN}.last.pth")
    assert {path for path in first if path.read_bytes() != first[path]} == {state}
    train("--epochs", "2", "--lr", "1e-2", "--resume")
    resumed = load(RUN)
    train("--epochs", "2", "--lr", "1e-2")
    assert same(resumed, load(RUN)) and resumed["history"][0]["epoch"] == 1
    assert [row["val_f1"] for row in resumed["history"]] == [
        row["val_f1"] for row in load(RUN)["history"]
    ]


def results():
    return Path("results", RUN).glob("*")


def stop_after_writing(*args, write=training.Training.save):
    write(*args)
    raise KeyboardInterrupt


@pytest.mark.parametrize("lost", [f"models/{RUN}.pth", "run.json", "history.csv"])
def test_resume_with_nothing_left_to_train_writes_what_is_missing(lost, workdir):
    train("--epochs", "2")
    path = Path(lost) if "/" in lost else Path("results", RUN, lost)
    whole, trained = path.read_bytes(), load(RUN)
    path.unlink()
    train("--epochs", "2", "--resume")
    assert same(trained, load(RUN)) and load(RUN)["thresholds"] == trained["thresholds"]
    if path.suffix == ".csv":
        assert path.read_bytes() == whole
    stood = path.stat().st_mtime_ns
    train("--epochs", "2", "--resume")  # nothing is missing: nothing is written
    assert path.stat().st_mtime_ns == stood


def test_resume_auto_goes_on_or_moves_aside_what_does_not_fit(workdir, capsys):
    last, old = Path(f"models/{RUN}.last.pth"), Path(f"models/{RUN}.last.pth.old")
    train("--epochs", "1", "--resume", "auto")  # there is none: a start
    train("--epochs", "3", "--resume", "auto")
    assert "epoch 01/3" not in capsys.readouterr().out and not old.exists()
    whole = load(RUN)
    kept = last.read_bytes()
    train("--epochs", "2", "--resume", "auto")  # an unbroken run would have ended before
    assert "has more epochs (3)" in capsys.readouterr().out and old.read_bytes() == kept
    assert load(f"{RUN}.last")["epoch"] == 2
    train("--epochs", "3", "--lr", "1e-2", "--resume", "auto")
    assert "other lr" in capsys.readouterr().out and not same(whole, load(RUN))
    last.write_bytes(b"no checkpoint")
    train("--epochs", "3", "--resume", "auto")
    assert "cannot be read" in capsys.readouterr().out and old.read_bytes() == b"no checkpoint"
    assert same(whole, load(RUN))


def test_a_second_training_of_one_run_stops_with_a_line(workdir, capsys):
    train("--epochs", "1")
    before = {path: path.read_bytes() for path in [*Path("models").glob("*"), *results()]}
    with training.lock(RUN):  # as a process that trains holds it
        assert f"another process is training {RUN}" in refused(capsys, "--epochs", "2")
        status, err = train_apart("--epochs", "2", "--lr", "1e-2")
        assert status == 2 and err.count("error: ") == 1
        assert {path: path.read_bytes() for path in before} == before
        train("--epochs", "1", "--seed", "43")  # another run is free to train
    Path(f"models/.{RUN}.last.123.tmp.pth").touch()  # left by a killed process
    train("--epochs", "2", "--resume")
    assert not list(Path("models").glob(".*"))


def test_a_folder_that_cannot_be_written_is_one_line(workdir, capsys):
    Path("models").write_text("a file")
    assert "cannot be written" in refused(capsys, "--epochs", "1")


def test_a_state_of_another_version_is_refused(workdir, capsys):
    train("--epochs", "1")
    path = Path(f"models/{RUN}.last.pth")
    torch.save(load(f"{RUN}.last") | {"version": 1}, path)
    assert "has checkpoint version 1" in refused(capsys, "--epochs", "2", "--resume")


def test_two_processes_take_the_gradients_and_scores_of_one(workdir):
    # 32 training records in batches of 7: the last holds 4, each batch is dealt out unevenly
    results = []
    for run in (faults.run, faults.run_two):
        status, err, *_ = run(gradients.main, ["out.pth", *TRAIN], workdir)
        assert status == 0, err[-2000:]
        results.append(torch.load("out.pth", weights_only=True))
    one, two = results
    for name, gradient in one["gradients"].items():
        scale = gradient.abs().max().item()
        np.testing.assert_allclose(two["gradients"][name], gradient, atol=1e-5 * scale + 1e-9)
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
    assert two["scores"] == pytest.approx(one["scores"], rel=1e-5)


def test_two_processes_train_and_one_writes(workdir):
    command = [sys.executable, *TORCHRUN, TESTS / "train_thin.py", *TRAIN, "--epochs", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("epoch 02/2") == 1
    assert load(f"{RUN}.last")["epoch"] == 2
    assert len(pd.read_csv(f"results/{RUN}/history.csv")) == 2
    weights = load(f"{RUN}.last")["state_dict"]
    train("--epochs", "2")  # one process: batch norm aside, the same run
    alone = load(f"{RUN}.last")["state_dict"]
    moved = (weights["fc.weight"] - alone["fc.weight"]).norm() / alone["fc.weight"].norm()
    assert 0 < moved < 0.05
