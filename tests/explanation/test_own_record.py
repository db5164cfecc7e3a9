"""A record from anywhere explained: in the window that counts, and completely."""

import numpy as np
import pytest
import torch
from small_run import write_data, write_model

from dataset import CLASSES, LEADS
from ecg.explanation import own_record
from ecg.explanation.attributions import Options
from ecg.inference.model import Model
from ecg.inference.provenance import Provenance
from ecg.inference.settings import Settings, TrainingFlags
from resnet import ResNet1d


def make_model(leads, window=None):
    """Return a thin Model of random weights, as if trained on records of 1 s."""
    torch.manual_seed(1)
    network = ResNet1d("resnet18", len(leads), len(CLASSES), width=8, window=window)
    with torch.no_grad():
        for _ in range(10):
            network(0.3 * torch.randn(8, len(leads), 500))
    flags = TrainingFlags("resnet18", "own", 1, 0, 42, None, 8, window is not None)
    settings = Settings(tuple(leads), CLASSES, "", "", 1.0, window, flags, {})
    thresholds = dict.fromkeys(CLASSES, 0.5)
    kept = thresholds, "", Provenance.unknown("own"), {}, 1, ""
    return Model(network.eval().requires_grad_(False), settings, *kept)


def noise(n):
    return np.random.default_rng(n).normal(0, 300, (12, n)).astype(np.int16)


def explained(model, packed, name, steps):
    options = own_record.FROM_ZERO.options._replace(samples=steps)
    method = own_record.MethodAtHand(options)
    (only,) = own_record.explain_record(model, packed, "R", name, method)
    return only


def plain_gradients(network, x, k, steps):
    """Return integrated gradients (L, T) of x (L, T) from zero, one step after the other."""
    total = torch.zeros_like(x)
    for step in range(steps):
        point = ((step + 0.5) / steps * x).clone().requires_grad_()
        total += torch.autograd.grad(network(point[None])[0, k], point)[0]
    return (x * total / steps).numpy()


@pytest.mark.parametrize("leads", [LEADS, ("V1",)])
def test_values_are_integrated_gradients_of_the_window_with_the_largest_logit(leads):
    model = make_model(leads, window=500)
    network, packed = model.network, noise(1730)
    found = explained(model, packed, "RBBB", 7)
    x = torch.from_numpy(packed[[LEADS.index(lead) for lead in leads]].astype(np.float32) / 1000)
    with torch.no_grad():
        logits = {
            s: network(x[None, :, s : s + 500])[0, 4].item() for s in (0, 250, 500, 750, 1230)
        }
    best = max(logits, key=logits.get)
    assert (found.k, found.start, found.values.shape) == (4, best, (len(leads), 500))
    expected = plain_gradients(network, x[:, best : best + 500], 4, 7)
    np.testing.assert_allclose(found.values, expected, atol=1e-5 * np.abs(expected).max() + 1e-8)
    assert found.logit == pytest.approx(logits[best], abs=1e-5)
    with torch.no_grad():
        flat = network(torch.zeros(1, len(leads), 500))[0, 4].item()
        scores = torch.sigmoid(network.record_logits(x[None]))[0].numpy()
    assert found.change == pytest.approx(logits[best] - flat, abs=1e-4)
    assert found.residual == pytest.approx(expected.sum() - found.change, abs=1e-4)
    assert model.packed_probabilities(packed) == pytest.approx(scores, abs=1e-6)


@pytest.mark.parametrize(("n", "begin", "seen"), [(300, 0, 300), (500, 0, 500), (800, 300, 500)])
def test_a_model_without_windows_explains_the_end_and_nothing_of_the_padding(n, begin, seen):
    found = explained(make_model(LEADS), noise(n), "AF", 6)
    assert (found.start, found.values.shape) == (begin, (12, seen))
    # what is kept is all there is: the padding has no values
    assert found.values.sum() - found.change == pytest.approx(found.residual, abs=1e-5)


def test_a_record_shorter_than_the_window_is_padded_as_in_training():
    model = make_model(LEADS, window=500)
    found = explained(model, noise(300), "AF", 5)
    x = torch.zeros(12, 500)
    x[:, 200:] = torch.from_numpy(noise(300).astype(np.float32) / 1000)
    expected = plain_gradients(model.network, x, 1, 5)[:, 200:]
    np.testing.assert_allclose(found.values, expected, atol=1e-5 * np.abs(expected).max() + 1e-8)
    assert found.start == 0


def test_the_training_set_is_compared_with_where_it_is_at_hand(tmp_path):
    signals, labels = write_data(tmp_path / "data/own", n=30)
    write_data(tmp_path / "other/own", first=101)
    write_data(tmp_path / "data/another")
    write_model(tmp_path)
    model = Model.load(tmp_path / "models/resnet18_own_all_42.pth")
    options = Options(samples=4, background=6)
    for folder in ("other/own", "data/another", "nowhere/own"):
        assert own_record.training_background(tmp_path / folder, model, options) is None
    background = own_record.training_background(tmp_path / "data/own", model, options)
    folds = labels.set_index("patient_id")["fold"]
    assert len(background.names) == 7 and (folds[background.names] < 9).all()
    made = []
    for method in (own_record.MethodAtHand(options, background), own_record.FROM_ZERO):
        made.append(own_record.explain_record(model, signals["R002"], "b", "AF", method))
    assert [each.samples.tolist() for each in made] == [[4], [100]]
    assert not np.allclose(made[0].phi, made[1].phi)
    assert made[0].base == pytest.approx(background.logits[:6].mean(0))
