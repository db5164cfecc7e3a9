"""The library shap beside our values: its own explainer, and its own record of an explanation."""

import subprocess
import sys

import numpy as np
import pytest
import shap
import torch

from dataset import CLASSES
from ecg.explanation import library
from ecg.explanation.attributions import Options
from ecg.explanation.explanation import Background, ClassExplanation, Explainer, Record
from resnet import ResNet1d


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = ResNet1d("resnet18", 2, len(CLASSES), 8).eval().requires_grad_(False)
    torch.nn.init.normal_(network.fc.weight, 0, 1)
    return network


def test_gradient_explainer_is_the_library_and_says_how_far_ours_differ(network):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2, 400)).astype(np.float32)
    signals = torch.from_numpy(rng.normal(size=(5, 2, 400)).astype(np.float32))
    with torch.no_grad():
        background = Background(list("abcde"), signals, network(signals).numpy())
    options = Options(method="gradient-explainer", samples=12, background=4)
    made = Explainer(network, options, background).explain(Record("R", x, 400), [3])
    seed = made_seed("R", options.seed)
    explainer = shap.GradientExplainer(library.OneLogit(network, 3), signals[:4])
    theirs = explainer.shap_values(torch.from_numpy(x)[None], nsamples=12, rseed=seed)[0, ..., 0]
    assert made.phi[0] == pytest.approx(theirs, abs=1e-5 * np.abs(theirs).max())
    ours = Explainer(network, options._replace(method="shap"), background)
    phi = ours.explain(Record("R", x, 400), [3]).phi[0]
    expected = np.linalg.norm(phi - theirs) / np.linalg.norm(theirs)
    assert made.of(3).difference == pytest.approx(expected, abs=1e-4) and expected < 0.05


def made_seed(name, seed):
    """Return a record's own seed: the CRC-32 of the seed and its name."""
    import zlib

    return zlib.crc32(f"{seed} {name}".encode())


def explained(values, start=1000):
    trust = np.ones((len(values), -(-values.shape[1] // 20)))
    return ClassExplanation(4, values, start, 2.0, 1.5, 0.0, np.ones(2), 9, trust)


def test_a_shap_explanation_holds_the_sums_of_windows_and_their_deflections():
    values, signal = np.zeros((2, 50)), np.zeros((2, 50))
    values[0, 5:7], values[1, 45] = 0.5, -0.25
    signal[0, 8], signal[1, 30:32] = 1.2, (-3, 1)
    found = library.shap_explanation(explained(values), signal + 7, ("V1", "V5"))
    assert found.feature_names == [
        f"{lead} {s:.2f} s" for lead in ("V1", "V5") for s in (2, 2.04, 2.08)
    ]
    assert found.values.tolist() == [1, 0, 0, 0, 0, -0.25]
    assert found.data == pytest.approx([1.2, 0, 0, 0, -3, 0])
    assert found.base_values == 0.5
    leads = library.shap_explanation(explained(values), signal + 7, ("V1", "V5"), None)
    assert leads.feature_names == ["V1", "V5"] and leads.values.tolist() == [1, -0.25]
    assert leads.data == pytest.approx([1.2, -3])


def test_shaps_own_plots_take_it():
    import matplotlib.pyplot as plt

    values = np.random.default_rng(0).normal(size=(12, 400))
    leads = [f"L{i}" for i in range(12)]
    found = library.shap_explanation(explained(values), values, leads, None)
    ax = shap.plots.waterfall(found, show=False)
    texts = " ".join(label.get_text() for label in ax.get_yticklabels())
    assert sum(lead in texts for lead in leads) >= 9  # the others are summed in one bar
    plt.close("all")


def test_shap_is_imported_only_where_it_is_used():
    code = "import sys, shap_values, ecg.read, ecg.faithfulness; print('shap' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
