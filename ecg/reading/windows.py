"""In which windows of a long record a model finds what it finds."""

from typing import NamedTuple

import numpy as np

from dataset import SAMPLE_RATE

FEW = 2  # windows next to each other, which are told by their time


class Windows(NamedTuple):
    """The windows of a record, and those of each finding."""

    seconds: float  # that a window lasts
    starts: tuple[float, ...]  # s
    findings: dict[str, tuple[float, ...]]  # finding -> starts of the windows that show it
    shown: float  # start of the window that shows the leading finding most

    @classmethod
    def of(cls, model, packed, findings, leading):
        """Return those of a packed record (12, n) for a Model; None if it has but one window."""
        places = model.network.window_starts(packed.shape[1])
        if len(places) == 1:
            return None
        scores = dict(zip(model.classes, model.window_probabilities(packed).T, strict=True))
        starts = np.array(places) / SAMPLE_RATE
        shows = {name: scores[name] >= model.thresholds[name] for name in findings}
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
            return f"in all {n} windows"
        first = self.starts.index(starts[0])
        together = self.starts[first : first + len(starts)] == starts
        if together and len(starts) <= FEW:
            return f"only from {starts[0]:.0f} to {starts[-1] + self.seconds:.0f} s"
        return f"in {len(starts)} of {n} windows"

    def to_dict(self):
        """Return plain lists and dictionaries, for JSON."""
        found = {name: list(starts) for name, starts in self.findings.items()}
        return {"seconds": self.seconds, "starts": list(self.starts), "findings": found}
