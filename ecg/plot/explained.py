"""Pages of explained records: the ECG on paper, what raises and lowers a logit as colour."""

import textwrap
from pathlib import Path

import numpy as np

from dataset import CLASSES, SAMPLE_RATE, to_mv
from ecg.evaluation import findings
from ecg.explanation.attributions import METHODS, WINDOWS
from ecg.explanation.own import FROM_ZERO, class_to_explain, explain_own, own_scores
from ecg.explanation.values import explained_class, predicted_place, trust
from ecg.plot.ecg_paper import PAGE_SECONDS, draw_ecg_page, page_notes
from ecg.plot.figures import save_page
from ecg.plot.values import explained_colours
from ecg.processing.quality import SHORTEST, standard_deviation
from resnet import describe
from utils import RESEARCH_USE

MISSED = 0.25  # of the change of the logit; values that miss more do not explain it
NOTES_WIDTH = 148  # characters, beside the colour bar
LENGTH = PAGE_SECONDS * SAMPLE_RATE  # samples on a page
MORE = " ... more in the answer"
READING = "%: a lead's share of |value|; framed: above an even share"


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
    explained = explained_colours(values, leads, begin - at, agreement)
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


def reliability_text(stored, i, drawn=True):
    """Say how reliable the windows of the i-th explained class are."""
    found = f"{stored['reliability'][i, 0]:.2f} of 1"
    note = (
        "pale: halves of the samples disagree"
        if drawn
        else "halves of the steps; nothing is random"
    )
    return f"reliability of the {WINDOWS} windows: {found} ({note}); {READING}"


def plot_patient(path, name, packed, stored, leads, true):
    """Write the page of a record (12, n) of a data set: the last 10 s of what has values.

    `stored` are the arrays of `make_values`, of which the predicted class is shown; `true` are the
    labels.
    """
    i = predicted_place(stored)
    k, phi, at, logit, change, residual = explained_class(stored, i)
    title = (
        f"{name}: predicted {CLASSES[k]} (probability {1 / (1 + np.exp(-logit)):.2f}), "
        f"labelled {' + '.join(true) or 'none of the nine'}{missed_text(residual, change)}"
    )
    end = at + phi.shape[1]
    begin = max(0, end - LENGTH)
    shown = f"{begin / SAMPLE_RATE:g} to {end / SAMPLE_RATE:g} s"
    notes = [
        f"{shown} of {packed.shape[1] / SAMPLE_RATE:g} s; {stored['samples'][i]} samples",
        reliability_text(stored, i),
    ]
    agreement = trust(stored, i)
    plot_explained(path, packed, phi, leads, at, begin, title, notes, agreement=agreement)


def fullest(values):
    """Return where the 10 s begin that hold the most of |values| (L, t)."""
    sums = np.insert(np.abs(values).sum(0, dtype=float).cumsum(), 0, 0)
    return int(np.argmax(sums[LENGTH:] - sums[:-LENGTH])) if len(sums) > LENGTH else 0


def method_text(name, part, options, background):
    """Say in a page's first note how the values of a class's logit were made."""
    if background is None:
        return (
            f"integrated gradients of {name}'s logit{part}, from a flat line in "
            f"{options.samples} steps"
        )
    return (
        f"expected gradients of {name}'s logit{part}, against {len(background.names)} records of "
        "the training set"
    )


def plot_own(folder, row, packed, model, checkpoint, model_text, method=(FROM_ZERO, None)):
    """Explain the leading finding of one's own record; write <folder>/<record>.pdf and .png.

    `row` is its answer (ecg.evaluation.findings), `packed` its signal (12, n), `method` what
    `method_at_hand` gives. Returns the path, None if no class can be assessed.
    """
    name = class_to_explain(row)
    if name is None:
        return None
    stored = explain_own(model, checkpoint, packed, row["record"], name, *method)
    _, values, at, _, change, residual = explained_class(stored, 0)
    n, seen = packed.shape[1], values.shape[1]
    found = "" if name in row["findings"] else ", below its threshold"
    title = f"{row['record']}: why {name} (probability {row['probabilities'][name]:.2f}{found})"
    part = f" from {at / SAMPLE_RATE:.1f} to {(at + seen) / SAMPLE_RATE:.1f} s" if seen < n else ""
    missed = abs(residual) / max(abs(change), 1e-9)
    how = method_text(name, part, *method)
    notes = [
        f"{how}; they miss {missed:.0%} of its change of {change:.1f}",
        reliability_text(stored, 0, METHODS[method[0].method].drawn),
        # a line, of which the large ones come first; the page has no room for more
        textwrap.shorten(" | ".join(findings.warning_notes(row)), NOTES_WIDTH, placeholder=MORE),
    ]
    begin = int(np.clip(at + fullest(values), 0, max(0, n - LENGTH)))
    title += missed_text(residual, change)
    path, leads = Path(folder) / f"{row['record']}.pdf", checkpoint["leads"]
    shown = packed, values, leads, at, begin, title, notes, model_text
    plot_explained(path, *shown, agreement=trust(stored, 0))
    return path


def plot_records(model_path, model, checkpoint, records, table, method):
    """Explain the leading finding of each of some records, files as for predict.py.

    The pages go to results/<model>_records/explained. Bad records are named; stops without any
    good one. `table` holds what a table cannot say, as in `findings.read_own`.
    """
    text, pages = describe(model_path, checkpoint), 0
    folder = Path("results") / f"{Path(model_path).stem}_records" / "explained"
    sources, bad = findings.find_own(records)
    told, window = len(bad), None if model.window else checkpoint["args"]["seconds"]
    given = table, window, checkpoint.get("shortest", SHORTEST), bad
    for rows, signals in findings.read_batches(sources, 1, *given):
        for row in rows:
            packed = signals[row["record"]]
            y_score = own_scores(model, checkpoint, packed)
            findings.add_findings(row, packed, y_score, checkpoint)
            page = plot_own(folder, row, packed, model, checkpoint, text, method)
            print(f"{row['record']}: {row['answer']} {page or 'nothing to explain'}")
            pages += 1
    if not pages:
        findings.fail_unread(bad)
    findings.tell_skipped(bad[told:])
    print(RESEARCH_USE)
