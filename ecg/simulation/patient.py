"""The patient: everything drawn before the class is looked at, alike for all classes.

Exceptions (heart.py): `std_limit`, a rule of the labels, and the rate, P and PR that a class needs.

Ranges hold the published limits of normal and, about them, what is seen on wards. Rates 42 to 143 a
minute; PR 120 to 202 ms, P up to 120 ms and 0.25 mV; frontal axis of QRS from -110 to 90 degrees,
mostly -30 to 90; QT after Fridericia 355 to 445 ms at 60 a minute (AHA/ACCF/HRS recommendations
III and IV, Surawicz et al. and Rautaharju et al., Circulation 2009); amplitudes by a factor of
about 3 to both sides (Rijnbeek et al., J Electrocardiol 2014); sinus arrhythmia from hardly any to
the swing of the young. Some variants, no class themselves, resemble one: incomplete RBBB (r' in V1
after a narrow QRS), left anterior fascicular block, right axis, LVH with T upright or inverted,
notches and J waves of early repolarisation (Macfarlane et al., J Am Coll Cardiol 2015), the broad Q
of an old infarct in any territory. T is flat or inverted in one of six.
"""

from typing import NamedTuple

import numpy as np

from ecg.simulation.forms import rotation
from ecg.simulation.leads import draw_leads, log_uniform
from ecg.simulation.st import STD_LIMIT, TERRITORIES, draw_direction

VARIANTS = {
    "incomplete RBBB": 0.08,
    "left fascicular": 0.08,
    "right axis": 0.04,
    "LVH": 0.10,
    "notch": 0.25,
    "infarct": 0.10,
}


class Patient(NamedTuple):
    """Numbers, vectors and matrices of one patient; times in s, gains as factors."""

    age: int  # years
    sex: str  # Male, Female or Unknown
    leads: np.ndarray  # lead vectors (8, 3), mV per unit of dipole
    std_limit: float  # mV, from which a depression is labelled; see st.py
    # rate and regularity, and what early beats are like
    rr: float
    qt: float
    arrhythmia: float  # swing of RR with breath, a part of RR
    jitter: float  # sd of RR besides, a part of RR
    breath: float  # Hz
    af_shape: float  # of RR's gamma distribution in AF
    second_focus: float  # part of the PVCs that come from a second focus
    blocked: bool  # whether some PACs are blocked
    aberrant: bool  # whether some PACs are conducted aberrantly
    # QRS, ST, T and U, and how steady they are
    variant: str  # a name of VARIANTS, or ""
    turn: float  # of the QRS loop in the frontal plane, rad
    tilt: float  # the same in the horizontal plane
    gain: float
    septal: float  # gain of the first wave of QRS
    scar: np.ndarray  # vector (3,) that an old infarct takes from QRS
    loop: np.ndarray  # (4, 3): how far the waves of QRS lie off the usual ones
    width: float  # of QRS, 0 to 1 within the range of its kind
    t_axis: np.ndarray  # vector of T (3,)
    t_width: float
    t_lean: float  # width of T before its peak, a factor of that after it
    u: float  # size of U, a part of T
    st_slope: float
    unsteady: float  # sd of the size of QRS from beat to beat
    sway: float  # movement of the heart with breath
    # P and PR
    p_turn: np.ndarray  # matrices (3, 3) of the sinus node's P and of early ones
    pac_turn: np.ndarray
    p_gain: float
    p_width: float
    pr: float
    # Ta, the repolarisation of the atria: its area as a part of P's, s from P's onset, its sd in s
    ta: float
    ta_delay: float
    ta_width: float


def at_rate(patient, rr):
    """Return the patient with another RR (s) and the QT that belongs to it."""
    return patient._replace(rr=rr, qt=patient.qt * (rr / patient.rr) ** (1 / 3))


def draw_patient(rng):
    """Draw a patient."""
    age = int(np.clip(rng.normal(57, 18), 18, 92))
    sex = "Male" if rng.random() < 0.5 else "Female"
    leads = draw_leads(rng)
    parts = draw_rate(rng) | draw_ventricles(rng) | draw_atria(rng)
    return Patient(age, sex, leads, STD_LIMIT, **parts)


def draw_rate(rng):
    """Draw rate and regularity, and what early beats are like."""
    rr = np.clip(np.exp(rng.normal(np.log(0.80), 0.25)), 0.42, 1.45)
    return {
        "rr": rr,
        "qt": rng.uniform(0.355, 0.445) * rr ** (1 / 3),  # Fridericia
        "arrhythmia": log_uniform(rng, 0.005, 0.18),
        "jitter": log_uniform(rng, 0.003, 0.03),
        "breath": rng.uniform(0.15, 0.4),
        "af_shape": log_uniform(rng, 7, 45),
        "second_focus": rng.choice([0, 0, 0, 0.5]),
        "blocked": rng.random() < 0.1,
        "aberrant": rng.random() < 0.2,
    }


def draw_ventricles(rng):
    """Draw axes, amplitudes and shapes of QRS, ST, T and U, and how steady they are."""
    variant = rng.choice([*VARIANTS, ""], p=[*VARIANTS.values(), 1 - sum(VARIANTS.values())])
    usual = np.clip(rng.normal(-0.08, 0.45), -1.1, 0.9)
    axes = {"left fascicular": rng.uniform(-1.9, -1.2), "right axis": rng.uniform(0.9, 1.4)}
    turn = axes.get(variant, usual)
    gain, t_gain = np.exp(rng.normal(-0.10, 0.32)), np.exp(rng.normal(-0.15, 0.45))
    t_turn = rotation(0.5 * turn + rng.normal(0, 0.3), rng.normal(0, 0.45))
    if variant == "LVH":
        gain, t_gain = gain * rng.uniform(1.3, 2), t_gain * rng.choice([1, -0.6])
    if rng.random() < 0.15:
        t_gain *= rng.uniform(-0.6, 0.2)
    return {
        "variant": str(variant),
        "turn": turn,
        "tilt": rng.normal(0, 0.35),
        "gain": gain,
        "septal": rng.uniform(0.1, 2.2),
        "scar": log_uniform(rng, 0.15, 0.8) * draw_direction(rng, TERRITORIES, 0.2),
        "loop": rng.normal(0, 0.16, (4, 3)),
        "width": rng.random(),
        "t_axis": t_gain * t_turn @ [0.71, 0.55, -0.41],
        "t_width": rng.uniform(0.75, 1.3),
        "t_lean": rng.uniform(0.8, 1.5),
        "u": rng.uniform(-0.05, 0.2),
        "st_slope": rng.normal(0.25, 0.5),
        "unsteady": log_uniform(rng, 0.01, 0.06),
        "sway": rng.uniform(0.01, 0.08),
    }


def draw_atria(rng):
    """Draw P and PR; early P waves have any axis but the sinus node's."""
    return {
        "p_turn": rotation(np.clip(rng.normal(0, 0.3), -0.7, 0.5), rng.normal(0, 0.5)),
        "pac_turn": rotation(rng.uniform(0.2, 3.0), rng.normal(0, 0.6)),
        "p_gain": np.exp(np.clip(rng.normal(0.05, 0.35), -0.9, 0.8)),
        "p_width": rng.uniform(0.8, 1.35),
        "pr": rng.uniform(0.12, 0.202),
        "ta": log_uniform(rng, 0.6, 1.7),
        "ta_delay": rng.uniform(0.15, 0.22),
        "ta_width": rng.uniform(0.055, 0.075),
    }
