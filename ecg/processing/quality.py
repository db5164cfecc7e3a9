"""Warnings about one record: unlike the training data, wrongly wired, or too noisy to read.

Signals are (12, n) in mV at 500 Hz. The tests follow the published screens of 12-lead recordings:
missing signal, drift below 1 Hz, noise above 20 Hz and its number of leads (Jekova et al., Physiol.
Meas. 33:1463, 2012), and beats that agree between the leads (Clifford et al., Physiol. Meas.
33:1419, 2012). The bounds are this project's, from what is visible on paper: 1 mV is 10 mm. A
warning never changes a prediction, but a finding that rests on leads without a signal is not
assessable (`not_assessable`).
"""

from typing import NamedTuple

import numpy as np

from dataset import LEADS, SAMPLE_RATE, UNITS_PER_MV
from ecg.processing.detection import cut_beats, median_beat
from ecg.processing.filters import ZeroPhase

SHORTEST = 6  # s; the shortest record of CPSC2018, for a model that does not say its own
FLAT_MV = 0.02  # a fifth of a millimetre in a whole second: less than the noise of an electrode
SILENT = 4  # s; a flat line of all leads for so long is no pause of a heart but a loose cable
LOST, LOST_MV = 1, 1e-6  # s; no electrode gives the same number for so long: samples are lost
DRIFT_MV = 1.0  # a baseline that moves 10 mm within a second
NOISE_MV = 0.3  # a trace 3 mm thick
UNREADABLE_SHARE = 0.5  # of a lead's seconds
MAX_BASELINE_MV = 0.3  # of a lead's median
MAX_SPAN_MV = 10.0  # of the tallest lead; ECG devices are made for +-5 mV (ANSI/AAMI EC11)
MIN_SPAN_MV = 0.2  # limb leads below 0.5 mV are called low voltage
# correlation of a beat with the third most like it: at least .9 in 300 clinical records, at most
# .63 in noise, also of one lead, where two of many deflections may look alike
REPEATED, LIKE = 0.85, 3
# of the limb leads' size, by which they may miss their four relations: at most .306 in 158 clinical
# records, at least .417 in the same ones with two of aVR, aVL and aVF exchanged
MAX_SUM_ERROR = 0.35
STANDARDISED = 1.02  # largest ratio of the leads' deviations; 1.0001 if z-scored, else above 1.16
SMALL_QRS_MV = 0.1  # a QRS below this has no sure direction

FLAT = "flat or missing"
DISAGREE = "the limb leads do not add up (II = I + III, aVR = -(I + II) / 2 and so on)"

# Where each class is visible: of each group of leads at least so many must hold a signal.
# P waves are read in II and V1 (Hancock et al., Circulation 119:e251, 2009); the bundle branch
# blocks in V1 or V2 and the lateral leads (Surawicz et al., Circulation 119:e235, 2009); the ST
# segment in two neighbouring leads of one wall (Thygesen et al., Circulation 138:e618, 2018). A
# ventricular beat is broad in any lead.
P_WAVE = ((1, ("II", "V1")),)
WALLS = ((2, ("II", "III", "aVF")), (2, ("V1", "V2", "V3", "V4")), (2, ("I", "aVL", "V5", "V6")))
SEEN_IN = {
    "SNR": P_WAVE,
    "AF": P_WAVE,
    "IAVB": P_WAVE,
    "LBBB": ((1, ("V1", "V2")), (1, ("I", "V5", "V6"))),
    "RBBB": ((1, ("V1", "V2")), (1, ("I", "V6"))),
    "PAC": P_WAVE,
    "PVC": (),
    "STD": WALLS,
    "STE": WALLS,
}

SLOW = ZeroPhase(None, 1)
FAST = ZeroPhase(20, None)
QRS = ZeroPhase(5, 20)
WAVES = ZeroPhase(0.5, 30)


class Caution(NamedTuple):
    """A warning about a record; if it is critical, the findings may be artefacts."""

    text: str
    critical: bool = False


def record_warnings(trace, sample_rate, window, shortest=SHORTEST, leads=LEADS):
    """Return the Cautions that a reader of the prediction must know.

    `trace` is the Trace of the whole record, `sample_rate` (Hz) that of the recording, `window` the
    seconds at the end that are scored (None: all), which alone are judged here, and `shortest` the
    seconds of the shortest training record. `leads` are those that the model reads: others may be
    missing. Raises ValueError if none of them holds an ECG.
    """
    cautions, seconds = [], trace.signal.shape[1] / SAMPLE_RATE
    if sample_rate != SAMPLE_RATE:
        text = f"resampled to the {SAMPLE_RATE} Hz of the training data"
        cautions.append(Caution(f"recorded at {sample_rate:g} Hz, {text}"))
    if round(seconds, 1) < min(shortest, window or shortest):
        text = f"the shortest training record lasts {shortest:g} s"
        cautions.append(Caution(f"only {seconds:.1f} s long; {text}"))
    if window and seconds > window:
        cautions.append(Caution(f"{seconds:.1f} s long; only the last {window} s are scored"))
    trace = trace.end(window)
    seen, noisy = trace.signal, trace.noisy
    flat = flat_leads(seen)
    lost = [lead for lead in flat if lead in leads]
    if lost:
        cautions.append(Caution(f"{FLAT}: {' '.join(lost)}", critical=True))
    if len(lost) == len(leads):
        raise ValueError("all leads are flat; if the file is in volts, give --units-per-mv 0.001")
    cautions += unit_cautions(seen) + baseline_cautions(trace.baseline, flat)
    if standard_deviation(seen):
        text = "each lead was divided by its own standard deviation: heights are not mV"
        cautions.append(Caution(f"{text}, and ST findings mean nothing", critical=True))
    elif not limb_leads_agree(seen) and not set(LEADS[:6]) & {*flat, *noisy}:
        text = f"{DISAGREE}: leads may be swapped or scaled differently"
        cautions.append(Caution(text, critical=True))
    if noisy:
        causes = ", ".join(f"{lead} ({cause})" for lead, cause in noisy.items())
        cautions.append(Caution(f"too noisy to read: {causes}", critical=True))
    if not trace.repeats:
        cautions.append(Caution("too noisy to read: no QRS complex that repeats", critical=True))
    elif arms_reversed(seen, trace.peaks):
        text = "P, QRS and T point down in I, QRS up in aVR"
        text = f"right and left arm electrodes may be swapped (or dextrocardia): {text}"
        cautions.append(Caution(text, critical=True))
    return cautions


def scored_part(signal, window):
    """Return the part of a signal (L, n) that is scored: its last `window` seconds (None: all)."""
    return signal[:, -window * SAMPLE_RATE :] if window else signal


def not_assessable(flat, leads=LEADS):
    """Return class -> why, for the classes that cannot be assessed without the flat leads.

    `flat` are the leads without a signal, `leads` those the model reads. Leads that it does not
    read were missing in training too, so they do not count.
    """
    reasons = {}
    for name, groups in SEEN_IN.items():
        for needed, group in (*groups, (1, leads)):
            read = [lead for lead in group if lead in leads]
            lost = [lead for lead in read if lead in flat]
            if len(read) - len(lost) < min(needed, len(read)):
                reasons[name] = f"{FLAT}: {' '.join(lost)}"
                break
    return reasons


def standard_deviation(signal):
    """Return the mV of one standard deviation in a z-scored record (L, n), else None.

    Six limb leads in mV cannot have the same standard deviation: if I, II and III = II - I share
    one, that of aVR = -(I + II) / 2 is sqrt(3) / 2 of it. If all leads share one, each was divided
    by its own, and the heights are not those of an ECG.
    """
    deviations = signal.astype(float).std(1)
    deviations = deviations[deviations > 0.001]  # a flat lead stays flat
    if len(deviations) < len(LEADS) / 2 or deviations.max() > STANDARDISED * deviations.min():
        return None
    return float(np.median(deviations))


def by_second(signal):
    """Return (12, n) as (12, seconds, 500), the incomplete last second left out."""
    n = signal.shape[1] // SAMPLE_RATE
    return signal[:, : n * SAMPLE_RATE].reshape(len(signal), n, SAMPLE_RATE)


def flat_seconds(signal):
    """Tell for each lead and second whether it holds no signal: (12, seconds)."""
    return np.ptp(by_second(signal), axis=2) < FLAT_MV


def silent_stretches(signal, seconds=SILENT, span=FLAT_MV):
    """Return the (start, end), in samples, of the flat lines of all leads of (12, n) mV.

    Each lasts some seconds at least, in whose tenths each lead spans less than `span` mV.
    """
    step = SAMPLE_RATE // 10
    n = signal.shape[1] // step
    tenths = signal[:, : n * step].reshape(len(signal), n, step)
    flat = (np.ptp(tenths, axis=2) < span).all(0)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat, [False]]).astype(int)))
    runs = [(a, b) for a, b in edges.reshape(-1, 2).tolist() if b - a >= 10 * seconds]
    return [(a * step, signal.shape[1] if b == n else b * step) for a, b in runs]


def live_spans(packed):
    """Return the (start, end), in samples, of what (12, n) int16 microvolts holds between silences.

    The whole of it where nothing else is left.
    """
    n = packed.shape[1]
    ends = [0, *np.ravel(silent_stretches(packed / UNITS_PER_MV)).astype(int).tolist(), n]
    return [(a, b) for a, b in zip(ends[::2], ends[1::2], strict=True) if b > a] or [(0, n)]


def live_parts(packed):
    """Return the parts (12, n) of (12, N) int16 microvolts between its silent stretches."""
    return [packed[:, a:b] for a, b in live_spans(packed)]


def silence_cautions(signal):
    """Return Cautions that say where (12, n) mV is a flat line in all leads, or lost samples."""
    silent, whole = silent_stretches(signal), (0, signal.shape[1])
    lost = silent_stretches(signal, LOST, LOST_MV)
    lost = [(a, b) for a, b in lost if not any(c <= a and b <= d for c, d in silent)]
    found = []
    if silent and silent != [whole]:
        found.append(f"no signal {describe_places(silent)} in all leads")
    if lost and lost != [whole]:
        text = f"not one sample changes {describe_places(lost)} in all leads"
        found.append(f"{text}: a part of the recording is lost")
    return [Caution(text, critical=True) for text in found]


def describe_places(places):
    """Say where some (start, end), in samples, are."""
    seconds = [(a / SAMPLE_RATE, b / SAMPLE_RATE) for a, b in places]
    return ", ".join(f"from {a:.0f} to {b:.0f} s" for a, b in seconds)


def flat_leads(signal):
    """Return the leads without a signal in at least half of their seconds.

    A loose electrode, or an amplifier at its limit, draws a line without any noise. In a signal
    shorter than a second none is known to be flat.
    """
    if signal.shape[1] < SAMPLE_RATE:
        return []
    flat = flat_seconds(signal).mean(1) >= UNREADABLE_SHARE
    return [lead for lead, yes in zip(LEADS, flat, strict=True) if yes]


def noisy_leads(signal):
    """Return lead -> why, for leads that cannot be read in at least half of their seconds.

    A second is lost to drift (steps and electrode pops too) if the signal below 1 Hz moves by more
    than 1 mV in it; to noise if the median span of its 100 ms parts above 20 Hz is more than
    0.3 mV (the median ignores a QRS complex); or because it is flat. Flat leads are not named, nor
    any of a signal shorter than a second.
    """
    if signal.shape[1] < SAMPLE_RATE:
        return {}
    drift = np.ptp(by_second(SLOW(signal)), axis=2) > DRIFT_MV  # (12, seconds)
    fast = by_second(FAST(signal))
    tenths = fast.reshape(*fast.shape[:2], 10, SAMPLE_RATE // 10)
    noise = np.median(np.ptp(tenths, axis=3), axis=2) > NOISE_MV
    flat = flat_seconds(signal)
    lost = (drift | noise | flat).mean(1) >= UNREADABLE_SHARE
    known = flat.mean(1) >= UNREADABLE_SHARE
    return {
        lead: "noise" if noise[i].sum() > drift[i].sum() else "drift or steps"
        for i, lead in enumerate(LEADS)
        if lost[i] and not known[i]
    }


def unit_cautions(signal):
    """Return a Caution, in a list, if the tallest lead's typical second is no ECG in mV."""
    tallest = tallest_span(signal)
    if MIN_SPAN_MV <= tallest <= MAX_SPAN_MV:
        return []
    size = "high" if tallest > MAX_SPAN_MV else "low"
    text = f"amplitudes are unusually {size} (the tallest lead spans {tallest:.3g} mV)"
    return [Caution(f"{text}; is the unit mV?", critical=True)]


def baseline_cautions(baseline, flat):
    """Return a Caution, in a list, if the baseline (12,) of a lead that is not flat is off zero.

    The network sees the offset; training varies it by 0.02 mV. Of 249 clinical records (CPSC2018,
    Georgia, Chapman, LUDB, PTB-XL, CPSC-Extra) one is off by more than 0.3 mV.
    """
    high = np.abs(baseline) > MAX_BASELINE_MV
    names = [lead for lead, yes in zip(LEADS, high, strict=True) if yes and lead not in flat]
    if not names:
        return []
    text = f"the baseline is more than {MAX_BASELINE_MV} mV off zero in {' '.join(names)}"
    return [Caution(f"{text}; subtract the median of each lead")]


def limb_deviation(limb):
    """Return by how much limb leads (..., 6, n) miss their relations, in parts of their size.

    The relations are I - II + III = 0, aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2
    (Einthoven, Goldberger). NaN counts as zero; the mean of each lead is left out.
    """
    limb = np.nan_to_num(limb)
    limb = limb - limb.mean(axis=-1, keepdims=True)
    i, ii, iii, avr, avl, avf = np.moveaxis(limb, -2, 0)
    sums = np.array([i - ii + iii, avr + (i + ii) / 2, avl - i + ii / 2, avf - ii + i / 2])
    size = np.sqrt((limb**2).mean(axis=(-2, -1)))
    return np.divide(sums.std(axis=-1).max(0), size, out=np.zeros_like(size), where=size > 0)


def limb_leads_agree(signal):
    """Tell whether the limb leads obey their four relations (`limb_deviation`) in most seconds.

    Seconds with a flat lead do not count. If not, leads are swapped, or each was scaled or
    filtered differently.
    """
    seconds = by_second(signal)[:6].swapaxes(0, 1).astype(float)  # (seconds, 6, 500)
    live = seconds[(np.ptp(seconds, axis=2) > 0).all(1)]
    return not len(live) or bool(np.median(limb_deviation(live)) < MAX_SUM_ERROR)


def tallest_span(signal):
    """Return the mV that the tallest lead of (L, n) spans in a typical second."""
    return float(np.median(np.ptp(by_second(signal), axis=2), axis=1).max())


def qrs_band(signal):
    """Return the signal (12, n) at 5-20 Hz, each lead in parts of its own height.

    So no lead outweighs the others; a flat lead keeps its small values.
    """
    band = QRS(signal)
    height = np.percentile(np.abs(band), 99, axis=1, keepdims=True)
    return band / np.maximum(height, FLAT_MV)


def cut_inside(signal, peaks, before, after):
    """Return (B, 12, before + after) samples around those of the peaks that lie inside."""
    inside = (peaks >= before) & (peaks <= signal.shape[1] - after)
    return cut_beats(signal, peaks[inside], before, after)


def has_beats(signal, peaks):
    """Tell whether the typical QRS complex comes again, alike in all leads: no noise does.

    `peaks` (B,) are those of detection.find_peaks. Each is compared with the third most like it
    (LIKE), so that ectopic beats of several forms do no harm. Records too short for three complexes
    pass.
    """
    beats = cut_inside(qrs_band(signal), peaks, SAMPLE_RATE // 10, SAMPLE_RATE // 10)
    if len(beats) < 3:
        return signal.shape[1] < SHORTEST * SAMPLE_RATE
    correlations = np.corrcoef(beats.reshape(len(beats), -1))
    np.fill_diagonal(correlations, -1)
    like = min(LIKE, len(beats) - 1)
    return bool(np.median(np.sort(correlations)[:, -like]) >= REPEATED)


def arms_reversed(signal, peaks):
    """Tell whether P, QRS and T of the median beat point down in lead I, and QRS up in aVR.

    Swapped arm electrodes look like that, see e.g. Kligfield et al., Circulation 115:1306, 2007.
    Right axis deviation and bundle branch block leave P upright. `peaks` (B,) are those of
    detection.find_peaks.
    """
    two = signal[[LEADS.index("I"), LEADS.index("aVR")]]
    beats = cut_inside(WAVES(two), peaks, 130, 210)
    if len(beats) < 3:
        return False
    lead_i, avr = (row - row[85:95].mean() for row in median_beat(beats))
    # of the QRS: -230 to -100 ms, -70 to 80 ms, 130 to 380 ms
    p, qrs, t = slice(15, 80), slice(95, 170), slice(195, 320)
    up = avr[qrs].max() + avr[qrs].min() > 0
    down = lead_i[qrs].max() + lead_i[qrs].min() < -SMALL_QRS_MV
    inverted = [wave[np.abs(wave).argmax()] < 0 for wave in (lead_i[p], lead_i[t])]
    return bool(up and down and all(inverted))
