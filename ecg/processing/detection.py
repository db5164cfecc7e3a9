"""Find the beats of a record.

After Pan and Tompkins, IEEE Trans Biomed Eng 1985: a beat is where the slope is large for as long
as a QRS complex lasts. Here all leads count together, each relative to its own slope, so that none
dominates; and the threshold depends on the signal between the beats, so that a broad beat among
narrow ones is not missed and a tall T wave is not mistaken for one. The times are theirs; other
constants were chosen mostly on other synthetic records than the demo's. benchmarks/beats.py
measures how many beats are found.
"""

import numpy as np
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from dataset import SAMPLE_RATE, UNITS_PER_MV

SMOOTHING = 0.024  # s
STEEPEST = 0.02  # of a lead's samples have more than its own slope
NOISE, LIGHT = 0.29, 0.05  # median / own slope of white noise; the weight of a lead of noise
SPIKE = 2  # a sample counts at most as so many times its lead's own slope
WIDE, SHARP = 0.16, 0.08  # s over which the slope is averaged to find a beat; to tell it from T
REFRACTORY, T_REACH = 0.20, 0.36  # s after a beat: before the next one; before the steepest of T
# shares of the steepness of its QRS that a T wave does not reach: sure beats, usual, tall ones
T_STEEP = 0.8, 0.6, 0.36
TALL = 1.5  # times the threshold: higher than the usual T waves, which have set it
STRETCH = 1.5  # s; each holds a beat at 40 a minute
SURE, LOW, HIGH = 0.5, 0.3, 0.7  # of the usual height: a sure beat; bounds of the threshold
GAP_SHARE, ABOVE = 1 / 3, 1.3  # share of the gaps that sets the threshold; times their height
FAR, FAR_LOW = 0.4, 0.4  # s from a sure beat, beyond its P and T; LOW there
PREMATURE = 0.85  # an interval below this share of the median is early; a common rule of thumb
CENTRE = 0.1  # s around a beat's place in which its centre is computed


def joint_slope(signal):
    """Return the weighted mean over leads (L, n) of the squared relative slope: (n,).

    A lead's own slope is the 98 % quantile of its slopes; the lead weighs the more, the further
    that is above their median. In noise it hardly is.
    """
    slope = np.gradient(uniform_filter1d(signal, round(SMOOTHING * SAMPLE_RATE), axis=1), axis=1)
    middle, own = np.quantile(np.abs(slope), [0.5, 1 - STEEPEST], axis=1)
    own = np.where(own > 0, own, np.inf)  # a flat lead does not count
    weight = np.maximum(1 - middle / own / NOISE, LIGHT)
    return weight @ np.clip(slope / own[:, None], -SPIKE, SPIKE) ** 2 / len(signal)


def root_mean(square, seconds):
    """Return the root of the moving average of (n,) over some seconds."""
    return np.sqrt(np.maximum(uniform_filter1d(square, round(seconds * SAMPLE_RATE)), 0))


def drop_t_waves(places, sharp, steep):
    """Return the places (B,) without those that follow a steeper one as closely as T does.

    `steep` (B,) is the share of the other's steepness (sharp, (n,)) that each must reach to be a
    beat.
    """
    kept = []
    for place, part in zip(places, steep, strict=True):
        close = kept and place - kept[-1] < T_REACH * SAMPLE_RATE
        if close and sharp[place] < part * sharp[kept[-1]]:
            continue
        if close and sharp[kept[-1]] < T_STEEP[1] * sharp[place]:  # a P or T wave before a beat
            kept.pop()
        kept.append(place)
    return np.array(kept, int)


def find_limits(height, candidates, sure, usual):
    """Return the height (C,) that each candidate must exceed to be a beat.

    In each gap between two sure beats the highest candidate counts: P, T, noise, or a beat missed
    so far. The threshold is 1.3 times the 1/3 quantile of these heights. Far from both beats, where
    P and T cannot be, it comes from the candidates there alone if that is lower.
    """
    ends = np.concatenate([[-np.inf], sure, [np.inf]])
    gap = np.searchsorted(sure, candidates)  # 0 and len(sure) are open ones
    distance = np.minimum(candidates - ends[gap], ends[gap + 1] - candidates) / SAMPLE_RATE
    far, apart = distance > FAR, distance > WIDE
    levels = []
    for part, low in ((apart & ~far, LOW), (far, FAR_LOW)):
        heights = [height[part & (gap == i)].max(initial=0) for i in range(1, len(sure))]
        level = ABOVE * np.quantile(heights, GAP_SHARE) if heights else 0
        levels.append(np.clip(level, low * usual, HIGH * usual))
    return np.where(far, min(levels), levels[0])


def slope_centres(square, places):
    """Return the centres of the slope (n,) around places (B,), in whole samples."""
    reach = round(CENTRE * SAMPLE_RATE)
    for _ in range(2):  # the first goes most of the way
        near = np.clip(places[:, None] + np.arange(-reach, reach + 1), 0, len(square) - 1)
        weights = square[near]
        total = np.maximum(weights.sum(1), 1e-30)
        places = np.rint((weights * near).sum(1) / total).astype(int)
    return places


def highest_near(height, distance):
    """Return the peaks of height (n,) with no higher one less than `distance` samples away: (C,).

    A peak's place is the middle of its top. Those of scipy.signal.find_peaks, without its import:
    the highest of all drops those around it, then the highest that is left, and so on.
    """
    slope = np.diff(height)
    moves = np.flatnonzero(slope)  # not along a top
    turns = np.flatnonzero((slope[moves[:-1]] > 0) & (slope[moves[1:]] < 0))
    places = (moves[turns] + 1 + moves[turns + 1]) // 2
    kept = np.ones(len(places), bool)
    for peak in np.argsort(height[places])[::-1].tolist():
        if kept[peak]:
            low, high = np.searchsorted(places, places[peak] + [1 - distance, distance])
            kept[low:high] = False
            kept[peak] = True
    return places[kept]


def find_peaks(packed):
    """Return the sample numbers (B,) of the beats of a record (12, n) in microvolts.

    A candidate is where the joint slope, averaged over 160 ms, is highest within 200 ms. The usual
    height is the median of the highest in stretches of 1.5 s. Candidates above half of it are sure
    beats; the signal between those decides on the others (find_limits). A candidate that follows a
    beat as T does, and is no steeper, is dropped (drop_t_waves). The place of a beat is the centre
    of the slope of its QRS, which varies less than the highest of R and R'.
    """
    if packed.shape[1] < 2 * WIDE * SAMPLE_RATE:
        return np.zeros(0, int)
    square = joint_slope(packed / UNITS_PER_MV)
    wide, sharp = root_mean(square, WIDE), root_mean(square, SHARP)
    sharp = maximum_filter1d(sharp, 2 * round(CENTRE * SAMPLE_RATE / 2) + 1)
    candidates = highest_near(wide, round(REFRACTORY * SAMPLE_RATE))
    step = round(STRETCH * SAMPLE_RATE)
    highest = np.array([wide[i : i + step].max() for i in range(0, len(wide), step)])
    usual = np.median(highest[highest >= highest.max() / 10])  # not of a lead off for long
    sure = candidates[wide[candidates] > SURE * usual]
    sure = drop_t_waves(sure, sharp, np.full(len(sure), T_STEEP[0]))
    limits = find_limits(wide[candidates], candidates, sure, usual)
    above = wide[candidates] > limits
    beats, tall = candidates[above], (wide[candidates] > TALL * limits.max(initial=0))[above]
    return slope_centres(square, drop_t_waves(beats, sharp, np.where(tall, T_STEEP[2], T_STEEP[1])))


def median_beat(beats):
    """Return the median (...) over beats (B, ...); short rows are sorted faster than np.median."""
    rows = np.ascontiguousarray(np.moveaxis(beats, 0, -1))
    rows.sort(axis=-1)
    return (rows[..., (len(beats) - 1) // 2] + rows[..., len(beats) // 2]) / 2


def cut_beats(signal, peaks, before, after):
    """Return the (B, L, before + after) samples around peaks (B,) that lie within (L, n)."""
    return signal[:, peaks[:, None] + np.arange(-before, after)].transpose(1, 0, 2)
