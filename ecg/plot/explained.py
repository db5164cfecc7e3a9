"""Pages of explained records: the ECG on paper, what raises and lowers a logit as colour."""

from pathlib import Path

import numpy as np

from dataset import CLASSES, SAMPLE_RATE, to_mv
from ecg.explanation.own import explain_own, leading
from ecg.plot.ecg_paper import PAGE_SECONDS, draw_ecg_page, page_notes
from ecg.plot.figures import save_page
from ecg.plot.values import explained_colours
from ecg.processing.quality import standard_deviation

MISSED = 0.25  # of the change of the logit; values that miss more do not explain it
NOTES_WIDTH = 148  # characters, beside the colour bar
LENGTH = PAGE_SECONDS * SAMPLE_RATE  # samples on a page
READING = "%: a lead's share of |value| in all that was explained; framed: above an even share"


def missed_text(residual, change):
    """Say what the values miss of the change of the logit, '' where that is below a quarter."""
    if abs(residual) <= MISSED * abs(change):
        return ""
    return f"; the values miss {abs(residual):.1f} of a change of {abs(change):.1f}"


def plot_explained(path, packed, values, leads, at, begin, title, notes, below="", agreement=None):
    """Write the page of an explained record as PDF, true to scale, and as PNG beside it.

    `packed` (12, n) is the whole record, `values` (L, t) those of the leads that the network sees,
    from sample `at` of the record on, and `begin` the first of the 10 s that are shown.
    `agreement` (L, windows of 40 ms), 0 to 1, fades what cannot be trusted (None: nothing).
    """
    signal = to_mv(packed)
    explained = explained_colours(values, leads, SAMPLE_RATE, begin - at, agreement)
    figure = draw_ecg_page(
        signal[:, begin : begin + LENGTH],
        SAMPLE_RATE,
        title,
        page_notes(notes, NOTES_WIDTH),
        begin / SAMPLE_RATE,
        below,
        standard_deviation(signal),
        explained,
    )
    save_page(figure, path)


def plot_patient(path, name, packed, k, phi, logit, change, residual, leads, true, agreement=None):
    """Write the page of a record of a data set: its last 10 s, as in the paper's figures.

    `phi` (L, t) are the values of class number k at the end of the record, without padding; they
    miss `residual` of the `change` of the `logit`. `true` are the labels.
    """
    n = packed.shape[1]
    title = (
        f"{name}: predicted {CLASSES[k]} (probability {1 / (1 + np.exp(-logit)):.2f}), "
        f"labelled {' + '.join(true) or 'none of the nine'}{missed_text(residual, change)}"
    )
    shown = min(LENGTH, n) / SAMPLE_RATE
    notes = [f"last {shown:g} s of {n / SAMPLE_RATE:g} s; {READING}"]
    begin, at = max(0, n - LENGTH), n - phi.shape[1]
    plot_explained(path, packed, phi, leads, at, begin, title, notes, agreement=agreement)


def fullest(values):
    """Return where the 10 s begin that hold the most of |values| (L, t)."""
    sums = np.insert(np.abs(values).sum(0, dtype=float).cumsum(), 0, 0)
    return int(np.argmax(sums[LENGTH:] - sums[:-LENGTH])) if len(sums) > LENGTH else 0


def plot_own(folder, row, packed, model, checkpoint, model_text):
    """Explain the leading finding of one's own record; write <folder>/<record>.pdf and .png.

    `row` is its answer (ecg.evaluation.findings), `packed` its signal (12, n); returns the path.
    """
    name = leading(row["probabilities"], row["findings"])
    own = explain_own(model, checkpoint, packed, name)
    n, seen = packed.shape[1], own.values.shape[1]
    part = (own.begin + np.array([0, seen])) / SAMPLE_RATE
    found = "" if name in row["findings"] else ", below its threshold"
    title = f"{row['record']}: why {name} (probability {row['probabilities'][name]:.2f}{found})"
    where = f" from {part[0]:.1f} to {part[1]:.1f} s" if seen < n else ""
    missed = abs(own.residual) / max(abs(own.change), 1e-9)
    notes = [
        f"integrated gradients of {name}'s logit{where}, from a flat line in {own.steps} steps; "
        f"they miss {missed:.0%} of its change of {own.change:.1f}",
        READING,
        *row["warnings"],
    ]
    begin = int(np.clip(own.begin + fullest(own.values), 0, max(0, n - LENGTH)))
    path = Path(folder) / f"{row['record']}.pdf"
    title += missed_text(own.residual, own.change)
    plot_explained(
        path, packed, own.values, checkpoint["leads"], own.begin, begin, title, notes, model_text
    )
    return path
