"""The beats of a record and the parts of each: before QRS, QRS, ST-T.

R peaks: wfdb's XQRS in each lead, and what more than half of the leads agree on
(features.detect_beats); beats that it misses in a long interval are added. The borders of a
beat, all leads together:

    QRS onset and end   where the slope, as root mean square over the leads, smoothed over 24 ms,
                        stays below 10 % of the beat's steepest for 12 ms, going out from there
    T end               QRS onset + 0.41 s x (RR / 1 s)^(1/3), Fridericia's formula with a usual
                        QTc, RR being the median interval; never past the next QRS
    before QRS          the P wave and the PR segment: the 240 ms before the QRS onset, or what the
                        previous beat's T leaves of them

What lies in none of the three is 'elsewhere' (the line between T and P, cut-off beats).
"""

import numpy as np
import pandas as pd
from scipy.ndimage import uniform_filter1d

from dataset import CLASSES, LEADS, SAMPLE_RATE, to_mv
from ecg.processing.features import PREMATURE, detect_beats

REGIONS = ("before_qrs", "qrs", "st_t", "elsewhere")
SMOOTHING = 0.024  # s
STEEP = 0.10  # of a beat's steepest slope
CALM = 0.012  # s below that end a QRS
QRS_REACH = (0.12, 0.16)  # s before and after the R peak in which its borders are sought
QTC = 0.41  # s
BEFORE = 0.24  # s; a PR interval is 120 to 200 ms, longer in first-degree AV block
GAP, GAP_STEEP = 1.3, 0.4  # of the median interval, of the usual beat's steepest slope
APART = 0.25  # s between an added beat and its neighbours
SEARCH = 0.06  # s around a steep place, or a peak, for the other
WINDOW = (0.35, 0.55)  # s around R of an average beat


def steepness(signal):
    """Return the root mean square over the leads of the smoothed slope of (L, n) mV: (n,)."""
    slope = np.gradient(uniform_filter1d(signal, round(SMOOTHING * SAMPLE_RATE), axis=1), axis=1)
    return np.sqrt((slope**2).mean(0))


def find_peaks(packed):
    """Return the sample numbers (B,) of the R peaks of a record (12, n) int16 microvolts."""
    peaks = np.rint(detect_beats(packed)[0] * SAMPLE_RATE).astype(int)
    return fill_gaps(to_mv(packed), peaks) if len(peaks) > 2 else peaks


def fill_gaps(signal, peaks):
    """Add the beats that XQRS misses: mostly early ventricular ones, broad after narrow ones.

    Where the next beat (of peaks (B,) in (L, n) mV) is more than 1.3 median intervals away, the
    steepest place between the two is a beat if its slope reaches 40 % of the usual beat's.
    """
    slope, found = steepness(signal), list(peaks)
    near = round(SEARCH * SAMPLE_RATE)
    usual = np.median([slope[max(0, peak - near) : peak + near].max() for peak in peaks])
    size = np.sqrt(((signal - np.median(signal, 1, keepdims=True)) ** 2).mean(0))
    apart = round(APART * SAMPLE_RATE)
    for before, after in zip(peaks, peaks[1:], strict=False):
        gap = slope[before + apart : after - apart]
        far = after - before > GAP * np.median(np.diff(peaks))
        if far and gap.max(initial=0) > GAP_STEEP * usual:
            place = before + apart + int(gap.argmax())
            found.append(place - near + int(size[place - near : place + near].argmax()))
    return np.sort(found)


def calm_from(slope, start, step, stop, limit):
    """Return the first place from `start` on, going by `step`, where `slope` stays calm."""
    n, calm = round(CALM * SAMPLE_RATE), 0
    for place in range(start, stop, step):
        calm = calm + 1 if slope[place] < limit else 0
        if calm == n:
            return place - step * (n - 1)
    return stop


def find_borders(signal, peaks):
    """Return (B, 4) sample numbers for peaks (B,) of (L, n) mV: P-to-QRS, QRS, ST-T start; T end.

    A beat without the time for its parts (at an end of the record) has empty parts there.
    """
    n, borders = signal.shape[1], np.zeros((len(peaks), 4), int)
    if not len(peaks):
        return borders
    slope = steepness(signal)
    reach = [round(seconds * SAMPLE_RATE) for seconds in QRS_REACH]
    for row, peak in zip(borders, peaks, strict=True):
        low, high = max(0, peak - reach[0]), min(n, peak + reach[1])
        near = slice(max(0, peak - reach[0] // 2), min(n, peak + reach[0] // 2))
        steepest = near.start + int(slope[near].argmax())
        limit = STEEP * slope[steepest]
        row[1] = calm_from(slope, steepest, -1, low - 1, limit) + 1
        row[2] = calm_from(slope, steepest, 1, high, limit)
    rr = np.median(np.diff(peaks)) / SAMPLE_RATE if len(peaks) > 1 else 1.0
    borders[:, 3] = borders[:, 1] + round(QTC * rr ** (1 / 3) * SAMPLE_RATE)
    borders[:, 0] = borders[:, 1] - round(BEFORE * SAMPLE_RATE)
    borders[:-1, 3] = np.minimum(borders[:-1, 3], borders[1:, 1])
    borders[1:, 0] = np.maximum(borders[1:, 0], borders[:-1, 3])
    return np.maximum.accumulate(np.clip(borders, 0, n), axis=1)


def region_of(borders, n):
    """Return the number in REGIONS of each of n samples: (n,) int."""
    regions = np.full(n, REGIONS.index("elsewhere"))
    for row in borders:
        for number in range(3):
            regions[row[number] : row[number + 1]] = number
    return regions


def early_beats(peaks):
    """Tell of each beat (B,) whether it comes early, before 0.85 of the median interval."""
    rr = np.diff(peaks)
    return np.r_[False, rr < PREMATURE * np.median(rr)] if len(rr) else np.zeros(len(peaks), bool)


class BeatAverages:
    """Average beats and shares of |phi| by part of the beat, per class, over records one by one.

    Every record counts the same, however many beats it has. For PAC and PVC the average beat is
    that of the early beats, which the diagnosis is about; records without one are left out of it.
    """

    EARLY = ("PAC", "PVC")

    def __init__(self, leads):
        self.leads = list(leads)
        self.before, self.after = (round(seconds * SAMPLE_RATE) for seconds in WINDOW)
        n_classes, n_leads, width = len(CLASSES), len(leads), self.before + self.after
        self.records, self.beat_records, self.beats = np.zeros((3, n_classes), int)
        self.shares = np.zeros((n_classes, n_leads + 1, len(REGIONS)))  # the last row: all leads
        self.time = np.zeros((n_classes, len(REGIONS)))
        self.sums = np.zeros((n_classes, 2, n_leads, width))  # signal in mV, phi
        self.borders = np.zeros((n_classes, 4))

    def add(self, k, phi, packed, peaks):
        """Add a record predicted as class k: phi (L, t) of its last t samples, packed (12, n)."""
        if not len(peaks):
            return
        signal = to_mv(packed)
        hidden = signal.shape[1] - phi.shape[1]  # samples in front of what the network saw
        borders = find_borders(signal, peaks)
        regions = region_of(borders, signal.shape[1])[hidden:]
        size = np.abs(phi).astype(float)
        parts = np.stack([size[:, regions == i].sum(1) for i in range(len(REGIONS))], 1)
        parts = np.vstack([parts, parts.sum(0)])
        self.shares[k] += parts / np.maximum(parts.sum(1, keepdims=True), 1e-30)
        self.time[k] += np.bincount(regions, minlength=len(REGIONS)) / len(regions)
        self.records[k] += 1
        seen = signal[[LEADS.index(lead) for lead in self.leads], hidden:]
        seen -= np.median(seen, 1, keepdims=True)
        self.add_beat(k, seen, phi, peaks - hidden, borders - hidden)

    def add_beat(self, k, signal, phi, peaks, borders):
        """Add a record's average beat, from those beats whose window lies within the signal."""
        inside = (peaks >= self.before) & (peaks + self.after <= signal.shape[1])
        if CLASSES[k] in self.EARLY:
            inside &= early_beats(peaks)
        if inside.any():
            cuts = [slice(peak - self.before, peak + self.after) for peak in peaks[inside]]
            self.sums[k] += np.mean([[signal[:, cut], phi[:, cut]] for cut in cuts], axis=0)
            self.borders[k] += (borders[inside] - peaks[inside, None]).mean(0)
            self.beat_records[k] += 1
            self.beats[k] += len(cuts)

    def beat(self, k):
        """Return a class's average beat: signal (L, W) mV, phi (L, W), borders (4,) s after R."""
        signal, phi = self.sums[k] / self.beat_records[k]
        return signal, phi, self.borders[k] / self.beat_records[k] / SAMPLE_RATE

    def title(self, k):
        """Say what a class's average beat is made of."""
        kind = "early beats" if CLASSES[k] in self.EARLY else "beats"
        return f"{CLASSES[k]}: average of {self.beats[k]} {kind} (n = {self.beat_records[k]})"

    def table(self):
        """Return beats.csv: a row per class and lead, shares of |phi| and of the time by region."""
        rows, times = [], [f"time_{region}" for region in REGIONS]
        for k, name in enumerate(CLASSES):
            count = self.records[k] or np.nan
            time = dict(zip(times, self.time[k] / count, strict=True))
            for lead, shares in zip([*self.leads, "all"], self.shares[k] / count, strict=True):
                row = {"class": name, "lead": lead, "n": self.records[k]}
                rows.append(row | dict(zip(REGIONS, shares, strict=True)) | time)
        return pd.DataFrame(rows)
