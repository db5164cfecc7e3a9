"""What is explained and against what; folders of values that are gone on with, or not."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from dataset import CLASSES
from ecg.explanation import attributions, maps
from ecg.explanation.attributions import Method, Options


def test_background_and_explained_records_come_from_different_folds():
    labels = pd.DataFrame({"patient_id": [f"R{i:03d}" for i in range(1, 31)]})
    labels["fold"] = np.arange(30) % 10 + 1
    fold = labels.set_index("patient_id")["fold"]
    draws = []
    for seed in (1, 2):
        options = Options(seed=seed, round=3, background=20)
        run = SimpleNamespace(labels=labels, trained_here=True)
        names = maps.choose_records(run, options, at_most=200)
        background = maps.draw_background(labels, options)
        assert set(fold[names]) == {3}  # round 3 tests on fold 3 and validates on fold 2
        assert len(set(background)) == 21 and not set(fold[background]) & {2, 3}
        draws.append(background)
    assert draws[0] != draws[1]
    few, again = (
        maps.choose_records(SimpleNamespace(labels=table, trained_here=False), Options(), 2)
        for table in (labels, labels.sample(frac=1, random_state=0))
    )
    assert len(few) == 2 and few == again


class Weighted(torch.nn.Module):
    """Logits (N, 9) that are k times the sum of a signal."""

    def forward(self, x):
        return x.sum((1, 2))[:, None] * torch.arange(9.0)


@pytest.mark.parametrize(("from_zero", "base"), [(False, 2.0), (True, 0.0)])
def test_a_new_method_is_one_entry(monkeypatch, from_zero, base):
    """Its values start from the background without the record itself, or from zeros."""
    monkeypatch.setattr(attributions, "fold_norms", lambda model: model)

    def occlusion(model, x, background, samples, seed, batch_size):
        assert (samples, batch_size) == (7, 8)
        with torch.no_grad():
            return ((x - background.mean(0)) * model.k).numpy()

    monkeypatch.setitem(attributions.METHODS, "new", Method("new", occlusion, from_zero))
    signals = torch.stack([torch.full((1, 4), float(v)) for v in (9, 0, 1)])
    model = Weighted()
    names = ["itself", "a", "b"]
    background = maps.Background(names, signals, attributions.score(model, signals, 2))
    options = Options(method="new", samples=7, background=2)
    x = np.full((1, 4), 2, np.float32)
    stored = maps.make_values(model, options, "itself", x, background, [3, 8])
    assert stored["phi"].shape == (2, 1, 4) and stored["classes"].tolist() == [3, 8]
    assert stored["base"].tolist() == [base * k for k in range(9)]
    for k, phi in zip((3, 8), stored["phi"], strict=True):
        assert phi.sum() == pytest.approx(stored["logits"][k] - stored["base"][k])


def made_folder(folder, **options):
    """Make a folder of values as a run with these options leaves it."""
    maps.open_folder(folder, options)
    (folder / "values").mkdir(exist_ok=True)
    for name in ("values/a.npz", "page.html"):
        (folder / name).write_text("old")
    return [folder / "page.html"]


def test_resume_auto_goes_on_where_the_options_fit_and_starts_anew_where_not(tmp_path, capsys):
    derived = made_folder(tmp_path, samples=5, seed=1)
    maps.open_folder(tmp_path, {"samples": 5, "seed": 1}, auto=True, derived=derived)
    assert (tmp_path / "values/a.npz").exists() and derived[0].exists()
    assert not capsys.readouterr().out
    maps.open_folder(tmp_path, {"samples": 6, "seed": 1}, auto=True, derived=derived)
    assert not (tmp_path / "values/a.npz").exists() and not derived[0].exists()
    assert "another samples; starting anew" in capsys.readouterr().out
    assert json.loads((tmp_path / "run.json").read_text())["samples"] == 6


@pytest.mark.parametrize("text", ["", "[1, 2]", '{"samples": 4'])
def test_values_of_unknown_options_stop_or_start_anew(tmp_path, capsys, text):
    derived = made_folder(tmp_path, samples=5)
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(SystemExit, match="2"):
        maps.open_folder(tmp_path, {"samples": 5}, derived=derived)
    assert "--force" in capsys.readouterr().err and (tmp_path / "values/a.npz").exists()
    maps.open_folder(tmp_path, {"samples": 5}, auto=True, derived=derived)
    assert not (tmp_path / "values/a.npz").exists() and not derived[0].exists()


def test_padding_is_left_out_of_each_class():
    phi = np.arange(2 * 1 * 5).reshape(2, 1, 5)
    logits = np.eye(len(CLASSES))[4]
    stored = {"phi": phi, "classes": np.array([4, 1]), "logits": logits, "n": np.array(3)}
    assert [(k, values.tolist()) for k, values in maps.each_class(stored)] == [
        (4, [[2, 3, 4]]),
        (1, [[7, 8, 9]]),
    ]
    k, values = maps.predicted_values(stored | {"n": np.array(50)})
    assert k == 4 and values.shape == (1, 5)
