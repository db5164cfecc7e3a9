"""A model of the heart's electrical dipole, and records of it with the place of each criterion.

Each beat moves a current dipole x (left), y (down), z (back), seen through the leads of electrodes;
see patient.py, rhythm.py, forms.py, waves.py, st.py and leads.py for each part and its sources.
Everything that is not the criterion of a class is drawn before the class is looked at, from the
same wide distributions for all, except ST without a label, which may be deeper beside another
finding (st.py). others.py has rhythms that are none of the nine classes.

The criteria, and their place in evidence.csv (samples, start included, stop left out; a beat cut by
an end of the record is left out):
SNR   sinus rhythm of 50 to 103 a minute, upright P in II before each QRS, PR 120-202 ms, QRS < 110
      ms, no other class; P-QRS-T, all leads
AF    irregular RR, no P, fibrillatory waves of 4-9 Hz (ESC guidelines, Hindricks et al., Eur Heart
      J 2021); the end of a T to the end of the next QRS (onset of a PVC), all
IAVB  constant PR >= 213 ms; onset of P to onset of QRS, all leads
LBBB  QRS >= 120 ms, broad R without q in I and V6, rS or QS in V1, ST-T opposed; QRS
RBBB  rsr' to rsR' in V1 or V2, a late S in I or V6 (both BBB: AHA/ACCF/HRS recommendations III,
      Surawicz et al., Circulation 2009), QRS >= 90 ms as in CPSC2018, not 120; QRS
PAC   early beat, other P axis, narrow QRS unless BBB or aberrant, next sinus beat reset; some in
      twos, some blocked; its onset of P to the end of QRS (blocked: P), all leads
PVC   early beat, QRS >= 120 ms, no P before it, T opposed, full compensatory pause unless in AF,
      interpolated or in twos and threes; its onset of QRS to the end of T, all leads
STD   J + 20 and J + 60 ms at least 0.045 mV, beside another finding 0.1 mV (see st.py), below the
      onset of QRS in two neighbouring leads
STE   at least 0.1 mV above it, V2 and V3 0.15 (women), 0.2 (men) or 0.25 mV (men below 40; see
      st.py); both: J to J + 120 ms, in the leads with the shift. The reciprocal shift the other way
      and what strain raises in front are neither evidence nor class, though some exceed the limits,
      nor is the shift that belongs to a BBB.
"""

from typing import NamedTuple

import numpy as np

from dataset import CLASSES, SAMPLE_RATE
from ecg.simulation.evidence import evidence_rows
from ecg.simulation.forms import conducted_form, ventricular_form
from ecg.simulation.leads import MARGIN, record_leads
from ecg.simulation.others import RR, Extra, other_beats, other_forms, other_patient
from ecg.simulation.patient import Patient, at_rate, draw_patient
from ecg.simulation.rhythm import NEED_P, Beats, make_beats, set_landmarks
from ecg.simulation.st import STD_BESIDE, draw_segment, is_shifted, shifted_leads
from ecg.simulation.waves import (
    add_p_waves,
    add_spikes,
    atrial_repolarisation,
    draw_dipole,
    fibrillation,
    flutter,
)

# Forty records in turn: 6 normal, 2 of each other class alone, and pairs as they occur in patients.
# ST shift does not go with LBBB, whose own ST shift hides it; neither P nor PR exist in AF.
PAIRS = (
    "AF+RBBB IAVB+LBBB PAC+STD RBBB+PVC IAVB+STE LBBB+PAC AF+STD PVC+STE IAVB+RBBB PAC+STE AF+LBBB "
    "PVC+STD IAVB+PAC LBBB+PVC AF+STE RBBB+PAC IAVB+STD AF+PVC"
).split()
MIX = [*CLASSES, *PAIRS[:9], "SNR", "SNR", *CLASSES, "SNR", "SNR", *PAIRS[9:]]
# the same, and after every five records one whose rhythm is none of the nine classes
WIDE_MIX = [name for i in range(0, len(MIX), 5) for name in (*MIX[i : i + 5], "")]


class Heart(NamedTuple):
    """Everything drawn for a record but what its electrodes and recorder add."""

    seconds: float
    patient: Patient
    beats: Beats
    forms: list  # usual, two foci of PVCs, aberrant
    evidence: list
    rhythm: str = ""  # if it is none of the nine classes: a name of others.py
    extra: Extra = Extra()


class Record(NamedTuple):
    """A synthetic record."""

    signal: np.ndarray  # (12, T) int16 uV
    classes: list
    evidence: list
    patient: Patient
    rhythm: str  # if it is none of the nine classes


def draw_forms(rng, patient, classes):
    """Draw the forms of a record's beats: usual, two foci of PVCs, aberrant."""
    block = next((name for name in ("LBBB", "RBBB") if name in classes), "normal")
    shifts, usual = [name for name in ("STE", "STD") if name in classes], None
    # the block's own shift may take away what was drawn
    while not usual or not all(is_shifted(name, patient, usual) for name in shifts):
        segment = draw_segment(rng, patient, *shifts)
        usual = conducted_form(rng, patient, block, segment, shifts[0] if shifts else None)
    foci = [ventricular_form(rng, patient) for _ in range(2)]
    other = rng.choice(["RBBB", "LBBB"], p=[0.8, 0.2])
    aberrant = conducted_form(rng, patient, other, usual) if block == "normal" else usual
    return [usual, *foci, aberrant]


def draw_heart(rng, classes, seconds, **person):
    """Draw the Heart of a record: all but its signal.

    `seconds` may be any multiple of a sample; `person` replaces fields of the drawn Patient.
    """
    patient = fit_rhythm(rng, draw_patient(rng)._replace(**person), set(classes))
    if set(classes) - {"SNR", "STD", "STE"}:
        patient = patient._replace(std_limit=STD_BESIDE)
    beats, forms = make_beats(rng, patient, classes, seconds), draw_forms(rng, patient, classes)
    beats = set_landmarks(rng, patient, beats, forms)
    shown_in = {"LBBB": "I;aVL;V1;V5;V6", "RBBB": "I;V1;V2;V6"}
    for name in ("STD", "STE"):
        shown_in[name] = ";".join(shifted_leads(name, patient, forms[0]))
    evidence, n = [], round(seconds * SAMPLE_RATE)
    for name in classes:
        evidence += evidence_rows(name, beats, n, shown_in.get(name, "all"))
    return Heart(seconds, patient, beats, forms, evidence)


def fit_rhythm(rng, patient, classes):
    """Return the patient with the rate, P and PR that the classes need."""
    if "SNR" in classes:  # beyond, it is sinus brady- or tachycardia
        patient = at_rate(patient, np.clip(patient.rr, 0.58, 1.2))
    elif "IAVB" not in classes and rng.random() < 0.15:
        # P too flat to be seen: a regular rhythm without P is no AF
        patient = patient._replace(p_gain=patient.p_gain * rng.uniform(0, 0.3))
    if "AF" in classes and not NEED_P & classes and rng.random() < 0.55:
        patient = at_rate(patient, rng.uniform(0.37, 0.6))
    if "IAVB" in classes:  # as long as the rate leaves room
        longest = np.clip(patient.rr - 0.25, 0.23, 0.36)
        patient = patient._replace(pr=rng.uniform(0.213, longest))
    return patient


def draw_other_heart(rng, seconds, rhythm=None):
    """Draw the Heart of a record whose rhythm, a name of others.py, is none of the classes."""
    rhythm = rhythm or str(rng.choice(list(RR)))
    patient = other_patient(rng, draw_patient(rng), rhythm)._replace(std_limit=STD_BESIDE)
    beats, extra = other_beats(rng, patient, rhythm, seconds)
    forms = other_forms(rng, patient, rhythm, draw_segment(rng, patient))
    beats = set_landmarks(rng, patient, beats, forms)
    return Heart(seconds, patient, beats, forms, [], rhythm, extra)


def render(rng, heart):
    """Return the signal (12, T) int16 uV of a Heart."""
    patient, beats = heart.patient, heart.beats
    n = round(heart.seconds * SAMPLE_RATE) + 2 * MARGIN * SAMPLE_RATE
    dipole, t = draw_dipole(patient, beats, heart.forms, n), np.arange(n) / SAMPLE_RATE - MARGIN
    if beats.af_from < np.inf:
        dipole += fibrillation(rng, t) * np.clip((t - beats.af_from) / 0.3, 0, 1)
    add_p_waves(dipole, patient, heart.extra.p, patient.p_turn)
    atrial_repolarisation(patient, heart.extra.p, patient.p_turn).add_to(dipole)
    if heart.extra.flutter:
        dipole += flutter(rng, t, heart.extra.flutter)
    if len(heart.extra.spikes):
        add_spikes(rng, dipole, heart.extra.spikes)
    swing = patient.sway * np.sin(2 * np.pi * patient.breath * t)
    dipole *= 1 + swing  # the heart moves with breath
    dipole[:2] += swing * dipole[1::-1] * [[-1], [1]]
    return record_leads(rng, patient.leads @ dipole, t)


def simulate(rng, classes, seconds, **person):
    """Return the signal (12, T) int16 uV and the Heart of a record; see draw_heart."""
    heart = draw_heart(rng, classes, seconds, **person)
    return render(rng, heart), heart


def make_record(seed, number, seconds=10, mix=MIX):
    """Return the Record `number` (from 1) of a seed; it depends on the four values alone."""
    classes = mix[(number - 1) % len(mix)].split("+")
    rng = np.random.default_rng([seed, number])
    if classes == [""]:
        heart, classes = draw_other_heart(rng, seconds), []
    else:
        heart = draw_heart(rng, classes, seconds)
    return Record(render(rng, heart), classes, heart.evidence, heart.patient, heart.rhythm)
