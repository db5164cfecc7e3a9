"""What every figure shares: colours, panels, the mark 'research use only', how it is written."""

import io

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from utils import RESEARCH_USE, is_own_script, replacing

if is_own_script():
    matplotlib.rcdefaults()  # a matplotlibrc of the user's may ask for LaTeX or other sizes

DPI = 200
PAGE_DPI = 150  # of the many pages of explained records
INCH = 25.4  # mm
EDGE = 3.5  # mm below the panels, for footnotes
BLUE, ORANGE = "#0072b2", "#d55e00"  # distinct with every common colour blindness

# What lowers and what raises a logit, in every figure: far from each other and from the red grid of
# ECG paper, even at half strength and with deuteranopia or protanopia (docs/figures.md).
LOWERS, RAISES = "#1450c8", "#d9a400"
VALUE_MAP = LinearSegmentedColormap.from_list("values", (LOWERS, "white", RAISES))
RAISING_MAP = LinearSegmentedColormap.from_list("raising", ("white", RAISES))  # of what has no sign
COLOUR_NAMES = "gold raises, blue lowers"


def footnote(figure, x, text, **style):
    """Write on the figure's lower edge, x mm from its left edge, or from the right if negative."""
    place = np.array([x, 1.5]) / INCH / figure.get_size_inches()
    style = {"ha": "right" if x < 0 else "left", "va": "bottom", "size": 6} | style
    figure.text(place[0] + (x < 0), place[1], text, **style).set_in_layout(False)


def mark(figure):
    """Write 'research use only' into the lower right corner."""
    footnote(figure, -2, RESEARCH_USE, color="0.4")
    if figure.get_layout_engine():  # keep the panels off the lower edge
        edge = EDGE / INCH / figure.get_figheight()
        figure.get_layout_engine().set(rect=(0, edge, 1, 1 - edge))


def save_figure(figure, path):
    """Write the figure atomically, in the format of the path's suffix, marked; it is closed."""
    mark(figure)
    try:
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=DPI)
    finally:
        plt.close(figure)


def png_of(figure):
    """Return the figure as the content of a PNG file, marked; it is closed."""
    mark(figure)
    content = io.BytesIO()
    figure.savefig(content, dpi=PAGE_DPI)
    plt.close(figure)
    return content.getvalue()


def save_print(figure, path):
    """Write the figure as PNG, for the screen, and as SVG beside it, for print."""
    save_figure(figure, path.with_suffix(".png"))
    # no date, no random names: the same figure is the same file
    with replacing(path.with_suffix(".svg")) as temporary, plt.rc_context({"svg.hashsalt": "0"}):
        figure.savefig(temporary, metadata={"Date": None})


def save_page(figure, path):
    """Write the figure as PDF, for print true to scale, then as PNG beside it for the screen."""
    mark(figure)
    # no date: the same page is the same file
    for suffix, options in {".pdf": {"metadata": {"CreationDate": None}}, ".png": {}}.items():
        with replacing(path.with_suffix(suffix)) as temporary:
            figure.savefig(temporary, dpi=PAGE_DPI, **options)
    plt.close(figure)


def make_panels(n, columns, width, height):
    """Make a figure of n panels, so many beside each other, of width x height inches."""
    rows = -(-n // columns)
    size = (columns * width, rows * height + 0.6)
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for ax in axes.flat[n:]:
        ax.axis("off")
    return figure, axes.flat[:n]
