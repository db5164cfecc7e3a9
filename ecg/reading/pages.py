"""The pages of an answer: the ECG on paper, and what raises and lowers its leading finding."""

import textwrap

import numpy as np

from dataset import SAMPLE_RATE, to_mv
from ecg.explanation.attributions import METHODS
from ecg.explanation.own_record import explain_record
from ecg.plot.ecg_paper import NOTES_WIDTH, PageText, plot_ecg_pages
from ecg.plot.explained_page import (
    LENGTH,
    explained_text,
    fullest,
    plot_explained,
    reliability_text,
)

MORE = " ... more in the answer"


def draw_ecg(folder, answer, packed, about):
    """Draw the ECG of an Answer on paper, in <folder>/<record>.pdf and .png; return the path.

    `packed` is its signal (12, n) and `about` describes the model. Findings, model and warnings
    stand above the ECG.
    """
    path = folder / f"{answer.record}.pdf"
    notes = [about, *answer.page_warnings()]
    plot_ecg_pages(to_mv(packed), SAMPLE_RATE, path, answer.page_title(), notes)
    return str(path)


def draw_explained(folder, answer, packed, model, method):
    """Explain the leading finding of an Answer in <folder>/<record>.pdf and .png; return the path.

    Without a finding the most probable class is explained. `packed` is the signal (12, n), `method`
    a MethodAtHand. Returns None if no class can be assessed.
    """
    name = answer.class_to_explain
    if name is None:
        return None
    explanation = explain_record(model, packed, answer.record, name, method)
    explained = explanation.of(model.classes.index(name))
    path = folder / f"{answer.record}.pdf"
    begin = explained.start + fullest(explained.values)
    begin = int(np.clip(begin, 0, max(0, packed.shape[1] - LENGTH)))
    text = explained_page_text(answer, name, explained, packed.shape[1], method)
    text = text._replace(below=model.describe())
    plot_explained(path, packed, explained, model.leads, text, begin)
    return str(path)


def explained_page_text(answer, name, explained, n, method):
    """Return the PageText of the ClassExplanation of a named class, of a record of n samples."""
    low = "" if name in answer.findings else ", below its threshold"
    title = f"{answer.record}: why {name} (probability {answer.probabilities[name]:.2f}{low})"
    part = ""
    if explained.values.shape[1] < n:
        first, last = explained.start / SAMPLE_RATE, explained.stop / SAMPLE_RATE
        part = f" from {first:.1f} to {last:.1f} s"
    share = f"{100 * explained.explained_share:.0f} % of its change of {explained.change:.1f}"
    notes = [
        f"{method_text(name, part, method)}; they explain {share}",
        reliability_text(explained, METHODS[method.options.method].drawn),
        # a line, of which the critical ones come first; the page has no room for more
        textwrap.shorten(" | ".join(answer.page_warnings()), NOTES_WIDTH, placeholder=MORE),
    ]
    return PageText(title + explained_text(explained), notes)


def method_text(name, part, method):
    """Say in a page's first note how the values of a class's logit were made."""
    if method.background is None:
        steps = method.options.samples
        return f"integrated gradients of {name}'s logit{part}, from a flat line in {steps} steps"
    n = len(method.background.names)
    return f"expected gradients of {name}'s logit{part}, against {n} records of the training set"
