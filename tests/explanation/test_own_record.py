"""One's own record explained: the finding that leads, in the window that counts, and completely."""

import numpy as np
import pytest
import torch

from dataset import CLASSES, LEADS
from ecg.explanation import own
from ecg.explanation.values import explained_class
from resnet import ResNet1d


def make_model(leads, window=None, pad="window", seconds=1):
    """Return a thin network of random weights, as if trained, and its checkpoint."""
    torch.manual_seed(1)
    model = ResNet1d("resnet18", len(leads), len(CLASSES), width=8, window=window)
    with torch.no_grad():
        for _ in range(10):
            model(0.3 * torch.randn(8, len(leads), 500))
    checkpoint = {"leads": list(leads), "classes": list(CLASSES), "window": window}
    return model.eval(), checkpoint | {"args": {"seconds": seconds, "pad": pad}}


def record(n):
    return np.random.default_rng(n).normal(0, 300, (12, n)).astype(np.int16)


def explained(model, checkpoint, packed, name, steps):
    options = own.FROM_ZERO._replace(samples=steps)
    return explained_class(own.explain_own(model, checkpoint, packed, "R", name, options), 0)


def plain_gradients(model, x, k, steps):
    """Return integrated gradients (L, T) of x (L, T) from zero, one step after the other."""
    total = torch.zeros_like(x)
    for step in range(steps):
        point = ((step + 0.5) / steps * x).clone().requires_grad_()
        total += torch.autograd.grad(model(point[None])[0, k], point)[0]
    return (x * total / steps).numpy()


def test_the_leading_finding_is_explained_and_without_any_the_most_probable_class():
    row = {"probabilities": {"LBBB": None, "AF": 0.4, "SNR": 0.5}, "leading": "AF"}
    assert own.class_to_explain(row) == "AF"
    assert own.class_to_explain(row | {"leading": None}) == "SNR"
    assert own.class_to_explain({"probabilities": {"AF": None}, "leading": None}) is None


@pytest.mark.parametrize("leads", [LEADS, ("V1",)])
def test_values_are_integrated_gradients_of_the_window_with_the_largest_logit(leads):
    model, checkpoint = make_model(leads, window=500)
    packed = record(1730)
    found = explained(model, checkpoint, packed, "RBBB", 7)
    x = torch.from_numpy(packed[[LEADS.index(lead) for lead in leads]].astype(np.float32) / 1000)
    with torch.no_grad():
        logits = {s: model(x[None, :, s : s + 500])[0, 4].item() for s in (0, 250, 500, 750, 1230)}
    best = max(logits, key=logits.get)
    k, phi, begin, logit, change, residual = found
    assert (k, begin, phi.shape) == (4, best, (len(leads), 500))
    expected = plain_gradients(model, x[:, best : best + 500], 4, 7)
    np.testing.assert_allclose(phi, expected, atol=1e-5 * np.abs(expected).max() + 1e-8)
    assert logit == pytest.approx(logits[best], abs=1e-5)
    with torch.no_grad():
        flat = model(torch.zeros(1, len(leads), 500))[0, 4].item()
        scores = torch.sigmoid(model.score(x[None]))[0].numpy()
    assert change == pytest.approx(logits[best] - flat, abs=1e-4)
    assert residual == pytest.approx(expected.sum() - change, abs=1e-4)
    assert own.own_scores(model, checkpoint, packed) == pytest.approx(scores, abs=1e-6)


@pytest.mark.parametrize(("n", "begin", "seen"), [(300, 0, 300), (500, 0, 500), (800, 300, 500)])
def test_a_model_without_windows_explains_the_end_and_nothing_of_the_padding(n, begin, seen):
    model, checkpoint = make_model(LEADS)
    _, phi, at, _, change, residual = explained(model, checkpoint, record(n), "AF", 6)
    assert (at, phi.shape) == (begin, (12, seen))
    # what is kept is all there is: the padding has no values
    assert phi.sum() - change == pytest.approx(residual, abs=1e-5)


def test_a_record_shorter_than_the_window_is_padded_as_in_training():
    model, checkpoint = make_model(LEADS, window=500)
    _, phi, at, *_ = explained(model, checkpoint, record(300), "AF", 5)
    x = torch.zeros(12, 500)
    x[:, 200:] = torch.from_numpy(record(300).astype(np.float32) / 1000)
    expected = plain_gradients(model, x, 1, 5)[:, 200:]
    np.testing.assert_allclose(phi, expected, atol=1e-5 * np.abs(expected).max() + 1e-8)
    assert at == 0
