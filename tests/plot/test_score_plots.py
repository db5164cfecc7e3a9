"""The figures of scores: what is drawn equals what scikit-learn and scipy compute."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, roc_auc_score

from ecg.evaluation.metrics import calibration_bins, score_table
from ecg.plot import scores
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
        patch.setattr(scores, "save_print", keep)
        yield kept


@pytest.fixture(scope="module")
def scored():
    """Make scores of 300 records with ties; class d has no positives."""
    rng = np.random.default_rng(2)
    y_true = (rng.random((300, 4)) < (0.3, 0.1, 0.6, 0)).astype(int)
    return y_true, np.clip(0.3 * y_true + 0.7 * rng.random((300, 4)), 0, 1).round(2)


@pytest.fixture(scope="module")
def drawn(scored, figures, tmp_path_factory):
    """Draw everything; return the panels by figure, the table and the folder."""
    y_true, y_score = scored
    folder = tmp_path_factory.mktemp("figures")
    table = score_table(y_true, y_score, THRESHOLDS, CLASSES, 30)
    scores.plot_scores(y_true, y_score, THRESHOLDS, table, folder, "run, n = 300")
    return {name: figure.axes for name, figure in figures.items()}, table, folder


def test_each_figure_is_one_png_and_one_svg_with_one_mark(drawn, figures):
    _, _, folder = drawn
    names = ("confusion", "precision_recall", "reliability", "roc")
    expected = sorted(f"{name}{suffix}" for name in names for suffix in (".png", ".svg"))
    assert sorted(path.name for path in folder.iterdir()) == expected
    assert (folder / "roc.svg").read_text().rstrip().endswith("</svg>")
    for name in names[1:]:
        figure = figures[name]
        assert [text.get_text() for text in figure.texts].count(RESEARCH_USE) == 1


def test_the_area_under_the_drawn_roc_curve_is_the_auc(drawn, scored):
    axes, table, _ = drawn
    for k in range(3):
        curve, dot = axes["roc"][k].lines[1:]
        area = np.trapezoid(curve.get_ydata(), curve.get_xdata())
        assert area == pytest.approx(roc_auc_score(scored[0][:, k], scored[1][:, k]))
        assert f"{area:.3f}" in axes["roc"][k].get_title()
        assert (dot.get_xdata()[0], dot.get_ydata()[0]) == pytest.approx(
            (1 - table.loc[k, "specificity"], table.loc[k, "recall"])
        )
    assert len(axes["roc"][3].lines) == 1 and "no positives" in axes["roc"][3].texts[0].get_text()


def test_the_area_under_the_drawn_steps_is_the_average_precision(drawn, scored):
    axes, _, _ = drawn
    for k in range(3):
        chance, curve, _ = axes["precision_recall"][k].lines
        recall, precision = curve.get_xdata(), curve.get_ydata()
        area = (np.diff(recall) * precision[1:]).sum()  # a step holds the value of its right end
        assert curve.get_drawstyle() == "steps-pre" and (np.diff(recall) >= 0).all()
        assert area == pytest.approx(average_precision_score(scored[0][:, k], scored[1][:, k]))
        assert chance.get_ydata()[0] == pytest.approx(scored[0][:, k].mean())


def test_reliability_dots_are_the_shares_of_the_bins(drawn, scored):
    axes, _, _ = drawn
    true, score = scored[0][:, 0], scored[1][:, 0]
    dots = axes["reliability"][0].containers[-1].lines[0]
    held = [np.flatnonzero(np.minimum((score * 10).astype(int), 9) == i) for i in range(10)]
    held = [rows for rows in held if len(rows)]
    assert dots.get_xdata() == pytest.approx([score[rows].mean() for rows in held])
    assert dots.get_ydata() == pytest.approx([true[rows].mean() for rows in held])


def test_calibration_bins_hold_their_lower_edge_and_the_last_one_holds_1():
    assert calibration_bins(np.array([0, 0.0999, 0.1, 0.5, 0.95, 1])).tolist() == [0, 0, 1, 5, 9, 9]


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (3, 17), (17, 17), (400, 1000)])
def test_wilson_interval_equals_scipy(hits, n):
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    found = scores.wilson_interval(np.array([hits]), np.array([n]))
    assert np.ravel(found) == pytest.approx([expected.low, expected.high], abs=1e-6)


def test_ranking_draws_bars_from_chance_to_the_value_in_the_order_given(figures, tmp_path):
    values = [0.9, 0.7, 0.6], [0.85, 0.65, 0.5], [0.95, 0.72, 0.7]
    scores.plot_ranking(["x", "y", "z"], {"AUC": (0.5, *values)}, tmp_path / "rank", "t")
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
