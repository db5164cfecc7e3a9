"""The pages of an answer: the ECG on paper, and what raises and lowers its leading finding."""

import numpy as np

from dataset import SAMPLE_RATE, to_mv
from ecg.explanation.own_record import explain_record
from ecg.plot.ecg_paper import Layout, PageText, plot_ecg_pages
from ecg.plot.explained_page import (
    LENGTH,
    explained_text,
    fullest,
    method_text,
    plot_explained,
    reliability_text,
)
from ecg.plot.papers import A4
from ecg.reading.support import measured


def draw_ecg(folder, answer, packed, about, paper=A4):
    """Draw the ECG of an Answer on paper, in <folder>/<record>.pdf and .png; return the path.

    `packed` is its signal (12, n), `about` describes the model, `paper` is a size in mm. Findings,
    person, intervals and warnings stand above the ECG, the model below.
    """
    path = folder / f"{answer.record}.pdf"
    notes = [answer.page_header(), *answer.page_windows(), *answer.page_warnings()]
    text = PageText(answer.page_title(), notes, about)
    layout = Layout(paper, answer.lost)
    middle = answer.windows.shown + answer.windows.seconds / 2 if answer.windows else None
    plot_ecg_pages(to_mv(packed), SAMPLE_RATE, path, text, layout, middle)
    return str(path)


def draw_explained(folder, answer, packed, model, method, paper=A4):
    """Explain the leading finding of an Answer in <folder>/<record>.pdf and .png; return the path.

    `packed` is the signal (12, n), `method` a MethodAtHand. Returns None if there is no finding.
    """
    name = answer.leading
    if name is None:
        return None
    explanation = explain_record(model, packed, answer.record, name, method)
    explained = explanation.of(model.classes.index(name))
    path = folder / f"{answer.record}.pdf"
    begin = explained.start + fullest(explained.values)
    begin = int(np.clip(begin, 0, max(0, packed.shape[1] - LENGTH)))
    text = explained_page_text(answer, explained, packed.shape[1], method)
    text = text._replace(below=model.describe())
    layout = Layout(paper, answer.lost)
    plot_explained(path, packed, explained, model.leads, text, begin, layout)
    return str(path)


def explained_page_text(answer, explained, n, method):
    """Return the PageText of the ClassExplanation of the leading finding, of n samples."""
    name = answer.leading
    number = measured(name, answer.intervals)
    number = f"; {number}" if number else ""
    title = f"{answer.record}: why {name} (probability {answer.probabilities[name]:.2f}{number})"
    part = ""
    if explained.values.shape[1] < n:
        first, last = explained.start / SAMPLE_RATE, explained.stop / SAMPLE_RATE
        part = f" from {first:.1f} to {last:.1f} s"
    records = method.background and len(method.background.names)
    notes = [
        answer.page_header(),
        method_text(name, explained, part, records),
        reliability_text(explained),
        *answer.page_warnings(),
    ]
    return PageText(title + explained_text(explained), notes)
