"""The rhythm: when the beats of a record come, of which kind they are, and their landmarks.

Sinus arrhythmia, from hardly any to the swing of the young (RR 120 ms and more apart, Soos and
McComb, StatPearls 2022), is drawn for every class. Early beats follow Kusumoto, ECG
Interpretation, and the series of Messineo, J Am Coll Cardiol 1989 (PVCs: coupling, interpolation,
bigeminy, couplets) and Chong et al., Int J Cardiol 2012 (PACs); RR in AF is gamma distributed
(Hashida and Tasaki, Jpn J Physiol 1984).
"""

from typing import NamedTuple

import numpy as np

# the chance of an early beat in a gap, or every second, third
PATTERNS = (0.04, 0.04, 0.15, 0.35, 2, 3)
NEED_P = {"IAVB", "PAC"}  # classes that are not seen in AF, which has no P


class Beats(NamedTuple):
    """The beats from before a record to after it, as arrays (B,), times in s."""

    kind: np.ndarray  # sinus, PAC, PVC or blocked PAC
    onset: np.ndarray  # of QRS
    p: np.ndarray  # onset of P; nan: no P
    form: np.ndarray  # 0: the usual one, 1 and 2: foci of PVCs, 3: aberrant
    rr: np.ndarray  # interval from the beat before
    af: np.ndarray  # whether in AF
    af_from: float  # s
    j: np.ndarray = None  # end of QRS; set_landmarks adds this and what follows
    t_end: np.ndarray = None
    size: np.ndarray = None  # how high the QRS is, as a factor


class Gap(NamedTuple):
    """What follows a beat: its own onset (s), the interval that is due (s), and whether in AF."""

    onset: float
    step: float
    af: bool


def sinus_steps(rng, patient, irregular, n):
    """Return n intervals from beat to beat (s)."""
    rr = patient.rr
    if irregular:
        shape = patient.af_shape
        return rr * np.clip(rng.gamma(shape, 1 / shape, n), max(0.30 / rr, 0.5), 2.2)
    place = np.arange(n) * rr * patient.breath
    swing = patient.arrhythmia * np.sin(2 * np.pi * (place + rng.random()))
    return rr * (1 + swing + rng.normal(0, patient.jitter, n))


def early_interval(rng, patient, kind):
    """Return how long after a beat's QRS an early one begins (s), and its PR."""
    rr, pr = patient.rr, rng.uniform(0.11, 0.20)
    if kind == "PVC":
        return max(rng.uniform(0.42, 0.85) * rr, 0.30), pr
    return np.clip(rng.uniform(0.45, 0.85) * rr, patient.qt - 0.10 + pr, 0.87 * rr), pr


def insert_early(rng, patient, kind, gap):
    """Return the early beats in a gap as (onset, kind, PR), and the next sinus onset."""
    rr = patient.rr
    after, pr = early_interval(rng, patient, kind)
    first, pattern = gap.onset + after, rng.random()
    if kind == "PAC":
        if patient.blocked and pattern < 0.6:
            return [(first, "blocked PAC", pr)], first - pr + rr * rng.uniform(1.05, 1.25)
        times = [first] if pattern < 0.8 else [first, first + after * rng.uniform(1.0, 1.1)]
        return [(time, "PAC", pr) for time in times], times[-1] + rr * rng.uniform(1.0, 1.15)
    if pattern < 0.15 and not gap.af and gap.step > first - gap.onset + 0.38:  # interpolated
        return [(first, "PVC", 0)], gap.onset + gap.step * rng.uniform(1.0, 1.06)
    count = 1 if pattern < 0.85 else 2 if pattern < 0.95 else 3
    times = first + np.arange(count) * max(rng.uniform(0.4, 0.7) * rr, 0.30)
    if count == 1 and not gap.af:  # a full compensatory pause
        later = gap.onset + 2 * gap.step
    else:
        later = times[-1] + rr * rng.uniform(1.0, 1.3)
    return [(time, "PVC", 0) for time in times], max(later, times[-1] + 0.45)


def af_start(rng, classes, seconds):
    """Return when AF begins (s): before the record, never, or midway beside a class that needs P.

    Early atrial beats set AF off (Haissaguerre et al., N Engl J Med 1998).
    """
    if "AF" not in classes:
        return np.inf
    return rng.uniform(0.45, 0.6) * seconds if NEED_P & set(classes) else -np.inf


def make_beats(rng, patient, classes, seconds):
    """Return the Beats from before the record to after it."""
    af_from = af_start(rng, classes, seconds)
    kinds = [kind for kind in ("PAC", "PVC") if kind in classes]
    n, midway = int(4 * seconds) + 20, 0 < af_from < seconds
    steps = sinus_steps(rng, patient, af_from < 0, n)
    af_steps = sinus_steps(rng, patient, True, n) if midway else steps
    often = PATTERNS[rng.integers(len(PATTERNS))]
    due = rng.random(n) < often if often < 1 else np.arange(n) % often == 0
    onset, rows = -1.5 - rng.random(), []
    # one early beat of each kind, well inside; of two kinds they come in turn
    last = (af_from if midway else seconds) - 2.5 * patient.rr * max(1, len(kinds)) - 0.6
    sure = np.sort(rng.uniform(0.2, max(0.3, last), max(1, len(kinds))))
    for step, af_step, early in zip(steps, af_steps, due, strict=True):
        af = onset >= af_from
        rows.append((onset, "sinus", patient.pr))
        usable = [kind for kind in kinds if kind == "PVC" or not af]
        if usable and (early or onset >= sure[0]):
            sure = np.r_[sure[1:], np.inf] if onset >= sure[0] else sure
            more, onset = insert_early(rng, patient, usable[0], Gap(onset, step, af))
            kinds = kinds[1:] + kinds[:1]
            rows += more
        else:
            onset += af_step if af else step
        if onset > seconds + 1.5:
            break
    return finish_beats(rng, patient, rows, af_from)


def finish_beats(rng, patient, rows, af_from):
    """Return Beats of the rows (onset, kind, PR), with P, form and interval of every beat."""
    onset, kind, pr = (np.array(column) for column in zip(*rows, strict=True))
    form = np.zeros(len(rows), int)
    form[kind == "PVC"] = 1 + (rng.random((kind == "PVC").sum()) < patient.second_focus)
    if patient.aberrant:
        form[(kind == "PAC") & (rng.random(len(rows)) < 0.7)] = 3
    if 0 < af_from < np.inf:  # after the last early atrial beat, which sets it off
        af_from = max([af_from, *onset[np.isin(kind, ("PAC", "blocked PAC"))]])
    af = onset > af_from
    p = np.where((kind == "PVC") | ((kind == "sinus") & af), np.nan, onset - pr)
    rr = np.diff(onset, prepend=onset[0] - patient.rr)
    return Beats(kind, onset, p, form, rr, af, af_from)


def set_landmarks(rng, patient, beats, forms):
    """Return the Beats with the ends of QRS and T, and the size of each QRS."""
    width = np.array([form.width for form in forms])[beats.form]
    width = width * (1 + 0.02 * rng.standard_normal(len(width)))
    # late depolarisation repolarises late; QT follows the interval before, incompletely
    qt = patient.qt * np.clip(beats.rr / patient.rr, 0.5, 1.4) ** 0.2
    t_end = beats.onset + qt + 0.6 * np.maximum(0, width - 0.10)
    size = 1 + patient.unsteady * rng.standard_normal(len(width))
    return beats._replace(j=beats.onset + width, t_end=t_end, size=size)
