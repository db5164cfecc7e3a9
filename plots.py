"""Every figure of the project: scores, training history, heat maps, and ECG on standard paper."""

import matplotlib
import numpy as np

from metrics import divide
from utils import RESEARCH_USE, replacing

matplotlib.use("Agg")  # before pyplot, so that no figure needs a display

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.collections import LineCollection  # noqa: E402
from matplotlib.colors import LinearSegmentedColormap, Normalize  # noqa: E402
from matplotlib.patches import Rectangle  # noqa: E402

DPI = 200
INCH = 25.4  # mm
BLUE, ORANGE = "#0072b2", "#d55e00"  # told apart with every common colour blindness

# ECG paper: the scale that cardiologists read without looking at the axes.
MM_PER_SECOND = 25
MM_PER_MV = 10
LEFT, RIGHT, BOTTOM, TOP = 4, 4, 12, 14  # mm around the paper of a figure
MIN_SECONDS = 5  # paper for a shorter signal, so that the title fits
NAME_WIDTH = 20  # mm in front of a trace, for the calibration pulse and the lead's name
ROW_LIMITS = (15, 40)  # mm from one trace's baseline to the next
VALUE_BIN = 0.02  # s: values are summed over half a millimetre of paper to be visible

# negative blue, zero transparent (the black trace shows), positive orange-red
VALUE_STOPS = [
    (0.0, (0.0, 0.2, 0.9, 1)),
    (0.5, (0.2, 0.5, 1.0, 0)),
    (0.5, (1.0, 0.5, 0.1, 0)),
    (1.0, (0.9, 0.15, 0.0, 1)),
]
VALUE_MAP = LinearSegmentedColormap.from_list("values", VALUE_STOPS)


def save_figure(figure, path):
    """Write the figure atomically, in the format of the path's suffix, marked 'research use only'.

    The mark stands in the lower right corner, the figure is closed.
    """
    x, y = np.array([-2, 1.5]) / INCH / figure.get_size_inches()  # mm from the corner
    mark = figure.text(1 + x, y, RESEARCH_USE, ha="right", va="bottom", size=6, color="0.4")
    mark.set_in_layout(False)
    try:
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=DPI)
    finally:
        plt.close(figure)


def plot_heat_map(values, row_labels, column_labels, path, title, value_label, notes=None):
    """Draw values (R, C) as coloured cells with their numbers.

    A row of NaN is hatched and says why: 'no record', or its text in `notes` (R,). The colours
    are sequential, or diverging and centred on zero if any value is negative.
    """
    values = np.asarray(values, float)
    known = values[np.isfinite(values)]
    top = max(np.abs(known).max(initial=0), 1e-12)
    signed = known.min(initial=0) < 0
    cmap, low = (plt.get_cmap("RdBu_r"), -top) if signed else (plt.get_cmap("YlGnBu"), 0)
    rows, columns = values.shape
    size = (max(6.4, 2.6 + 0.58 * columns), 1.5 + 0.36 * rows)
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    image = ax.imshow(values, cmap=cmap, vmin=low, vmax=top, aspect="auto")
    colour_bar = figure.colorbar(image, pad=0.02, label=value_label)
    colour_bar.ax.tick_params(labelsize=8)
    decimals = int(np.clip(2 - np.floor(np.log10(top)), 0, 4))
    for row, column in np.ndindex(rows, columns):
        value = values[row, column]
        if np.isfinite(value):
            text = f"{round(value, decimals) + 0:.{decimals}f}"  # + 0 turns -0 into 0
            dark = np.dot(image.to_rgba(value)[:3], (0.299, 0.587, 0.114)) < 0.55
            ax.text(column, row, text, ha="center", va="center", size=8, color="wk"[not dark])
        else:
            corner = (column - 0.5, row - 0.5)
            ax.add_patch(Rectangle(corner, 1, 1, fc="0.93", ec="0.75", hatch="////", lw=0))
    for row in np.flatnonzero(np.isnan(values).all(1)):
        box = {"boxstyle": "round", "fc": "white", "ec": "none"}
        middle = (columns - 1) / 2
        note = (notes[row] if notes is not None else "") or "no record"
        ax.text(middle, row, note, ha="center", va="center", size=8, color="0.3", bbox=box)
    ax.set_xticks(range(columns), column_labels)
    ax.set_yticks(range(rows), row_labels)
    ax.tick_params(length=0)
    ax.set_title(title, size=10)
    figure.get_layout_engine().set(rect=(0, 0.04, 1, 0.96))
    save_figure(figure, path)


def plot_confusions(y_true, y_pred, classes, path, title):
    """Draw a 2 x 2 confusion matrix for each class, from 0/1 arrays (N, K), in one figure.

    A cell shows its count and its share of the row; a row without records has no shares.
    """
    n_rows = -(-len(classes) // 3)
    figure, axes = plt.subplots(n_rows, 3, figsize=(7.2, 2.4 * n_rows + 0.5), layout="constrained")
    for ax in axes.flat[len(classes) :]:
        ax.axis("off")
    for k, (name, ax) in enumerate(zip(classes, axes.flat, strict=False)):
        true, pred = np.asarray(y_true)[:, k].astype(int), np.asarray(y_pred)[:, k].astype(int)
        counts = np.bincount(2 * true + pred, minlength=4).reshape(2, 2)
        totals = counts.sum(1, keepdims=True)
        shares = divide(counts, totals)
        ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(2, 2):
            percent = f"{shares[row, column]:.1%}" if totals[row, 0] else "no record"
            colour = "white" if shares[row, column] > 0.55 else "black"
            text = f"{counts[row, column]}\n{percent}"
            ax.text(column, row, text, ha="center", va="center", size=8, color=colour)
        ax.set_title(f"{name} ({true.sum()} positive)" if true.any() else f"{name} (no positives)")
        ax.title.set_size(9)
        ax.set_xticks([0, 1], ["no", "yes"])
        ax.set_yticks([0, 1], ["no", "yes"])
        ax.set_xlabel("predicted", size=8)
        ax.set_ylabel("true", size=8)
        ax.tick_params(length=0, labelsize=8)
    figure.suptitle(f"{title}; counts and shares of the row", size=10)
    figure.get_layout_engine().set(rect=(0, 0.03, 1, 0.97))
    save_figure(figure, path)


def plot_history(history, path):
    """Draw the losses and the validation scores over the epochs; the kept epoch is marked.

    `history` has the columns epoch, train_loss, val_loss, val_f1, val_auc; the kept epoch is the
    first with the best val_f1.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.4), layout="constrained")
    groups = [
        ("binary cross-entropy", {"train_loss": "training", "val_loss": "validation"}),
        ("validation score, macro", {"val_f1": "F1", "val_auc": "AUC"}),
    ]
    best = None
    if history["val_f1"].notna().any():
        best = history.loc[history["val_f1"].idxmax()]
    for ax, (label, columns) in zip(axes, groups, strict=True):
        for (column, name), colour in zip(columns.items(), (BLUE, ORANGE), strict=True):
            marker = "o-" if column.startswith("val") else "s--"
            ax.plot(history["epoch"], history[column], marker, c=colour, ms=3, label=name)
        if best is not None:
            note = f"kept: epoch {best['epoch']:.0f}, F1 {best['val_f1']:.3f}"
            ax.axvline(best["epoch"], color="0.5", lw=0.8, ls=":", label=note)
        ax.set_xlabel("epoch")
        ax.set_ylabel(label)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set_xlim(history["epoch"].min() - 0.5, history["epoch"].max() + 0.5)
        ax.set_ylim(bottom=0)
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8)
    axes[1].set_ylim(top=1)
    figure.get_layout_engine().set(rect=(0, 0.04, 1, 0.96))
    save_figure(figure, path)


def ecg_paper(width, height, right=RIGHT):
    """Make a figure that holds ECG paper of width x height mm; return it and its axes.

    The axes' data coordinates are millimetres from the paper's lower left corner, true to scale
    in print: 1 mm and 5 mm grid. `right` is the margin in mm, for a colour bar.
    """
    full = np.array([LEFT + width + right, BOTTOM + height + TOP])
    figure = plt.figure(figsize=full / INCH)
    place = (LEFT / full[0], BOTTOM / full[1], width / full[0], height / full[1])
    ax = figure.add_axes(place, xlim=(0, width), ylim=(0, height), xticks=[], yticks=[])
    for step, line_width, colour in ((1, 0.25, "#f6cfcf"), (5, 0.6, "#eaa4a4")):
        xs, ys = np.arange(0, width + 1, step), np.arange(0, height + 1, step)
        lines = [[(x, 0), (x, height)] for x in xs] + [[(0, y), (width, y)] for y in ys]
        ax.add_collection(LineCollection(lines, colors=colour, linewidths=line_width, zorder=0))
    ax.spines[:].set_color("#eaa4a4")
    return figure, ax


def strip_points(signal, sample_rate, x, y):
    """Return the points (T, 2), in mm of paper, of a signal (T,) in mV that starts at x.

    y is the height of the signal's median, which removes an offset but changes no amplitude.
    """
    seconds = np.arange(len(signal)) / sample_rate
    return np.column_stack(
        [x + seconds * MM_PER_SECOND, y + (signal - np.median(signal)) * MM_PER_MV]
    )


def draw_strip(ax, signal, sample_rate, x, y, label, values=None, norm=None):
    """Draw one trace (T,) in mV, named, at (x, y) mm of an `ecg_paper` axes.

    With `values` (T,), they are summed over 20 ms and drawn as colour under the trace.
    """
    points = strip_points(signal, sample_rate, x, y)
    if values is not None:
        step = round(VALUE_BIN * sample_rate)
        starts = np.arange(0, len(values), step)
        # each piece ends on the first point of the next, so that the colour has no gaps
        pieces = [points[start : start + step + 1] for start in starts]
        colours = VALUE_MAP(norm(np.add.reduceat(values, starts)))
        ax.add_collection(
            LineCollection(pieces, colors=colours, linewidths=4.5, capstyle="butt", zorder=2)
        )
    ax.plot(*points.T, color="black", lw=0.6, zorder=3, solid_joinstyle="round")
    ax.text(x - 1, y + 1.5, label, size=8, weight="bold", va="bottom", ha="right", zorder=4)


def draw_calibration(ax, x, y):
    """Draw the calibration pulse of 1 mV and 0.2 s at (x, y) mm of an `ecg_paper` axes."""
    xs = np.array([0, 1, 1, 1 + 0.2 * MM_PER_SECOND, 1 + 0.2 * MM_PER_SECOND, 7])
    ys = np.array([0, 0, MM_PER_MV, MM_PER_MV, 0, 0])
    ax.plot(x + xs, y + ys, color="black", lw=0.6, zorder=3)


def row_heights(signal):
    """Return for each lead of (L, T) mV the mm from the paper's top to its baseline, and the sum.

    The rows are as close as the traces allow, within 15 to 40 mm, in steps of 5 mm.
    """
    centred = (signal - np.median(signal, axis=1, keepdims=True)) * MM_PER_MV
    above = np.append(centred.max(1), 0)  # the last row keeps its distance from the paper's edge
    below = np.insert(-centred.min(1), 0, 0)
    gaps = np.clip(np.ceil((above + below + 2) / 5) * 5, *ROW_LIMITS)
    places = np.cumsum(gaps)
    return places[:-1], places[-1]


def draw_rows(signal, labels, sample_rate, title, start=0, values=None):
    """Draw leads (L, T) in mV one under the other on ECG paper; return the figure.

    `start` is the time of the first sample in s, for the time marks at the lower edge. `values`
    (L, T), e.g. SHAP values, become colour under the traces with one scale for all leads.
    """
    seconds = signal.shape[1] / sample_rate
    places, height = row_heights(signal)
    width = NAME_WIDTH + 5 * np.ceil(max(seconds, MIN_SECONDS) * MM_PER_SECOND / 5)
    figure, ax = ecg_paper(width, height, RIGHT if values is None else 26)
    norm = None if values is None else value_norm(values, sample_rate)
    for i, (label, place) in enumerate(zip(labels, places, strict=True)):
        y = height - place
        draw_calibration(ax, 0, y)
        strip_values = None if values is None else values[i]
        draw_strip(ax, signal[i], sample_rate, NAME_WIDTH, y, label, strip_values, norm)
    ticks = np.arange(np.ceil(start - 1e-6) + 0.0, start + seconds + 1e-6)  # whole seconds
    ax.set_xticks(NAME_WIDTH + MM_PER_SECOND * (ticks - start), [f"{tick:.0f} s" for tick in ticks])
    ax.tick_params(labelsize=7, length=2)
    ax.set_title(title, size=10, loc="left")
    scale = f"{MM_PER_SECOND} mm/s   {MM_PER_MV} mm/mV   {sample_rate:g} Hz"
    x, y = np.array([LEFT, 1.5]) / INCH / figure.get_size_inches()
    figure.text(x, y, scale, size=7, va="bottom")
    if values is not None:
        draw_value_bar(figure, ax, norm)
    return figure


def value_norm(values, sample_rate):
    """Return the colour scale of values (L, T): symmetric, to the 99.8th percentile of |20 ms|."""
    step = round(VALUE_BIN * sample_rate)
    sums = np.abs(np.add.reduceat(values, np.arange(0, values.shape[1], step), axis=1))
    top = max(np.quantile(sums, 0.998), 1e-12)
    return Normalize(-top, top, clip=True)


def draw_value_bar(figure, ax, norm):
    """Draw the colour bar of a figure with values, to the right of the paper."""
    box = ax.get_position()
    inch = 1 / INCH / figure.get_figwidth()
    place = (box.x1 + 4 * inch, box.y0 + 0.2 * box.height, 4 * inch, 0.6 * box.height)
    mappable = matplotlib.cm.ScalarMappable(norm, VALUE_MAP)
    bar = figure.colorbar(mappable, cax=figure.add_axes(place), extend="both")
    bar.set_label("SHAP value (change of the logit), summed over 20 ms", size=8)
    bar.ax.tick_params(labelsize=7)


def plot_ecg(signal, leads, sample_rate, path, title, start=0, values=None):
    """Write leads (L, T) in mV on ECG paper, 25 mm/s and 10 mm/mV, as a figure true to scale."""
    save_figure(draw_rows(signal, leads, sample_rate, title, start, values), path)
