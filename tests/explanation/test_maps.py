"""Attributions: right on functions with known answers, their draws fair, their records apart."""

import numpy as np
import pytest
import torch
from small_run import N_SAMPLES, padded, write_data, write_model
from torch import nn

import shap_values
from ecg.explanation import attributions, maps


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
    phi = attributions.integrated_gradients(Sum(torch.ones(1, 4), 2), x, steps, 2)
    assert phi == pytest.approx((x**2).numpy())


def test_integrated_gradients_of_the_network_add_up_and_are_zero_in_padding(work):
    _, signals, _, model = work
    x = padded(signals["R001"])  # 0.5 s of signal behind 0.5 s of padding
    network = attributions.OneLogit(model.requires_grad_(False))
    network.k = 3
    with torch.no_grad():
        change = (network(x) - network(torch.zeros_like(x))).item()
    phi = attributions.integrated_gradients(network, x[0], 200, 50)
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


def test_background_and_explained_records_come_from_different_folds(work):
    labels = work[2]
    fold = labels.set_index("patient_id")["fold"]
    draws = []
    for seed in "12":
        args = shap_values.parse_args(["--seed", seed, "--round", "3", "--background", "20"])
        names = maps.choose_records(args, labels, trained_here=True)
        background = maps.draw_background(args, labels)
        assert set(fold[names]) == {3}  # round 3 tests on fold 3 and validates on fold 2
        assert len(set(background)) == 21 and not set(fold[background]) & {2, 3}
        draws.append(background)
    assert draws[0] != draws[1]
    args = shap_values.parse_args(["--records", "2"])
    few = maps.choose_records(args, labels, trained_here=False)
    shuffled = labels.sample(frac=1, random_state=0)
    assert len(few) == 2 and few == maps.choose_records(args, shuffled, trained_here=False)


@pytest.mark.parametrize(
    ("samples", "n_background"), [(200, 100), (12, 4), (9, 3), (7, 20), (11, 4)]
)
def test_spread_draws_use_every_background_equally_and_every_stretch(samples, n_background):
    rows, steps = attributions.spread_draws(samples, n_background, np.random.default_rng(0))
    assert rows.shape == steps.shape == (samples,)
    rounds, rest = divmod(samples, n_background)
    counts = np.bincount(rows, minlength=n_background)
    assert set(counts) <= {rounds, rounds + 1} and (counts == rounds + 1).sum() == rest
    full = rounds * n_background
    if full:
        # one step in every 1 / full of [0, 1]; one of each background in every 1 / rounds
        assert sorted((steps[:full] * full).astype(int)) == list(range(full))
        cells = rows[:full] * rounds + (steps[:full] * rounds).astype(int)
        assert sorted(cells) == list(range(full))
    assert sorted((steps[full:] * max(rest, 1)).astype(int)) == list(range(rest))


def test_spread_draws_have_the_mean_of_independent_ones():
    rng, draws = np.random.default_rng(1), []
    for _ in range(3000):
        rows, steps = attributions.spread_draws(7, 3, rng)
        draws.append((rows * steps**2).mean())
    assert np.mean(draws) == pytest.approx(1 / 3, abs=5 * np.std(draws) / np.sqrt(3000))


def test_shap_and_stratified_agree_within_their_sampling_error(work):
    _, signals, _, model = work
    network = attributions.OneLogit(model.requires_grad_(False))
    network.k = 3
    x = padded(signals["R002"])[0]
    background = torch.cat([padded(signals[name]) for name in ("R005", "R008", "R011")])
    shares = []
    for method in (attributions.sampled_gradients, attributions.stratified_gradients):
        runs = np.stack([method(network, x, background, 12, seed, 12) for seed in range(1, 7)])
        shares.append(runs[:, :, N_SAMPLES // 2 :].reshape(6, 12, 10, -1).sum(-1))
    means, errors = np.mean(shares, 1), np.std(shares, axis=1, ddof=1) / np.sqrt(6)
    z = (means[0] - means[1]) / np.hypot(*errors)  # (12, 10), about Student's t
    assert np.sqrt((z**2).mean()) < 1.6 and np.abs(means).max() > 0


def test_stratified_values_of_a_square_add_up_better_than_independent_ones():
    x, w = torch.tensor([[0.5, 1, 2, -3]]), torch.ones(1, 4)
    background = torch.randn(10, 1, 4, generator=torch.Generator().manual_seed(0))
    model = attributions.OneLogit(Sum(w, 2))
    model.k = 0
    exact = (x**2 - background**2).sum((1, 2)).mean().item()
    for method, bound in (
        (attributions.stratified_gradients, 0.05),
        (attributions.sampled_gradients, 5),
    ):
        error = [method(model, x, background, 20, s, 20).sum() - exact for s in range(20)]
        assert np.sqrt(np.mean(np.square(error))) < bound
    assert np.sqrt(np.mean(np.square(error))) > 0.5  # independent draws of the same number


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
