"""The rhythm: when the beats of a record come, of which kind they are, and their landmarks.

Sinus arrhythmia, from hardly any to the swing of the young (RR 120 ms and more apart, Soos and
McComb, StatPearls 2022), is drawn for every class. Early beats follow Kusumoto, ECG
Interpretation, and the series of Messineo, J Am Coll Cardiol 1989 (PVCs: coupling, interpolation,
bigeminy, couplets) and Chong et al., Int J Cardiol 2012 (PACs); RR in AF is gamma distributed
(Hashida and Tasaki, Jpn J Physiol 1984).
"""

import numpy as np

KINDS = ("sinus", "PAC", "PVC", "blocked PAC")
# the chance of an early beat in a gap, or every second, third
PATTERNS = (0.04, 0.04, 0.15, 0.35, 2, 3)
NEED_P = {"IAVB", "PAC"}  # classes that are not seen in AF, which has no P


def sinus_steps(rng, patient, irregular, n):
    """Return n intervals from beat to beat (s)."""
    rr = patient["rr"]
    if irregular:
        shape = patient["af_shape"]
        return rr * np.clip(rng.gamma(shape, 1 / shape, n), max(0.30 / rr, 0.5), 2.2)
    place = np.arange(n) * rr * patient["breath"]
    swing = patient["arrhythmia"] * np.sin(2 * np.pi * (place + rng.random()))
    return rr * (1 + swing + rng.normal(0, patient["jitter"], n))


def early_interval(rng, patient, kind):
    """Return how long after a beat's QRS an early one begins (s), and its PR."""
    rr, pr = patient["rr"], rng.uniform(0.11, 0.20)
    if kind == "PVC":
        return max(rng.uniform(0.42, 0.85) * rr, 0.30), pr
    return np.clip(rng.uniform(0.45, 0.85) * rr, patient["qt"] - 0.10 + pr, 0.87 * rr), pr


def insert_early(rng, patient, kind, onset, step, af):
    """Return the early beats after a beat at `onset` as (onset, kind, PR), and the next sinus."""
    rr = patient["rr"]
    after, pr = early_interval(rng, patient, kind)
    first, pattern = onset + after, rng.random()
    if kind == "PAC":
        if patient["blocked"] and pattern < 0.6:
            return [(first, "blocked PAC", pr)], first - pr + rr * rng.uniform(1.05, 1.25)
        times = [first] if pattern < 0.8 else [first, first + after * rng.uniform(1.0, 1.1)]
        return [(time, "PAC", pr) for time in times], times[-1] + rr * rng.uniform(1.0, 1.15)
    if pattern < 0.15 and not af and step > first - onset + 0.38:  # interpolated
        return [(first, "PVC", 0)], onset + step * rng.uniform(1.0, 1.06)
    count = 1 if pattern < 0.85 else 2 if pattern < 0.95 else 3
    times = first + np.arange(count) * max(rng.uniform(0.4, 0.7) * rr, 0.30)
    full = onset + 2 * step if count == 1 and not af else times[-1] + rr * rng.uniform(1.0, 1.3)
    return [(time, "PVC", 0) for time in times], max(full, times[-1] + 0.45)


def af_start(rng, classes, seconds):
    """Return from when on there is AF (s): always, never, or, after a class that needs P, midway.

    Early atrial beats are what sets AF off (Haissaguerre et al., N Engl J Med 1998).
    """
    if "AF" not in classes:
        return np.inf
    return rng.uniform(0.45, 0.6) * seconds if NEED_P & set(classes) else -np.inf


def make_beats(rng, patient, classes, seconds):
    """Return the beats from before the record to after it, as arrays (B,), times in s.

    kind (see KINDS), onset (of QRS), p (onset of P; nan: none), form (0: usual, 1 and 2: foci of
    PVCs, 3: aberrant), rr (from the beat before), af (whether in AF); and af_from (s), a number.
    """
    af_from = af_start(rng, classes, seconds)
    kinds = [kind for kind in ("PAC", "PVC") if kind in classes]
    n, room = int(4 * seconds) + 20, af_from if 0 < af_from < seconds else seconds
    steps = sinus_steps(rng, patient, af_from < 0, n)
    later = sinus_steps(rng, patient, True, n) if 0 < af_from < seconds else steps
    often = PATTERNS[rng.integers(len(PATTERNS))]
    due = rng.random(n) < often if often < 1 else np.arange(n) % often == 0
    onset, rows = -1.5 - rng.random(), []
    # one early beat of each kind, well inside; of two kinds they come in turn
    last = room - 2.5 * patient["rr"] * max(1, len(kinds)) - 0.6
    sure = np.sort(rng.uniform(0.2, max(0.3, last), max(1, len(kinds))))
    for step, step_in_af, early in zip(steps, later, due, strict=True):
        af = onset >= af_from
        rows.append((onset, "sinus", patient["pr"]))
        usable = [kind for kind in kinds if kind == "PVC" or not af]
        if usable and (early or onset >= sure[0]):
            sure = np.r_[sure[1:], np.inf] if onset >= sure[0] else sure
            more, onset = insert_early(rng, patient, usable[0], onset, step, af)
            kinds = kinds[1:] + kinds[:1]
            rows += more
        else:
            onset += step_in_af if af else step
        if onset > seconds + 1.5:
            break
    return finish_beats(rng, patient, rows, af_from)


def finish_beats(rng, patient, rows, af_from):
    """Return the rows (onset, kind, PR) as arrays, with P, form and interval of every beat."""
    onset, kind, pr = (np.array(column) for column in zip(*rows, strict=True))
    form = np.zeros(len(rows), int)
    form[kind == "PVC"] = 1 + (rng.random((kind == "PVC").sum()) < patient["second_focus"])
    if patient["aberrant"]:
        form[(kind == "PAC") & (rng.random(len(rows)) < 0.7)] = 3
    if 0 < af_from < np.inf:  # not before the last early atrial beat, which sets it off
        af_from = max([af_from, *onset[np.isin(kind, ("PAC", "blocked PAC"))]])
    af = onset > af_from
    p = np.where((kind == "PVC") | ((kind == "sinus") & af), np.nan, onset - pr)
    return {"kind": kind, "onset": onset, "p": p, "form": form, "af": af, "af_from": af_from,
            "rr": np.diff(onset, prepend=onset[0] - patient["rr"])}  # fmt: skip


def set_landmarks(rng, patient, beats, forms):
    """Add to the beats the end of QRS (j) and of T (t_end), and how high each QRS is (size)."""
    width = np.array([form["width"] for form in forms])[beats["form"]]
    width = width * (1 + 0.02 * rng.standard_normal(len(width)))
    beats["j"] = beats["onset"] + width
    # late depolarisation repolarises late; QT follows the interval before, incompletely
    qt = patient["qt"] * np.clip(beats["rr"] / patient["rr"], 0.5, 1.4) ** 0.2
    beats["t_end"] = beats["onset"] + qt + 0.6 * np.maximum(0, width - 0.10)
    beats["size"] = 1 + patient["unsteady"] * rng.standard_normal(len(width))
