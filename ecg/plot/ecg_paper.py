"""ECG on standard paper: the pages of a whole record, with values as colour if it is explained."""

import textwrap
from typing import NamedTuple

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.collections import LineCollection
from matplotlib.transforms import Bbox, TransformedBbox

from dataset import LEADS
from ecg.explanation.attributions import WINDOWS
from ecg.plot.figures import COLOUR_NAMES, INCH, footnote, save_figure
from ecg.plot.value_colours import draw_value_bar, draw_windows
from ecg.processing.quality import standard_deviation
from utils import replacing

# ECG paper: the scale that cardiologists read without looking at the axes.
MM_PER_SECOND = 25
MM_PER_MV = 10
LEFT, RIGHT, BOTTOM, TOP = 4, 4, 12, 14  # mm around the paper of a figure

# The page of a whole record: A4 landscape, mm.
PAGE = np.array([297, 210])
PAGE_PAPER = (289, 180)
PAGE_START = 20  # in front of the traces, on a 5 mm line
EXPLAINED_TOP, EXPLAINED_ROW = 23, 32  # with a lead more throughout
PAGE_TOP, PAGE_ROW = 28, 44  # from the paper's top to the first baseline, from one to the next
PAGE_SECONDS = 10
PAGE_ROWS = (
    ("I", "aVR", "V1", "V4"),
    ("II", "aVL", "V2", "V5"),
    ("III", "aVF", "V3", "V6"),
    ("II",),
)
NAME, NAME_WIDTH = 13, 17  # mm of a lead's name above its baseline, and how wide it may be
PAGE_LINES = 3  # of notes above the paper
NOTE_WIDTH, NOTES_WIDTH = 225, 148  # characters that surely fit; beside the colour bar
BELOW_WIDTH = 135  # characters
MAX_PAGES = 30


class PageText(NamedTuple):
    """The texts of a page."""

    title: str
    notes: list[str] | tuple = ()  # above the paper, as PAGE_LINES lines at most
    below: str = ""  # below the paper


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


def draw_scale(ax, sample_rate, start, sd=None):
    """Mark whole seconds below a page's paper, from `start` on, and write the scale.

    `sd` is the mV that stand for one standard deviation where the signal is not in mV.
    """
    ticks = np.arange(np.ceil(start - 1e-6) + 0.0, start + PAGE_SECONDS + 1e-6)
    places = PAGE_START + MM_PER_SECOND * (ticks - start)
    ax.set_xticks(places, [f"{tick:.0f} s" for tick in ticks])
    ax.tick_params(labelsize=7, length=2)
    height = f"{MM_PER_MV} mm/mV" if sd is None else f"{MM_PER_MV * sd:.2g} mm/standard deviation"
    text = f"{MM_PER_SECOND} mm/s   {height}   {sample_rate:g} Hz"
    footnote(ax.figure, LEFT, text, size=7)


def cut_at_top(ax, artist):
    """Let a line end at the top of the paper, below the words there; it runs on to other sides."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    wide, high = right - left, top - bottom
    box = Bbox([[left - wide, bottom - high], [right + wide, top]])
    artist.set_clip_on(True)
    artist.set_clip_box(TransformedBbox(box, ax.transData))


def draw_calibration(ax, x, y):
    """Draw the calibration pulse of 1 mV and 0.2 s at (x, y) mm of an `ecg_paper` axes."""
    xs = np.array([0, 1, 1, 1 + 0.2 * MM_PER_SECOND, 1 + 0.2 * MM_PER_SECOND, 7])
    ys = np.array([0, 0, MM_PER_MV, MM_PER_MV, 0, 0])
    ax.plot(x + xs, y + ys, color="black", lw=0.6, zorder=3)


def page_rows(colours):
    """Return a page's rows of lead names, the mm to the first baseline and from one to the next.

    The lead with the largest share of an explanation is shown throughout too, instead of II if the
    network does not see that.
    """
    if colours is None:
        return PAGE_ROWS, PAGE_TOP, PAGE_ROW
    top = LEADS[np.nanargmax(colours.shares)]
    seen = np.isfinite(colours.shares[LEADS.index("II")])
    if top == "II" or not seen:
        return (*PAGE_ROWS[:3], (top,)), PAGE_TOP, PAGE_ROW
    return (*PAGE_ROWS, (top,)), EXPLAINED_TOP, EXPLAINED_ROW


def name_height(points, x, y):
    """Return how many mm above y a lead's name at x mm hides nothing of the trace (T, 2)."""
    near = points[points[:, 0] < x + NAME_WIDTH, 1] - y
    for above in (NAME, -0.6 * NAME, 1.5 * NAME):
        if near.max() < above - 3 or near.min() > above + 3:
            return above
    return NAME


def draw_name(ax, name, x, y, shares=None):
    """Write a lead's name, with its share of an explanation if `shares` (12,) are given.

    A lead above an even share is framed and bold, one that the network does not see is grey.
    """
    text, style, box = name, {"weight": "bold"}, {"fc": "white", "ec": "none", "alpha": 0.7}
    framed = False
    if shares is not None:
        share, even = shares[LEADS.index(name)], 1 / np.isfinite(shares).sum()
        framed = share >= even
        if np.isnan(share):
            style = {"color": "0.55"}
        else:
            text = f"{name}  {share:.0%}"
            style = {"weight": "bold" if framed else "normal"}
    box |= {"ec": "black", "lw": 0.8, "alpha": 0.85, "pad": 1.2} if framed else {"pad": 0.6}
    label = ax.text(x + 1, y, text, size=9, va="center", zorder=1.9, **style)  # below the trace
    label.set_bbox(box)


def page_paper(text, notes_width):
    """Make the paper of an A4 landscape page with its texts; return its axes."""
    width, height = PAGE_PAPER
    figure, ax = ecg_paper(width, height)
    figure.set_size_inches(PAGE / INCH)  # ecg_paper made it just as large as the paper needs
    ax.set_position((LEFT / PAGE[0], BOTTOM / PAGE[1], width / PAGE[0], height / PAGE[1]))
    below = textwrap.fill(text.below, BELOW_WIDTH, max_lines=2)  # between the scale and the mark
    footnote(figure, LEFT + 62, below, parse_math=False)
    x, y = np.array([LEFT, PAGE[1] - 3]) / PAGE
    # a file's name may hold a dollar sign, which starts no formula
    figure.text(x, y, text.title, size=11, weight="bold", va="top", parse_math=False)
    y, notes = 1 - 8.5 / PAGE[1], page_notes(text.notes, notes_width)
    figure.text(x, y, notes, size=7, va="top", linespacing=1.1, parse_math=False)
    return ax


def draw_lead(ax, name, points, place, colours=None):
    """Draw a part of a lead: its trace through points (T, 2), its name at `place` (x, y) mm.

    `colours` are PageColours whose values begin `first` samples before the part.
    """
    x, y = place
    above, shares = NAME, None if colours is None else colours.shares
    if len(points):
        style = {"lw": 0.6, "zorder": 3, "solid_joinstyle": "round"}
        cut_at_top(ax, ax.plot(*points.T, color="black", **style)[0])
        above = name_height(points, x, y)
        if colours is not None:
            lead_colours = colours.colours[LEADS.index(name)]
            cut_at_top(ax, draw_windows(ax, points, lead_colours, colours.first, 4.5))
    draw_name(ax, name, x, y + above, shares)


def draw_ecg_page(signal, sample_rate, text, start=0, sd=None, colours=None):
    """Draw up to 10 s of twelve leads (12, T) in mV, in the usual order, on an A4 landscape page.

    Three rows of four leads, 2.5 s each (a quarter of a shorter signal) and one after the other in
    time, and lead II throughout below, at 25 mm/s and 10 mm/mV, true to scale. `text` is a
    PageText, `start` the time of the first sample in s, for the marks. Where the signal is
    z-scored, `sd` is the mV that stand for one standard deviation, and there is no calibration
    pulse. With PageColours, values become colour under the traces. Returns the figure.
    """
    ax = page_paper(text, NOTE_WIDTH if colours is None else NOTES_WIDTH)
    rows, first, distance = page_rows(colours)
    for row, names in enumerate(rows):
        y = PAGE_PAPER[1] - first - row * distance
        if sd is None:
            draw_calibration(ax, 0, y)
        step = -(-signal.shape[1] // len(names))
        for i, name in enumerate(names):
            x = PAGE_START + i * step / sample_rate * MM_PER_SECOND
            part = signal[LEADS.index(name), i * step : (i + 1) * step]
            points = strip_points(part, sample_rate, x, y) if part.size else []
            here = colours and colours._replace(first=colours.first + i * step)
            draw_lead(ax, name, points, (x, y), here)
            if i:
                ax.plot([x, x], [y - 6, y + 6], color="black", lw=0.5, ls=":", zorder=3)
    draw_scale(ax, sample_rate, start, sd)
    if colours is not None:
        place = np.array([222, 202.5, 66, 2.5]) / np.tile(PAGE, 2)
        label = f"change of the logit in {WINDOWS}: {COLOUR_NAMES}"
        draw_value_bar(ax.figure, place, colours.norm, label, 7, "horizontal")
    return ax.figure


def page_notes(notes, width=NOTE_WIDTH):
    """Return the notes above the paper, wrapped to so many characters, as PAGE_LINES at most."""
    lines = []
    for note in notes:
        lines += textwrap.wrap(note, width, subsequent_indent="   ")
    if len(lines) > PAGE_LINES:
        lines[PAGE_LINES - 1 :] = ["... more warnings beside the table of probabilities"]
    return "\n".join(lines)


def plot_ecg_pages(signal, sample_rate, path, title, notes=(), below=""):
    """Write twelve leads (12, T) in mV as pages of 10 s: `path` (.pdf), and a .png of each page.

    The pages are A4, true to scale when printed at 100 %. The last one shows the last 10 s, also
    where it repeats some of the one before; of a record longer than 5 min the last 5 min are drawn.
    The PNGs are <name>.png, <name>.page2.png ... Returns how many pages were drawn.
    """
    length, n = round(PAGE_SECONDS * sample_rate), signal.shape[1]
    sd = standard_deviation(signal)
    starts = [*range(max(0, n - MAX_PAGES * length), n - length, length), max(0, n - length)]
    with replacing(path) as temporary, PdfPages(temporary, metadata={"CreationDate": None}) as pdf:
        for i, begin in enumerate(starts, 1):
            place = f"   page {i} of {len(starts)}" if len(starts) > 1 else ""
            part, text = signal[:, begin : begin + length], PageText(title + place, notes, below)
            figure = draw_ecg_page(part, sample_rate, text, begin / sample_rate, sd)
            end = f".page{i}" if i > 1 else ""
            save_figure(figure, path.with_name(f"{path.stem}{end}.png"))
            pdf.savefig(figure)
    return len(starts)
