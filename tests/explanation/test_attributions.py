"""Attributions: right on functions with known answers."""

import numpy as np
import pytest
import torch
from small_run import N_SAMPLES, padded, write_data, write_model
from torch import nn

from ecg.explanation import attributions


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    signals, labels = write_data(folder / "data/own", n=30)
    return folder, signals, labels, write_model(folder)


class Sum(nn.Module):
    """Logits (N, 1) that are a known function of the samples."""

    def __init__(self, weights, power):
        super().__init__()
        self.weights, self.power = nn.Parameter(weights), power
        self.k = 0

    def forward(self, x):
        return (self.weights * x**self.power).sum((1, 2))[:, None]


def test_shap_of_a_linear_model_is_weight_times_difference():
    rng = torch.Generator().manual_seed(0)
    w, x = torch.randn(2, 5, generator=rng), torch.randn(2, 5, generator=rng)
    one, many = torch.randn(1, 2, 5, generator=rng), torch.randn(50, 2, 5, generator=rng)
    model = attributions.OneLogit(Sum(w, 1))
    model.k = 0
    exact = attributions.sampled_gradients(model, x, one, 3, 7, 2)
    assert exact == pytest.approx((w * (x - one[0])).detach().numpy(), abs=1e-6)
    near = attributions.sampled_gradients(model, x, many, 2000, 7, 500)
    error = 5 * (w.abs() * many.std(0)).detach().numpy() / np.sqrt(2000)
    assert (np.abs(near - (w * (x - many.mean(0))).detach().numpy()) < error).all()


def test_shap_of_a_square_is_the_difference_of_squares():
    w, x, base = torch.ones(1, 4), torch.tensor([[0.0, 1, 2, -3]]), torch.full((1, 1, 4), 0.5)
    model = attributions.OneLogit(Sum(w, 2))
    model.k = 0
    # (x - b) 2 (b + t (x - b)) has mean x^2 - b^2 and, over t, sd (x - b)^2 / sqrt(3)
    phi = attributions.sampled_gradients(model, x, base, 4000, 1, 1000)
    error = 5 * (x - 0.5) ** 2 / np.sqrt(3 * 4000)
    assert (np.abs(phi - (x**2 - 0.25).numpy()) <= error.numpy()).all()


@pytest.mark.parametrize("steps", [1, 5])
def test_integrated_gradients_of_a_square_are_exact(steps):
    x = torch.tensor([[0.0, 1, 2, -3]])
    phi = attributions.integrated_gradients(Sum(torch.ones(1, 4), 2), x, 0 * x[None], steps, 0, 2)
    assert phi == pytest.approx((x**2).numpy())


def test_integrated_gradients_of_the_network_add_up_and_are_zero_in_padding(work):
    _, signals, _, model = work
    x = padded(signals["R001"])  # 0.5 s of signal behind 0.5 s of padding
    network = attributions.OneLogit(model.requires_grad_(False))
    network.k = 3
    with torch.no_grad():
        change = (network(x) - network(torch.zeros_like(x))).item()
    phi = attributions.integrated_gradients(network, x[0], 0 * x, 200, 0, 50)
    assert abs(change) > 0.1
    assert phi.sum() == pytest.approx(change, rel=0.05)
    assert not phi[:, : N_SAMPLES // 2].any() and phi[:, N_SAMPLES // 2 :].any()


def test_shap_of_the_network_adds_up_within_its_sampling_error(work):
    _, signals, _, model = work
    network = attributions.OneLogit(model.requires_grad_(False))
    network.k = 3
    x, base = padded(signals["R002"]), padded(signals["R005"])
    with torch.no_grad():
        change = (network(x) - network(base)).item()
    sums = [
        attributions.sampled_gradients(network, x[0], base, 20, s, 20).sum() for s in range(1, 7)
    ]
    assert np.mean(sums) == pytest.approx(change, abs=5 * np.std(sums) / np.sqrt(5) + 1e-6)
    assert np.std(sums) > 0  # another seed, other samples


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
