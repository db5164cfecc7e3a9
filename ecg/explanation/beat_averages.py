"""The average beat of each class and the values on it, by part of the beat."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from dataset import LEADS, SAMPLE_RATE, to_mv
from ecg.processing.beats import (
    REGIONS,
    early_beats,
    find_borders,
    region_of,
    ventricular_beats,
)
from ecg.processing.detection import cut_beats
from ecg.processing.quality import standard_deviation

WINDOW = (0.35, 0.55)  # s around the middle of QRS of an average beat
LIKENESS = (0.1, 0.35)  # s around the middle of QRS in which average beats are compared


class AverageBeat(NamedTuple):
    """The average of a record's beats, W samples around the middle of QRS."""

    record: str
    count: int  # of beats
    signal: np.ndarray  # (L, W) mV
    phi: np.ndarray  # (L, W)
    borders: np.ndarray  # (4,) s after the middle of QRS, as of find_borders
    sd_mv: float | None  # mV of a standard deviation if the record is z-scored


class BeatAverages:
    """Average beats and shares of |phi| by part of the beat, per class, over records one by one.

    In the shares every record has the same weight, however many beats it has. Beats are averaged
    within a record; a class is shown by its medoid, the record whose average is most like the
    others', because averages over records of different polarity would cancel. For PAC the early
    beats are averaged, for PVC those that look like one; records without any are left out.
    """

    def __init__(self, classes, leads):
        self.classes, self.leads = list(classes), list(leads)
        self.before, self.after = (round(seconds * SAMPLE_RATE) for seconds in WINDOW)
        n_classes, n_leads = len(classes), len(leads)
        self.records = np.zeros(n_classes, int)
        self.shares = np.zeros((n_classes, n_leads + 1, len(REGIONS)))  # the last row: all leads
        self.time = np.zeros((n_classes, len(REGIONS)))
        self.kept = [[] for _ in classes]  # per class, an AverageBeat per record

    def add(self, k, name, phi, packed, peaks):
        """Add a record predicted as class k: phi (L, t) of its last t samples, packed (12, n)."""
        if not len(peaks):
            return
        signal = to_mv(packed)
        hidden = signal.shape[1] - phi.shape[1]  # samples before those the network saw
        borders = find_borders(signal, peaks)
        regions = region_of(borders, signal.shape[1])[hidden:]
        size = np.abs(phi).astype(float)
        parts = np.stack([size[:, regions == i].sum(1) for i in range(len(REGIONS))], 1)
        parts = np.vstack([parts, parts.sum(0)])
        self.shares[k] += parts / np.maximum(parts.sum(1, keepdims=True), 1e-30)
        self.time[k] += np.bincount(regions, minlength=len(REGIONS)) / len(regions)
        self.records[k] += 1
        inside = (peaks - hidden >= self.before) & (peaks + self.after <= signal.shape[1])
        if self.classes[k] == "PAC":
            inside &= early_beats(peaks)
        if self.classes[k] == "PVC":
            inside &= ventricular_beats(signal, peaks, borders)
        if inside.any():
            seen = signal[[LEADS.index(lead) for lead in self.leads]]
            seen -= np.median(seen, 1, keepdims=True)
            cuts = [
                cut_beats(seen, peaks[inside], self.before, self.after),
                cut_beats(phi, peaks[inside] - hidden, self.before, self.after),
            ]
            average = np.mean(cuts, axis=1, dtype=float).astype(np.float32)
            lines = (borders[inside] - peaks[inside, None]).mean(0) / SAMPLE_RATE
            beat = AverageBeat(name, int(inside.sum()), *average, lines, standard_deviation(signal))
            self.kept[k].append(beat)

    def medoid(self, k):
        """Return the AverageBeat that correlates best with those of the other records."""
        start, stop = (self.before + round(t * SAMPLE_RATE) for t in (-LIKENESS[0], LIKENESS[1]))
        beats = np.array([beat.signal[:, start:stop].ravel() for beat in self.kept[k]])
        likeness = np.nan_to_num(np.atleast_2d(np.corrcoef(beats)))
        return self.kept[k][likeness.sum(1).argmax()]

    def beat(self, k):
        """Return a class's beat: signal (L, W), phi (L, W), borders (4,) s after its middle, unit.

        The signal is in mV, or in standard deviations if the record is z-scored.
        """
        beat = self.medoid(k)
        unit = "standard deviations" if beat.sd_mv else "mV"
        return beat.signal / (beat.sd_mv or 1), beat.phi, beat.borders, unit

    def title(self, k):
        """Say which beats a class's average beat is made of."""
        kinds = {"PAC": "early ", "PVC": "broad "}
        beat = self.medoid(k)
        name = self.classes[k]
        beats = f"{kinds.get(name, '')}beat{'s' * (beat.count != 1)}"
        text = f"{name}: average of {beat.count} {beats} of record {beat.record}"
        if len(self.kept[k]) == 1:
            return f"{text}, the only one"
        return f"{text},\nwhich is most like the others (n = {len(self.kept[k])} records)"

    def table(self):
        """Return beats.csv: a row per class and lead, shares of |phi| and of the time by region."""
        rows, times = [], [f"time_{region}" for region in REGIONS]
        for k, name in enumerate(self.classes):
            count = self.records[k] or np.nan
            time = dict(zip(times, self.time[k] / count, strict=True))
            for lead, shares in zip([*self.leads, "all"], self.shares[k] / count, strict=True):
                row = {"class": name, "lead": lead, "n": self.records[k]}
                rows.append(row | dict(zip(REGIONS, shares, strict=True)) | time)
        return pd.DataFrame(rows)
