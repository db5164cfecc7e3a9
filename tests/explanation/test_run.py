"""What is explained and against what; folders of values that are resumed, or not."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from dataset import CLASSES, ECGDataset
from ecg.explanation import run as explanation_run
from ecg.explanation.attributions import Options
from utils import InputError


def test_background_and_explained_records_come_from_different_folds():
    labels = pd.DataFrame({"patient_id": [f"R{i:03d}" for i in range(1, 31)]})
    labels["fold"] = np.arange(30) % 10 + 1
    fold = labels.set_index("patient_id")["fold"]
    draws = []
    for seed in (1, 2):
        options = Options(seed=seed, round=3, background=20)
        run = SimpleNamespace(labels=labels, trained_here=True)
        names = explanation_run.choose_records(run, options, at_most=200)
        background = explanation_run.draw_background(labels, options)
        assert set(fold[names]) == {3}  # round 3 tests on fold 3 and validates on fold 2
        assert len(set(background)) == 21 and not set(fold[background]) & {2, 3}
        draws.append(background)
    assert draws[0] != draws[1]


class Fixed(torch.nn.Module):
    """Logits (N, 9) whose highest is the class that a signal's first sample names."""

    def forward(self, x):
        return torch.eye(9)[x[:, 0, 0].long()]


@pytest.mark.parametrize(
    ("at_most", "counts"), [(5, [2, 0, 2, 1]), (7, [3, 0, 3, 1]), (21, [11, 0, 9, 1])]
)
def test_the_draw_is_balanced_over_predicted_classes(at_most, counts):
    """Of 20, 0, 9 and 1 records predicted as the first four classes, in any order of the table."""
    names = [f"R{i:02d}" for i in range(30)]
    predicted = np.repeat([0, 2, 3], [20, 9, 1])
    table = pd.DataFrame({"patient_id": names, "fold": 1, **dict.fromkeys(CLASSES, 0)})
    class_of = dict(zip(names, predicted, strict=True))
    draws = []
    for labels in (table, table.sample(frac=1, random_state=0)):
        signals = {name: np.full((12, 500), 1000 * class_of[name], np.int16) for name in names}
        data = ECGDataset(signals, labels, seconds=1)
        model = SimpleNamespace(network=Fixed(), device=torch.device("cpu"))
        run = SimpleNamespace(labels=labels, data=data, model=model, trained_here=False)
        draws.append(explanation_run.choose_records(run, Options(), at_most))
    assert draws[0] == draws[1] == sorted(draws[0])
    found = np.bincount([class_of[name] for name in draws[0]], minlength=4)
    assert found.tolist() == counts


def made_folder(folder, **options):
    """Make a folder of values as a run with these options leaves it."""
    explanation_run.open_folder(folder, options)
    (folder / "values").mkdir(exist_ok=True)
    for name in ("values/a.npz", "page.html"):
        (folder / name).write_text("old")
    return [folder / "page.html"]


def test_resume_auto_continues_where_the_options_fit_and_starts_anew_where_not(tmp_path, capsys):
    derived = made_folder(tmp_path, samples=5, seed=1)
    explanation_run.open_folder(tmp_path, {"samples": 5, "seed": 1}, auto=True, derived=derived)
    assert (tmp_path / "values/a.npz").exists() and derived[0].exists()
    assert not capsys.readouterr().out
    explanation_run.open_folder(tmp_path, {"samples": 6, "seed": 1}, auto=True, derived=derived)
    assert not (tmp_path / "values/a.npz").exists() and not derived[0].exists()
    assert "another samples; starting over" in capsys.readouterr().out
    assert json.loads((tmp_path / "run.json").read_text())["samples"] == 6


@pytest.mark.parametrize("text", ["", "[1, 2]", '{"samples": 4'])
def test_values_of_unknown_options_stop_or_start_anew(tmp_path, text):
    derived = made_folder(tmp_path, samples=5)
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError) as stop:
        explanation_run.open_folder(tmp_path, {"samples": 5}, derived=derived)
    assert "--force" in str(stop.value) and (tmp_path / "values/a.npz").exists()
    explanation_run.open_folder(tmp_path, {"samples": 5}, auto=True, derived=derived)
    assert not (tmp_path / "values/a.npz").exists() and not derived[0].exists()
