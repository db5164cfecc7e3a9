"""The figures: physical scale, what is drawn where, and that files are whole and marked."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import plots
from utils import RESEARCH_USE


@pytest.fixture
def drawn(monkeypatch):
    """Keep the figures that are saved, and close them afterwards."""
    figures = []
    monkeypatch.setattr(plots.plt, "close", figures.append)
    yield figures
    monkeypatch.undo()
    for figure in figures:
        plt.close(figure)


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
    points = plots.strip_points(square_wave()[0] + 3, 500, x=20, y=30)
    assert points[0] == pytest.approx([20, 30])  # an offset does not move the baseline
    assert points[500] == pytest.approx([20 + 25, 30 + 10])
    assert points[600] == pytest.approx([20 + 25 * 1.2, 30])


@pytest.mark.parametrize("with_values", [False, True])
def test_paper_is_true_to_scale_in_the_file(tmp_path, drawn, with_values):
    path = tmp_path / "ecg.png"
    signal = square_wave()
    plots.plot_ecg(signal, ["I", "II"], 500, path, "t", values=signal if with_values else None)
    ax = drawn[0].axes[0]
    ends = ax.transData.transform([(0, 0), (100, 10)])
    assert (ends[1] - ends[0]) / drawn[0].dpi * 25.4 == pytest.approx([100, 10])
    expected = drawn[0].get_size_inches() * 25.4
    assert png_size_mm(path) == pytest.approx(expected, abs=0.3)  # a pixel is 0.13 mm


def test_calibration_pulse_is_one_millivolt_and_200_ms():
    _, ax = plots.ecg_paper(50, 30)
    plots.draw_calibration(ax, 3, 10)
    xs, ys = ax.lines[0].get_data()
    high = xs[ys > 15]
    assert (np.ptp(high), np.ptp(ys)) == (5, 10)
    plt.close(ax.figure)


def test_every_lead_is_named_and_stays_on_the_paper(tmp_path, drawn):
    rng = np.random.default_rng(0)
    signal = np.cumsum(rng.normal(0, 0.02, (12, 1000)), axis=1) * np.geomspace(0.1, 2, 12)[:, None]
    plots.plot_ecg(signal, [f"L{i}" for i in range(12)], 500, tmp_path / "ecg.png", "t")
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
    plots.plot_ecg(square_wave(), ["I", "II"], 500, tmp_path / "ecg.png", "t", start=20.4)
    ax = drawn[0].axes[0]
    marks = {label.get_text(): label.get_position()[0] for label in ax.get_xticklabels()}
    assert list(marks) == ["21 s", "22 s", "23 s", "24 s"]
    assert marks["21 s"] == pytest.approx(plots.NAME_WIDTH + 0.6 * 25)


def test_values_colour_the_trace_where_they_are(tmp_path, drawn):
    signal, values = square_wave(), np.zeros((2, 2000))
    values[0, 500:510], values[1, 1000:1010] = 0.3, -0.3
    plots.plot_ecg(signal, ["I", "II"], 500, tmp_path / "ecg.png", "t", values=values)
    strips = [c for c in drawn[0].axes[0].collections if len(c.get_segments()) == 200]
    first, second = (strip.get_colors() for strip in strips)
    assert first[50, 0] > 0.8 > 0.3 > first[50, 2] and first[50, 3] == 1  # red, opaque
    assert second[100, 2] > 0.8 > 0.3 > second[100, 0] and second[100, 3] == 1  # blue
    assert np.delete(first[:, 3], 50).max() < 0.01  # transparent where the values are zero
    segment = strips[0].get_segments()[50]
    assert segment[0, 0] == pytest.approx(plots.NAME_WIDTH + 25)
    assert len(drawn[0].axes) == 2  # one paper and one colour bar


def test_heat_map_prints_the_numbers_and_says_why_a_row_is_empty(tmp_path, drawn):
    values = np.array([[0.25, 0.75], [np.nan, np.nan], [np.nan, np.nan]])
    path = tmp_path / "map.png"
    plots.plot_heat_map(values, list("abc"), ["I", "II"], path, "t", "v", ["", "", "cancels"])
    ax = drawn[0].axes[0]
    assert texts(ax) == ["0.250", "0.750", "no record", "cancels"]
    assert ax.images[0].get_clim() == (0, 0.75)
    assert [label.get_text() for label in ax.get_yticklabels()] == list("abc")


def test_heat_map_with_negative_values_is_centred_on_zero(tmp_path, drawn):
    plots.plot_heat_map([[-0.2, 1.5]], ["a"], ["I", "II"], tmp_path / "map.png", "t", "v")
    image = drawn[0].axes[0].images[0]
    assert image.get_clim() == (-1.5, 1.5)
    red, green, blue, _ = image.to_rgba(0.0)
    assert min(red, green, blue) > 0.95


def test_heat_map_without_any_value(tmp_path):
    plots.plot_heat_map(
        np.full((2, 2), np.nan), ["a", "b"], ["I", "II"], tmp_path / "m.png", "", ""
    )
    assert (tmp_path / "m.png").stat().st_size > 1000


def test_confusions_show_counts_shares_and_missing_classes(tmp_path, drawn):
    y_true = np.array([[1, 0], [1, 0], [1, 0], [0, 0]])
    y_pred = np.array([[1, 1], [0, 0], [1, 0], [0, 0]])
    plots.plot_confusions(y_true, y_pred, ["AF", "STE"], tmp_path / "c.png", "t")
    first, second = drawn[0].axes[:2]
    assert texts(first) == ["1\n100.0%", "0\n0.0%", "1\n33.3%", "2\n66.7%"]
    assert texts(second) == ["3\n75.0%", "1\n25.0%", "0\nno record", "0\nno record"]
    assert (first.get_title(), second.get_title()) == ("AF (3 positive)", "STE (no positives)")


def test_history_marks_the_first_epoch_with_the_best_f1(tmp_path, drawn):
    history = pd.DataFrame({"epoch": [1, 2, 3, 4], "train_loss": [0.5, 0.4, 0.3, 0.2]})
    history = history.assign(
        val_loss=0.4, val_f1=[0.2, 0.6, 0.6, 0.5], val_auc=[0.5, 0.6, 0.7, 0.7]
    )
    plots.plot_history(history, tmp_path / "h.png")
    for ax in drawn[0].axes:
        marks = [line for line in ax.lines if len(set(line.get_xdata())) == 1]
        assert [line.get_xdata()[0] for line in marks] == [2]
    plots.plot_history(history.assign(val_f1=np.nan), tmp_path / "without.png")


def test_figures_are_marked_closed_and_whole(tmp_path, monkeypatch):
    path = tmp_path / "figure.png"
    figure = plt.figure()
    plots.save_figure(figure, path)
    assert [text.get_text() for text in figure.texts] == [RESEARCH_USE]
    before = path.read_bytes()

    def fail_half_way(self, target, **_):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(plt.Figure, "savefig", fail_half_way)
    with pytest.raises(OSError, match="disk full"):
        plots.save_figure(plt.figure(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    assert not plt.get_fignums()
