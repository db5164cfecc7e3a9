"""ECG on standard paper: a record's leads, the pages of a whole record, values as colour."""

import textwrap

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize

from dataset import LEADS
from ecg.explanation.attributions import VALUE_BIN
from ecg.plot.figures import INCH, footnote, save_figure
from utils import replacing

# ECG paper: the scale that cardiologists read without looking at the axes.
MM_PER_SECOND = 25
MM_PER_MV = 10
LEFT, RIGHT, BOTTOM, TOP = 4, 4, 12, 14  # mm around the paper of a figure
MIN_SECONDS = 5  # paper for a shorter signal, so that the title fits
NAME_WIDTH = 20  # mm in front of a trace, for the calibration pulse and the lead's name
ROW_LIMITS = (15, 40)  # mm from one trace's baseline to the next

# The page of a whole record: A4 landscape, mm.
PAGE = np.array([297, 210])
PAGE_PAPER = (289, 180)
PAGE_START = 20  # in front of the traces, on a 5 mm line
PAGE_TOP, PAGE_ROW = 28, 44  # from the paper's top to the first baseline, from one to the next
PAGE_SECONDS = 10
PAGE_ROWS = (
    ("I", "aVR", "V1", "V4"),
    ("II", "aVL", "V2", "V5"),
    ("III", "aVF", "V3", "V6"),
    ("II",),
)
PAGE_LINES = 3  # of notes above the paper
NOTE_WIDTH = 225  # characters that surely fit
MAX_PAGES = 30

# negative blue, zero transparent (the black trace shows), positive orange-red
VALUE_STOPS = [
    (0.0, (0.0, 0.2, 0.9, 1)),
    (0.5, (0.2, 0.5, 1.0, 0)),
    (0.5, (1.0, 0.5, 0.1, 0)),
    (1.0, (0.9, 0.15, 0.0, 1)),
]
VALUE_MAP = LinearSegmentedColormap.from_list("values", VALUE_STOPS)


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


def bin_starts(n, sample_rate):
    """Return where the 20 ms begin over which n values are summed to be visible."""
    return np.arange(0, n, round(VALUE_BIN * sample_rate))


def draw_values(ax, points, values, sample_rate, norm, width):
    """Colour the line through points (T, 2) by values (T,), summed over 20 ms."""
    starts = bin_starts(len(values), sample_rate)
    # each piece ends on the first point of the next, so that the colour has no gaps
    pieces = [points[start : start + starts[1] + 1] for start in starts]
    colours = VALUE_MAP(norm(np.add.reduceat(values, starts)))
    lines = LineCollection(pieces, colors=colours, linewidths=width, capstyle="butt", zorder=2)
    ax.add_collection(lines)


def value_norm(values, sample_rate):
    """Return the colour scale of values (L, T): symmetric, to the 99.8th percentile of |20 ms|."""
    sums = np.add.reduceat(values, bin_starts(values.shape[1], sample_rate), axis=1)
    top = max(np.quantile(np.abs(sums), 0.998), 1e-12)
    return Normalize(-top, top, clip=True)


def draw_value_bar(figure, place, norm, label, size=8):
    """Draw the colour bar of the values at a place (left, bottom, width, height)."""
    mappable = ScalarMappable(norm, VALUE_MAP)
    bar = figure.colorbar(mappable, cax=figure.add_axes(place), extend="both")
    bar.set_label(label, size=size)
    bar.ax.tick_params(labelsize=min(size, 7))


def draw_scale(figure, ax, sample_rate, x, start, seconds):
    """Mark whole seconds below the paper, from `start` at x mm on, and write the scale."""
    ticks = np.arange(np.ceil(start - 1e-6) + 0.0, start + seconds + 1e-6)
    ax.set_xticks(x + MM_PER_SECOND * (ticks - start), [f"{tick:.0f} s" for tick in ticks])
    ax.tick_params(labelsize=7, length=2)
    text = f"{MM_PER_SECOND} mm/s   {MM_PER_MV} mm/mV   {sample_rate:g} Hz"
    footnote(figure, LEFT, text, size=7)


def draw_strip(ax, signal, sample_rate, x, y, label, values=None, norm=None):
    """Draw one trace (T,) in mV, named, at (x, y) mm of an `ecg_paper` axes.

    With `values` (T,), they are summed over 20 ms and drawn as colour under the trace.
    """
    points = strip_points(signal, sample_rate, x, y)
    if values is not None:
        draw_values(ax, points, values, sample_rate, norm, width=4.5)
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
    draw_scale(figure, ax, sample_rate, NAME_WIDTH, start, seconds)
    ax.set_title(title, size=10, loc="left", parse_math=False)  # a name may hold a dollar sign
    if values is not None:
        box, inch = ax.get_position(), 1 / INCH / figure.get_figwidth()
        place = (box.x1 + 4 * inch, box.y0 + 0.2 * box.height, 4 * inch, 0.6 * box.height)
        low = box.height * figure.get_figheight() * INCH < 100  # mm, too low for a label in a line
        parts = "SHAP value", "(change of the logit),", "summed over 20 ms"
        draw_value_bar(figure, place, norm, ("\n" if low else " ").join(parts), 6 if low else 8)
    return figure


def plot_ecg(signal, leads, sample_rate, path, title, start=0, values=None):
    """Write leads (L, T) in mV on ECG paper, 25 mm/s and 10 mm/mV, as a figure true to scale."""
    save_figure(draw_rows(signal, leads, sample_rate, title, start, values), path)


def draw_ecg_page(signal, sample_rate, title, notes="", start=0, below=""):
    """Draw up to 10 s of twelve leads (12, T) in mV, in the usual order, on an A4 landscape page.

    Three rows of four leads, 2.5 s each (a quarter of a shorter signal) and one after the other in
    time, and lead II throughout below, at 25 mm/s and 10 mm/mV, true to scale. `title` and `notes`
    stand above the paper, `below` below it, `start` is the time of the first sample in s, for the
    marks. Returns the figure.
    """
    width, height = PAGE_PAPER
    figure, ax = ecg_paper(width, height)
    figure.set_size_inches(PAGE / INCH)  # ecg_paper made it just as large as the paper needs
    ax.set_position((LEFT / PAGE[0], BOTTOM / PAGE[1], width / PAGE[0], height / PAGE[1]))
    for row, names in enumerate(PAGE_ROWS):
        y = height - PAGE_TOP - row * PAGE_ROW
        draw_calibration(ax, 0, y)
        step = -(-signal.shape[1] // len(names))
        for i, name in enumerate(names):
            part = signal[LEADS.index(name), i * step : (i + 1) * step]
            x = PAGE_START + i * step / sample_rate * MM_PER_SECOND
            if part.size:
                draw_strip(ax, part, sample_rate, x, y, "")
            label = ax.text(x + 1, y + 13, name, size=9, weight="bold", va="center", zorder=4)
            label.set_bbox({"fc": "white", "ec": "none", "alpha": 0.7, "pad": 0.6})
            if i:
                ax.plot([x, x], [y - 6, y + 6], color="black", lw=0.5, ls=":", zorder=3)
    draw_scale(figure, ax, sample_rate, PAGE_START, start, PAGE_SECONDS)
    footnote(figure, LEFT + 55, below, parse_math=False)
    x, y = np.array([LEFT, PAGE[1] - 3]) / PAGE
    # a file's name may hold a dollar sign, which is no formula
    figure.text(x, y, title, size=11, weight="bold", va="top", parse_math=False)
    y = 1 - 8.5 / PAGE[1]
    figure.text(x, y, notes, size=7, va="top", linespacing=1.1, parse_math=False)
    return figure


def plot_ecg_pages(signal, sample_rate, path, title, notes=(), below=""):
    """Write twelve leads (12, T) in mV as pages of 10 s: `path` (.pdf), and a .png of each page.

    The pages are A4, true to scale when printed at 100 %. The last one shows the last 10 s, also
    where it repeats some of the one before; of a record longer than 5 min the last 5 min are drawn.
    The PNGs are <name>.png, <name>.page2.png ... Returns how many pages were drawn.
    """
    length = round(PAGE_SECONDS * sample_rate)
    n = signal.shape[1]
    starts = [*range(max(0, n - MAX_PAGES * length), n - length, length), max(0, n - length)]
    lines = [
        line for note in notes for line in textwrap.wrap(note, NOTE_WIDTH, subsequent_indent="   ")
    ]
    if len(lines) > PAGE_LINES:
        lines[PAGE_LINES - 1 :] = ["... more warnings beside the table of probabilities"]
    text = "\n".join(lines)
    with replacing(path) as temporary, PdfPages(temporary, metadata={"CreationDate": None}) as pdf:
        for i, begin in enumerate(starts):
            place = f"   page {i + 1} of {len(starts)}" if len(starts) > 1 else ""
            part = signal[:, begin : begin + length]
            start = begin / sample_rate
            figure = draw_ecg_page(part, sample_rate, title + place, text, start, below)
            end = f".page{i + 1}" if i else ""
            save_figure(figure, path.with_name(f"{path.stem}{end}.png"))
            pdf.savefig(figure)
    return len(starts)
