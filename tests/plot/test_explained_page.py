"""The pages of explained records: what they say, and which ten seconds they show."""

import re

import numpy as np
import pytest

from dataset import LEADS
from ecg.plot import explained


@pytest.fixture
def drawn_pages(monkeypatch):
    """Keep what is asked of `plot_explained`, and draw nothing."""
    calls = []
    monkeypatch.setattr(
        explained, "plot_explained", lambda *args, **more: calls.append((args, more))
    )
    return calls


def pretend(monkeypatch, phi, at, change, residual):
    """Have values phi (L, t) from sample `at` on come out of every explanation."""
    stored = {"reliability": np.array([[0.61, 0.9]]), "samples": [200]}
    monkeypatch.setattr(explained, "explain_own", lambda *_: stored)
    found = 6, phi, at, 0.0, change, residual
    monkeypatch.setattr(explained, "explained_class", lambda *_: found)
    monkeypatch.setattr(explained, "trust", lambda *_: "trusted")
    monkeypatch.setattr(explained, "predicted_place", lambda _: 0)
    return stored


def packed_noise(n, seed=0):
    return np.random.default_rng(seed).normal(0, 200, (12, n)).astype(np.int16)


@pytest.mark.parametrize(("residual", "said"), [(2.4, ""), (-2.6, "miss 2.6 of a change of 10.0")])
def test_a_residual_over_a_quarter_of_the_change_stands_in_the_title(
    drawn_pages, monkeypatch, residual, said
):
    phi = np.zeros((12, 4000))
    stored = pretend(monkeypatch, phi, 2000, -10.0, residual)
    explained.plot_patient("a.png", "a", packed_noise(6000), stored, LEADS, ["AF", "PVC"])
    ((_, _, values, _, at, begin, title, notes), more) = drawn_pages[0]
    assert values is phi and (at, begin) == (2000, 1000) and more == {"agreement": "trusted"}
    assert all(text in title for text in ("a: ", "PVC", "0.50", "AF + PVC", said))
    assert (
        ("miss" in title) == bool(said) and "2 to 12 s of 12 s" in notes[0] and "0.61" in notes[1]
    )


def test_a_page_is_a_pdf_of_a4_and_a_png_the_same_each_time_and_marked(tmp_path, drawn):
    phi = np.random.default_rng(1).normal(size=(1, 6000))
    for name in ("a", "b"):
        arguments = packed_noise(6000), phi, ["V1"], 0, 1000, "t$1$", ["note"], "below"
        explained.plot_explained(tmp_path / f"{name}.png", *arguments)
    for suffix in (".pdf", ".png"):
        first, second = ((tmp_path / f"{name}{suffix}").read_bytes() for name in ("a", "b"))
        assert first == second
    box = re.search(rb"/MediaBox \[ ?([\d. ]+?) ?\]", (tmp_path / "a.pdf").read_bytes())[1]
    assert np.array(box.split(), float)[2:] * 25.4 / 72 == pytest.approx([297, 210], abs=0.01)
    texts = [text.get_text() for text in drawn[0].texts]
    assert "Research use only; not a diagnosis." in texts and "t$1$" in texts


def test_agreement_belongs_to_the_windows_of_the_values(tmp_path, drawn):
    phi = np.zeros((12, 6000))
    phi[6, 5500:5520], phi[6, 5700:5720] = 1, 1
    agreement = np.ones((12, 300))
    agreement[6, 275] = 0  # samples 5500 to 5519
    arguments = packed_noise(7000), phi, LEADS, 1000, 2000, "t", []
    explained.plot_explained(tmp_path / "a.pdf", *arguments, agreement=agreement)
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
    assert explained.fullest(phi[:, :4000]) == 0
    phi[0, 2000], phi[1, 6999] = 1, -1
    assert explained.fullest(phi) == 2000


def test_ones_own_page_names_the_finding_the_window_and_what_is_missed(
    drawn_pages, monkeypatch, tmp_path
):
    pretend(monkeypatch, np.ones((12, 5000)), 2500, 4.0, -0.2)
    row = {
        "record": "x",
        "probabilities": {"SNR": 0.6, "AF": 0.5},
        "findings": ["AF"],
        "leading": "AF",
    }
    row["warnings"] = ["flat: V1"]
    path = explained.plot_own(tmp_path, row, packed_noise(9000), None, {"leads": LEADS}, "model m")
    assert path == tmp_path / "x.pdf"
    _, _, _, _, at, begin, title, notes, below = drawn_pages[0][0]
    assert (at, begin, below) == (2500, 2500, "model m")
    assert "AF" in title and "0.50" in title and "SNR" not in title and "threshold" not in title
    assert "5.0 to 15.0 s" in notes[0] and "miss 5% of its change of 4.0" in notes[0]
    assert notes[-1].endswith("flat: V1")
    # the large warnings stay on the page, in the one line that there is room for
    row["warnings"] = ["the limb leads do not add up: " + "x" * 60, *["another small one"] * 9]
    explained.plot_own(tmp_path, row, packed_noise(9000), None, {"leads": LEADS}, "model m")
    line = drawn_pages.pop()[0][7][-1]
    assert "limb leads do not add up" in line and line.endswith("more in the answer")
    assert len(line) <= explained.NOTES_WIDTH
    row |= {"findings": [], "leading": None}
    explained.plot_own(tmp_path, row, packed_noise(9000), None, {"leads": LEADS}, "model m")
    assert "SNR" in drawn_pages[1][0][6] and "below its threshold" in drawn_pages[1][0][6]


@pytest.mark.parametrize(("n", "begin"), [(3000, 0), (5600, 600), (9000, 700)])
def test_a_window_shorter_than_the_page_stays_on_it(drawn_pages, monkeypatch, n, begin):
    pretend(monkeypatch, np.ones((1, 1000)), 700, 4.0, 0.0)
    row = {
        "record": "x",
        "probabilities": {"SNR": 0.6},
        "findings": [],
        "warnings": [],
        "leading": None,
    }
    explained.plot_own(".", row, packed_noise(n), None, {"leads": ["II"]}, "m")
    assert drawn_pages[0][0][4:6] == (700, begin)
