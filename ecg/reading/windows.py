"""Which parts of a record a model scores, and in which windows it finds what it finds."""

from typing import NamedTuple

import numpy as np

from dataset import SAMPLE_RATE
from ecg.processing.quality import live_spans

FEW = 2  # windows next to each other, which are told by their time


def scored_spans(model, packed):
    """Return the (start, end), in samples, of the parts of (12, n) that a Model scores.

    A model that reads windows scores each part between two flat lines of all leads by itself, but
    for those that are shorter than what it was trained on, if there are others.
    """
    whole = [(0, packed.shape[1])]
    if not model.window:
        return whole
    shortest = min(model.settings.shortest * SAMPLE_RATE, model.window)
    return [(a, b) for a, b in live_spans(packed) if b - a >= shortest] or whole


def scored_parts(model, packed):
    """Return the parts (12, n) of a packed recording (12, N) that a Model scores."""
    return [packed[:, a:b] for a, b in scored_spans(model, packed)]


class Windows(NamedTuple):
    """The windows of a record, and those of each finding."""

    seconds: float  # that a window lasts
    starts: tuple[float, ...]  # s
    findings: dict[str, tuple[float, ...]]  # finding -> starts of the windows that show it
    shown: float  # start of the window that shows the leading finding most

    @classmethod
    def of(cls, model, packed, findings, leading):
        """Return those of a packed record (12, n) for a Model; None if it has but one window."""
        spans = scored_spans(model, packed)
        places = [a + x for a, b in spans for x in model.network.window_starts(b - a)]
        if len(places) == 1:
            return None
        rows = np.concatenate([model.window_probabilities(packed[:, a:b]) for a, b in spans])
        scores = dict(zip(model.classes, rows.T, strict=True))
        starts = np.array(places) / SAMPLE_RATE
        # the last digits depend on the batch: the highest window of a finding always shows it
        limits = {name: min(model.thresholds[name], scores[name].max()) for name in findings}
        shows = {name: scores[name] >= limits[name] for name in findings}
        found = {name: tuple(starts[yes].tolist()) for name, yes in shows.items()}
        best = scores[leading] if leading else np.max(list(scores.values()), 0)
        shown = float(starts[best.argmax()])
        return cls(model.window / SAMPLE_RATE, tuple(starts.tolist()), found, shown)

    def text(self):
        """Say where each finding shows; '' without findings."""
        parts = [f"{name} {self.where(starts)}" for name, starts in self.findings.items()]
        return "; ".join(parts)

    def where(self, starts):
        """Say in which windows a finding shows, whose windows begin at `starts`."""
        n = len(self.starts)
        if len(starts) == n:
            return "in both windows" if n == 2 else f"in all {n} windows"
        first = self.starts.index(starts[0])
        together = self.starts[first : first + len(starts)] == starts
        if together and len(starts) <= FEW:
            return f"only from {starts[0]:.0f} to {starts[-1] + self.seconds:.0f} s"
        return f"in {len(starts)} of {n} windows"

    def to_dict(self):
        """Return plain lists and dictionaries, for JSON."""
        found = {name: list(starts) for name, starts in self.findings.items()}
        return {"seconds": self.seconds, "starts": list(self.starts), "findings": found}
