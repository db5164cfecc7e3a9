"""The beats of a record and the parts of each: before QRS, QRS, ST-T.

The beats come from detection.py. The borders of a beat, all leads together:

    QRS onset and end   where the slope, as root mean square over the leads, smoothed over 24 ms,
                        first stays below 10 % of the beat's steepest for 12 ms on either side
    T end               QRS onset + 0.41 s x (RR / 1 s)^(1/3), Fridericia's formula with a usual
                        QTc, RR being the median interval; never past the next QRS
    before QRS          the P wave and the PR segment: the 240 ms before the QRS onset, or what the
                        previous beat's T leaves of them

The rest is 'elsewhere' (the line between T and P, beats cut off at an end).
"""

import numpy as np
from scipy.ndimage import uniform_filter1d

from dataset import SAMPLE_RATE
from ecg.processing.detection import PREMATURE, SMOOTHING, cut_beats, median_beat

REGIONS = ("before_qrs", "qrs", "st_t", "elsewhere")
STEEP = 0.10  # of a beat's steepest slope
CALM = 0.012  # s below that slope end a QRS
QRS_REACH = (0.12, 0.16)  # s before and after a beat in which its borders are sought
QTC = 0.41  # s
BEFORE = 0.24  # s; a PR interval is 120 to 200 ms, longer in first-degree AV block
BROAD = 0.12  # s of a broad QRS (Surawicz et al., Circulation 2009: AHA/ACCF/HRS III)
FORM = 0.08  # s around the middle of QRS that are compared as its form
SAME_FORM = 0.8  # correlation of two QRS; chosen on synthetic records, see ventricular_beats
SOON = 0.3  # s; a detection sooner after a beat (200/min) is rather its T wave


def steepness(signal):
    """Return the root mean square over the leads of the smoothed slope of (L, n) mV: (n,)."""
    slope = np.gradient(uniform_filter1d(signal, round(SMOOTHING * SAMPLE_RATE), axis=1), axis=1)
    return np.sqrt((slope**2).mean(0))


def calm_from(slope, start, step, stop, limit):
    """Return the first place from `start`, in direction `step`, from which `slope` stays low."""
    n, calm = round(CALM * SAMPLE_RATE), 0
    for place in range(start, stop, step):
        calm = calm + 1 if slope[place] < limit else 0
        if calm == n:
            return place - step * (n - 1)
    return stop


def find_borders(signal, peaks):
    """Return (B, 4) sample numbers for peaks (B,) of (L, n) mV: P-to-QRS, QRS, ST-T start; T end.

    Parts of a beat beyond an end of the record are empty.
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
    """Return for each beat (B,) whether it comes early, before 0.85 of the median interval."""
    rr = np.diff(peaks)
    return np.r_[False, rr < PREMATURE * np.median(rr)] if len(rr) else np.zeros(len(peaks), bool)


def ventricular_beats(signal, peaks, borders):
    """Return for each beat (B,) of (L, n) mV whether it looks like a PVC.

    If so, its QRS lasts 120 ms or longer; over all leads its form correlates below 0.8 with the
    median of the beats that are not early; and it does not follow another beat within 300 ms. On
    238 synthetic records with PVCs 99 % of such beats are PVCs, and 97 % of the PVCs are such beats
    (in AF 108 of 108). It need not be early: 22 % of PVCs are not before 0.85 of the median
    interval (in AF, bigeminy, interpolated ones), and the condition does not help. Aberrant beats
    and escape beats look the same.
    """
    reach = round(FORM * SAMPLE_RATE)
    places = np.clip(peaks, reach, max(reach, signal.shape[1] - reach))
    forms = cut_beats(signal, places, reach, reach).astype(float)
    usual = ~early_beats(peaks)
    forms -= forms.mean(2, keepdims=True)
    forms = forms.reshape(len(peaks), -1)
    middle = median_beat(forms[usual])
    size = np.linalg.norm(forms, axis=1) * np.linalg.norm(middle)
    broad = borders[:, 2] - borders[:, 1] >= BROAD * SAMPLE_RATE
    soon = np.diff(peaks, prepend=-SAMPLE_RATE) < SOON * SAMPLE_RATE
    return broad & ~soon & (forms @ middle < SAME_FORM * size)
