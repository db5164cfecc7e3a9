"""Scores of several models as bars, the best on top."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ecg.evaluation.metrics import in_words
from ecg.plot.figures import BLUE, plt, save_print


class Ranking(NamedTuple):
    """A score of several models: where its bars begin (such as the 0.5 of chance) and end."""

    label: str
    start: float
    values: Sequence[float]
    lows: Sequence[float]  # of the intervals
    highs: Sequence[float]


def plot_ranking(names, rankings, path, title):
    """Draw Rankings as bars with intervals, a panel each, as PNG and SVG.

    The values of each are in the order of `names`, the first on top.
    """
    size = (3.4 * len(rankings) + 0.6, 0.26 * len(names) + 1.5)
    figure, axes = plt.subplots(1, len(rankings), figsize=size, layout="constrained", squeeze=False)
    for ax, ranking in zip(axes.flat, rankings, strict=True):
        draw_ranking(ax, names, ranking)
    figure.suptitle(title, size=10)
    save_print(figure, path)


def draw_ranking(ax, names, ranking):
    """Draw one Ranking."""
    places, start = np.arange(len(names)), ranking.start
    values, lows, highs = (
        np.array(numbers, float) for numbers in (ranking.values, ranking.lows, ranking.highs)
    )
    ax.barh(places, values - start, left=start, color=BLUE, alpha=0.55, height=0.7)
    # an interval of percentiles need not hold the value itself
    ends = np.clip([values - lows, highs - values], 0, None)
    style = {"fmt": "none", "ecolor": "black", "capsize": 2, "lw": 1, "clip_on": False}
    ax.errorbar(values, places, xerr=ends, **style)
    for place, value in zip(places, values, strict=True):
        at = start + 0.015 * (1 - start)
        ax.text(at, place, in_words(value), va="center", size=8)
    ax.set_xlim(min(start, lows.min()), 1)
    ax.set_yticks(places, names)
    ax.invert_yaxis()
    ax.set_xlabel(f"{ranking.label}, 95 % interval", size=9)
    ax.xaxis.get_major_locator().set_params(nbins=5)
    ax.grid(axis="x", alpha=0.3)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=8)
