"""A record in mV with what several steps ask of it, each worked out once."""

from functools import cached_property

import numpy as np

from dataset import LEADS, UNITS_PER_MV
from ecg.processing import quality
from ecg.processing.detection import find_peaks


class Trace:
    """A signal (12, n) in mV at 500 Hz. Parts that are the whole of it are the Trace itself."""

    def __init__(self, signal):
        self.signal = signal

    def end(self, seconds):
        """Return the Trace of its last seconds (None: of all)."""
        part = quality.scored_part(self.signal, seconds)
        return self if part.shape == self.signal.shape else Trace(part)

    @cached_property
    def packed(self):
        """The signal in whole microvolts (12, n)."""
        return np.rint(self.signal * UNITS_PER_MV).astype(int)

    @cached_property
    def baseline(self):
        """The median of each lead in mV (12,)."""
        return np.median(self.signal, axis=1)

    @cached_property
    def parts(self):
        """The Traces of its parts between silent stretches, as a list."""
        spans = quality.live_spans(self.packed)
        whole = spans == [(0, self.signal.shape[1])]
        return [self] if whole else [Trace(self.signal[:, a:b]) for a, b in spans]

    @cached_property
    def live(self):
        """The Trace without its silent stretches."""
        if self.parts == [self]:
            return self
        return Trace(np.concatenate([part.signal for part in self.parts], axis=1))

    @cached_property
    def noisy(self):
        """Lead -> why it cannot be read."""
        return quality.noisy_leads(self.signal)

    @cached_property
    def readable(self):
        """The Trace with the leads that are noise as 0."""
        if not self.noisy:
            return self
        signal = self.signal.copy()
        signal[[LEADS.index(lead) for lead in self.noisy]] = 0
        return Trace(signal)

    @cached_property
    def peaks(self):
        """The samples (B,) of its beats."""
        return find_peaks(self.packed)

    @cached_property
    def repeats(self):
        """Whether the typical QRS complex comes again, as in no noise."""
        return quality.has_beats(self.signal, self.peaks)
