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

from dataset import CLASSES, SAMPLE_RATE
from ecg.simulation.evidence import evidence_rows, excess, shifted_leads, st_limits
from ecg.simulation.leads import MARGIN, draw_leads, log_uniform, record_leads, twelve_leads
from ecg.simulation.rhythm import make_beats
from ecg.simulation.waves import (
    conducted_form,
    draw_dipole,
    fibrillation,
    rotation,
    set_landmarks,
    ventricular_form,
)

# Forty records in turn: 6 normal, 2 of each other class alone, and pairs as they occur in patients.
# ST shift does not go with LBBB, whose own ST shift hides it; neither P nor PR exist in AF.
PAIRS = (
    "AF+RBBB IAVB+LBBB PAC+STD RBBB+PVC IAVB+STE LBBB+PAC AF+STD PVC+STE IAVB+RBBB PAC+STE AF+LBBB "
    "PVC+STD IAVB+PAC LBBB+PVC AF+STE RBBB+PAC IAVB+STD AF+PVC"
).split()
MIX = [*CLASSES, *PAIRS[:9], "SNR", "SNR", *CLASSES, "SNR", "SNR", *PAIRS[9:]]
VARIANTS = {"small r'": 0.08, "left fascicular": 0.08, "right axis": 0.04, "LVH": 0.10,
            "notch": 0.25}  # fmt: skip
INCOMPLETE = 0.35  # share of the right bundle branch blocks; in CPSC2018, 10 of 22 are narrow
# directions of ST shifts, elevation: anterior (twice as often), anterolateral, inferior, lateral,
# inferolateral
TERRITORIES = np.array(
    [
        (0.45, 0.1, -1),
        (0.45, 0.1, -1),
        (1, 0.2, -0.25),
        (0.2, 1, 0),
        (1, -0.3, 0.3),
        (0.8, 0.8, 0.2),
    ]
)


def draw_patient(rng):
    """Draw all that must not depend on the class."""
    rr = np.clip(np.exp(rng.normal(np.log(0.80), 0.25)), 0.42, 1.45)
    names = [*VARIANTS, None]
    shares = [*VARIANTS.values(), 1 - sum(VARIANTS.values())]
    variant = names[rng.choice(len(names), p=shares)]
    turn = np.clip(rng.normal(-0.08, 0.45), -1.1, 0.9)
    turn = {"left fascicular": rng.uniform(-1.9, -1.2), "right axis": rng.uniform(0.9, 1.4)}.get(
        variant, turn
    )
    gain, t_gain = np.exp(rng.normal(-0.10, 0.32)), np.exp(rng.normal(-0.15, 0.45))
    t_axis = rotation(0.5 * turn + rng.normal(0, 0.3), rng.normal(0, 0.45)) @ [0.71, 0.55, -0.41]
    if variant == "LVH":
        gain, t_axis = gain * rng.uniform(1.3, 2), t_axis * rng.choice([1, -0.6])
    flat = rng.random() < 0.15
    return {
        "age": int(np.clip(rng.normal(60, 15), 18, 92)),
        "sex": "Male" if rng.random() < 0.5 else "Female",
        "rr": rr,
        "arrhythmia": log_uniform(rng, 0.005, 0.18),
        "jitter": log_uniform(rng, 0.003, 0.03),
        "af_shape": log_uniform(rng, 7, 45),
        "breath": rng.uniform(0.15, 0.4),
        "variant": variant,
        "turn": turn,
        "tilt": rng.normal(0, 0.35),
        "gain": gain,
        "septal": rng.uniform(0.1, 2.2),
        "loop": rng.normal(0, 0.16, (4, 3)),
        "t_axis": t_axis * t_gain * (rng.uniform(-0.6, 0.2) if flat else 1),
        "t_width": rng.uniform(0.75, 1.3),
        "t_lean": rng.uniform(0.8, 1.5),
        "u": rng.uniform(-0.05, 0.2),
        "p_turn": rotation(np.clip(rng.normal(0, 0.3), -0.7, 0.5), rng.normal(0, 0.5)),
        "pac_turn": rotation(rng.uniform(0.2, 3.0), rng.normal(0, 0.6)),
        "p_gain": np.exp(np.clip(rng.normal(0.05, 0.35), -0.9, 0.8)),
        "p_width": rng.uniform(0.8, 1.35),
        "qt": rng.uniform(0.355, 0.445) * rr ** (1 / 3),  # Fridericia
        "pr": rng.uniform(0.12, 0.195),
        "width": rng.random(),  # of QRS, within the range of its kind
        "incomplete": rng.random() < INCOMPLETE,
        "second_focus": rng.choice([0, 0, 0, 0.5]),
        "blocked": rng.random() < 0.1,
        "aberrant": rng.random() < 0.2,
        "unsteady": log_uniform(rng, 0.01, 0.06),
        "sway": rng.uniform(0.01, 0.08),
        "st_slope": rng.normal(0.25, 0.5),
        "leads": draw_leads(rng),
    }


def draw_st(rng, patient, name):
    """Draw the vector (3,) of ST at J + 60 ms: a shift of class STD or STE, or none to speak of."""
    sign = -1 if name == "STD" else 1
    limits = st_limits("STE", patient["sex"]), st_limits("STD", patient["sex"])
    for _ in range(50):
        direction = TERRITORIES[rng.integers(len(TERRITORIES))] + rng.normal(0, 0.3, 3)
        direction *= sign if name else rng.choice([-1, 1])
        shift = twelve_leads(patient["leads"] @ direction)
        up, down = excess(shift, limits[0]), excess(-shift, limits[1])
        if name is None:  # as large as is still normal; early repolarisation of V2 and V3 too
            return direction * rng.uniform(0, 0.65) / max(up, down, 0.3)
        wanted, other = (up, down) if name == "STE" else (down, up)
        if wanted > max(other, 0.2):
            return direction * log_uniform(rng, 1.05, 3.5) / wanted
    return draw_st(rng, patient | {"leads": draw_leads(rng)}, name)


def simulate(rng, classes, seconds):
    """Return a record's signal (12, T) int16 uV, patient, beats and evidence (without name)."""
    patient, n = draw_patient(rng), (seconds + 2 * MARGIN) * SAMPLE_RATE
    if "IAVB" in classes:  # as long as the rate leaves room
        patient["pr"] = rng.uniform(0.205, np.clip(patient["rr"] - 0.25, 0.23, 0.36))
    beats = make_beats(rng, patient, classes, seconds)
    block = next((name for name in ("LBBB", "RBBB") if name in classes), "normal")
    block = "incomplete RBBB" if block == "RBBB" and patient["incomplete"] else block
    shift = next((name for name in ("STE", "STD") if name in classes), None)
    usual = conducted_form(rng, patient, block, draw_st(rng, patient, shift), shift)
    foci = [ventricular_form(rng, patient) for _ in range(2)]
    wide = conducted_form(rng, patient, rng.choice(["RBBB", "LBBB"], p=[0.8, 0.2]), usual["st"])
    forms = [usual, *foci, wide if block == "normal" else usual]
    set_landmarks(rng, patient, beats, forms)
    t = np.arange(n) / SAMPLE_RATE - MARGIN
    dipole = draw_dipole(patient, beats, forms, n)
    if "AF" in classes:
        dipole += fibrillation(rng, t)
    swing = patient["sway"] * np.sin(2 * np.pi * patient["breath"] * t)
    dipole *= 1 + swing  # the heart moves with breath
    dipole[:2] += swing * dipole[1::-1] * [[-1], [1]]
    signal = record_leads(rng, patient["leads"] @ dipole, t)
    leads = dict.fromkeys(CLASSES, "all")
    leads |= {"LBBB": "I;aVL;V1;V5;V6", "RBBB": "I;V1;V2;V6"}
    for name in ("STD", "STE"):
        leads[name] = ";".join(shifted_leads(name, patient, usual))
    rows = [row for name in classes
            for row in evidence_rows(name, beats, seconds * SAMPLE_RATE, leads[name])]  # fmt: skip
    return signal, patient, beats, rows


def make_record(seed, number, seconds=10):
    """Return record `number` (from 1) of a seed: signal, classes, evidence, patient.

    It depends on the three values alone. The signal is (12, T) int16 uV, the evidence are
    rows (class, start, stop, leads), the patient is a dictionary of all that was drawn, age and
    sex among it.
    """
    classes = MIX[(number - 1) % len(MIX)].split("+")
    rng = np.random.default_rng([seed, number])
    signal, patient, _, rows = simulate(rng, classes, seconds)
    return signal, classes, rows, patient


def draw_batch(seed, first, n, seconds=10):
    """Return records first ... first + n - 1 of a seed: x (n, 12, T) int16 uV, y (n, 9) float32."""
    x = np.empty((n, 12, seconds * SAMPLE_RATE), np.int16)
    y = np.zeros((n, len(CLASSES)), np.float32)
    for i in range(n):
        x[i], classes, _, _ = make_record(seed, first + i, seconds)
        y[i, [CLASSES.index(name) for name in classes]] = 1
    return x, y
