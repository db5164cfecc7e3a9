"""The figures: what is drawn where, and that files are whole and marked."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from ecg.plot import scores
from utils import RESEARCH_USE


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_heat_map_prints_the_numbers_and_says_why_a_row_is_empty(tmp_path, drawn):
    values = np.array([[0.25, 0.75], [np.nan, np.nan], [np.nan, np.nan]])
    path = tmp_path / "map.png"
    scores.plot_heat_map(values, list("abc"), ["I", "II"], path, "t", "v", ["", "", "cancels"])
    ax = drawn[0].axes[0]
    assert texts(ax) == ["0.250", "0.750", "no record", "cancels"]
    assert ax.images[0].get_clim() == (0, 0.75)
    assert [label.get_text() for label in ax.get_yticklabels()] == list("abc")


def test_heat_map_with_negative_values_is_centred_on_zero(tmp_path, drawn):
    scores.plot_heat_map([[-0.2, 1.5]], ["a"], ["I", "II"], tmp_path / "map.png", "t", "v")
    image = drawn[0].axes[0].images[0]
    assert image.get_clim() == (-1.5, 1.5)
    red, green, blue, _ = image.to_rgba(0.0)
    assert min(red, green, blue) > 0.95


def test_heat_map_without_any_value(tmp_path):
    scores.plot_heat_map(
        np.full((2, 2), np.nan), ["a", "b"], ["I", "II"], tmp_path / "m.png", "", ""
    )
    assert (tmp_path / "m.png").stat().st_size > 1000


def test_confusions_show_counts_shares_and_missing_classes(tmp_path, drawn):
    y_true = np.array([[1, 0], [1, 0], [1, 0], [0, 0]])
    y_pred = np.array([[1, 1], [0, 0], [1, 0], [0, 0]])
    scores.plot_confusions(y_true, y_pred, ["AF", "STE"], tmp_path / "c.png", "t")
    first, second = drawn[0].axes[:2]
    assert texts(first) == ["1\n100.0%", "0\n0.0%", "1\n33.3%", "2\n66.7%"]
    assert texts(second) == ["3\n75.0%", "1\n25.0%", "0\nno record", "0\nno record"]
    assert (first.get_title(), second.get_title()) == ("AF (3 positive)", "STE (no positives)")


def test_the_same_figure_for_print_is_the_same_file(tmp_path):
    y = np.array([[1, 0], [0, 1]])
    for name in ("a", "b"):
        scores.plot_confusions(y, y, ["AF", "STE"], tmp_path / name, "t")
    for suffix in (".png", ".svg"):
        files = [(tmp_path / f"{name}{suffix}").read_bytes() for name in ("a", "b")]
        assert files[0] == files[1] and len(files[0]) > 1000


def test_history_marks_the_first_epoch_with_the_best_f1(tmp_path, drawn):
    history = pd.DataFrame({"epoch": [1, 2, 3, 4], "train_loss": [0.5, 0.4, 0.3, 0.2]})
    history = history.assign(
        val_loss=0.4, val_f1=[0.2, 0.6, 0.6, 0.5], val_auc=[0.5, 0.6, 0.7, 0.7]
    )
    scores.plot_history(history, tmp_path / "h.png")
    for ax in drawn[0].axes:
        marks = [line for line in ax.lines if len(set(line.get_xdata())) == 1]
        assert [line.get_xdata()[0] for line in marks] == [2]
    scores.plot_history(history.assign(val_f1=np.nan), tmp_path / "without.png")


def test_figures_are_marked_closed_and_whole(tmp_path, monkeypatch):
    path = tmp_path / "figure.png"
    figure = plt.figure()
    scores.save_figure(figure, path)
    assert [text.get_text() for text in figure.texts] == [RESEARCH_USE]
    before = path.read_bytes()

    def fail_half_way(self, target, **_):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(plt.Figure, "savefig", fail_half_way)
    with pytest.raises(SystemExit):
        scores.save_figure(plt.figure(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    assert not plt.get_fignums()
