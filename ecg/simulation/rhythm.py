"""The rhythm: when the beats of a record come, of which kind they are, and their landmarks."""

import numpy as np

QRS_SECONDS = {"normal": (0.080, 0.100), "RBBB": (0.126, 0.150), "LBBB": (0.134, 0.164)}


def beat_times(rng, patient, irregular, seconds):
    """Return onsets of QRS (s) from before the record to after it, without early beats."""
    rr, times = patient["rr"], [-rng.uniform(0, 1)]
    while times[-1] < 1.2 * seconds + 1:  # early atrial beats will draw them forward
        if irregular:
            step = rr * np.clip(rng.gamma(12, 1 / 12), max(0.41 / rr, 0.52), 1.75)
        else:
            swing = 0.025 * np.sin(2 * np.pi * patient["breath"] * times[-1])
            step = rr * (1 + swing + rng.normal(0, 0.006))
        times.append(times[-1] + step)
    return np.array(times)


def add_early_beats(rng, patient, times, kind, af, seconds):
    """Move some beats forward, and after a PAC all that follow; return their indexes."""
    rr = patient["rr"]
    free = [k for k in range(2, len(times) - 2) if 1.2 < times[k] < seconds - 1.2]
    per_ten_seconds = rng.uniform(1.2, 2.2) if kind == "PVC" else rng.uniform(2.0, 3.5)
    early = []
    for _ in range(max(1, round(per_ten_seconds * seconds / 10))):
        if free:
            early.append(free[rng.integers(len(free))])
            free = [k for k in free if abs(k - early[-1]) > 2]
    for k in sorted(early):
        if kind == "PVC":
            times[k] = times[k - 1] + max(rng.uniform(0.58, 0.70) * rr, patient["qt"] + 0.04)
            if af:  # the pause there is not compensatory, but there is one
                times[k + 1 :] += max(0, times[k] + 1.1 * rr - times[k + 1])
        else:
            coupling = min(max(0.60 * rr, patient["qt"] + patient["pr"]), 0.70 * rr)
            moved = times[k - 1] + coupling + 1.08 * rr - times[k + 1]
            times[k], times[k + 1 :] = times[k - 1] + coupling, times[k + 1 :] + moved
    return early


def make_beats(rng, patient, classes, seconds):
    """Return the beats as dictionaries of their kind and the times (s) of their landmarks."""
    conduction = next((name for name in ("LBBB", "RBBB") if name in classes), "normal")
    if "IAVB" in classes:  # longer where the rate leaves room after T
        patient["pr"] = rng.uniform(0.26, np.clip(patient["rr"] - patient["qt"], 0.30, 0.36))
    af, early = "AF" in classes, {}
    times = beat_times(rng, patient, af, seconds)
    for kind in ("PAC", "PVC"):
        if kind in classes:
            moved = add_early_beats(rng, patient, times, kind, af, seconds)
            early.update(dict.fromkeys(moved, kind))
    low, high = QRS_SECONDS[conduction]
    beats = []
    for k, onset in enumerate(times):
        kind = early.get(k, "sinus")
        width = low + patient["width"] * (high - low)
        if kind == "PVC":
            width = 0.145 + 0.03 * patient["width"]
        late = 0.6 * max(0, width - 0.10)  # late depolarisation repolarises late
        beat = {"kind": kind, "conduction": conduction, "onset": onset, "j": onset + width}
        beat["t_end"] = onset + patient["qt"] + late
        beat["p"] = None if kind == "PVC" or af else onset - patient["pr"]
        beats.append(beat)
    return beats
