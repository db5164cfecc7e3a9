"""A model of the heart's electrical dipole, and records of it with the place of each criterion.

Each beat moves a current dipole x (left), y (down), z (back) along a sum of Gaussian waves (after
McSharry et al., IEEE Trans Biomed Eng 2003, and Sameni et al., EURASIP J Adv Signal Process 2007),
seen through the lead vectors of Dower et al., Clin Cardiol 1980. Noise, baseline wander and mains
hum are added to the nine electrodes before leads are formed, so that Einthoven's and Goldberger's
relations hold to rounding. Rate, axis, amplitude, disturbances, age and sex are drawn before the
class is looked at and from the same distributions for all.

The criteria, and their place in evidence.csv (samples, start included, stop left out; a beat cut by
an end of the record is left out):
SNR   regular, upright P in II before each QRS, PR 120-200 ms, QRS < 110 ms; P-QRS-T, all leads
AF    irregular RR, no P, fibrillatory waves of 4-9 Hz (ESC guidelines, Hindricks et al., Eur Heart
      J 2021); the end of a T to the end of the next QRS (onset of a PVC), all
IAVB  constant PR > 200 ms; onset of P to onset of QRS, all leads
LBBB  QRS >= 120 ms, broad notched R without q in I, aVL, V5, V6, rS or QS in V1, ST-T opposed; QRS
RBBB  QRS >= 120 ms, rsR' in V1-V2, broad S in I and V6; QRS (both BBB: AHA/ACCF/HRS
      recommendations III, Surawicz et al., Circulation 2009)
PAC   early beat, other P axis, narrow QRS unless BBB, next sinus beat reset (no full pause); its
      onset of P to the end of QRS, all leads
PVC   early beat, QRS >= 120 ms, no P before it, T opposed, full compensatory pause (but in AF); its
      onset of QRS to the end of T, all leads
STD   J + 60 ms at least 0.1 mV below the PR segment in neighbouring leads of V3-V6, I, II
STE   the same, above it: anterior, anterolateral or inferior (both: fourth universal definition of
      myocardial infarction, Thygesen et al., Circulation 2018); J to J + 120 ms, in the leads with
      the shift. Inferior STE has its usual reciprocal depression in aVL alone, STD the usual
      elevation in aVR: neither counts as evidence or as a label of its own.
"""

import numpy as np

from dataset import CLASSES, LEADS, SAMPLE_RATE, UNITS_PER_MV

# mV per unit of dipole, for the leads I, II, V1-V6 (Dower et al. 1980)
LEAD_VECTORS = np.array([
    [0.632, -0.235, 0.059],
    [0.235, 1.066, -0.132],
    [-0.515, 0.157, -0.917],
    [0.044, 0.164, -1.387],
    [0.882, 0.098, -1.277],
    [1.213, 0.127, -0.601],
    [1.125, 0.127, -0.086],
    [0.831, 0.076, 0.230],
])  # fmt: skip

# Waves: centre, width (one sd) before and after it, x, y, z. Of QRS in parts of its duration.
QRS = {
    "normal": [
        (0.20, 0.085, 0.085, -0.12, -0.06, -0.30),
        (0.45, 0.120, 0.120, 1.05, 0.75, 0.50),
        (0.70, 0.115, 0.110, -0.24, -0.12, 0.40),
    ],
    "RBBB": [
        (0.13, 0.055, 0.055, -0.12, -0.06, -0.30),
        (0.31, 0.080, 0.080, 1.05, 0.75, 0.45),
        (0.69, 0.135, 0.120, -0.55, -0.08, -0.68),
    ],
    "LBBB": [
        (0.09, 0.035, 0.040, 0.06, 0.02, -0.12),
        (0.34, 0.125, 0.130, 0.80, 0.30, 0.85),
        (0.68, 0.130, 0.125, 0.95, 0.25, 1.05),
    ],
}
PVC_AXES = np.array([[0.35, 0.95, 0.75], [0.65, -0.75, 0.80], [-0.75, -0.55, -0.85]])
T_AXIS = {"normal": (0.26, 0.20, -0.15), "RBBB": (0.28, 0.18, 0.13), "LBBB": (-0.30, -0.08, -0.36)}
ST_LBBB = np.array([-0.08, -0.02, -0.09])
P_WAVES = [(0.038, 0.016, 0.016, 0.03, 0.07, -0.05), (0.064, 0.017, 0.017, 0.06, 0.05, 0.04)]
# direction and range (mV in the lead that shows most) of an ST shift
STE_AXES = [
    ((0.45, 0.10, -1.0), (0.30, 0.45)),  # V1-V4
    ((1.00, 0.20, -0.25), (0.26, 0.40)),  # V3-V6, I
    ((0.20, 1.00, 0.00), (0.22, 0.35)),  # II, III, aVF
]
STD_AXIS, STD_RANGE = (-1.0, -0.55, 0.25), (0.22, 0.36)  # V3-V6, II, I
QRS_SECONDS = {"normal": (0.080, 0.100), "RBBB": (0.126, 0.150), "LBBB": (0.134, 0.164)}


def draw_patient(rng):
    """Draw all that must not depend on the class."""
    rr, turn, tilt = rng.uniform(0.70, 1.05), rng.uniform(-0.6, 0.3), rng.uniform(-0.2, 0.2)
    frontal = [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    horizontal = [[np.cos(tilt), 0, -np.sin(tilt)], [0, 1, 0], [np.sin(tilt), 0, np.cos(tilt)]]
    return {
        "age": int(np.clip(rng.normal(60, 15), 18, 92)),
        "sex": "Male" if rng.random() < 0.5 else "Female",
        "rr": rr,
        "axis": np.array(horizontal) @ np.array(frontal),
        "gain": np.exp(rng.normal(0, 0.15)),
        "t_gain": np.exp(rng.normal(0, 0.2)),
        "p_gain": rng.uniform(1.1, 1.7),
        "qt": rng.uniform(0.385, 0.42) * rr ** (1 / 3),  # Fridericia
        "pr": rng.uniform(0.125, 0.165),
        "width": rng.random(),  # of QRS, within the range of its kind
        "breath": rng.uniform(0.2, 0.35),
        # where chest electrodes sit and how well they conduct differs from person to person
        "leads": LEAD_VECTORS * np.r_[1, 1, rng.uniform(0.85, 1.15, 6)][:, None],
    }


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


def wave(t, centre, before, after):
    """Return a Gaussian of height 1 at times t (s), with a width on each side of its centre."""
    return np.exp(-0.5 * ((t - centre) / np.where(t < centre, before, after)) ** 2)


def add_waves(dipole, t, waves, start, scale, turn):
    """Add waves (times `scale` s, from `start`), their vectors turned by a matrix (3, 3)."""
    for centre, before, after, *vector in waves:
        shape = wave(t, start + scale * centre, scale * before, scale * after)
        dipole += np.outer(turn @ np.array(vector), shape)


def draw_shapes(rng, patient, classes):
    """Draw what one record's ectopic beats and ST shift look like: axes of P and PVC, ST vector."""
    angle = rng.uniform(1.9, 2.9)  # an ectopic P is turned by 110 to 165 degrees
    p_turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0]])
    pvc = PVC_AXES[rng.integers(len(PVC_AXES))] + rng.normal(0, 0.08, 3)
    shift = np.zeros(3)
    if "STE" in classes or "STD" in classes:
        axis, sizes = STE_AXES[rng.integers(3)] if "STE" in classes else (STD_AXIS, STD_RANGE)
        axis = np.array(axis) + rng.normal(0, 0.04, 3)
        # III and aVF of an inferior shift show more than II, the largest of the eight
        shift = axis * rng.uniform(*sizes) / np.abs(patient["leads"] @ axis).max()
    return {
        "p_turn": np.vstack([p_turn, [0, 0, 1]]),
        "pvc": pvc * rng.uniform(1.1, 1.5),
        "st": shift,
    }


def st_segment(t, beat):
    """Return the course (0 to 1) of an ST shift: on as QRS ends, off along T."""
    off = beat["t_end"] - 0.075
    return 1 / (1 + np.exp(-(t - beat["j"] + 0.012) / 0.005)) / (1 + np.exp((t - off) / 0.022))


def add_beat(dipole, t, beat, patient, shapes):
    """Add one beat to the dipole (3, T)."""
    window = slice(*np.searchsorted(t, [beat["onset"] - 0.5, beat["t_end"] + 0.2]))
    part, t = dipole[:, window], t[window]
    if beat["p"] is not None:
        turn = shapes["p_turn"] if beat["kind"] == "PAC" else np.eye(3)
        add_waves(part, t, P_WAVES, beat["p"], 1, patient["p_gain"] * turn)
    width, stretch = beat["j"] - beat["onset"], patient["qt"] / 0.4
    if beat["kind"] == "PVC":
        first, second = 0.75 * shapes["pvc"] + [0.1, 0.1, 0], shapes["pvc"]
        waves = [(0.31, 0.125, 0.14, *first), (0.61, 0.15, 0.15, *second)]
        turn, st, t_axis = np.eye(3), -0.10 * second, -0.42 * second
    else:
        waves, t_axis = QRS[beat["conduction"]], np.array(T_AXIS[beat["conduction"]])
        turn, t_axis = patient["gain"] * patient["axis"], t_axis * patient["t_gain"]
        st = shapes["st"] + (ST_LBBB * patient["gain"] if beat["conduction"] == "LBBB" else 0)
        t_axis = t_axis * (1 if beat["conduction"] == "normal" else patient["gain"])
        t_axis = t_axis * (0.75 if shapes["st"].any() else 1) + 0.35 * shapes["st"]
    add_waves(part, t, waves, beat["onset"], width, turn)
    part += np.outer(st, st_segment(t, beat))
    t_wave = (-0.085 * stretch, 0.050 * stretch, 0.036 * stretch, *t_axis)
    add_waves(part, t, [t_wave], beat["t_end"], 1, np.eye(3))


def fibrillation(rng, t):
    """Return fibrillatory waves as a dipole (3, T): a saw-tooth whose rate and height drift.

    After the model of Stridh and Sornmo, IEEE Trans Biomed Eng 2001; largest in V1 and II.
    """
    rate, drift, phase = rng.uniform(4.8, 7.5), rng.uniform(0.1, 0.4), rng.uniform(0, 2 * np.pi, 3)
    angle = 2 * np.pi * rate * t + 2.0 * np.sin(2 * np.pi * drift * t + phase[0])
    height = rng.uniform(0.05, 0.08) * (1 + 0.3 * np.sin(2 * np.pi * 2.1 * drift * t + phase[1]))
    axis = np.array([-0.35, 0.55, -0.5])[:, None]
    lag = np.array([0.0, 0.9, 0.0])[:, None]  # a loop, not a line
    saw = sum(np.sin(k * (angle + lag)) / k for k in (1, 2, 3))
    return axis * height * saw


def disturbances(rng, t, breath):
    """Return noise, wander and mains hum of the electrodes RA, LA, LL, V1-V6: (9, T) mV."""
    white = rng.normal(size=(9, len(t) + 2))
    noise = (white[:, :-2] + 2 * white[:, 1:-1] + white[:, 2:]) / np.sqrt(6)
    noise *= rng.uniform(0.005, 0.013)
    sway = np.outer(rng.uniform(-0.04, 0.04, 9), np.sin(2 * np.pi * breath * t))
    slow, phase = rng.uniform(0.05, 0.15), rng.uniform(0, 2 * np.pi, 9)[:, None]
    sway += rng.uniform(0, 0.04, (9, 1)) * np.sin(2 * np.pi * slow * t + phase)
    hum = rng.uniform(0, 0.008) * rng.uniform(-1, 1, 9)
    return noise + sway + np.outer(hum, np.sin(2 * np.pi * 50 * t + rng.uniform(0, 2 * np.pi)))


def twelve_leads(i, ii, chest):
    """Return the twelve leads (12, ...) from I, II and V1-V6 (6, ...)."""
    limb = [i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2]
    return np.concatenate([np.stack(limb), chest])


def measure(eight, electrodes):
    """Turn leads I, II, V1-V6 (8, T) and electrode disturbances (9, T), mV, to (12, T) int16 uV."""
    arm_right, arm_left, leg = electrodes[:3]
    i, ii = eight[0] + arm_left - arm_right, eight[1] + leg - arm_right
    chest = eight[2:] + electrodes[3:] - electrodes[:3].mean(0)  # against Wilson's terminal
    # I and II are rounded first, as a recorder does, so that III = II - I is exact
    i, ii, chest = (np.rint(UNITS_PER_MV * lead) for lead in (i, ii, chest))
    return np.rint(twelve_leads(i, ii, chest)).astype(np.int16)


def shifted_leads(dipole, t, beats, patient, sign):
    """Return the leads in which, on average, J + 60 ms is at least 0.1 mV up (sign 1) or down."""
    rows = [np.searchsorted(t, beat["j"] + 0.06) for beat in beats]
    eight = patient["leads"] @ dipole[:, rows].mean(1)
    shift = twelve_leads(eight[0], eight[1], eight[2:])
    return [lead for lead, value in zip(LEADS, sign * shift, strict=True) if value >= 0.1]


def evidence_rows(name, patient_id, beats, n, leads):
    """Return rows (patient_id, class, start, stop, leads) of one class, for n samples."""
    rows = []
    for before, beat in zip([None, *beats], beats, strict=False):
        if name in ("PAC", "PVC") and beat["kind"] != name:
            continue
        if name in ("SNR", "IAVB", "LBBB", "RBBB", "STD", "STE") and beat["kind"] == "PVC":
            continue
        qrs_end = "onset" if beat["kind"] == "PVC" else "j"  # a PVC's QRS is no sign of AF
        span = {
            "SNR": (beat["p"], beat["t_end"]),
            "AF": (before["t_end"] if before else -1, beat[qrs_end]),
            "IAVB": (beat["p"], beat["onset"]),
            "PAC": (beat["p"], beat["j"]),
            "PVC": (beat["onset"], beat["t_end"]),
            "STD": (beat["j"], beat["j"] + 0.12),
            "STE": (beat["j"], beat["j"] + 0.12),
        }.get(name, (beat["onset"], beat["j"]))
        start, stop = (round(SAMPLE_RATE * second) for second in span)
        if start >= 0 and stop <= n and start < stop:
            rows.append((patient_id, name, start, stop, leads))
    return rows


def make_record(patient_id, classes, rng, seconds):
    """Return a record's signal (12, T) int16 uV, its header's age and sex, and its evidence."""
    patient, n = draw_patient(rng), seconds * SAMPLE_RATE
    t = np.arange(n) / SAMPLE_RATE
    electrodes = disturbances(rng, t, patient["breath"])
    beats = make_beats(rng, patient, classes, seconds)
    shapes, dipole = draw_shapes(rng, patient, classes), np.zeros((3, n))
    for beat in beats:
        add_beat(dipole, t, beat, patient, shapes)
    usual = [b for b in beats if b["kind"] != "PVC" and 0 < b["j"] and b["j"] < seconds - 0.1]
    leads = dict.fromkeys(CLASSES, "all")
    leads |= {"LBBB": "I;aVL;V1;V5;V6", "RBBB": "I;V1;V2;V6"}
    for name, sign in (("STD", -1), ("STE", 1)):
        leads[name] = ";".join(shifted_leads(dipole, t, usual, patient, sign))
    rows = []
    for name in classes:
        rows += evidence_rows(name, patient_id, beats, n, leads[name])
    if "AF" in classes:
        dipole += fibrillation(rng, t)
    dipole *= 1 + 0.03 * np.sin(2 * np.pi * patient["breath"] * t)  # the heart moves with breath
    return measure(patient["leads"] @ dipole, electrodes), patient, rows
