"""Values of an explanation as colour along a trace: one diverging scale, windows of 40 ms."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize, to_rgba
from matplotlib.ticker import MaxNLocator

from dataset import LEADS, SAMPLE_RATE
from ecg.explanation.attributions import VALUE_BIN, WINDOWS, binned
from ecg.explanation.methods import METHODS
from ecg.plot.figures import COLOUR_NAMES, LOWERS, RAISES, RAISING_MAP, VALUE_MAP


class PageColours(NamedTuple):
    """What a page shows of an explanation, from `page_colours`."""

    colours: np.ndarray  # (12, windows, 4) RGBA of windows of VALUE_BIN
    shares: np.ndarray  # (12,) of |value|, NaN of a lead that the network does not see
    norm: Normalize
    first: int  # sample of the values that the page begins with; may lie before or after them
    label: str  # of the colour bar


def value_colours(sums, norm, trust=None):
    """Return RGBA (..., 4) of sums: blue lowers, gold raises, transparent near zero.

    `trust` (0 to 1, of the same shape) makes unreliable sums paler. Over white the colours are
    those of VALUE_MAP; over the paper the grid shines through.
    """
    colours = np.where((sums < 0)[..., None], to_rgba(LOWERS), to_rgba(RAISES))
    colours[..., 3] = np.minimum(np.abs(sums) / norm.vmax, 1)
    if trust is not None:
        colours[..., 3] *= np.clip(np.nan_to_num(trust), 0, 1)
    return colours


def draw_windows(ax, points, colours, first, width):
    """Colour the line through points (T, 2) by the RGBA (windows, 4) of windows of values.

    `first` is the sample of the values that the points begin with; there is no colour before or
    after them. Returns the LineCollection.
    """
    step = round(VALUE_BIN * SAMPLE_RATE)
    edges = np.unique([0, *range(-first % step, len(points), step), len(points)])
    # each piece ends on the first point of the next, so that the colour has no gaps
    pieces = [points[a : b + 1] for a, b in pairwise(edges)]
    at = (first + edges[:-1]) // step
    inside = (at >= 0) & (at < len(colours))
    shown = np.where(inside[:, None], colours[np.clip(at, 0, len(colours) - 1)], 0)
    style = {"linewidths": width, "capstyle": "butt", "zorder": 2, "clip_on": False}
    return ax.add_collection(LineCollection(pieces, colors=shown, **style))


def draw_values(ax, points, values, norm, width):
    """Colour the line through points (T, 2) by values (T,), summed over windows of 40 ms."""
    draw_windows(ax, points, value_colours(binned(values), norm), 0, width)


def value_norm(values):
    """Return the colour scale of values (L, T): symmetric, to the 99.8th percentile of |40 ms|."""
    top = max(np.quantile(np.abs(binned(values)), 0.998), 1e-12)
    return Normalize(-top, top, clip=True)


def page_colours(explained, leads, begin=0):
    """Return the PageColours of a ClassExplanation of the `leads` that the network sees.

    `begin` is the sample of the record that the page begins with.
    """
    values, rows = explained.values, [LEADS.index(lead) for lead in leads]
    if METHODS[explained.method].adds_up:
        norm, label = value_norm(values), f"change of the logit in {WINDOWS}: {COLOUR_NAMES}"
    else:  # a probability has a scale of its own
        norm, label = Normalize(0, 1), f"evidence in {WINDOWS}: 0 none, 1 sure"
    seen = value_colours(binned(values), norm, explained.trust)
    colours = np.zeros((len(LEADS), *seen.shape[1:]))
    colours[rows] = seen
    shares = np.full(len(LEADS), np.nan)
    shares[rows] = np.abs(values).sum(1) / max(np.abs(values).sum(), 1e-30)
    return PageColours(colours, shares, norm, begin - explained.start, label)


def draw_value_bar(figure, place, norm, label, size=8, orientation="vertical"):
    """Draw the colour bar of the values at a place (left, bottom, width, height)."""
    signed = norm.vmin < 0
    extend = "both" if signed else "neither"
    options = {"cax": figure.add_axes(place), "extend": extend, "orientation": orientation}
    options["ticks"] = MaxNLocator(4 if orientation == "horizontal" else 8)
    colours = VALUE_MAP if signed else RAISING_MAP
    bar = figure.colorbar(ScalarMappable(norm, colours), **options)
    bar.set_label(label, size=size)
    bar.ax.tick_params(labelsize=min(size, 7))
