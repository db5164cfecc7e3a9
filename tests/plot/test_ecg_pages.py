"""The pages of a whole ECG: A4, true to scale, one after the other, with warnings above."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import noise

from dataset import LEADS, SAMPLE_RATE
from ecg.plot import ecg_paper
from ecg.plot.ecg_paper import Layout, PageText
from ecg.plot.papers import PAPERS


def page_mm(ax, points):
    """Return the place on the printed page, in mm, of points given in an axes' data coordinates."""
    return ax.transData.transform(points) / ax.figure.dpi * 25.4


def trace(ax, seconds, sample_rate=SAMPLE_RATE):
    """Return the printed points (n, 2), in mm, of the traces that last `seconds`."""
    lines = [np.transpose(line.get_data()) for line in ax.lines]
    n = round(seconds * sample_rate)
    return [page_mm(ax, points) for points in lines if len(points) == n]


def test_page_is_a4_and_25_mm_a_second_and_10_mm_a_millivolt():
    signal = np.zeros((12, 5000))
    signal[:, 500:600] = 1  # 1.0 to 1.2 s
    signal[:, 4000:4100] = 1
    figure = ecg_paper.draw_ecg_page(signal, 500, PageText("t"))
    ax = figure.axes[0]
    assert figure.get_size_inches() * 25.4 == pytest.approx([297, 210])
    (strip,) = trace(ax, 10)
    jumps = strip[np.flatnonzero(np.diff(strip[:, 1]) > 1) + 1]
    assert np.diff(jumps[:, 0]) == pytest.approx([25 * 7])
    assert np.ptp(strip[:, 1]) == pytest.approx(10)
    assert np.ptp(strip[:, 0]) == pytest.approx(25 * 9.998)
    for collection, step in zip(ax.collections[:2], (1, 5), strict=True):
        ends = page_mm(ax, np.array([line[0] for line in collection.get_segments()]))
        upright = np.unique(np.round(ends[ends[:, 1] == ends[:, 1].min(), 0], 6))
        assert np.diff(upright)[:-1] == pytest.approx(step)
    marks = {label.get_text(): label.get_position()[0] for label in ax.get_xticklabels()}
    assert strip[0, 0] == pytest.approx(page_mm(ax, [(marks["0 s"], 0)])[0, 0])
    plt.close(figure)


@pytest.mark.parametrize("seconds", [10, 6])
def test_page_shows_four_columns_one_after_the_other_in_time(seconds):
    # lead k is 0 but for a spike of k + 1 tenths of a mV in the middle of its own quarter
    signal, quarter = np.zeros((12, seconds * 500)), seconds * 500 // 4
    for k in range(12):
        signal[k, k // 3 * quarter + quarter // 2] = (k + 1) / 10
    figure = ecg_paper.draw_ecg_page(signal, 500, PageText("t"))
    ax = figure.axes[0]
    order = [text.get_text() for text in ax.texts if text.get_text()]
    assert order == "I aVR V1 V4 II aVL V2 V5 III aVF V3 V6 II".split()
    (strip,), pieces = trace(ax, seconds), trace(ax, seconds / 4)
    assert len(pieces) == 12
    for i, piece in enumerate(pieces):
        start = strip[0, 0] + 25 * seconds / 4 * (i % 4)
        assert piece[0, 0] == pytest.approx(start)
        peak = piece[piece[:, 1].argmax()]
        assert peak[0] == pytest.approx(start + 25 * seconds / 8, abs=0.1)
        assert np.ptp(piece[:, 1]) == pytest.approx(LEADS.index(order[i]) + 1)
    plt.close(figure)


@pytest.mark.parametrize(("seconds", "starts"), [(3, [0]), (10, [0]), (25, [0, 10, 15])])
def test_long_records_get_pages_and_the_last_page_is_full(seconds, starts, tmp_path, monkeypatch):
    drawn = []
    draw = ecg_paper.draw_ecg_page
    monkeypatch.setattr(
        ecg_paper, "draw_ecg_page", lambda *args: (drawn.append(args), draw(*args))[1]
    )
    signal = noise(1, seconds * 500) / 1000
    path = tmp_path / "$a_1$.pdf"  # a name that a formula could be read in
    assert ecg_paper.plot_ecg_pages(signal, 500, path, PageText("$a_1$: AF", ["flat: V1"])) == len(
        starts
    )
    assert [args[3] for args in drawn] == pytest.approx(starts)
    for args in drawn:
        first = round(args[3] * 500)
        np.testing.assert_array_equal(args[0], signal[:, first : first + 5000])
    content = path.read_bytes()
    assert len(re.findall(rb"/Type /Page\b(?!s)", content)) == len(starts)
    boxes = re.findall(rb"/MediaBox \[ ?([\d. ]+?) ?\]", content)
    for box in boxes:
        assert np.array(box.split(), float)[2:] * 25.4 / 72 == pytest.approx([297, 210], abs=0.01)
    assert len(boxes) == len(starts)
    images = {f"$a_1$.page{i + 1}.png" if i else "$a_1$.png" for i in range(len(starts))}
    assert {file.name for file in tmp_path.iterdir()} == images | {path.name}


def test_more_warnings_than_fit_are_pointed_to(tmp_path, monkeypatch):
    drawn = []
    draw = ecg_paper.draw_ecg_page
    monkeypatch.setattr(
        ecg_paper, "draw_ecg_page", lambda *args: (drawn.append(draw(*args)), drawn[-1])[1]
    )
    for count in (6, 9, 10):
        warnings = [f"warning {i}" for i in range(count)]
        ecg_paper.plot_ecg_pages(
            noise(1, 600) / 1000, 500, tmp_path / "a.pdf", PageText("t", warnings)
        )
    notes = [next(text for text in page.texts if "warning 0" in text.get_text()) for page in drawn]
    for figure, note in zip(drawn, notes, strict=True):
        assert note.get_window_extent().y0 > figure.axes[0].get_window_extent().y1
    few, more, most = (note.get_text().splitlines() for note in notes)
    assert few == [f"warning {i}" for i in range(6)] and more == [f"warning {i}" for i in range(9)]
    assert "more warnings" in most[8] and len(most) == 9


def test_of_a_record_longer_than_five_minutes_the_part_about_the_window_shown_is_drawn(
    tmp_path, monkeypatch
):
    drawn = []
    monkeypatch.setattr(ecg_paper, "save_figure", lambda *_: None)
    monkeypatch.setattr(
        ecg_paper, "draw_ecg_page", lambda *args: (drawn.append(args[3]), plt.figure(1))[1]
    )
    signal = np.zeros((12, 400 * 50))
    for middle, first in ((None, 100), (5, 0), (200, 50)):
        drawn.clear()
        path = tmp_path / "a.pdf"
        assert ecg_paper.plot_ecg_pages(signal, 50, path, PageText("t"), None, middle) == 30
        assert drawn[0] == first and drawn[-1] == first + 290


def test_leads_that_were_not_recorded_are_blank_and_the_strip_is_one_that_was():
    layout = Layout(lost=("II", "V4"))
    figure = ecg_paper.draw_ecg_page(noise(1, 5000) / 1000, 500, PageText("t"), 0, layout)
    ax = figure.axes[0]
    written = [text.get_text() for text in ax.texts]
    assert written.count("V1") == 2 and "II" not in written
    assert {"II: not recorded", "V4: not recorded"} <= set(written)
    assert len(trace(ax, 2.5)) == 10 and len(trace(ax, 10)) == 1
    plt.close(figure)


def test_the_strip_is_a_lead_without_noise():
    signal = np.zeros((12, 5000))
    signal[1] = noise(1, 5000)[1] / 1000
    figure = ecg_paper.draw_ecg_page(signal, 500, PageText("t"), 0, Layout().fit(signal))
    written = [text.get_text() for text in figure.axes[0].texts]
    assert written.count("V1") == 2 and written.count("II") == 1
    plt.close(figure)


def test_tall_waves_are_drawn_half_as_high_and_the_page_says_so():
    signal = np.zeros((12, 5000))
    signal[6].reshape(10, 500)[:, 100:120] = -3  # once a second
    layout = Layout().fit(signal)
    figure = ecg_paper.draw_ecg_page(signal, 500, PageText("t"), 0, layout)
    assert any("5 mm/mV" in text.get_text() for text in figure.texts)
    assert max(np.ptp(points[:, 1]) for points in trace(figure.axes[0], 2.5)) == pytest.approx(15)
    assert Layout().fit(signal / 2).mm_per_mv == 10
    drifting = signal / 2
    drifting[9] = 4 * np.sin(np.arange(5000) / 100)  # an artefact is no tall wave
    assert Layout().fit(drifting).mm_per_mv == 10
    plt.close(figure)


def test_a_page_of_letter_is_true_to_scale_and_holds_ten_seconds():
    signal = np.zeros((12, 5000))
    figure = ecg_paper.draw_ecg_page(signal, 500, PageText("t"), 0, Layout(PAPERS["letter"]))
    assert figure.get_size_inches() == pytest.approx([11, 8.5])
    (strip,) = trace(figure.axes[0], 10)
    assert np.ptp(strip[:, 0]) == pytest.approx(25 * 9.998)
    assert strip[:, 0].max() < 11 * 25.4 - ecg_paper.RIGHT
    plt.close(figure)
