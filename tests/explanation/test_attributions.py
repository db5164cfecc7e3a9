"""Attributions: right on functions with known answers."""

import copy

import numpy as np
import pytest
import torch
from small_run import N_SAMPLES, padded, write_data, write_model
from torch import nn

from ecg.explanation import attributions
from ecg.explanation.attributions import Path, mean_gradients


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    signals, labels = write_data(folder / "data/own", n=30)
    return folder, signals, labels, write_model(folder)


class Sum(nn.Module):
    """Logits (N, 1) that are a known function of the samples."""

    def __init__(self, weights, power):
        super().__init__()
        self.weights, self.power = weights, power

    def forward(self, x):
        return (self.weights * x**self.power).sum((1, 2))[:, None]


def logit(model, k):
    """Return the function of signals (N, L, T) that a model's logit k is: (N,)."""
    return lambda x: model(x)[:, k]


def phi_of(method, model, k, x, background, samples, seed=7, batch_size=500):
    """Return a method's values (L, T) of one logit, as an array."""
    draw = {"shap": attributions.random_path, "ig": attributions.straight_path}[method]
    path = Path(background, *draw(samples, len(background), seed))
    return mean_gradients(logit(model, k), x, path, batch_size).phi.numpy()


def test_shap_of_a_linear_model_is_weight_times_difference():
    rng = torch.Generator().manual_seed(0)
    w, x = torch.randn(2, 5, generator=rng), torch.randn(2, 5, generator=rng)
    one, many = torch.randn(1, 2, 5, generator=rng), torch.randn(50, 2, 5, generator=rng)
    exact = phi_of("shap", Sum(w, 1), 0, x, one, 3, batch_size=2)
    assert exact == pytest.approx((w * (x - one[0])).numpy(), abs=1e-6)
    near = phi_of("shap", Sum(w, 1), 0, x, many, 2000)
    error = 5 * (w.abs() * many.std(0)).numpy() / np.sqrt(2000)
    assert (np.abs(near - (w * (x - many.mean(0))).numpy()) < error).all()


def test_shap_of_a_square_is_the_difference_of_squares():
    w, x, base = torch.ones(1, 4), torch.tensor([[0.0, 1, 2, -3]]), torch.full((1, 1, 4), 0.5)
    # (x - b) 2 (b + t (x - b)) has mean x^2 - b^2 and, over t, sd (x - b)^2 / sqrt(3)
    phi = phi_of("shap", Sum(w, 2), 0, x, base, 4000)
    error = 5 * (x - 0.5) ** 2 / np.sqrt(3 * 4000)
    assert (np.abs(phi - (x**2 - 0.25).numpy()) <= error.numpy()).all()


@pytest.mark.parametrize("steps", [1, 5])
def test_integrated_gradients_of_a_square_are_exact(steps):
    x = torch.tensor([[0.0, 1, 2, -3]])
    phi = phi_of("ig", Sum(torch.ones(1, 4), 2), 0, x, 0 * x[None], steps, batch_size=2)
    assert phi == pytest.approx((x**2).numpy())


def test_integrated_gradients_of_the_network_add_up_and_are_zero_in_padding(work):
    _, signals, _, model = work
    x = padded(signals["R001"])  # 0.5 s of signal behind 0.5 s of padding
    model.requires_grad_(False)
    change = (model(x) - model(torch.zeros_like(x)))[0, 3].item()
    phi = phi_of("ig", model, 3, x[0], 0 * x, 200, batch_size=50)
    assert abs(change) > 0.1
    assert phi.sum() == pytest.approx(change, rel=0.05)
    assert not phi[:, : N_SAMPLES // 2].any() and phi[:, N_SAMPLES // 2 :].any()


class Logit(nn.Module):
    """A network seen through one logit, as shap.GradientExplainer takes it.

    It computes in float64: in float32 it depends on the processor which ReLUs turn over.
    """

    def __init__(self, model, k):
        super().__init__()
        self.model, self.k = copy.deepcopy(model).double(), k

    def forward(self, x):
        return self.model(x.double())[:, self.k : self.k + 1]


@pytest.mark.parametrize(("samples", "batch_size"), [(9, 4), (24, 7)])
def test_values_are_those_of_shap_itself(work, samples, batch_size):
    shap = pytest.importorskip("shap")
    _, signals, _, model = work
    model.requires_grad_(False)
    x, others = padded(signals["R002"]), [padded(signals[f"R00{i}"]) for i in (5, 6, 8)]
    network = Logit(model, 3)
    explainer = shap.GradientExplainer(network, torch.cat(others))
    theirs = explainer.shap_values(x, nsamples=samples, rseed=11)[0, ..., 0]
    ours = phi_of("shap", network, 0, x[0], torch.cat(others), samples, 11, batch_size)
    assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-5 * np.abs(theirs).max())


def test_halves_have_their_own_halves_of_the_background_whatever_the_batch():
    """The values of a linear model are w (x - b), so that each half is known by hand."""
    x, w = torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0, 3.0]])
    background = torch.arange(10.0).reshape(5, 1, 2)
    path = Path(background, np.array([3, 0, 4, 1, 2, 3]), np.linspace(0, 1, 6))
    for batch_size in (1, 2, 3, 6):
        found = mean_gradients(logit(Sum(w, 1), 0), x, path, batch_size)
        for half, rows in zip(found.halves, ([0, 4, 2], [3, 1, 3]), strict=True):
            assert torch.allclose(half, w * (x - background[rows].mean(0)))
        assert torch.allclose(found.phi, w * (x - background[path.rows].mean(0)))
        assert found.samples == 6
    only = Path(background[:1], np.zeros(3, int), np.linspace(0, 1, 3))
    assert only.halves.tolist() == [0, 1, 0]


def test_the_reliability_is_what_another_background_finds():
    """Two analysts who draw 20 signals each agree as far as either's halves say that they will."""
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(12, 1200)).astype(np.float32))
    linear = logit(Sum(torch.ones(12, 1200), 1), 0)
    claimed, maps = [], []
    for seed in range(6):
        background = torch.from_numpy(rng.normal(0, 3, (20, 12, 1200)).astype(np.float32))
        # far more samples than signals: the draws themselves hardly matter
        path = Path(background, *attributions.random_path(400, 20, seed))
        found = mean_gradients(linear, x, path, 100)
        claimed.append(attributions.reliability(attributions.binned(found.halves.numpy()))[0])
        maps.append(attributions.binned(found.phi.numpy()))
    pairs = [attributions.correlation(maps[i], maps[j]) for i in range(6) for j in range(i)]
    assert 0.3 < np.mean(pairs) < 0.9
    assert np.mean(claimed) == pytest.approx(np.mean(pairs), abs=0.06)


def test_drawing_stops_when_it_is_to_and_a_longer_path_starts_with_the_shorter_one(work):
    _, signals, _, model = work
    model.requires_grad_(False)
    x, others = padded(signals["R002"])[0], torch.cat([padded(signals[f"R00{i}"]) for i in (5, 8)])
    path, asked = Path(others, *attributions.random_path(100, 2, 3)), []

    def stop_when(halves, _):
        asked.append(halves.clone())
        return len(asked) == 2

    found = mean_gradients(logit(model, 1), x, path, 8, stop_when)
    assert found.samples == 40 and len(asked) == 2  # it is asked after every 20
    assert torch.equal(found.halves, asked[1])
    shorter = Path(others, *attributions.random_path(40, 2, 3))
    few = mean_gradients(logit(model, 1), x, shorter, 8)
    assert found.phi.numpy() == pytest.approx(few.phi.numpy(), abs=1e-6)


def test_reliability_is_the_correlation_of_two_such_maps_that_are_made_anew():
    """Of signal and noise of known variances: Spearman and Brown's formula, in windows."""
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(12, 4000))
    halves, others = signal + rng.normal(0, 2, (2, 2, 12, 4000))
    windows, leads = attributions.reliability(halves)
    # a half has 1 of signal and 4 of noise, the mean of two 1 and 2
    assert attributions.correlation(*halves) == pytest.approx(1 / 5, abs=0.02)
    assert windows == pytest.approx(1 / 3, abs=0.02)
    again = np.corrcoef(halves.mean(0).ravel(), others.mean(0).ravel())[0, 1]
    assert windows == pytest.approx(again, abs=0.03)
    assert attributions.reliability(np.stack([signal, signal])) == pytest.approx([1, 1])
    assert attributions.reliability(np.stack([signal, -signal]))[0] == pytest.approx(-1)
    assert abs(leads) <= 1


def test_reliability_of_leads_is_that_of_their_shares():
    rng = np.random.default_rng(1)
    sizes = np.array([[1.0], [2], [4], [8]])
    halves = sizes * rng.choice([-1, 1], (2, 4, 300))  # their windows have nothing in common
    windows, leads = attributions.reliability(halves)
    assert abs(windows) < 0.2 and leads == pytest.approx(1)
    assert np.isnan(attributions.reliability(halves[:, :2])[1])  # two leads always correlate
    assert np.isnan(attributions.reliability(np.zeros((2, 4, 9)))).all()


def test_windows_of_40_ms_keep_the_sum():
    phi = np.arange(2 * 90.0).reshape(2, 90)
    found = attributions.binned(phi)
    assert np.array_equal(found[:, :4], phi[:, :80].reshape(2, 4, 20).sum(2))
    assert np.array_equal(found[:, 4], phi[:, 80:].sum(1)) and found.shape == (2, 5)


def test_agreement_by_hand():
    halves = np.array([[3.0, 1, 2, 0, -4], [3, 3, -2, 0, 0]])
    assert attributions.half_agreement(halves).tolist() == [1, 0.5, 0, 1, 0]


def test_folded_norms_leave_the_logits_and_their_gradients(work):
    _, signals, _, model = work
    x = padded(signals["R002"])
    folded = attributions.fold_norms(model)
    assert not any(isinstance(module, nn.BatchNorm1d) for module in folded.modules())
    assert any(isinstance(module, nn.BatchNorm1d) for module in model.modules())
    results = []
    for network in (model, folded):
        point = x.clone().requires_grad_()
        logits = network(point)
        results.append((logits.detach(), torch.autograd.grad(logits[0, 2], point)[0]))
    for plain, quick in zip(*results, strict=True):
        assert quick.numpy() == pytest.approx(plain.numpy(), rel=1e-3, abs=1e-5)
