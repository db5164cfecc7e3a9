"""ECG on standard paper: the pages of a whole record, with values as colour if it is explained."""

import textwrap
from typing import NamedTuple

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.collections import LineCollection
from matplotlib.transforms import Bbox, TransformedBbox

from dataset import LEADS
from ecg.plot.figures import INCH, footnote, save_figure
from ecg.plot.papers import A4
from ecg.plot.value_colours import draw_value_bar, draw_windows
from ecg.processing.quality import noisy_leads, standard_deviation
from utils import replacing

# ECG paper: the scale that cardiologists read without looking at the axes.
MM_PER_SECOND = 25
MM_PER_MV = 10
LEFT, RIGHT, BOTTOM, TOP = 4, 4, 12, 14  # mm around the paper of a figure

# The page of a whole record, landscape, mm.
HEIGHT = 170  # of the ruled paper, on paper of any size
PAGE_START = 20  # in front of the traces, on a 5 mm line
EXPLAINED_TOP, EXPLAINED_ROW = 23, 30  # with a lead more throughout
PAGE_TOP, PAGE_ROW = 26, 42  # from the paper's top to the first baseline, from one to the next
REACH = 0.8  # of that distance, beyond which a trace is cut
PAGE_SECONDS = 10
PAGE_ROWS = (
    ("I", "aVR", "V1", "V4"),
    ("II", "aVL", "V2", "V5"),
    ("III", "aVF", "V3", "V6"),
)
STRIPS = ("II", "V1", "V5", *LEADS)  # the first that was recorded is shown throughout
TALL_MV = 2.4  # a lead that goes further from its median more often than RARELY is drawn half as
RARELY, OFTEN = 0.001, 0.9  # high, with all others; shares of the time
NAME, NAME_WIDTH = 13, 17  # mm of a lead's name above its baseline, and how wide it may be
NAME_ROOM = 3  # mm from a trace to the middle of a name above it
PAGE_LINES, MOST_LINES = 6, 9  # of notes above the paper, in letters of 7 points; in smaller ones
NOTE_WIDTH, NOTES_WIDTH = 225, 148  # characters that surely fit; beside the colour bar
BELOW_WIDTH, TITLE_WIDTH = 120, 115  # characters
WIDEST = A4[0] - LEFT - RIGHT  # mm, to which these belong
MAX_PAGES = 30


class Layout(NamedTuple):
    """How a page is drawn."""

    paper: tuple = A4  # mm
    lost: tuple = ()  # leads that were not recorded
    sd: float | None = None  # mV that stand for one standard deviation where it is z-scored
    mm_per_mv: float = MM_PER_MV
    noisy: tuple = ()  # leads that are too noisy for the strip throughout

    @property
    def width(self):
        """Width of the ruled paper, mm."""
        return int(self.paper[0]) - LEFT - RIGHT

    def fit(self, signal):
        """Return the layout that suits a record (12, n) in mV: its unit, half height if tall."""
        noisy = tuple(noisy_leads(signal))
        clean = signal[[name not in noisy for name in LEADS]]
        size = np.abs(clean - np.median(clean, 1, keepdims=True))
        often, rarely = np.quantile(size, [OFTEN, 1 - RARELY], axis=1)
        tall = (rarely[often < TALL_MV / 2] > TALL_MV).any()  # others are off for long
        sd, high = standard_deviation(signal), MM_PER_MV / 2 if tall else MM_PER_MV
        return self._replace(sd=sd, mm_per_mv=high, noisy=noisy)


class PageText(NamedTuple):
    """The texts of a page."""

    title: str
    notes: list[str] | tuple = ()  # above the paper, as MOST_LINES lines at most
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


def strip_points(signal, sample_rate, x, y, mm_per_mv=MM_PER_MV):
    """Return the points (T, 2), in mm of paper, of a signal (T,) in mV that starts at x.

    y is the height of the signal's median, which removes an offset but changes no amplitude.
    """
    seconds = np.arange(len(signal)) / sample_rate
    return np.column_stack(
        [x + seconds * MM_PER_SECOND, y + (signal - np.median(signal)) * mm_per_mv]
    )


def draw_scale(ax, sample_rate, start, layout):
    """Mark whole seconds below a page's paper, from `start` on, and write the scale of a Layout."""
    sd, high = layout.sd, layout.mm_per_mv
    ticks = np.arange(np.ceil(start - 1e-6) + 0.0, start + PAGE_SECONDS + 1e-6)
    places = PAGE_START + MM_PER_SECOND * (ticks - start)
    ax.set_xticks(places, [f"{tick:.0f} s" for tick in ticks])
    ax.tick_params(labelsize=7, length=2)
    height = f"{high:g} mm/mV" if sd is None else f"{high * sd:.2g} mm/standard deviation"
    text = f"{MM_PER_SECOND} mm/s   {height}   {sample_rate:g} Hz"
    footnote(ax.figure, LEFT, text, size=7)


def cut_at(ax, artist, bottom, top):
    """Let a line end at two heights (mm) and at the paper's edges."""
    left, right = ax.get_xlim()
    box = Bbox([[left, max(0, bottom)], [right, min(HEIGHT, top)]])
    artist.set_clip_on(True)
    artist.set_clip_box(TransformedBbox(box, ax.transData))


def draw_calibration(ax, x, y, mm_per_mv=MM_PER_MV):
    """Draw the calibration pulse of 1 mV and 0.2 s at (x, y) mm of an `ecg_paper` axes."""
    xs = np.array([0, 1, 1, 1 + 0.2 * MM_PER_SECOND, 1 + 0.2 * MM_PER_SECOND, 7])
    ys = np.array([0, 0, mm_per_mv, mm_per_mv, 0, 0])
    ax.plot(x + xs, y + ys, color="black", lw=0.6, zorder=3)


def page_rows(colours, layout):
    """Return a page's rows of lead names, the mm to the first baseline and from one to the next.

    The first of STRIPS that was recorded, without much noise if there is such, is shown throughout.
    The lead with the largest share of an explanation is shown so too, alone if the network does not
    see the other.
    """
    recorded = [lead for lead in STRIPS if lead not in layout.lost]
    clean = [lead for lead in recorded if lead not in layout.noisy]
    strip = [*clean, *recorded, *STRIPS][0]
    if colours is None:
        return (*PAGE_ROWS, (strip,)), PAGE_TOP, PAGE_ROW
    top = LEADS[np.nanargmax(colours.shares)]
    seen = np.isfinite(colours.shares[LEADS.index(strip)])
    if top == strip or not seen:
        return (*PAGE_ROWS, (top,)), PAGE_TOP, PAGE_ROW
    return (*PAGE_ROWS, (strip,), (top,)), EXPLAINED_TOP, EXPLAINED_ROW


def names_height(parts, y):
    """Return how many mm above y a row's names hide nothing of its traces, if that is possible.

    `parts` are (x, points (T, 2)) of the leads. All names of a row stand at one height.
    """
    tops = [points[points[:, 0] < x + NAME_WIDTH, 1].max() - y for x, points in parts]
    return float(np.clip(max(tops, default=0) + NAME_ROOM, NAME, 2 * NAME))


def draw_name(ax, name, x, y, shares=None, cut=False):
    """Write a lead's name, with its share of an explanation if `shares` (12,) are given.

    A lead above an even share is framed and bold, one that the network does not see is grey. `cut`:
    its trace goes beyond its row.
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
    text += " (trace cut)" if cut else ""
    label = ax.text(x + 1, y, text, size=9, va="center", zorder=1.9, **style)  # below the trace
    label.set_bbox(box)


def page_paper(text, layout, notes_width):
    """Make the paper of a page of a Layout with its texts; return its axes."""
    page, width = np.array(layout.paper), layout.width
    figure, ax = ecg_paper(width, HEIGHT)
    figure.set_size_inches(page / INCH)  # ecg_paper made it just as large as the paper needs
    ax.set_position((LEFT / page[0], BOTTOM / page[1], width / page[0], HEIGHT / page[1]))
    below = textwrap.fill(text.below, BELOW_WIDTH, max_lines=2)  # between the scale and the mark
    footnote(figure, LEFT + 62, below, parse_math=False)
    x, y = np.array([LEFT, page[1] - 3]) / page
    # a file's name may hold a dollar sign, which starts no formula
    title = textwrap.shorten(text.title, TITLE_WIDTH, placeholder=" ...")
    figure.text(x, y, title, size=11, weight="bold", va="top", parse_math=False)
    lines = page_notes(text.notes, int(notes_width * width / WIDEST))
    y, size = 1 - 8.5 / page[1], 7 * min(1, PAGE_LINES / max(len(lines), 1))
    figure.text(x, y, "\n".join(lines), size=size, va="top", linespacing=1.1, parse_math=False)
    return ax


def draw_lead(ax, points, bounds, colours=None, k=0):
    """Draw a part of a lead, the trace through points (T, 2), between two heights, `bounds` (mm).

    `colours` are PageColours whose values begin `first` samples before the part, `k` the lead's
    place in LEADS.
    """
    style = {"lw": 0.6, "zorder": 3, "solid_joinstyle": "round"}
    cut_at(ax, ax.plot(*points.T, color="black", **style)[0], *bounds)
    if colours is not None:
        cut_at(ax, draw_windows(ax, points, colours.colours[k], colours.first, 4.5), *bounds)


def leaves(points, bounds):
    """Tell whether a trace through points (T, 2) goes beyond two heights, or the paper."""
    low, high = max(0, bounds[0]), min(HEIGHT, bounds[1])
    return points[:, 1].min() < low or points[:, 1].max() > high


def draw_row(ax, signal, sample_rate, names, y, reach, layout, colours=None):
    """Draw a row of leads of (12, T) in mV, one after the other in time, about y mm of the paper.

    A trace that goes further than `reach` mm from y is cut, as an artefact would cross the page.
    """
    if layout.sd is None:
        draw_calibration(ax, 0, y, layout.mm_per_mv)
    step, bounds = -(-signal.shape[1] // len(names)), (y - reach, y + reach)
    places = [PAGE_START + i * step / sample_rate * MM_PER_SECOND for i in range(len(names))]
    parts, cut = [], set()
    for i, (name, x) in enumerate(zip(names, places, strict=True)):
        if i:
            ax.plot([x, x], [y - 6, y + 6], color="black", lw=0.5, ls=":", zorder=3)
        part = signal[LEADS.index(name), i * step : (i + 1) * step]
        if name not in layout.lost and part.size:
            points = strip_points(part, sample_rate, x, y, layout.mm_per_mv)
            here = colours and colours._replace(first=colours.first + i * step)
            draw_lead(ax, points, bounds, here, LEADS.index(name))
            parts.append((x, points))
            cut |= {name} if leaves(points, bounds) else set()
    above = y + names_height(parts, y)
    for name, x in zip(names, places, strict=True):
        if name in layout.lost:
            ax.text(x + 1, above, f"{name}: not recorded", size=9, va="center", color="0.4")
        else:
            draw_name(ax, name, x, above, colours and colours.shares, name in cut)


def draw_ecg_page(signal, sample_rate, text, start=0, layout=None, colours=None):
    """Draw up to 10 s of twelve leads (12, T) in mV, in the usual order, on a landscape page.

    Three rows of four leads, 2.5 s each (a quarter of a shorter signal) and one after the other in
    time, and lead II throughout below, at 25 mm/s and 10 mm/mV or what the Layout says, true to
    scale. Leads that were not recorded are blank. `text` is a PageText, `start` the time of the
    first sample in s, for the marks. A z-scored signal has no calibration pulse. With PageColours,
    values become colour under the traces. Returns the figure.
    """
    layout = layout or Layout()
    ax = page_paper(text, layout, NOTE_WIDTH if colours is None else NOTES_WIDTH)
    rows, first, distance = page_rows(colours, layout)
    for row, names in enumerate(rows):
        y = HEIGHT - first - row * distance
        draw_row(ax, signal, sample_rate, names, y, REACH * distance, layout, colours)
    draw_scale(ax, sample_rate, start, layout)
    if colours is not None:
        page = np.array(layout.paper)
        place = np.array([page[0] - 75, page[1] - 7.5, 66, 2.5]) / np.tile(page, 2)
        draw_value_bar(ax.figure, place, colours.norm, colours.label, 7, "horizontal")
    return ax.figure


def page_notes(notes, width=NOTE_WIDTH):
    """Return the lines of the notes above the paper, of so many characters, at most MOST_LINES."""
    lines = []
    for note in notes:
        lines += textwrap.wrap(note, width, subsequent_indent="   ")
    if len(lines) > MOST_LINES:
        lines[MOST_LINES - 1 :] = ["... more warnings beside the table of probabilities"]
    return lines


def plot_ecg_pages(signal, sample_rate, path, text, layout=None, middle=None):
    """Write twelve leads (12, T) in mV as pages of 10 s: `path` (.pdf), and a .png of each page.

    `text` is a PageText. The pages are true to scale when printed at 100 % on the paper of the
    Layout. The last one shows the last 10 s, also where it repeats some of the one before; of a
    record longer than 5 min the 5 min about `middle` (s) are drawn, the last ones if None. The PNGs
    are <name>.png, <name>.page2.png ... Returns how many pages were drawn.
    """
    length, n = round(PAGE_SECONDS * sample_rate), signal.shape[1]
    layout = (layout or Layout()).fit(signal)
    most = MAX_PAGES * length
    centre = n if middle is None else round(middle * sample_rate)
    first = int(np.clip(centre - most // 2, 0, max(0, n - most)))
    end = min(n, first + most)
    starts = [*range(first, end - length, length), max(0, end - length)]
    with replacing(path) as temporary, PdfPages(temporary, metadata={"CreationDate": None}) as pdf:
        for i, begin in enumerate(starts, 1):
            place = f"; page {i} of {len(starts)}" if len(starts) > 1 else ""
            again = (starts[i - 2] + length - begin) / sample_rate if i > 1 else 0
            notes = [f"the first {again:.1f} s are those of the page before"] if again else []
            own = text._replace(title=text.title + place, notes=[*notes, *text.notes])
            part = signal[:, begin : begin + length]
            figure = draw_ecg_page(part, sample_rate, own, begin / sample_rate, layout)
            number = f".page{i}" if i > 1 else ""
            save_figure(figure, path.with_name(f"{path.stem}{number}.png"))
            pdf.savefig(figure)
    return len(starts)
