"""Warnings about one record: unlike the training data, wrongly wired, or too noisy to read.

Signals are (12, n) in mV at 500 Hz. What is tested follows the published screens of 12-lead
recordings: missing signal, drift below 1 Hz, noise above 20 Hz and its number of leads (Jekova et
al., Physiol. Meas. 33:1463, 2012), and beats that agree between the leads (Clifford et al.,
Physiol. Meas. 33:1419, 2012). The bounds are this project's, from what is seen on paper: 1 mV is
10 mm. A warning never changes a prediction, but a finding that rests on leads without a signal is
left open (`not_assessable`).
"""

from typing import NamedTuple

import numpy as np
from scipy.signal import butter, find_peaks, sosfiltfilt

from dataset import LEADS, SAMPLE_RATE

SHORTEST = 6  # s; the shortest record of CPSC2018, where a model does not say its own
FLAT_MV = 0.02  # a fifth of a millimetre in a whole second: less than the noise of an electrode
DRIFT_MV = 1.0  # a baseline that moves 10 mm within a second
NOISE_MV = 0.3  # a trace 3 mm thick
UNREADABLE_SHARE = 0.5  # of a lead's seconds
OFFSET_MV = 0.3  # of a lead's median
HIGH_MV = 10.0  # span of the tallest lead; ECG devices are made for +-5 mV (ANSI/AAMI EC11)
LOW_MV = 0.2  # limb leads below 0.5 mV are called low voltage
ALIKE = 0.7  # correlation of a beat with the beat most like it; 0.2 for noise, over 0.9 for hearts
APART = (
    0.3  # of the limb leads' size; below 0.04 in 570 clinical records, above 1 if two are swapped
)
STANDARDISED = 1.02  # largest ratio of the leads' deviations; 1.0001 if z-scored, else above 1.16
SMALL_QRS = 0.1  # mV; a QRS below this has no sure direction

FLAT, NOISY, ODD_SIZE = "flat or missing", "too noisy to read", "amplitudes are unusually"
BEYOND, ARMS = "beyond", "right and left arm electrodes may be swapped"
DISAGREE = "the limb leads do not add up (II = I + III, aVR + aVL + aVF = 0)"

# What each class is seen in: of each group of leads at least so many must hold a signal.
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

SLOW = butter(2, 1, "low", fs=SAMPLE_RATE, output="sos")
FAST = butter(2, 20, "high", fs=SAMPLE_RATE, output="sos")
QRS = butter(2, (5, 20), "band", fs=SAMPLE_RATE, output="sos")
WAVES = butter(2, (0.5, 30), "band", fs=SAMPLE_RATE, output="sos")


class Caution(NamedTuple):
    """What a reader of an answer must know of the record."""

    text: str
    critical: bool = False  # whether the findings may be artefacts


def record_warnings(signal, sample_rate, window, shortest=SHORTEST):
    """Return what a reader of the prediction must know, a list of Cautions.

    `signal` (12, n) is the whole record in mV at 500 Hz, `sample_rate` the one it was recorded at,
    `window` the seconds that are scored: the last ones (None: all), which alone are judged here,
    and `shortest` those of the shortest training record. Raises ValueError if no lead holds an ECG.
    """
    found, seconds = [], signal.shape[1] / SAMPLE_RATE
    if sample_rate != SAMPLE_RATE:
        text = f"recorded at {sample_rate:g} Hz, resampled to the {SAMPLE_RATE} Hz of the "
        found.append(Caution(f"{text}training data"))
    if round(seconds, 1) < min(shortest, window or shortest):
        text = f"only {seconds:.1f} s long; the shortest training record lasts {shortest:g} s"
        found.append(Caution(text))
    if window and seconds > window:
        found.append(Caution(f"{seconds:.1f} s long; only the last {window} s are scored"))
    seen = scored_part(signal, window)
    flat, noisy = flat_leads(seen), noisy_leads(seen)
    if flat:
        found.append(Caution(f"{FLAT}: {' '.join(flat)}", True))
    if len(flat) == len(LEADS):
        raise ValueError(
            "no lead holds an ECG: all leads are flat; if the file is in volts, give --units-per-mv "
            "0.001"
        )
    found += wrong_unit(seen) + offset(seen, flat)
    if not limb_leads_agree(seen) and not set(LEADS[:6]) & {*flat, *noisy}:
        text = "leads may be swapped, scaled differently or standardised"
        found.append(Caution(f"{DISAGREE}: {text}", True))
    if noisy:
        leads = ", ".join(f"{lead} ({why})" for lead, why in noisy.items())
        found.append(Caution(f"{NOISY}: {leads}", True))
    if not has_beats(seen):
        found.append(Caution(f"{NOISY}: no QRS complex that repeats", True))
    elif arms_reversed(seen):
        text = f"{ARMS} (or dextrocardia): P, QRS and T point down in I, QRS up in aVR"
        found.append(Caution(text, True))
    return found


def scored_part(signal, window):
    """Return the last `window` seconds (None: all) of a signal (L, n): those that are scored."""
    return signal[:, -window * SAMPLE_RATE :] if window else signal


def not_assessable(flat, leads=LEADS):
    """Return class -> why, for the classes that leads without a signal leave open.

    `flat` are those leads, `leads` those the model reads; what rests on other leads does so in
    every record, as in training, and is not left open.
    """
    found = {}
    for name, groups in SEEN_IN.items():
        for needed, group in (*groups, (1, leads)):
            read = [lead for lead in group if lead in leads]
            lost = [lead for lead in read if lead in flat]
            if len(read) - len(lost) < min(needed, len(read)):
                found[name] = f"{FLAT}: {' '.join(lost)}"
                break
    return found


def standard_deviation(signal):
    """Return the mV that stand for one standard deviation in a z-scored record, else None.

    Of leads (L, n) in mV, no six limb leads can have the same standard deviation: if I, II and
    III = II - I share one, that of aVR = -(I + II) / 2 is sqrt(3) / 2 of it. Leads that all do were
    divided by their own, and their heights are not those of an ECG.
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


def centred(signal):
    """Return (12, n) less each lead's median, so that an offset does not ring in a filter."""
    return signal - np.median(signal, axis=1, keepdims=True)


def flat_seconds(signal):
    """Tell for each lead and second whether it holds no signal: (12, seconds)."""
    return np.ptp(by_second(signal), axis=2) < FLAT_MV


def flat_leads(signal):
    """Return the leads without a signal in at least half of their seconds.

    An electrode that is off, or an amplifier at its limit, draws a line without any noise.
    """
    flat = flat_seconds(signal).mean(1) >= UNREADABLE_SHARE
    return [lead for lead, yes in zip(LEADS, flat, strict=True) if yes]


def noisy_leads(signal):
    """Return lead -> why, for leads that cannot be read in at least half of their seconds.

    A second is lost to drift (steps and electrode pops too) if what lies below 1 Hz moves by more
    than 1 mV in it; to noise if the typical 100 ms span more than 0.3 mV above 20 Hz: typical, so
    that a QRS complex does not count; or because it is flat. Leads flat throughout are not named.
    """
    signal = centred(signal)
    drift = np.ptp(by_second(sosfiltfilt(SLOW, signal)), axis=2) > DRIFT_MV  # (12, seconds)
    fast = by_second(sosfiltfilt(FAST, signal))
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


def wrong_unit(signal):
    """Return a warning, in a list, if the tallest lead's typical second is no ECG in mV."""
    tallest = np.median(np.ptp(by_second(signal), axis=2), axis=1).max()
    if LOW_MV <= tallest <= HIGH_MV:
        return []
    size = "high" if tallest > HIGH_MV else "low"
    text = f"{ODD_SIZE} {size} (the tallest lead spans {tallest:.3g} mV); is the unit mV?"
    return [Caution(text, True)]


def offset(signal, flat):
    """Return a warning, in a list, if the baseline of a lead that is not flat is off zero.

    The network sees the offset, and is trained to bear 0.02 mV. Of 249 clinical records (CPSC2018,
    Georgia, Chapman, LUDB, PTB-XL, CPSC-Extra) one is off by more than 0.3 mV.
    """
    high = np.abs(np.median(signal, axis=1)) > OFFSET_MV
    names = [lead for lead, yes in zip(LEADS, high, strict=True) if yes and lead not in flat]
    if not names:
        return []
    text = f"the baseline is more than {OFFSET_MV} mV off zero in {' '.join(names)}"
    return [Caution(f"{text}; subtract the median of each lead")]


def limb_leads_agree(signal):
    """Tell whether II = I + III and aVR + aVL + aVF = 0 (Einthoven, Goldberger) in most seconds.

    A lead that is flat makes no statement. Where this fails, leads are exchanged, or were scaled
    or filtered each on its own.
    """
    limb = by_second(signal)[:6]
    limb = limb - limb.mean(axis=2, keepdims=True)  # (6, seconds, 500)
    size = np.sqrt((limb**2).mean(axis=(0, 2)))
    apart = np.array([limb[0] + limb[2] - limb[1], limb[3] + limb[4] + limb[5]]).std(axis=2)
    live = (np.ptp(limb, axis=2) > 0).all(axis=0)
    return not live.any() or bool(np.median(apart.max(axis=0)[live] / size[live]) < APART)


def find_beats(signal):
    """Return the samples at which the leads together are steepest: the QRS complexes; and (12, n).

    The second array is the signal at 5-20 Hz, each lead scaled by its own height, so that no lead
    outvotes the others; a lead that is flat keeps its small values.
    """
    band = sosfiltfilt(QRS, centred(signal))
    height = np.percentile(np.abs(band), 99, axis=1, keepdims=True)
    band = band / np.maximum(height, FLAT_MV)
    # clipped, so that a spike in one lead counts no more than a QRS complex in it
    steepness = np.sqrt((np.clip(np.gradient(band, axis=1), -1, 1) ** 2).mean(0))
    n = SAMPLE_RATE // 10
    steepness = np.convolve(steepness, np.ones(n) / n, "same")
    enough = 0.35 * np.percentile(steepness, 98)
    # 250 ms apart: 240 a minute, faster than hearts in the clinic go
    return find_peaks(steepness, distance=SAMPLE_RATE // 4, height=enough)[0], band


def cut_beats(signal, beats, before, after):
    """Return (beats, 12, before + after) samples around the beats that lie inside the signal."""
    inside = [beat for beat in beats if before <= beat <= signal.shape[1] - after]
    return np.array([signal[:, beat - before : beat + after] for beat in inside])


def has_beats(signal):
    """Tell whether the typical QRS complex comes again, alike in all leads: no noise does.

    Each is compared with the one most like it, so that ectopic beats of several forms do no harm.
    Records too short for three complexes pass.
    """
    beats, band = find_beats(signal)
    cut = cut_beats(band, beats, SAMPLE_RATE // 10, SAMPLE_RATE // 10)
    if len(cut) < 3:
        return signal.shape[1] < SHORTEST * SAMPLE_RATE
    alike = np.corrcoef(cut.reshape(len(cut), -1))
    np.fill_diagonal(alike, -1)
    return bool(np.median(alike.max(1)) >= ALIKE)


def arms_reversed(signal):
    """Tell whether P, QRS and T of the median beat point down in lead I, and QRS up in aVR.

    That is how swapped arm electrodes are told, see e.g. Kligfield et al., Circulation 115:1306,
    2007. Right axis deviation and bundle branch block leave P upright.
    """
    beats, _ = find_beats(signal)
    cut = cut_beats(sosfiltfilt(WAVES, centred(signal)), beats, 130, 210)
    if len(cut) < 3:
        return False
    median = np.median(cut, axis=0)
    lead_i, avr = (median[i] - median[i, 85:95].mean() for i in (0, LEADS.index("aVR")))
    # of the QRS: -230 to -100 ms, -70 to 80 ms, 130 to 380 ms
    p, qrs, t = slice(15, 80), slice(95, 170), slice(195, 320)
    up = avr[qrs].max() + avr[qrs].min() > 0
    down = lead_i[qrs].max() + lead_i[qrs].min() < -SMALL_QRS
    inverted = [wave[np.abs(wave).argmax()] < 0 for wave in (lead_i[p], lead_i[t])]
    return bool(up and down and all(inverted))
