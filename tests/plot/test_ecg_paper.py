"""ECG on paper: true to scale, every lead named and in its place, values where they belong."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest

from dataset import LEADS
from ecg.explanation.explanation import ClassExplanation
from ecg.plot import ecg_paper
from ecg.plot.ecg_paper import Layout, PageText
from ecg.plot.figures import mark
from ecg.plot.value_colours import page_colours


def texts(ax):
    return [text.get_text() for text in ax.texts]


def square_wave(n_leads=12, seconds=10, rate=500):
    """Return a signal that is 0 mV but for 1 mV from 1.0 to 1.2 s."""
    signal = np.zeros((n_leads, seconds * rate), np.float32)
    signal[:, rate : rate + rate // 5] = 1
    return signal


def explanation(values):
    """Return a ClassExplanation of values (L, t)."""
    trust = np.ones((len(values), -(-values.shape[1] // 20)))
    return ClassExplanation(6, values, 0, 0.0, 1.0, 0.0, np.ones(2), 9, trust)


def draw(signal, *arguments, colours=None):
    """Return the figure of a page called t."""
    return ecg_paper.draw_ecg_page(signal, 500, PageText("t"), *arguments, colours=colours)


def page(values, leads=LEADS, text=None):
    """Return the figure and the paper's axes of an explained page."""
    colours = page_colours(explanation(values), leads)
    figure = ecg_paper.draw_ecg_page(square_wave(), 500, text or PageText("t"), colours=colours)
    return figure, figure.axes[0]


def test_one_second_is_25_mm_and_one_millivolt_10_mm():
    points = ecg_paper.strip_points(square_wave()[0] + 3, 500, x=20, y=30)
    assert points[0] == pytest.approx([20, 30])  # an offset does not move the baseline
    assert points[500] == pytest.approx([20 + 25, 30 + 10])
    assert points[600] == pytest.approx([20 + 25 * 1.2, 30])


def test_calibration_pulse_is_one_millivolt_and_200_ms():
    _, ax = ecg_paper.ecg_paper(50, 30)
    ecg_paper.draw_calibration(ax, 3, 10)
    xs, ys = ax.lines[0].get_data()
    high = xs[ys > 15]
    assert (np.ptp(high), np.ptp(ys)) == (5, 10)
    plt.close(ax.figure)


def test_time_marks_are_whole_seconds_of_the_record():
    figure = draw(square_wave(), 20.4)
    marks = {x.get_text(): x.get_position()[0] for x in figure.axes[0].get_xticklabels()}
    assert list(marks) == [f"{second} s" for second in range(21, 31)]
    assert marks["21 s"] == pytest.approx(ecg_paper.PAGE_START + 0.6 * 25)
    plt.close(figure)


def test_a_z_scored_signal_has_no_pulse_and_no_millivolt():
    pages = [draw(square_wave(), 0, Layout(sd=sd)) for sd in (None, 0.2)]
    pulses = [sum(len(line.get_xdata()) == 6 for line in figure.axes[0].lines) for figure in pages]
    scales = [" ".join(text.get_text() for text in figure.texts) for figure in pages]
    assert pulses == [4, 0]
    assert "10 mm/mV" in scales[0] and "standard deviation" not in scales[0]
    assert "2 mm/standard deviation" in scales[1] and "mV" not in scales[1]
    for figure in pages:
        plt.close(figure)


def test_leads_stand_in_clinical_order_whatever_their_shares_and_the_top_one_is_shown_throughout():
    values = np.zeros((12, 5000))
    values[:, 100] = np.arange(12) + 1  # V6 has most
    figure, ax = page(values)
    names = [text.split()[0] for text in texts(ax)]
    rows = "I aVR V1 V4", "II aVL V2 V5", "III aVF V3 V6", "II", "V6"
    assert names == " ".join(rows).split()
    shares = {text.split()[0]: text.split()[1] for text in texts(ax)}
    assert shares["V6"] == f"{12 / 78:.0%}" and shares["I"] == f"{1 / 78:.0%}"
    bold = {text.get_text().split()[0] for text in ax.texts if text.get_weight() == "bold"}
    assert bold == {"V1", "V2", "V3", "V4", "V5", "V6"}  # 7 to 12 of 78, an even share is 6.5
    whole = [line for line in ax.lines if len(line.get_xdata()) == 5000]
    assert len(whole) == 2
    assert min(line.get_ydata().min() for line in whole) > 0
    plt.close(figure)


def test_a_model_of_one_lead_shows_it_throughout_and_the_others_without_a_share():
    figure, ax = page(np.ones((1, 5000)), ["aVL"])
    named = [text.get_text() for text in ax.texts if "%" in text.get_text()]
    assert named == ["aVL  100%"] * 2 and len(ax.texts) == 13
    strips = [c for c in ax.collections[2:] if c.get_colors()[:, 3].max() > 0]
    assert len(strips) == 2  # the quarter and the whole of it
    plt.close(figure)


def test_values_colour_the_trace_of_their_lead_at_their_time():
    values = np.zeros((12, 5000))
    values[6, 2600:2620], values[7, 3000:3020] = 0.3, -0.3  # V1 and V2, both in the third quarter
    figure, ax = page(values)
    found = []
    for strip in ax.collections[2:]:
        for segment, colour in zip(strip.get_segments(), strip.get_colors(), strict=True):
            if colour[3] > 0.99:
                found.append(((segment[0, 0] - ecg_paper.PAGE_START) / 25, colour[0] > colour[2]))
    assert sorted(found) == [
        (pytest.approx(5.2), True),
        (pytest.approx(5.2), True),  # V1 stands below too: it has as large a share as any
        (pytest.approx(6.0), False),
    ]
    plt.close(figure)


def test_a_deep_wave_in_the_last_row_has_room_on_the_paper():
    signal = square_wave()
    signal[6] *= -3.5
    values = np.zeros((12, 5000))
    values[6] = 1  # V1 is the lead below
    layout = Layout().fit(signal)
    figure = draw(signal, 0, layout, colours=page_colours(explanation(values), LEADS))
    ax = figure.axes[0]
    assert layout.mm_per_mv == 5 and min(line.get_ydata().min() for line in ax.lines) > 0
    assert not any("cut" in text.get_text() for text in ax.texts)
    plt.close(figure)


def test_an_artefact_is_cut_at_the_edge_of_its_row_and_its_name_says_so():
    signal = square_wave()
    signal[11, 4000:] = 20 * np.sign(np.sin(np.arange(1000)))  # V6, in the third row of four
    figure = draw(signal)
    ax = figure.axes[0]
    assert [text.get_text() for text in ax.texts if "cut" in text.get_text()] == ["V6 (trace cut)"]
    figure.canvas.draw()
    black = np.asarray(figure.canvas.buffer_rgba())[::-1, :, :3].max(2) < 60
    (x, _), (_, top) = ax.transData.transform([(225, 0), (0, ecg_paper.HEIGHT)]).astype(int)
    assert not black[top + 2 :, x : x + 100].any()
    baselines = [ecg_paper.HEIGHT - 26 - 42 * row for row in range(4)]
    _, others = ax.transData.transform([(0, baselines[0]), (0, baselines[3])]).T
    column = np.flatnonzero(black[:, x : x + 100].sum(1) > 20)  # the artefact, not a thin line
    assert column.min() > others[1] and column.max() < others[0]
    plt.close(figure)


def test_nothing_on_an_explained_page_leaves_it_or_covers_the_colour_bar():
    text = PageText("t", ["word " * 200], "words that are long " * 12)
    figure, ax = page(np.full((12, 5000), 0.0045), text=text)
    mark(figure)
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    bar = figure.axes[1].get_tightbbox()
    assert 0 <= bar.x0 and bar.x1 <= width and bar.y1 <= height
    assert bar.y0 >= ax.get_window_extent().y1
    for text in figure.texts:
        box = text.get_window_extent()
        assert 0 <= box.x0 and box.x1 <= width and 0 <= box.y0 and box.y1 <= height
        assert not box.overlaps(bar), text.get_text()
    ticks = (*ax.get_xticklabels(), *figure.axes[1].get_xticklabels())
    boxes = [text.get_window_extent() for text in (*figure.texts, *ticks)]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    plt.close(figure)


def test_the_name_of_a_lead_hides_nothing_of_its_trace():
    signal = np.zeros((12, 5000), np.float32)
    signal[[4, 8], 100::400], signal[8, 120::400] = 1.6, -2  # aVL, V3: an R wave beneath the name
    figure = draw(signal)
    ax = figure.axes[0]
    figure.canvas.draw()
    for text in ax.texts:
        (x0, y0), (x1, y1) = ax.transData.inverted().transform(text.get_window_extent())
        for line in ax.lines:
            xs, ys = line.get_data()
            under = ys[(xs > x0) & (xs < x1)] if len(xs) > 100 else ys[:0]
            assert not ((under > y0) & (under < y1)).any(), text.get_text()
    heights = [text.get_position()[1] for text in ax.texts]
    rows = [set(heights[i : i + 4]) for i in (0, 4, 8, 12)]
    assert all(len(row) == 1 for row in rows)  # no name jumps
    first, second, third, last = (row.pop() for row in rows)  # those of aVL and V3 stand higher
    assert first - second < second - third < third - last
    plt.close(figure)
