"""Pages of explained records: the ECG on paper, what raises and lowers a logit as colour."""

import numpy as np

from dataset import SAMPLE_RATE, to_mv
from ecg.explanation.attributions import WINDOWS, binned
from ecg.explanation.methods import EVIDENCE, METHODS
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
    colours = page_colours(explained, leads, begin)
    layout = (layout or Layout()).fit(signal)
    part, start = signal[:, begin : begin + LENGTH], begin / SAMPLE_RATE
    save_page(draw_ecg_page(part, SAMPLE_RATE, text, start, layout, colours), path)


def explained_text(explained):
    """Say in a title how much the values explain, '' where that is at least three quarters."""
    if not METHODS[explained.method].adds_up:
        return ""
    if abs(explained.residual) <= (1 - WELL_EXPLAINED) * abs(explained.change):
        return ""
    return f"; explains {100 * explained.explained_share:.0f} % of the score"


def method_text(name, explained, part="", records=None):
    """Say whether a page shows a trained place or what the network has learnt, and how it was made.

    `name` is the class of the ClassExplanation, `part` the seconds that were explained, `records`
    how many of the training set it was compared with, None if unknown.
    """
    if explained.method == EVIDENCE:
        highest = binned(explained.values).max()
        return (
            f"evidence of {name}{part}, 0 to 1 (highest {highest:.2f}): where the network was "
            "trained to see the criterion, not what its probability rests on; leads it needs less "
            "are paler"
        )
    base = 1 / (1 + np.exp(explained.change - explained.logit))
    logit, count = f"{name}'s logit{part}", "" if records is None else f"{records} "
    against = f"{logit}, against {count}records of the training set"
    steps = f"from a flat line (there {base:.2f}) in {explained.samples} steps"
    way = {
        "shap": f"expected gradients of {against}",
        "ig": f"integrated gradients of {logit}, {steps}",
        "gradient-explainer": f"shap.GradientExplainer of {against}; ours differ by "
        f"{explained.difference:.1%}",
    }[explained.method]
    share = f"{100 * explained.explained_share:.0f} % of its change of {explained.change:.1f}"
    return f"{way}; they explain {share}: what the logit rests on, which need not be the criterion"


def reliability_text(explained):
    """Say how reliable an explanation's windows are, if its samples are random."""
    if not METHODS[explained.method].drawn:
        return READING
    number = f"{explained.reliability[0]:.2f} of 1"
    note = "with another background; pale: halves of the samples disagree"
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
    method = method_text(name, explained)
    notes = [f"{shown}; {explained.samples} samples", method, reliability_text(explained)]
    plot_explained(path, packed, explained, model.leads, PageText(title, notes), begin)
