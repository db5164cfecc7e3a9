import errno
import subprocess

import numpy as np
import pytest
import torch

from dataset import LEADS
from ecg.inference import checkpoint
from ecg.inference import model as model_module
from ecg.inference.model import Model, predict_scores
from ecg.inference.provenance import Provenance
from resnet import ResNet1d
from utils import InputError

FLAGS = {"arch": "resnet18", "data_dir": "x", "seconds": 2, "round": 0, "limit": None, "seed": 1}
NETWORK = ResNet1d("resnet18", 1, 1, 4)
PROVENANCE = Provenance("x", 32, synthetic=False, has_patients=True)


def content(**changes):
    """Return what a model file holds, with some entries changed (None: left out)."""
    whole = {
        "state_dict": NETWORK.state_dict(),
        "epoch": 1,
        "leads": ["II"],
        "classes": ["AF"],
        "labels": "a",
        "signals": "b",
        "shortest": 5.5,
        "versions": {},
        "training_records": {},
        "args": FLAGS | {"width": 4},
        "thresholds": {"AF": 0.5},
        "threshold_rule": "any",
        "provenance": PROVENANCE.to_dict(),
    }
    return {name: value for name, value in {**whole, **changes}.items() if value is not None}


def refused(path, capsys):
    """Load a model that must be refused; return its one line."""
    with pytest.raises(InputError) as stop:
        Model.load(path)
    err = str(stop.value)
    assert "m.pth" in err and "python main.py" in err
    return err


def test_a_model_keeps_all_that_its_file_says(tmp_path):
    path = tmp_path / "m.pth"
    kept = content(window=1000, scored_on="AUC 1", training_records={"A1": "f00"}, extra=[1, "a"])
    checkpoint.save_checkpoint(path, kept)
    model = Model.load(path, leads=["II"])
    assert model.leads == ("II",) and model.classes == ("AF",) and model.window == 1000
    assert model.thresholds == {"AF": 0.5} and model.limits.tolist() == [0.5]
    assert model.provenance == PROVENANCE and model.scored_on == "AUC 1"
    assert model.flags.seconds == 2 and model.flags.width == 4 and not model.network.training
    assert model.run_on("elsewhere/x") == "m" and model.run_on("y") == "m_on_y"
    assert model.weights == checkpoint.weights_digest(NETWORK.state_dict())
    model.save(tmp_path / "n.pth", best_f1=0.25)
    again = torch.load(tmp_path / "n.pth", weights_only=True)
    assert again.pop("best_f1") == 0.25 and again.pop("version") == 2
    assert again.pop("args") == {**FLAGS, "width": 4, "windows": False}
    weights = again.pop("state_dict")
    assert all(torch.equal(weights[name], w) for name, w in kept.pop("state_dict").items())
    new = {"start": None, "centred": False, "evidence": False, "normal": None}
    assert again == {n: v for n, v in kept.items() if n not in ("args", "extra")} | new


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"version": 1}, "has checkpoint version 1"),
        ({"version": "two"}, "has checkpoint version two"),
        ({"args": {"arch": "resnet18"}}, "args: data_dir, seconds, round, seed, limit"),
        ({"args": ["a list"]}, "damaged (args)"),
        ({"args": FLAGS | {"seconds": 0}}, "damaged (args: seconds)"),
        ({"args": FLAGS | {"arch": "resnet99"}}, "'resnet99': unknown; choose resnet18 or"),
        ({"args": FLAGS | {"pad": "batch"}}, "no longer supported"),
        ({"leads": "II"}, "damaged (leads)"),
        ({"classes": [1]}, "leads or classes"),
        ({"leads": ["II", "II"]}, "damaged (leads or classes)"),
        ({"state_dict": {"w": [1.0]}}, "damaged (state_dict)"),
        ({"state_dict": {"w": torch.zeros(1)}}, "other weights than those of resnet.py's resnet18"),
        ({"thresholds": None}, "damaged (thresholds)"),
        ({"thresholds": {"AF": float("nan")}}, "damaged (thresholds)"),
        ({"thresholds": {"PAC": 0.5}}, "damaged (thresholds)"),
        ({"training_records": None}, "damaged (training_records)"),
        ({"training_records": {"A0001": ["a"]}}, "damaged (training_records)"),
        ({"provenance": {"data": "x"}}, "damaged (provenance)"),
        ({"provenance": "no patient"}, "damaged (provenance)"),
        ({"provenance": PROVENANCE.to_dict() | {"has_patients": "no"}}, "damaged (provenance)"),
    ],
)
def test_an_edited_or_older_model_is_refused_in_one_line(changes, text, tmp_path, capsys):
    checkpoint.save_checkpoint(tmp_path / "m.pth", content(**changes))
    assert text in refused(tmp_path / "m.pth", capsys)


def test_weights_that_are_not_finite_are_refused(tmp_path, capsys):
    weights = NETWORK.state_dict() | {"fc.bias": torch.tensor([float("nan")])}
    checkpoint.save_checkpoint(tmp_path / "m.pth", content(state_dict=weights))
    assert "not finite" in refused(tmp_path / "m.pth", capsys)


WEIGHTS = NETWORK.state_dict()
NAN = float("nan")
HOSTILE = [
    *(
        {"args": FLAGS | {"width": value}}
        for value in (0, -4, 600, 10**9, 4.0, "4", None, True, NAN)
    ),
    *(
        {"args": FLAGS | {"width": 4, "seconds": v}}
        for v in (0, -1, 10**9, 2.5, NAN, "2", None, True)
    ),
    *({"args": FLAGS | {"width": 4, "round": v}} for v in ("0", None, 0.5, True)),
    *({"args": FLAGS | {"width": 4, "seed": v}} for v in ("a", 1.5, [1])),
    *({"args": FLAGS | {"width": 4, "limit": v}} for v in ("a", 1.5)),
    *({"args": FLAGS | {"width": 4, "windows": v}} for v in ("no", 1, None)),
    *({"args": FLAGS | {"width": 4, "data_dir": v}} for v in (7, None, b"x")),
    *({"args": FLAGS | {"width": 4, "arch": v}} for v in (18, None, ["resnet18"])),
    *({"window": value} for value in (0, 1, -5000, 10**12, 5.0, NAN, "5000", True, [1])),
    *({"shortest": value} for value in (0, -1, NAN, float("inf"), "6", True)),
    *({"epoch": value} for value in (-1, 1.0, "1", True, [1])),
    *({"scored_on": value} for value in (5, ["a"], {"a": 1}, b"a")),
    *({"thresholds": {"AF": value}} for value in (0.0, 0, -1.0, 1.5, "0.5", True)),
    *({"threshold_rule": value} for value in (5, ["a"])),
    *(
        {"labels": 5},
        {"signals": ["a"]},
        {"versions": "a"},
        {"start": "a"},
        {"start": {"model": 1}},
    ),
    *({"leads": value} for value in ([], ["II"] * 13, [None], {"II": 1}, [["II"]])),
    *({"classes": value} for value in ([], ["AF", "AF"], [1.5], [["AF"]])),
    *(
        {"state_dict": WEIGHTS | {"stem.0.weight": change(WEIGHTS["stem.0.weight"])}}
        for change in (
            lambda w: w.to(torch.int8),
            lambda w: w.to(torch.complex64),
            lambda w: w.bool(),
            lambda w: w.to_sparse(),
            lambda w: w[:, :, :3],
            lambda w: w[None],
        )
    ),
    {"state_dict": WEIGHTS | {"stem.1.num_batches_tracked": torch.tensor(0.5)}},
    {"state_dict": WEIGHTS | {"other": torch.zeros(1)}},
    {"state_dict": {name: w for name, w in WEIGHTS.items() if name != "fc.bias"}},
    {"state_dict": {}},
    {"state_dict": WEIGHTS | {7: torch.zeros(1)}},
]


@pytest.mark.parametrize("changes", HOSTILE, ids=[str(i) for i in range(len(HOSTILE))])
def test_a_hostile_model_is_refused_before_a_network_is_built(
    changes, tmp_path, capsys, monkeypatch
):
    def build(settings):
        n_leads, n_classes, width = len(settings.leads), len(settings.classes), settings.flags.width
        real = (n_leads, n_classes, width) == (1, 1, 4)
        assert real or torch.empty(0).is_meta, "memory is taken for what the file only claims"
        return ResNet1d(settings.flags.arch, n_leads, n_classes, width, settings.window)

    monkeypatch.setattr(model_module.Settings, "build_network", build)
    torch.save({"version": 2, **content(), **changes}, tmp_path / "m.pth")
    refused(tmp_path / "m.pth", capsys)


@pytest.mark.parametrize("kind", ["missing", "truncated", "text", "other", "pickle"])
def test_what_is_no_model_is_refused_in_one_line(kind, tmp_path, capsys):
    path = tmp_path / "m.pth"
    if kind == "truncated":
        checkpoint.save_checkpoint(path, content())
        path.write_bytes(path.read_bytes()[:500])
    elif kind == "text":
        path.write_text("hello")
    elif kind == "other":
        torch.save({"weights": torch.zeros(1)}, path)
    elif kind == "pickle":
        torch.save({"run": subprocess.run}, path)  # code in a checkpoint must not load
    refused(path, capsys)


def test_other_leads_than_the_model_s_are_refused(tmp_path):
    checkpoint.save_checkpoint(tmp_path / "m.pth", content())
    with pytest.raises(InputError) as stop:
        Model.load(tmp_path / "m.pth", leads=("I", "II"))
    assert "was trained on leads II, not I,II" in str(stop.value)


def test_probabilities_of_an_array_are_those_of_its_microvolts_at_500_hz(tmp_path):
    torch.manual_seed(0)
    network = ResNet1d("resnet18", 2, 1, 4).eval()
    kept = content(leads=["II", "V5"], state_dict=network.state_dict())
    checkpoint.save_checkpoint(tmp_path / "m.pth", kept)
    model = Model.load(tmp_path / "m.pth")
    signal = np.random.default_rng(0).normal(0, 0.5, (12, 1800))
    seen = np.rint(1000 * signal[[1, LEADS.index("V5")], -1000:]) / 1000
    with torch.no_grad():
        expected = torch.sigmoid(network(torch.from_numpy(seen).float()[None]))[0].numpy()
    np.testing.assert_allclose(model.probabilities(signal, 500), expected, rtol=1e-5)
    assert model.probabilities(signal[:, ::2], 250).shape == (1,)
    with pytest.raises(ValueError, match="not \\(12, n\\)"):
        model.probabilities(signal.T, 500)


def test_predict_scores_gives_probabilities_in_order_and_restores_the_mode():
    linear = torch.nn.Linear(4, 2)
    network = torch.nn.Sequential(linear, torch.nn.Dropout(0.9))  # which scoring must switch off
    x = torch.randn(5, 4)
    batches = [(x[:3], torch.zeros(3, 2)), (x[3:], torch.ones(2, 2))]
    network.train()
    y_true, y_score = predict_scores(network, batches, torch.device("cpu"))
    expected = 1 / (1 + np.exp(-linear(x).detach().numpy()))
    np.testing.assert_allclose(y_score, expected, rtol=1e-5)
    assert y_true[:, 0].tolist() == [0, 0, 0, 1, 1]
    assert network.training


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_a_logit_that_is_not_finite_is_no_probability(value):
    batches = [(torch.tensor([[value, 1.0]]), torch.zeros(1, 2))]
    _, y_score = predict_scores(torch.nn.Identity(), batches, torch.device("cpu"))
    assert np.isnan(y_score[0, 0]) and y_score[0, 1] == pytest.approx(1 / (1 + np.exp(-1)))


def test_the_normal_class_and_a_finding_exclude_each_other(tmp_path):
    classes, thresholds = ["SNR", "AF", "PVC"], {"SNR": 0.5, "AF": 0.2, "PVC": 0.5}
    network = ResNet1d("resnet18", 1, 3, 4)
    kept = content(classes=classes, thresholds=thresholds, state_dict=network.state_dict())
    scores = np.array(
        [
            [0.9, 0.1, 0.1],  # normal alone
            [0.9, 0.3, 0.1],  # logit .9 is 2.2 above its threshold's, AF .54: normal
            [0.6, 0.9, 0.6],  # AF is 3.6 above: both findings
            [0.4, 0.3, 0.6],  # not normal
            [0.4, 0.1, 0.1],  # nothing
        ]
    )
    for normal, expected in (
        ("SNR", ["SNR", "SNR", "AF PVC", "AF PVC", ""]),
        (None, ["SNR", "SNR AF", "SNR AF PVC", "AF PVC", ""]),
    ):
        checkpoint.save_checkpoint(tmp_path / "m.pth", kept | {"normal": normal})
        model = Model.load(tmp_path / "m.pth")
        found = [" ".join(np.array(classes)[row]) for row in model.findings(scores)]
        assert found == expected and model.network.normal == (0 if normal else None)
        assert " ".join(np.array(classes)[model.findings(scores[2])]) == expected[2]


def test_the_normal_class_alone_is_found_like_any_other(tmp_path):
    kept = content(classes=["SNR"], thresholds={"SNR": 0.5}, normal="SNR")
    checkpoint.save_checkpoint(tmp_path / "m.pth", kept)
    found = Model.load(tmp_path / "m.pth").findings(np.array([[0.7], [0.3]]))
    assert found.tolist() == [[True], [False]]


def test_a_normal_class_that_is_none_of_the_classes_is_refused(tmp_path, capsys):
    checkpoint.save_checkpoint(tmp_path / "m.pth", content(normal="SNR"))
    assert "damaged (normal)" in refused(tmp_path / "m.pth", capsys)


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "no"), OSError(errno.EIO, "bad")])
def test_a_model_that_the_machine_cannot_read_is_not_called_damaged(error, tmp_path, monkeypatch):
    torch.save(content(), tmp_path / "m.pth")

    def load(*_, **__):
        raise error

    monkeypatch.setattr(checkpoint.torch, "load", load)
    with pytest.raises(type(error)):
        Model.load(tmp_path / "m.pth")
