"""The pages of explained records: what they say, and which ten seconds they show."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from dataset import CLASSES, LEADS
from ecg.explanation.explanation import ClassExplanation, Record
from ecg.plot import explained_page
from ecg.plot.ecg_paper import PageText


def explanation(values, start=0, **changed):
    """Return a ClassExplanation of PVC."""
    trust = np.ones((len(values), -(-values.shape[1] // 20)))
    given = 6, values, start, 0.0, -10.0, 0.0, np.array([0.61, 0.9]), 200, trust
    return ClassExplanation(*given)._replace(**changed)


class Predicted:
    """Stands in for an Explanation of a predicted class."""

    predicted = 6

    def __init__(self, explained):
        self.explained = explained

    def of(self, k):
        assert k == self.predicted
        return self.explained


def packed_noise(n, seed=0):
    return np.random.default_rng(seed).normal(0, 200, (12, n)).astype(np.int16)


@pytest.mark.parametrize(
    ("residual", "said"), [(2.4, ""), (-2.6, "; explains 74 % of the score"), (12, "explains 0 %")]
)
def test_a_residual_over_a_quarter_of_the_change_stands_in_the_title(monkeypatch, residual, said):
    calls = []
    monkeypatch.setattr(explained_page, "plot_explained", lambda *args: calls.append(args))
    explained = explanation(np.zeros((12, 4000)), 2000, residual=residual)
    record = Record("a", None, 6000, (CLASSES.index("AF"), CLASSES.index("PVC")))
    packed = packed_noise(6000)
    model = SimpleNamespace(leads=LEADS, classes=CLASSES)
    explained_page.plot_patient("a.png", packed, Predicted(explained), record, model)
    ((_, whole, shown, leads, text, begin),) = calls
    assert whole is packed and shown is explained and leads == LEADS and begin == 2000 - 1000
    assert all(part in text.title for part in ("a: ", "PVC", "0.50", "AF + PVC", said))
    assert ("explains" in text.title) == bool(said)
    assert "2 to 12 s of 12 s; 200 samples" in text.notes[0] and "0.61" in text.notes[2]


def test_a_page_is_a_pdf_of_a4_and_a_png_the_same_each_time_and_marked(tmp_path, drawn):
    explained = explanation(np.random.default_rng(1).normal(size=(1, 6000)))
    text = PageText("t$1$", ["note"], "below")
    for name in ("a", "b"):
        path = tmp_path / f"{name}.png"
        explained_page.plot_explained(path, packed_noise(6000), explained, ["V1"], text, 1000)
    for suffix in (".pdf", ".png"):
        first, second = ((tmp_path / f"{name}{suffix}").read_bytes() for name in ("a", "b"))
        assert first == second
    box = re.search(rb"/MediaBox \[ ?([\d. ]+?) ?\]", (tmp_path / "a.pdf").read_bytes())[1]
    assert np.array(box.split(), float)[2:] * 25.4 / 72 == pytest.approx([297, 210], abs=0.01)
    texts = [text.get_text() for text in drawn[0].texts]
    assert "Research use only; not a diagnosis." in texts and "t$1$" in texts


def test_trust_belongs_to_the_windows_of_the_values(tmp_path, drawn):
    phi = np.zeros((12, 6000))
    phi[6, 5500:5520], phi[6, 5700:5720] = 1, 1
    trust = np.ones((12, 300))
    trust[6, 275] = 0  # samples 5500 to 5519
    explained, text = explanation(phi, 1000, trust=trust), PageText("t")
    path = tmp_path / "a.pdf"
    explained_page.plot_explained(path, packed_noise(7000), explained, LEADS, text, 2000)
    strips = drawn[0].axes[0].collections[2:]
    shown = {
        round((segment[0, 0] - 20) / 25 + 4, 2)  # from s of the page to s of the record
        for strip in strips
        for segment, colour in zip(strip.get_segments(), strip.get_colors(), strict=True)
        if colour[3] > 0.5
    }
    assert shown == {(5700 + 1000) / 500}


def test_the_ten_seconds_with_most_values_are_shown():
    phi = np.zeros((2, 9000))
    assert explained_page.fullest(phi[:, :4000]) == 0
    phi[0, 2000], phi[1, 6999] = 1, -1
    assert explained_page.fullest(phi) == 2000


def test_only_what_is_drawn_has_a_reliability():
    explained = explanation(np.zeros((12, 500)))
    assert "pale: halves of the samples disagree" in explained_page.reliability_text(explained)
    for method in ("ig", "evidence"):
        text = explained_page.reliability_text(explained._replace(method=method))
        assert "reliab" not in text and " of 1" not in text


def test_a_page_says_which_of_the_two_it_shows():
    values = np.zeros((12, 500))
    values[3, 100:120] = 0.9 / 20
    explained = explanation(values, logit=1.0, change=1.0)
    said = explained_page.method_text("PVC", explained._replace(method="evidence"))
    assert "trained to see the criterion" in said and "highest 0.90" in said
    assert "not what its probability rests on" in said and "of its change" not in said
    for method in ("shap", "ig", "gradient-explainer"):
        said = explained_page.method_text("PVC", explained._replace(method=method))
        assert "what the logit rests on" in said and "trained to see" not in said
    # a flat line has a probability of its own: here a logit of 0
    said = explained_page.method_text("PVC", explained._replace(method="ig"))
    assert "from a flat line (there 0.50)" in said
    library = explained._replace(method="gradient-explainer", difference=0.0123)
    assert "ours differ by 1.2%" in explained_page.method_text("PVC", library)
