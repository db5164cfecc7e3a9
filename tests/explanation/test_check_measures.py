"""Measures of maps: right on maps whose place is known."""

import numpy as np
import pandas as pd
import pytest
import torch

from ecg.explanation import check_measures
from resnet import ResNet1d


def evidence(*rows):
    columns = ["patient_id", "class", "start", "stop", "leads"]
    return pd.DataFrame([("a", "PVC", *row) for row in rows], columns=columns)


def by_name(measures):
    return {measure.name: measure.value for measure in measures}


def test_evidence_mask_by_hand():
    rows = evidence((5, 9, "all"), (12, 99, "V1;II"))
    mask = check_measures.evidence_mask(rows, ["I", "II", "V1"], 8, 6)  # samples 6-13 were seen
    expected = np.zeros((3, 8), bool)
    expected[:, :3] = True
    expected[1:, 6:] = True
    assert (mask == expected).all()


def test_evidence_shares_by_hand():
    mask = np.zeros((4, 100), bool)
    mask[1:3, 20:40] = True
    phi = np.zeros((4, 100))
    phi[1, 25], phi[1, 60], phi[0, 30], phi[3, 90], phi[2, 70] = 5, 2, 2, 1, -50
    found = by_name(check_measures.check_evidence(phi, mask))
    assert found["share in time"] == pytest.approx(0.7)
    assert found["share in leads"] == pytest.approx(0.7)
    assert found["share in both"] == pytest.approx(0.5)
    uniform = [found[f"uniform in {part}"] for part in ("time", "leads", "both")]
    assert uniform == pytest.approx([0.2, 0.5, 0.1])
    assert found["times uniform in both"] == pytest.approx(5)
    assert found["pointing game"] == 1
    # lead 1 (7) is above leads 0 and 3, lead 2 (0) above neither
    assert found["evidence lead above another"] == 0.5
    phi[3, 90] = 9
    found = by_name(check_measures.check_evidence(phi, mask))
    assert found["pointing game"] == 0


def test_a_uniform_map_scores_one_everywhere():
    mask = np.zeros((12, 1000), bool)
    mask[2:5, 100:300] = True
    found = by_name(check_measures.check_evidence(np.ones((12, 1000)), mask))
    assert [v for n, v in found.items() if n.startswith("times")] == pytest.approx([1, 1, 1])


def test_curves_of_a_linear_logit_are_the_sums_of_its_ranked_values():
    rng = np.random.default_rng(0)
    w = torch.from_numpy(rng.normal(size=(2, 100)).astype(np.float32))
    x, other = torch.from_numpy(rng.normal(size=(2, 2, 100)).astype(np.float32))
    phi = (w * (x - other)).numpy()

    def logit_of(part):
        return (part * w).sum((1, 2)).numpy()

    rows = check_measures.check_curves(logit_of, x, other[None], phi, np.random.default_rng(1))
    found = by_name(rows)
    ranked = np.sort(phi.ravel())[::-1]
    for percent in (1, 2, 5, 10, 20):
        top = ranked[: 2 * percent].sum()
        assert found[f"deletion top {percent}%"] == pytest.approx(top, rel=1e-3, abs=1e-4)
        assert found[f"insertion top {percent}%"] == pytest.approx(top, rel=1e-3, abs=1e-4)
        low = ranked[-2 * percent :].sum()
        assert found[f"deletion lowest {percent}%"] == pytest.approx(low, rel=1e-3, abs=1e-4)
    course = [found[f"deletion top {percent}%"] for percent in (1, 2, 5, 10, 20)]
    area, before = 0, (0, 0)
    for here in zip((0.01, 0.02, 0.05, 0.1, 0.2), course, strict=True):
        area += (here[0] - before[0]) * (here[1] + before[1]) / 2 / 0.2
        before = here
    assert found["deletion top area"] == pytest.approx(area)
    gain = area - found["deletion lowest area"]
    assert found["deletion top minus lowest area"] == pytest.approx(gain)


def agreements(a, b):
    return by_name(check_measures.compare_maps(a, b, "x"))


def test_agreement_of_maps():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(12, 1000)) * np.arange(1, 13)[:, None]
    assert list(agreements(a, 5 * a).values()) == pytest.approx([1] * 4)
    other = agreements(a, -a)
    assert [other[f"{name}, x"] for name in ("windows", "single samples")] == pytest.approx(
        [-1, -1]
    )
    assert other["leads, x"] == pytest.approx(1)  # shares of |value|
    # large values that agree among small ones that do not: the ranks miss it
    b = rng.normal(size=a.shape) * np.arange(1, 13)[:, None]
    assert all(abs(agreements(a, b)[f"{name}, x"]) < 0.15 for name in ("windows", "single samples"))
    a[3, 200:220] = b[3, 200:220] = 900
    both = agreements(a, b)
    assert both["single samples, x"] > 0.9 and both["ranks of single samples, x"] < 0.15
    # windows of 40 ms are compared: order within them does not matter
    shuffled = a.reshape(12, 50, 20)[:, :, ::-1].reshape(12, 1000)
    mixed = agreements(a, shuffled)
    assert mixed["windows, x"] == pytest.approx(1) and mixed["ranks of single samples, x"] < 0.15


def test_random_layers_replace_the_network_from_the_output_on():
    torch.manual_seed(0)
    model = ResNet1d("resnet18", 2, 9).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    signals = torch.randn(4, 2, 500)
    state, changed = torch.random.get_rng_state(), []
    for name, network in check_measures.random_layers(model, signals, 2, 0):
        weights = network.state_dict()
        new = {
            key.split(".")[0] if not key.startswith("stages") else key.split(".")[1]
            for key, value in weights.items()
            if key.endswith("weight") and value.ndim > 1 and not torch.equal(value, before[key])
        }
        changed.append((name, new))
        with torch.no_grad():
            assert torch.isfinite(network(signals)).all() and not network.training
    assert changed == [
        ("output", {"fc"}),
        ("stage 4", {"fc", "6", "7"}),
        ("stage 3", {"fc", "4", "5", "6", "7"}),
        ("stage 2", {"fc", "2", "3", "4", "5", "6", "7"}),
        ("stage 1", {"fc", *"01234567"}),
        ("stem", {"fc", "stem", *"01234567"}),
    ]
    assert tuple(name for name, _ in changed) == check_measures.LAYERS
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
