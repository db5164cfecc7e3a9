"""Figures of scores: what scikit-learn and Wilson compute is drawn; files are whole and marked."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from sklearn.metrics import average_precision_score, roc_auc_score

from ecg.evaluation.metrics import calibration_bins, score_table
from ecg.plot import ranking, scores
from ecg.plot.figures import LOWERS, RAISES
from utils import RESEARCH_USE

CLASSES = ("a", "b", "c", "d")
THRESHOLDS = np.array([0.4, 0.5, 0.3, 0.5])


@pytest.fixture(scope="module")
def figures():
    """Keep the figures that are saved; what is drawn in them stays readable after closing."""
    kept, save = {}, scores.save_print

    def keep(figure, path):
        kept[path.name] = figure
        save(figure, path)

    with pytest.MonkeyPatch.context() as patch:
        for module in (scores, ranking):
            patch.setattr(module, "save_print", keep)
        yield kept


@pytest.fixture(scope="module")
def scored():
    """Make scores of 300 records with ties; class d has no positives."""
    rng = np.random.default_rng(2)
    y_true = (rng.random((300, 4)) < (0.3, 0.1, 0.6, 0)).astype(int)
    return y_true, np.clip(0.3 * y_true + 0.7 * rng.random((300, 4)), 0, 1).round(2)


@pytest.fixture(scope="module")
def panels(scored, figures, tmp_path_factory):
    """Draw everything; return the panels by figure, the table and the folder."""
    y_true, y_score = scored
    folder = tmp_path_factory.mktemp("figures")
    table = score_table(y_true, y_score, THRESHOLDS, CLASSES, 30)
    records = SimpleNamespace(y_true=y_true, y_score=y_score, thresholds=THRESHOLDS)
    scores.plot_scores(records, table, folder, "run, n = 300")
    return {name: figure.axes for name, figure in figures.items()}, table, folder


def test_each_figure_is_one_png_and_one_svg_with_one_mark(panels, figures):
    _, _, folder = panels
    names = ("confusion", "precision_recall", "reliability", "roc")
    expected = sorted(f"{name}{suffix}" for name in names for suffix in (".png", ".svg"))
    assert sorted(path.name for path in folder.iterdir()) == expected
    assert (folder / "roc.svg").read_text().rstrip().endswith("</svg>")
    for name in names[1:]:
        figure = figures[name]
        assert [text.get_text() for text in figure.texts].count(RESEARCH_USE) == 1


def test_the_area_under_the_drawn_roc_curve_is_the_auc(panels, scored):
    axes, table, _ = panels
    for k in range(3):
        curve, dot = axes["roc"][k].lines[1:]
        area = np.trapezoid(curve.get_ydata(), curve.get_xdata())
        assert area == pytest.approx(roc_auc_score(scored[0][:, k], scored[1][:, k]))
        assert f"{area:.3f}" in axes["roc"][k].get_title()
        assert (dot.get_xdata()[0], dot.get_ydata()[0]) == pytest.approx(
            (1 - table.loc[k, "specificity"], table.loc[k, "recall"])
        )
    assert len(axes["roc"][3].lines) == 1 and "no positives" in axes["roc"][3].texts[0].get_text()


def test_the_area_under_the_drawn_steps_is_the_average_precision(panels, scored):
    axes, _, _ = panels
    for k in range(3):
        chance, curve, _ = axes["precision_recall"][k].lines
        recall, precision = curve.get_xdata(), curve.get_ydata()
        area = (np.diff(recall) * precision[1:]).sum()  # a step holds the value of its right end
        assert curve.get_drawstyle() == "steps-pre" and (np.diff(recall) >= 0).all()
        assert area == pytest.approx(average_precision_score(scored[0][:, k], scored[1][:, k]))
        assert chance.get_ydata()[0] == pytest.approx(scored[0][:, k].mean())


def test_reliability_dots_are_the_shares_of_the_bins(panels, scored):
    axes, _, _ = panels
    true, score = scored[0][:, 0], scored[1][:, 0]
    dots = axes["reliability"][0].containers[-1].lines[0]
    held = [np.flatnonzero(np.minimum((score * 10).astype(int), 9) == i) for i in range(10)]
    held = [rows for rows in held if len(rows)]
    assert dots.get_xdata() == pytest.approx([score[rows].mean() for rows in held])
    assert dots.get_ydata() == pytest.approx([true[rows].mean() for rows in held])


def test_calibration_bins_hold_their_lower_edge_and_the_last_one_holds_1():
    assert calibration_bins(np.array([0, 0.0999, 0.1, 0.5, 0.95, 1])).tolist() == [0, 0, 1, 5, 9, 9]


def test_the_interval_of_a_dot_is_wilsons(panels, scored):
    axes, _, _ = panels
    true, score = scored[0][:, 0], scored[1][:, 0]
    lines = axes["reliability"][0].containers[-1].lines[2][0].get_segments()
    bins = np.minimum((score * 10).astype(int), 9)
    for line, i in zip(lines, np.unique(bins), strict=True):
        n, share, z = (bins == i).sum(), true[bins == i].mean(), 1.959964
        # Wilson (1927), equation 3: the shares p with |p - share| <= z sqrt(p (1 - p) / n)
        ends = np.roots([1 + z**2 / n, -2 * share - z**2 / n, share**2])
        assert line[:, 1] == pytest.approx(sorted(ends), abs=1e-6)


def test_ranking_draws_bars_from_chance_to_the_value_in_the_order_given(figures, tmp_path):
    values = [0.9, 0.7, 0.6], [0.85, 0.65, 0.5], [0.95, 0.72, 0.7]
    bars = ranking.Ranking("AUC", 0.5, *values)
    ranking.plot_ranking(["x", "y", "z"], [bars], tmp_path / "rank", "t")
    ax = figures["rank"].axes[0]
    bars = ax.patches
    assert [bar.get_x() + bar.get_width() for bar in bars] == pytest.approx(values[0])
    assert {bar.get_x() for bar in bars} == {0.5}
    assert [label.get_text() for label in ax.get_yticklabels()] == ["x", "y", "z"]
    assert ax.yaxis_inverted()  # the first on top
    ends = ax.containers[-1].lines[2][0].get_segments()
    assert [segment[:, 0].tolist() for segment in ends] == [
        pytest.approx(pair) for pair in zip(*values[1:], strict=True)
    ]


def plot_heat_map(path, heat_map, rows):
    scores.plot_heat_maps([heat_map], rows, ["I", "II"], path, "t")


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_heat_map_prints_the_numbers_and_says_why_a_row_is_empty(tmp_path, drawn):
    values = np.array([[0.25, 0.75], [np.nan, np.nan], [np.nan, np.nan]])
    path = tmp_path / "map.png"
    plot_heat_map(path, scores.HeatMap(values, "v", ["", "", "cancels"]), list("abc"))
    ax = drawn[0].axes[0]
    assert texts(ax) == ["0.250", "0.750", "no record", "cancels"]
    assert ax.images[0].get_clim() == (0, 0.75)
    assert path.with_suffix(".svg").stat().st_size > 1000
    assert [label.get_text() for label in ax.get_yticklabels()] == list("abc")


def test_heat_map_with_negative_values_is_centred_on_zero(tmp_path, drawn):
    plot_heat_map(tmp_path / "map.png", scores.HeatMap([[-0.2, 1.5]], "v"), ["a"])
    image = drawn[0].axes[0].images[0]
    assert image.get_clim() == (-1.5, 1.5)
    red, green, blue, _ = image.to_rgba(0.0)
    assert min(red, green, blue) > 0.95
    for value, colour in ((1.5, RAISES), (-1.5, LOWERS)):  # as on the paper
        assert image.to_rgba(value) == pytest.approx(to_rgba(colour), abs=0.01)


def test_heat_maps_beside_each_other_have_the_same_rows_and_a_scale_each(tmp_path, drawn):
    maps = [
        scores.HeatMap([[-0.5, 1.5]], "signed", [""]),
        scores.HeatMap([[0.25, 0.75]], "absolute", [""]),
    ]
    scores.plot_heat_maps(maps, ["AF"], ["I", "II"], tmp_path / "both.png", "t")
    first, second = (ax for ax in drawn[0].axes if ax.images)
    assert texts(first) == ["-0.50", "1.50"] and texts(second) == ["0.250", "0.750"]
    assert first.images[0].get_clim() == (-1.5, 1.5) and second.images[0].get_clim() == (0, 0.75)
    labels = [ax.get_ylabel() for ax in drawn[0].axes if not ax.images]
    assert labels == ["signed", "absolute"]


def test_heat_map_without_any_value(tmp_path):
    plot_heat_map(tmp_path / "m.png", scores.HeatMap(np.full((2, 2), np.nan), ""), ["a", "b"])
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


def test_history_marks_the_kept_epoch(tmp_path, drawn):
    history = pd.DataFrame({"epoch": [1, 2, 3, 4], "train_loss": [0.5, 0.4, 0.3, 0.2]})
    history = history.assign(
        val_loss=0.4, val_f1=[0.2, 0.6, 0.6, 0.5], val_auc=[0.5, 0.6, 0.7, 0.7]
    )
    scores.plot_history(history, tmp_path / "h.png", 2)
    for ax in drawn[0].axes:
        marks = [line for line in ax.lines if len(set(line.get_xdata())) == 1]
        assert [line.get_xdata()[0] for line in marks] == [2]
    scores.plot_history(history.assign(val_f1=np.nan), tmp_path / "without.png", 1)
