"""The explanation of one record: by a new method, in windows, without padding, kept in a file."""

from dataclasses import fields
from functools import partial

import numpy as np
import pytest
import torch

from dataset import CLASSES
from ecg.explanation import attributions, explanation, methods
from ecg.explanation.attributions import Options
from ecg.explanation.explanation import Background, Explainer, Explanation, Record
from ecg.explanation.methods import Method
from resnet import ResNet1d


class Weighted(torch.nn.Module):
    """Logits (N, 9) that are k times the sum of a signal."""

    def __init__(self):
        super().__init__()
        self.normal = None
        self.weights = torch.nn.Parameter(torch.arange(9.0), requires_grad=False)

    def forward(self, x):
        return x.sum((1, 2))[:, None] * self.weights

    def window_starts(self, n):
        return [0]


def background_of(network, signals, names=None):
    """Return the Background of signals (B, L, T)."""
    names = names or [f"b{i}" for i in range(len(signals))]
    return Background(names, signals, attributions.batch_logits(network, signals, 2))


def record(x, n=None):
    return Record("R", x, x.shape[1] if n is None else n)


@pytest.mark.parametrize(("background", "base"), [(True, 2.0), (False, 0.0)])
def test_a_new_method_is_one_entry(monkeypatch, background, base):
    """Its values start from the background without the record itself, or from zeros."""
    monkeypatch.setattr(attributions, "fold_norms", lambda network: network)

    def ends(samples, n, seed):
        assert (samples, n) == (4, 2 if background else 1)
        assert seed == explanation.record_seed("itself", 42)
        return np.arange(samples) % n, np.ones(samples)

    entry = Method("new", partial(attributions.mean_gradients_of, ends), background)
    monkeypatch.setitem(methods.METHODS, "new", entry)
    signals = torch.stack([torch.full((1, 4), float(v)) for v in (9, 0, 1)])
    network = Weighted()
    others = background_of(network, signals, ["itself", "a", "b"])
    options = Options(method="new", samples=4, background=2)
    x = np.full((1, 4), 2, np.float32)
    made = Explainer(network, options, others).explain(Record("itself", x, 4), [3, 8])
    assert made.phi.shape == (2, 1, 4) and made.classes.tolist() == [3, 8]
    assert made.base.tolist() == [base * k for k in range(9)]
    for k, phi in zip((3, 8), made.phi, strict=True):
        assert phi.sum() == pytest.approx(made.logits[k] - made.base[k])
        assert made.of(k).residual == pytest.approx(0, abs=1e-5)


@pytest.fixture
def network():
    """Return a network of random weights that scores windows of 1 s."""
    torch.manual_seed(0)
    network = ResNet1d("resnet18", 2, len(CLASSES), 8, window=500).eval()
    torch.nn.init.normal_(network.fc.weight, 0, 1)
    return network.requires_grad_(False)


@pytest.mark.parametrize("method", ["ig", "shap"])
def test_each_class_is_explained_in_the_window_that_makes_its_logit(network, method):
    rng = np.random.default_rng(1)
    x = rng.normal(0, 1, (2, 1730)).astype(np.float32)
    x[:, :700] *= 0.2
    signals = torch.from_numpy(rng.normal(0, 1, (3, 2, 500)).astype(np.float32))
    options = Options(method=method, samples=4, background=3)
    explainer = Explainer(network, options, background_of(network, signals))
    made = explainer.explain(record(x), range(9))
    logits = network.record_logits(torch.from_numpy(x)[None])[0].numpy()
    assert made.logits == pytest.approx(logits, abs=1e-5)
    starts = [0, 250, 500, 750, 1000, 1230]
    assert set(made.starts) <= set(starts) and len(set(made.starts)) > 1
    for k, start in enumerate(made.starts):
        part = torch.from_numpy(x[:, start : start + 500])
        assert network(part[None])[0, k] == pytest.approx(logits[k], abs=1e-5)
        assert np.array_equal(made.part_of(x, k), part.numpy())
        alone = explainer.explain(record(part.numpy()), [k])
        assert np.array_equal(made.phi[k], alone.phi[0])
        sums = made.phi[k].reshape(2, 25, 20).sum(2)  # 40 ms
        assert made.halves[:, k].mean(0) == pytest.approx(sums, abs=1e-4)
    assert made.halves.shape == (2, 9, 2, 25) and made.samples.tolist() == [4] * 9


def test_zeros_need_no_background(network):
    x = np.random.default_rng(2).normal(0, 1, (2, 800)).astype(np.float32)
    made = Explainer(network, Options(method="ig", samples=60)).explain(record(x))
    k = made.classes[0]
    assert k == made.predicted == made.logits.argmax()
    change = made.logits[k] - made.base[k]
    assert made.phi.sum() == pytest.approx(change, rel=0.1)
    assert np.isnan(made.reliability).all() and (made.of(k).trust <= 1).all()


def test_drawing_reaches_the_reliability_or_the_samples(network):
    rng = np.random.default_rng(3)
    x = rng.normal(0, 1, (2, 100)).astype(np.float32)
    signals = torch.from_numpy(rng.normal(0, 1, (60, 2, 100)).astype(np.float32))
    background = background_of(network, signals)

    def made(target, samples):
        options = Options(samples=samples, background=60, reliability=target)
        return Explainer(network, options, background).explain(record(x))

    usual = made(None, 40).reliability[0, 0]
    assert 0 < usual < 0.97
    target = usual + 0.02
    reached = made(target, 2000)
    samples = int(reached.samples[0])
    assert 40 < samples < 2000 and reached.reliability[0, 0] >= target
    less = made(target, samples - 20)
    assert less.samples[0] == samples - 20 and less.reliability[0, 0] < target


def test_padding_counts_for_no_reliability():
    """Half a second of signal behind padding, in which the background differs from the record."""
    torch.manual_seed(0)
    network = ResNet1d("resnet18", 2, len(CLASSES), 8).eval().requires_grad_(False)
    rng = np.random.default_rng(3)
    x = rng.normal(0, 1, (2, 500)).astype(np.float32)
    x[:, :230] = 0
    signals = torch.from_numpy(rng.normal(0, 1, (9, 2, 500)).astype(np.float32))
    explainer = Explainer(network, Options(samples=40), background_of(network, signals))
    made = explainer.explain(record(x, n=270))
    assert np.abs(made.phi[0, :, :230]).max() > 0 and made.starts.tolist() == [0]
    assert made.halves.shape == (2, 1, 2, 14)
    found = attributions.reliability(made.halves[:, 0])
    assert made.reliability[0] == pytest.approx(found, abs=1e-5, nan_ok=True)
    assert np.array_equal(made.part_of(x, made.predicted), x[:, 230:])


def by_hand(**changed):
    """Return an Explanation of two classes, 4 and 1, of which 4 is predicted."""
    content = {
        "phi": np.arange(2 * 1 * 5).reshape(2, 1, 5),
        "halves": np.ones((2, 2, 1, 1)),
        "reliability": np.array([[0.5, 1], [2, 1]]),
        "samples": np.array([7, 8]),
        "classes": np.array([4, 1]),
        "starts": np.array([0, 60]),
        "logits": np.eye(len(CLASSES))[4],
        "base": np.zeros(len(CLASSES)),
        "n": 3,
        "method": "shap",
        "difference": np.full(2, np.nan),
    }
    return Explanation(**content | changed)


def test_padding_is_left_out_of_each_class():
    assert [(each.k, each.values.tolist()) for each in by_hand()] == [
        (4, [[2, 3, 4]]),
        (1, [[7, 8, 9]]),
    ]
    predicted = by_hand(n=50).of(by_hand().predicted)
    assert predicted.k == 4 and predicted.values.shape == (1, 5)


def test_what_is_said_of_a_class_by_hand():
    first, second = by_hand(halves=np.array([[[[3.0]], [[1]]], [[[1]], [[-1]]]]))
    assert (first.k, first.start, first.stop, first.samples) == (4, 0, 3, 7)
    assert (first.change, first.residual) == (1, 9)  # 0 + 1 + 2 + 3 + 4, with the padding
    assert first.explained_share == 0  # 10 instead of 1
    assert first._replace(residual=-0.25).explained_share == 0.75
    assert first.probability == pytest.approx(1 / (1 + np.exp(-1)))
    assert first.trust.tolist() == [[0.25]]  # the halves agree by 1 - 2 / 4; half as reliable
    assert (second.start, second.stop) == (60, 63) and second.trust.tolist() == [[0]]
    with pytest.raises(ValueError, match="not in list"):
        by_hand().of(0)


@pytest.mark.parametrize("peaks", [None, np.array([3, 9])])
def test_a_file_gives_back_what_was_saved(tmp_path, peaks):
    path = tmp_path / "a.npz"
    by_hand(peaks=peaks).save(path)
    loaded = Explanation.load(path)
    for each in fields(Explanation):
        np.testing.assert_array_equal(
            getattr(loaded, each.name), getattr(by_hand(peaks=peaks), each.name)
        )
    with np.load(path) as stored:
        names = [each.name for each in fields(Explanation)]
        assert stored.files == names[: 11 if peaks is None else 12]


def test_a_file_that_is_damaged_or_lacks_a_field_is_made_again(tmp_path):
    path = tmp_path / "a.npz"
    assert Explanation.load(path) is None
    by_hand().save(path)
    content = path.read_bytes()
    for damaged in (content[:1000], b"", b"PK"):
        path.write_bytes(damaged)
        assert Explanation.load(path) is None
    path.write_bytes(content)
    with np.load(path) as stored:
        arrays = dict(stored)
    for name in arrays:
        np.savez(path, **{key: value for key, value in arrays.items() if key != name})
        assert Explanation.load(path) is None, name
