"""Values of one record: of a new method, of windows, without padding."""

import numpy as np
import pytest
import torch

from dataset import CLASSES
from ecg.explanation import attributions, maps, values
from ecg.explanation.attributions import Method, Options
from resnet import ResNet1d


class Weighted(torch.nn.Module):
    """Logits (N, 9) that are k times the sum of a signal."""

    def __init__(self):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.arange(9.0), requires_grad=False)

    def forward(self, x):
        return x.sum((1, 2))[:, None] * self.weights

    def starts(self, n):
        return [0]


@pytest.mark.parametrize(("from_zero", "base"), [(False, 2.0), (True, 0.0)])
def test_a_new_method_is_one_entry(monkeypatch, from_zero, base):
    """Its values start from the background without the record itself, or from zeros."""
    monkeypatch.setattr(attributions, "fold_norms", lambda model: model)

    def ends(samples, n, seed):
        assert (samples, n) == (4, 1 if from_zero else 2)
        assert seed == values.record_seed("itself", 42)
        return np.arange(samples) % n, np.ones(samples)

    monkeypatch.setitem(attributions.METHODS, "new", Method("new", ends, from_zero))
    signals = torch.stack([torch.full((1, 4), float(v)) for v in (9, 0, 1)])
    model = Weighted()
    names = ["itself", "a", "b"]
    background = maps.Background(names, signals, attributions.score(model, signals, 2))
    options = Options(method="new", samples=4, background=2)
    x = np.full((1, 4), 2, np.float32)
    stored = values.make_values(model, options, "itself", x, background, [3, 8])
    assert stored["phi"].shape == (2, 1, 4) and stored["classes"].tolist() == [3, 8]
    assert set(stored) == values.STORED
    assert stored["base"].tolist() == [base * k for k in range(9)]
    for k, phi in zip((3, 8), stored["phi"], strict=True):
        assert phi.sum() == pytest.approx(stored["logits"][k] - stored["base"][k])


@pytest.fixture
def model():
    """Return a network of random weights that scores windows of 1 s."""
    torch.manual_seed(0)
    model = ResNet1d("resnet18", 2, len(CLASSES), 8, window=500).eval()
    torch.nn.init.normal_(model.fc.weight, 0, 1)
    return model.requires_grad_(False)


@pytest.mark.parametrize("method", ["ig", "shap"])
def test_each_class_is_explained_in_the_window_that_makes_its_logit(model, method):
    rng = np.random.default_rng(1)
    x = rng.normal(0, 1, (2, 1730)).astype(np.float32)
    x[:, :700] *= 0.2
    signals = torch.from_numpy(rng.normal(0, 1, (3, 2, 500)).astype(np.float32))
    background = maps.Background(["a", "b", "c"], signals, attributions.score(model, signals, 2))
    options = Options(method=method, samples=4, background=3)
    stored = values.make_values(model, options, "R", x, background, range(9))
    logits = model.score(torch.from_numpy(x)[None])[0].numpy()
    assert stored["logits"] == pytest.approx(logits, abs=1e-5)
    starts = [0, 250, 500, 750, 1000, 1230]
    assert set(stored["starts"]) <= set(starts) and len(set(stored["starts"])) > 1
    for k, start in enumerate(stored["starts"]):
        part = torch.from_numpy(x[:, start : start + 500])
        assert model(part[None])[0, k] == pytest.approx(logits[k], abs=1e-5)
        assert np.array_equal(values.seen_part(x, stored, k), part.numpy())
        own = values.make_values(model, options, "R", part.numpy(), background, [k])
        assert np.array_equal(stored["phi"][k], own["phi"][0])
        sums = stored["phi"][k].reshape(2, 25, 20).sum(2)  # 40 ms
        assert stored["halves"][:, k].mean(0) == pytest.approx(sums, abs=1e-4)
    assert stored["halves"].shape == (2, 9, 2, 25) and stored["samples"].tolist() == [4] * 9


def test_zeros_need_no_background(model):
    x = np.random.default_rng(2).normal(0, 1, (2, 800)).astype(np.float32)
    stored = values.make_values(model, Options(method="ig", samples=60), "R", x, None)
    k = stored["classes"][0]
    assert k == stored["logits"].argmax()
    change = stored["logits"][k] - stored["base"][k]
    assert stored["phi"].sum() == pytest.approx(change, rel=0.1)
    assert stored["reliability"][0, 0] > 0.9


def test_drawing_on_reaches_the_reliability_or_the_samples(model):
    rng = np.random.default_rng(3)
    x = rng.normal(0, 1, (2, 100)).astype(np.float32)
    signals = torch.from_numpy(rng.normal(0, 1, (9, 2, 100)).astype(np.float32))
    background = maps.Background(list("abcdefghi"), signals, attributions.score(model, signals, 9))

    def made(target, samples):
        options = Options(samples=samples, background=9, reliability=target)
        return values.make_values(model, options, "R", x, background)

    usual = made(None, 40)["reliability"][0, 0]
    assert 0 < usual < 0.97
    target = usual + 0.02
    reached = made(target, 2000)
    samples = int(reached["samples"][0])
    assert 40 < samples < 2000 and reached["reliability"][0, 0] >= target
    less = made(target, samples - 20)
    assert less["samples"][0] == samples - 20 and less["reliability"][0, 0] < target


def test_padding_counts_for_no_reliability():
    """Half a second of signal behind padding, in which the background differs from the record."""
    torch.manual_seed(0)
    model = ResNet1d("resnet18", 2, len(CLASSES), 8).eval().requires_grad_(False)
    rng = np.random.default_rng(3)
    x = rng.normal(0, 1, (2, 500)).astype(np.float32)
    x[:, :230] = 0
    signals = torch.from_numpy(rng.normal(0, 1, (9, 2, 500)).astype(np.float32))
    background = maps.Background(list("abcdefghi"), signals, attributions.score(model, signals, 9))
    options = Options(samples=40, background=9)
    stored = values.make_values(model, options, "R", x, background, n=270)
    assert np.abs(stored["phi"][0, :, :230]).max() > 0 and stored["starts"].tolist() == [0]
    assert stored["halves"].shape == (2, 1, 2, 14)
    found = attributions.reliability(stored["halves"][:, 0])
    assert stored["reliability"][0] == pytest.approx(found, abs=1e-5, nan_ok=True)
    assert np.array_equal(values.seen_part(x, stored), x[:, 230:])


def test_padding_is_left_out_of_each_class():
    phi = np.arange(2 * 1 * 5).reshape(2, 1, 5)
    logits = np.eye(len(CLASSES))[4]
    stored = {"phi": phi, "classes": np.array([4, 1]), "logits": logits, "n": np.array(3)}
    assert [(k, part.tolist()) for k, part in values.each_class(stored)] == [
        (4, [[2, 3, 4]]),
        (1, [[7, 8, 9]]),
    ]
    k, part = values.predicted_values(stored | {"n": np.array(50)})
    assert k == 4 and part.shape == (1, 5)
