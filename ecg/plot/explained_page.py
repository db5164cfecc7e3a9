"""Pages of explained records: the ECG on paper, what raises and lowers a logit as colour."""

import numpy as np

from dataset import SAMPLE_RATE, to_mv
from ecg.explanation.attributions import WINDOWS
from ecg.plot.ecg_paper import PAGE_SECONDS, Layout, PageText, draw_ecg_page
from ecg.plot.figures import save_page
from ecg.plot.value_colours import page_colours

WELL_EXPLAINED = 0.75  # of the change of the logit; values that add up to less do not explain it
LENGTH = PAGE_SECONDS * SAMPLE_RATE  # samples on a page
READING = "%: a lead's share of |value|; framed: above an even share"


def plot_explained(path, packed, explained, leads, text, begin, layout=None):
    """Write the page of an explained record as PDF, true to scale, and as PNG beside it.

    `packed` (12, n) is the whole record, `explained` a ClassExplanation of it with the values of
    the `leads` that the network sees, `text` a PageText, `begin` the first sample of the 10 s
    that are shown, and `layout` a Layout.
    """
    signal = to_mv(packed)
    colours = page_colours(explained.values, leads, begin - explained.start, explained.trust)
    layout = (layout or Layout()).fit(signal)
    part, start = signal[:, begin : begin + LENGTH], begin / SAMPLE_RATE
    save_page(draw_ecg_page(part, SAMPLE_RATE, text, start, layout, colours), path)


def explained_text(explained):
    """Say in a title how much the values explain, '' where that is at least three quarters."""
    if abs(explained.residual) <= (1 - WELL_EXPLAINED) * abs(explained.change):
        return ""
    return f"; explains {100 * explained.explained_share:.0f} % of the score"


def reliability_text(explained, drawn=True):
    """Say how reliable an explanation's windows are; `drawn`: its samples are random."""
    note = "pale: halves of the samples disagree"
    note = note if drawn else "halves of the steps; nothing is random"
    number = f"{explained.reliability[0]:.2f} of 1"
    return f"reliability of the {WINDOWS} windows: {number} ({note}); {READING}"


def fullest(values):
    """Return where the 10 s begin that hold the most of |values| (L, t)."""
    sums = np.insert(np.abs(values).sum(0, dtype=float).cumsum(), 0, 0)
    return int(np.argmax(sums[LENGTH:] - sums[:-LENGTH])) if len(sums) > LENGTH else 0


def plot_patient(path, packed, explanation, record, model):
    """Write the page of a Record of a data set: the last 10 s of what the network saw.

    The class that the Model predicts is shown, from the record's Explanation; `packed` (12, n) is
    the whole record.
    """
    explained = explanation.of(explanation.predicted)
    labels = " + ".join(model.classes[k] for k in record.labels) or "none of the classes"
    name, probability = model.classes[explained.k], explained.probability
    title = f"{record.name}: predicted {name} (probability {probability:.2f})"
    title += f", labelled {labels}{explained_text(explained)}"
    begin, end = max(0, explained.stop - LENGTH), explained.stop
    shown = f"{begin / SAMPLE_RATE:g} to {end / SAMPLE_RATE:g} s of {record.n / SAMPLE_RATE:g} s"
    notes = [f"{shown}; {explained.samples} samples", reliability_text(explained)]
    plot_explained(path, packed, explained, model.leads, PageText(title, notes), begin)
