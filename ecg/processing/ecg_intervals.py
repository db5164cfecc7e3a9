"""Rate, intervals and axes of a record, measured in its median beat as ECG devices do.

The median of the usual beats, aligned on their QRS, keeps what the beats share: noise, early beats
and waves that are not tied to QRS (AF, flutter) vanish. All leads are measured together, as the
AHA/ACCF/HRS recommendations ask (Kligfield et al., Circulation 115:1306, 2007):

    QRS   where the slope over the leads rises above a share of its height in QRS, and falls below
    P     the highest wave before QRS that odd and even beats share; its onset by slope
    T     its end: where its descent has slowed to a share of the steepest, the median of the leads
    axes  from the net areas of a wave in I and aVF; +90 degrees points down

What cannot be measured is None. The errors against the cardiologists' marks of LUDB are in
docs/own.md. Research measurements: no device has been compared.
"""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import gaussian_filter1d

from dataset import LEADS, SAMPLE_RATE
from ecg.processing.beats import calm_from, early_beats, find_borders, ventricular_beats
from ecg.processing.detection import cut_beats, median_beat
from ecg.processing.filters import ZeroPhase

BEFORE, AFTER = 0.5, 0.8  # s around the middle of QRS that the median beat holds, if RR allows
ENOUGH = 3  # beats of a median
ALIKE = 0.8  # correlation of a beat's QRS with the median one
SHIFT = 0.02  # s by which beats are moved onto each other
QRS_SIGMA, P_SIGMA, T_SIGMA = 0.005, 0.010, 0.012  # s of smoothing
QRS_STEEP = 0.06  # of the steepest slope in QRS
QRS_REACH = (0.13, 0.16)  # s before and after the middle of QRS
P_REACH = (0.34, 0.04)  # s before the QRS onset in which a P has its peak
P_STEEP = 0.45  # of P's steepest slope
P_LEAST = 0.02  # mV over the leads
SHARED = 0.8  # correlation of odd and even beats before QRS, if there is a P
T_FROM = 0.12  # s after QRS
T_REACH = 0.3  # s after the middle of a QRS in which no P is sought
NEXT_P, NEXT_SHARE = 0.2, 0.3  # s before the next QRS where T has ended, or a share of RR if less
T_LEAST = 0.05  # mV of a lead
T_FALL, T_STEEP, T_LEVEL = 0.16, 0.25, 0.04  # s from its peak; of its steepest descent; s
WITHOUT_DRIFT = ZeroPhase(0.5, None)


class Intervals(NamedTuple):
    """What a device prints of a record's beats; None: it cannot be measured."""

    rate: float | None = None  # beats per minute
    rr_spread: float | None = None  # sd of RR / mean of RR
    pr: float | None = None  # ms, as all intervals
    qrs: float | None = None
    qt: float | None = None
    p_axis: float | None = None  # degrees in the frontal plane, -180 to 180
    qrs_axis: float | None = None
    t_axis: float | None = None

    @property
    def qtc_fridericia(self):
        """QT / RR^(1/3), RR in s; ms."""
        return None if None in (self.qt, self.rate) else self.qt * (self.rate / 60) ** (1 / 3)

    @property
    def qtc_bazett(self):
        """QT / RR^(1/2), RR in s; ms."""
        return None if None in (self.qt, self.rate) else self.qt * (self.rate / 60) ** 0.5

    def to_dict(self):
        """Return whole ms and degrees by name, with both QTc; None where not measured."""
        numbers = self._asdict() | {
            "qtc_fridericia": self.qtc_fridericia,
            "qtc_bazett": self.qtc_bazett,
        }
        del numbers["rate"], numbers["rr_spread"]
        return {name: None if x is None else round(x) for name, x in numbers.items()}

    def text(self):
        """Return all intervals and axes in a line, '-' where one cannot be measured."""
        parts = {name: "-" if x is None else x for name, x in self.to_dict().items()}
        return (
            "PR {pr}, QRS {qrs}, QT {qt}, QTc {qtc_fridericia} (Fridericia) {qtc_bazett} (Bazett) "
            "ms; axes P {p_axis}, QRS {qrs_axis}, T {t_axis} degrees"
        ).format(**parts)


class Middle(NamedTuple):
    """The median of a record's usual beats, W samples of twelve leads."""

    signal: np.ndarray  # (12, W) mV
    halves: np.ndarray  # (2, 12, W), of the odd and of the even beats
    centre: int  # the middle of QRS
    room: int  # samples to the next beat


def measure_intervals(signal, peaks, flat=()):
    """Return the Intervals of a record (12, n) in mV with beats at `peaks` (B,), in samples.

    `flat` are names of leads without a signal, which are left out.
    """
    if len(peaks) < ENOUGH:
        return Intervals()
    rr = np.diff(peaks) / SAMPLE_RATE
    found = Intervals(rate=60 / rr.mean(), rr_spread=rr.std() / rr.mean())
    signal = WITHOUT_DRIFT(signal)
    live = np.array([lead not in flat for lead in LEADS])
    middle = find_middle(signal, peaks, live)
    if middle is None:
        return found
    onset, end = qrs_borders(middle, live)
    p, t = p_wave(middle, live, onset), t_wave(middle, live, end)
    known = live[[0, LEADS.index("aVF")]].all()
    return found._replace(
        pr=None if p is None else milliseconds(onset - p[0]),
        qrs=milliseconds(end - onset),
        qt=None if t is None else milliseconds(t[1] - onset),
        p_axis=frontal_axis(middle, p) if p and known else None,
        qrs_axis=frontal_axis(middle, (onset, end)) if known else None,
        t_axis=frontal_axis(middle, t) if t and known else None,
    )


def milliseconds(samples):
    """Return a number of samples in ms."""
    return float(samples) / SAMPLE_RATE * 1000


def find_middle(signal, peaks, live):
    """Return the Middle of the usual beats of (12, n) mV, None if fewer than three are alike."""
    before, after = round(BEFORE * SAMPLE_RATE), round(AFTER * SAMPLE_RATE)
    usual = ~early_beats(peaks) & ~ventricular_beats(signal, peaks, find_borders(signal, peaks))
    shift = round(SHIFT * SAMPLE_RATE)
    usual &= (peaks >= before + shift) & (peaks < signal.shape[1] - after - shift)
    peaks = peaks[usual]
    if len(peaks) < ENOUGH:
        return None
    for _ in range(2):  # onto their median
        beats = cut_beats(signal[live], peaks, 3 * shift, 3 * shift)
        form = median_beat(beats)
        form = form - form.mean(1, keepdims=True)
        fit = moved_correlations(cut_beats(signal[live], peaks, 4 * shift, 4 * shift), form)
        peaks = peaks + fit.argmax(1) - shift
        peaks = np.clip(peaks, before + shift, signal.shape[1] - after - shift - 1)
    peaks = peaks[fit.max(1) >= ALIKE]
    if len(peaks) < ENOUGH:
        return None
    beats = cut_beats(signal, peaks, before, after)
    halves = np.stack([np.mean(beats[i::2], axis=0) for i in range(2)])
    room = min(int(np.quantile(np.diff(peaks), 0.1)), after)
    return Middle(median_beat(beats), halves, before, room)


def moved_correlations(parts, form):
    """Return the correlations (B, M) of a form (L, w) with what it covers of beats (B, L, n).

    It is moved over them sample by sample, M = n - w + 1 times. The mean of each of its leads is 0.
    """
    n, w = parts.shape[2], form.shape[1]
    m = n - w + 1
    around = np.pad(form, ((0, 0), (m - 1, m - 1)))
    moved = sliding_window_view(around, n, axis=1)[:, ::-1]  # (L, M, n)
    covered = (np.arange(n) - np.arange(m)[:, None]) % n < w  # (M, n)
    # less the mean of what is covered of each lead
    square = parts**2 @ covered.T - (parts @ covered.T) ** 2 / w  # (B, L, M)
    size = np.sqrt(np.maximum(square, 0).sum(1) * (form**2).sum())  # (B, M)
    return np.tensordot(parts, moved, ((1, 2), (0, 2))) / np.maximum(size, 1e-12)


def qrs_borders(middle, live):
    """Return where QRS begins and ends in a Middle."""
    slope = leads_slope(middle.signal[live], QRS_SIGMA)
    before, after = (round(seconds * SAMPLE_RATE) for seconds in QRS_REACH)
    centre, reach = middle.centre, round(0.06 * SAMPLE_RATE)
    steepest = centre - reach + int(slope[centre - reach : centre + reach].argmax())
    limit = QRS_STEEP * slope[steepest]
    onset = calm_from(slope, steepest, -1, centre - before, limit) + 1
    return onset, calm_from(slope, steepest, 1, centre + after, limit)


def leads_slope(signal, sigma):
    """Return the root mean square over leads of the slope of (L, W), smoothed over `sigma` s."""
    smooth = gaussian_filter1d(signal, sigma * SAMPLE_RATE, axis=1, order=1)
    return np.sqrt((smooth**2).mean(0))


def p_wave(middle, live, onset):
    """Return where P begins and ends in a Middle, None if odd and even beats share no wave."""
    far, near = (round(seconds * SAMPLE_RATE) for seconds in P_REACH)
    # not within the beat before
    start = max(0, onset - far, middle.centre - middle.room + round(T_REACH * SAMPLE_RATE))
    if onset - near - start < near:
        return None
    part = slice(start, onset)
    smooth = gaussian_filter1d(middle.signal, P_SIGMA * SAMPLE_RATE, axis=1)
    line = smooth[:, part] - np.linspace(smooth[:, start], smooth[:, onset], onset - start, axis=1)
    size = np.sqrt((line[live] ** 2).mean(0))
    peak = int(size[: len(size) - near].argmax())
    if size[peak] < P_LEAST or shared(middle.halves[:, live, start : onset - near // 2]) < SHARED:
        return None
    slope = leads_slope(middle.signal[live], P_SIGMA)
    peak += start
    reach = round(0.07 * SAMPLE_RATE)
    rise = max(start, peak - reach) + int(slope[max(start, peak - reach) : peak + 1].argmax())
    fall = peak + int(slope[peak : min(onset, peak + reach)].argmax())
    first = calm_from(slope, rise, -1, start - 1, P_STEEP * slope[rise]) + 1
    return first, calm_from(slope, fall, 1, onset, P_STEEP * slope[fall])


def shared(halves):
    """Return the correlation of two halves (2, L, w), each lead less its straight line."""
    line = np.linspace(0, 1, halves.shape[2])
    ends = halves[..., :1] + (halves[..., -1:] - halves[..., :1]) * line
    return np.corrcoef((halves - ends).reshape(2, -1))[0, 1]


def t_wave(middle, live, end):
    """Return where T begins and ends in a Middle, None if there is none."""
    start = end + round(T_FROM * SAMPLE_RATE)
    reserved = round(min(NEXT_P * SAMPLE_RATE, NEXT_SHARE * middle.room))
    stop = min(middle.signal.shape[1], middle.centre + middle.room - reserved)
    if stop - start < round(0.1 * SAMPLE_RATE):
        return None
    part = gaussian_filter1d(middle.signal[live], T_SIGMA * SAMPLE_RATE, axis=1)[:, start:stop]
    part = part - part[:, -round(T_LEVEL * SAMPLE_RATE) :].mean(1, keepdims=True)
    ends = [t_end(lead) for lead in part]
    ends = [place for place in ends if place is not None]
    return (start, start + int(np.median(ends))) if ends else None


def t_end(lead):
    """Return where T ends in a lead (w,) in mV from after QRS on, None if it is too small."""
    peak = int(np.abs(lead).argmax())
    if abs(lead[peak]) < T_LEAST:
        return None
    slope = -np.gradient(lead) * np.sign(lead[peak])
    fall = peak + int(slope[peak : peak + round(T_FALL * SAMPLE_RATE)].argmax())
    if slope[fall] <= 0:
        return None
    return calm_from(slope, fall, 1, len(slope), T_STEEP * slope[fall])


def frontal_axis(middle, wave):
    """Return the axis (degrees) of the net area of a wave (first, last) in I and aVF."""
    part = middle.signal[:, wave[0] : wave[1] + 1]
    area = (part - np.linspace(part[:, 0], part[:, -1], part.shape[1], axis=1)).sum(1)
    # the augmented leads are smaller than the limb leads by sqrt(3) / 2
    down = area[LEADS.index("aVF")] * 2 / np.sqrt(3)
    return float(np.degrees(np.arctan2(down, area[0])))
