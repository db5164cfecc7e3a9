"""The pages of an answer: what they say, and which ten seconds of a long record are explained."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import noise
from thin_model import make_model

from dataset import CLASSES, LEADS
from ecg.explanation.attributions import Options
from ecg.explanation.explanation import ClassExplanation
from ecg.explanation.own_record import FROM_ZERO, MethodAtHand
from ecg.processing.quality import Caution
from ecg.reading import pages
from ecg.reading.answer import Answer
from ecg.reading.recording import Recording


def answer(scores, warnings=(), leads=LEADS):
    """Return the answer of a model with thresholds of 0.3; `scores` are class -> probability."""
    model = make_model(leads, limits=dict.fromkeys(CLASSES, 0.3))
    source, packed = ("x", "x.hea", 500.0, 10.0), noise(0, 600)
    read = Recording(*source, packed, None, "why", (), warnings)
    return Answer.of(model, read, np.array([scores.get(name, 0) for name in CLASSES]))


def explanation(name="AF", values=None, start=2500, change=4.0, residual=-0.2):
    """Return a ClassExplanation of a record."""
    values = np.ones((12, 5000)) if values is None else values
    quality = np.array([0.61, 0.9]), 100, "trust"
    given = CLASSES.index(name), values, start, 1.0, change, residual, *quality
    return ClassExplanation(*given, method="ig")


def text(an_answer, explained, n=9000, method=FROM_ZERO):
    return pages.explained_page_text(an_answer, explained, n, method)


def test_a_page_names_the_finding_the_window_and_how_much_is_explained():
    some = answer({"SNR": 0.2, "AF": 0.5}, [Caution("flat: V1", True)])
    title, notes, _ = text(some, explanation())
    assert title == "x: why AF (probability 0.50)"
    assert notes[1] == (
        "integrated gradients of AF's logit from 5.0 to 15.0 s, from a flat line (there 0.05) in "
        "100 steps; they explain 95 % of its change of 4.0: what the logit rests on, which need "
        "not be the criterion"
    )
    assert notes[0] == some.page_header() and "research measurements: rate -, PR -" in notes[0]
    assert notes[2].startswith("%: a lead's share")  # nothing is random: no reliability
    assert notes[3] == "!!! WARNING: flat: V1"
    assert "from 5.0" not in text(some, explanation(start=0), n=5000).notes[1]
    assert text(some, explanation(residual=-2)).title.endswith("; explains 50 % of the score")


def test_a_page_says_what_was_compared_with():
    background = SimpleNamespace(names=["A"] * 101)
    shap = MethodAtHand(Options(), background)
    made = explanation()._replace(method="shap")
    notes = text(answer({"AF": 0.5}), made, method=shap).notes
    assert "expected gradients of AF's logit" in notes[1]
    assert "against 101 records of the training set; they explain 95 %" in notes[1]
    assert "halves of the samples disagree" in notes[2]


@pytest.fixture
def drawn(monkeypatch):
    """Keep what is asked of `plot_explained`, and draw nothing."""
    calls = []
    monkeypatch.setattr(pages, "plot_explained", lambda *args: calls.append(args))
    return calls


def pretend(monkeypatch, explained):
    """Let every explanation be this ClassExplanation."""
    monkeypatch.setattr(pages, "explain_record", lambda *_: SimpleNamespace(of=lambda k: explained))


def test_the_leading_finding_is_explained_and_nothing_without_one(drawn, monkeypatch, tmp_path):
    asked = []

    def explain(model, packed, record_name, class_name, method):
        asked.append((record_name, class_name, method))
        return SimpleNamespace(of=lambda k: explanation(CLASSES[k]))

    monkeypatch.setattr(pages, "explain_record", explain)
    model, packed = make_model(), noise(0, 9000)
    some = answer({"SNR": 0.31, "AF": 0.5})
    path = pages.draw_explained(tmp_path, some, packed, model, FROM_ZERO)
    assert path == str(tmp_path / "x.pdf")
    (shown,) = drawn
    assert shown[4].title == "x: why AF (probability 0.50)"
    assert shown[4].below == model.describe()
    assert shown[5] == 2500 and shown[3] == LEADS
    none = answer({"SNR": 0.2, "AF": 0.1})
    assert pages.draw_explained(tmp_path, none, packed, model, FROM_ZERO) is None
    assert asked == [("x", "AF", FROM_ZERO)] and len(drawn) == 1


@pytest.mark.parametrize(("n", "begin"), [(3000, 0), (5600, 600), (9000, 700)])
def test_a_window_shorter_than_the_page_stays_on_it(drawn, monkeypatch, n, begin):
    pretend(monkeypatch, explanation(values=np.ones((1, 1000)), start=700))
    some, model = answer({"AF": 0.4}, leads=["II"]), make_model(["II"])
    pages.draw_explained(Path(), some, noise(0, n), model, FROM_ZERO)
    assert drawn[0][2].start == 700 and drawn[0][5] == begin


def test_no_page_where_no_class_can_be_assessed(drawn, tmp_path):
    model = make_model(["I"], limits=dict.fromkeys(CLASSES, 0.3))
    read = Recording("x", "x.hea", 500.0, 10.0, noise(0, 600), None, "why", ("I",), ())
    some = Answer.of(model, read, np.zeros(9))
    assert pages.draw_explained(tmp_path, some, noise(0, 600), model, FROM_ZERO) is None
    assert not drawn
