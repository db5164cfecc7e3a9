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
from ecg.simulation.evidence import evidence_rows, shifted_leads
from ecg.simulation.leads import LEAD_VECTORS, disturbances, measure
from ecg.simulation.rhythm import make_beats
from ecg.simulation.waves import add_beat, draw_shapes, fibrillation


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
