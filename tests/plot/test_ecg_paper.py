"""ECG on paper: true to scale, every lead named and in its place, values where they belong."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from ecg.plot import ecg_paper


def texts(ax):
    return [text.get_text() for text in ax.texts]


def png_size_mm(path):
    """Return width and height from the PNG's own pixel counts and pixels per metre."""
    content = path.read_bytes()
    pixels = np.frombuffer(content, ">u4", 2, 16)
    at = content.index(b"pHYs") + 4
    return pixels / np.frombuffer(content, ">u4", 2, at) * 1000


def square_wave(n_leads=2, seconds=4, rate=500):
    """Return a signal that is 0 mV but for 1 mV from 1.0 to 1.2 s."""
    signal = np.zeros((n_leads, seconds * rate), np.float32)
    signal[:, rate : rate + rate // 5] = 1
    return signal


def test_one_second_is_25_mm_and_one_millivolt_10_mm():
    points = ecg_paper.strip_points(square_wave()[0] + 3, 500, x=20, y=30)
    assert points[0] == pytest.approx([20, 30])  # an offset does not move the baseline
    assert points[500] == pytest.approx([20 + 25, 30 + 10])
    assert points[600] == pytest.approx([20 + 25 * 1.2, 30])


@pytest.mark.parametrize("with_values", [False, True])
def test_paper_is_true_to_scale_in_the_file(tmp_path, drawn, with_values):
    path = tmp_path / "ecg.png"
    signal = square_wave()
    ecg_paper.plot_ecg(signal, ["I", "II"], 500, path, "t", values=signal if with_values else None)
    ax = drawn[0].axes[0]
    ends = ax.transData.transform([(0, 0), (100, 10)])
    assert (ends[1] - ends[0]) / drawn[0].dpi * 25.4 == pytest.approx([100, 10])
    expected = drawn[0].get_size_inches() * 25.4
    assert png_size_mm(path) == pytest.approx(expected, abs=0.3)  # a pixel is 0.13 mm


def test_calibration_pulse_is_one_millivolt_and_200_ms():
    _, ax = ecg_paper.ecg_paper(50, 30)
    ecg_paper.draw_calibration(ax, 3, 10)
    xs, ys = ax.lines[0].get_data()
    high = xs[ys > 15]
    assert (np.ptp(high), np.ptp(ys)) == (5, 10)
    plt.close(ax.figure)


@pytest.mark.parametrize("n_leads", [1, 12])
def test_the_colour_bars_label_stays_in_the_figure(tmp_path, drawn, n_leads):
    signal = square_wave(n_leads)
    labels = [f"L{i}" for i in range(n_leads)]
    ecg_paper.plot_ecg(signal, labels, 500, tmp_path / "a.png", "t", values=signal)
    figure = drawn[0]
    figure.draw_without_rendering()
    box = figure.axes[1].yaxis.label.get_window_extent()
    width, height = figure.get_size_inches() * figure.dpi
    assert 0 <= box.x0 and box.x1 <= width and box.y1 <= height
    mark = figure.texts[-1].get_window_extent()
    assert box.y0 >= mark.y1


def test_a_dollar_in_a_name_is_no_formula(tmp_path, drawn):
    ecg_paper.plot_ecg(square_wave(), ["I", "II"], 500, tmp_path / "a.png", "a$_$b: predicted AF")
    assert drawn[0].axes[0].get_title(loc="left") == "a$_$b: predicted AF"


def test_every_lead_is_named_and_stays_on_the_paper(tmp_path, drawn):
    rng = np.random.default_rng(0)
    signal = np.cumsum(rng.normal(0, 0.02, (12, 1000)), axis=1) * np.geomspace(0.1, 2, 12)[:, None]
    ecg_paper.plot_ecg(signal, [f"L{i}" for i in range(12)], 500, tmp_path / "ecg.png", "t")
    ax = drawn[0].axes[0]
    assert texts(ax) == [f"L{i}" for i in range(12)]
    traces = [line.get_ydata() for line in ax.lines if len(line.get_ydata()) == 1000]
    excursion = np.ptp(signal, axis=1)
    assert [np.ptp(trace) for trace in traces] == pytest.approx(10 * excursion)
    tame = [trace for trace, mv in zip(traces, excursion, strict=True) if mv < 1.5]
    assert all(0 < trace.min() and trace.max() < ax.get_ylim()[1] for trace in tame)
    medians = [np.median(trace) for trace in traces]
    assert (np.diff(medians) <= -15).all()


def test_time_marks_are_whole_seconds_of_the_record(tmp_path, drawn):
    ecg_paper.plot_ecg(square_wave(), ["I", "II"], 500, tmp_path / "ecg.png", "t", start=20.4)
    ax = drawn[0].axes[0]
    marks = {label.get_text(): label.get_position()[0] for label in ax.get_xticklabels()}
    assert list(marks) == ["21 s", "22 s", "23 s", "24 s"]
    assert marks["21 s"] == pytest.approx(ecg_paper.NAME_WIDTH + 0.6 * 25)


def test_values_colour_the_trace_where_they_are(tmp_path, drawn):
    signal, values = square_wave(), np.zeros((2, 2000))
    values[0, 500:510], values[1, 1000:1010] = 0.3, -0.3
    ecg_paper.plot_ecg(signal, ["I", "II"], 500, tmp_path / "ecg.png", "t", values=values)
    strips = [c for c in drawn[0].axes[0].collections if len(c.get_segments()) == 200]
    first, second = (strip.get_colors() for strip in strips)
    assert first[50, 0] > 0.8 > 0.3 > first[50, 2] and first[50, 3] == 1  # red, opaque
    assert second[100, 2] > 0.8 > 0.3 > second[100, 0] and second[100, 3] == 1  # blue
    assert np.delete(first[:, 3], 50).max() < 0.01  # transparent where the values are zero
    segment = strips[0].get_segments()[50]
    assert segment[0, 0] == pytest.approx(ecg_paper.NAME_WIDTH + 25)
    assert len(drawn[0].axes) == 2  # one paper and one colour bar
