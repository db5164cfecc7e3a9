"""Equal beats should look equal: how far a map's value spreads over beats of one form.

Only records whose beats are alike count: at least MOST of them with one form, at one size, in a
regular rhythm. The criterion of such a record shows in every beat or in none.
"""

import numpy as np

from dataset import SAMPLE_RATE, to_mv
from ecg.explanation.check_measures import Measure

REACH = (0.25, 0.40)  # s around the R peak: from the P wave to the T wave
SAME_FORM = 0.95  # correlation with the median beat, all leads together
SAME_SIZE = 0.2  # of its height
REGULAR = 0.1  # sd of RR / mean
MOST, FEWEST = 0.9, 5  # share of beats that are alike; beats
SPREAD = "spread over equal beats"


def equal_beats(signal, peaks):
    """Return those of the R peaks (B,) of a signal (L, t) in mV whose beats are alike.

    None where the record's beats are not alike.
    """
    before, after = (round(SAMPLE_RATE * seconds) for seconds in REACH)
    peaks = peaks[(peaks >= before) & (peaks + after <= signal.shape[1])]
    if len(peaks) < FEWEST:
        return None
    rr = np.diff(peaks)
    beats = np.stack([signal[:, peak - before : peak + after] for peak in peaks])
    beats = beats - np.median(beats, axis=2, keepdims=True)  # (B, L, samples)
    flat, typical = beats.reshape(len(beats), -1), np.median(beats, axis=0).ravel()
    sizes = np.linalg.norm(flat, axis=1)
    norm = max(np.linalg.norm(typical), 1e-9)
    form = flat @ typical / np.maximum(sizes * norm, 1e-9)
    alike = (form >= SAME_FORM) & (np.abs(sizes / norm - 1) <= SAME_SIZE)
    if alike.mean() < MOST or rr.std() > REGULAR * rr.mean():
        return None
    return peaks[alike]


def beat_sums(phi, peaks):
    """Return the positive values (L, t) of the beats at some peaks (B,), each summed: (B,)."""
    before, after = (round(SAMPLE_RATE * seconds) for seconds in REACH)
    positive = np.maximum(phi, 0).sum(0, dtype=float)
    return np.array([positive[peak - before : peak + after].sum() for peak in peaks])


def check_equal_beats(phi, packed, peaks):
    """Yield the spread (sd / mean) of a map phi (L, t) over the beats of a record that are alike.

    `packed` (12, t) is the part of the record that phi is of, `peaks` (B,) its R peaks. 0: all
    beats look the same. Nothing is yielded where the beats are not alike.
    """
    equal = equal_beats(to_mv(packed), peaks)
    if equal is not None:
        sums = beat_sums(phi, equal)
        if sums.mean() > 0:
            yield Measure(SPREAD, sums.std(ddof=1) / sums.mean())
