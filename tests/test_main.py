"""Training where it needs processes of its own: killed, on a full disk, several at once."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import dataset
import main
import resnet

TESTS = Path(__file__).parent
TRAIN = "--data-dir data/tiny --arch resnet18 --seconds 2 --lr 1e-3 --batch-size 7".split()
RUN = "resnet18_tiny_all_42"
TWO_PROCESSES = ["-m", "torch.distributed.run", "--nproc-per-node", "2"]
ENV = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def workdir(tiny, monkeypatch):
    monkeypatch.setattr(resnet, "WIDTHS", (8, 8, 16, 16))
    monkeypatch.chdir(tiny.parents[1])
    return tiny.parents[1]


def train(*flags):
    main.main(main.parse_args([*TRAIN, *flags]))


def train_apart(*flags):
    command = [sys.executable, TESTS / "train_thin.py", *TRAIN, *flags]
    return subprocess.run(command, capture_output=True, text=True, env=ENV, check=False)


def load(name):
    return torch.load(f"models/{name}.pth", weights_only=True)


def test_batches_hold_every_row_once_in_an_order_of_seed_and_epoch():
    batches = dataset.make_batches(45, 8, seed=3, epoch=1)
    assert [len(batch) for batch in batches] == [8] * 5 + [5]
    assert sorted(sum(batches, [])) == list(range(45))
    assert dataset.make_batches(45, 8, seed=3, epoch=1) == batches
    assert dataset.make_batches(45, 8, seed=3, epoch=2) != batches
    assert dataset.make_batches(45, 8, seed=4, epoch=1) != batches


def test_batches_by_length_hold_every_row_once_and_waste_little():
    lengths = np.random.default_rng(0).choice([500, 5000, 5000, 9000, 15000], 100)
    batches = dataset.make_batches(100, 8, 3, 1, lengths)
    assert sorted(sum(batches, [])) == list(range(100))
    assert dataset.make_batches(100, 8, 3, 2, lengths) != batches
    means = [lengths[batch].mean() for batch in batches]
    assert means != sorted(means)  # the order of the batches is drawn
    padded = sum(lengths[batch].max() * len(batch) for batch in batches)
    assert padded < 1.15 * lengths.sum()


def test_pad_batch_trains_on_records_padded_to_their_batch_alone(workdir, monkeypatch):
    seen = []
    forward = resnet.ResNet1d.forward
    monkeypatch.setattr(
        resnet.ResNet1d, "forward", lambda self, x: seen.append(x) or forward(self, x)
    )
    train("--epochs", "1", "--pad", "batch", "--seconds", "3")
    assert sorted(map(len, seen)) == [1, 1, 1, 4, 7, 7, 7, 7]  # validation goes one by one
    for x in seen:  # records are 1000, 1500 or 2000 samples long, the window 1500
        assert x.shape[2] in (1000, 1500)
        assert (x[:, :, :20] != 0).any(dim=(1, 2)).any()  # the longest of a batch has no padding
    assert load(RUN)["args"]["pad"] == "batch"


def test_a_run_killed_in_mid_epoch_and_resumed_is_the_unbroken_run(workdir):
    train("--epochs", "4")
    whole = {name: load(name) for name in (RUN, f"{RUN}.last")}
    Path("models").rename("whole")

    command = [sys.executable, TESTS / "train_thin.py", *TRAIN, "--epochs", "4"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENV)
    seen = ""
    while "epoch 3:" not in seen and process.poll() is None:
        seen = (seen + process.stderr.read(1))[-20:]  # the progress bar of the third epoch
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    assert load(f"{RUN}.last")["epoch"] == 2

    train("--epochs", "4", "--resume")
    for name, before in whole.items():
        after = load(name)
        assert after["epoch"] == before["epoch"] and after["best_f1"] == before["best_f1"]
        for key, tensor in before["state_dict"].items():
            assert torch.equal(tensor, after["state_dict"][key]), key
        for key, state in before["optimizer"]["state"].items():
            assert torch.equal(state["exp_avg_sq"], after["optimizer"]["state"][key]["exp_avg_sq"])


def test_a_full_disk_leaves_the_last_good_checkpoint(workdir):
    train("--epochs", "1")
    size = Path(f"models/{RUN}.last.pth").stat().st_size
    before = {path: path.read_bytes() for path in Path("models").iterdir()}
    done = train_apart("--epochs", "3", "--resume", "--file-limit", str(size // 2))
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "make room, then go on: the same command with --resume" in done.stderr
    assert {path: path.read_bytes() for path in Path("models").iterdir()} == before


def test_signals_that_have_changed_are_not_gone_on_with(workdir, tmp_path, monkeypatch, capsys):
    shutil.copytree(workdir, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    train("--epochs", "1")
    path = Path("data/tiny/signals.json")
    index = json.loads(path.read_text())
    path.write_text(json.dumps(index | {"fingerprint": "other"}))
    with pytest.raises(SystemExit, match="2"):
        train("--epochs", "2", "--resume")
    assert "made with other signals" in capsys.readouterr().err


def test_a_truncated_checkpoint_is_refused(workdir, capsys):
    train("--epochs", "1")
    path = Path(f"models/{RUN}.last.pth")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SystemExit) as stop:
        train("--epochs", "2", "--resume")
    err = capsys.readouterr().err
    assert stop.value.code == 2 and err.count("error: ") == 1 and "truncated" in err


def test_patience_stops_early(workdir):
    train("--epochs", "30", "--patience", "2", "--lr", "1e-9")
    history = pd.read_csv(f"results/{RUN}/history.csv")
    best = 1 + history["val_f1"].argmax()
    assert len(history) == best + 2 < 30
    train("--epochs", "30", "--patience", "2", "--lr", "1e-9", "--resume")  # nothing is left to do
    assert len(pd.read_csv(f"results/{RUN}/history.csv")) == len(history)


def test_two_processes_take_the_gradients_and_scores_of_one(workdir):
    # 32 training records in batches of 7: the last holds 4, each batch is dealt out unevenly
    results = []
    for launcher in ([], [*TWO_PROCESSES, "--master-port", "29517"]):
        command = [sys.executable, *launcher, TESTS / "gradients.py", "out.pth", *TRAIN]
        done = subprocess.run(command, capture_output=True, text=True, env=ENV, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        results.append(torch.load("out.pth", weights_only=True))
    one, two = results
    for name, gradient in one["gradients"].items():
        scale = gradient.abs().max().item()
        np.testing.assert_allclose(two["gradients"][name], gradient, atol=1e-5 * scale + 1e-9)
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
    assert two["scores"] == pytest.approx(one["scores"], rel=1e-5)


def test_two_processes_train_and_one_writes(workdir):
    command = [sys.executable, *TWO_PROCESSES, "--master-port", "29518", TESTS / "train_thin.py"]
    command += TRAIN
    done = subprocess.run(
        [*command, "--epochs", "2"], capture_output=True, text=True, env=ENV, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("epoch 02/2") == 1
    assert load(f"{RUN}.last")["epoch"] == 2
    assert len(pd.read_csv(f"results/{RUN}/history.csv")) == 2
    weights = load(f"{RUN}.last")["state_dict"]
    train("--epochs", "2")  # one process: batch norm aside, the same run
    alone = load(f"{RUN}.last")["state_dict"]
    moved = (weights["fc.weight"] - alone["fc.weight"]).norm() / alone["fc.weight"].norm()
    assert 0 < moved < 0.05
