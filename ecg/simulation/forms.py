"""The forms of beats: what QRS, ST and T of beats of one origin look like.

QRS durations and patterns of conduction are those of AHA/ACCF/HRS recommendations III (Surawicz et
al., Circulation 2009); the waves of the bundle branch blocks were drawn after records of CPSC2018.
PVCs have any axis and usually last 140 ms (Moulton et al., J Am Coll Cardiol 1990).
"""

from typing import NamedTuple

import numpy as np

from ecg.simulation.leads import log_uniform
from ecg.simulation.waves import Waves


class Form(NamedTuple):
    """QRS, ST and T of beats of one origin."""

    time: np.ndarray  # (4, 3): centre and widths of four QRS waves, in parts of its duration
    vector: np.ndarray  # (4, 3) of the QRS waves
    width: float  # of QRS, s
    t: np.ndarray  # vector of T (3,)
    st: np.ndarray  # vector of ST at J + 60 ms (3,)
    slope: float  # of ST, see st.py's Segment


class Conduction(NamedTuple):
    """The usual waves of a QRS, the range of its duration, and the T and ST that belong to it."""

    waves: list  # of centre, width before and after it, in parts of the duration, x, y, z
    widths: tuple  # of QRS, s
    t: tuple
    st: tuple


RIGHT = [
    (0.13, 0.055, 0.055, -0.12, -0.06, -0.25),
    (0.31, 0.080, 0.080, 1.00, 0.75, 0.10),
    (0.69, 0.140, 0.125, -0.40, -0.06, -0.45),
]
LEFT = [
    (0.09, 0.035, 0.040, 0.06, 0.02, -0.12),
    (0.34, 0.125, 0.130, 0.80, 0.30, 0.85),
    (0.68, 0.130, 0.125, 0.95, 0.25, 1.05),
]
NORMAL = [
    (0.20, 0.085, 0.085, -0.12, -0.06, -0.30),
    (0.45, 0.120, 0.120, 1.05, 0.75, 0.50),
    (0.70, 0.115, 0.110, -0.24, -0.12, 0.40),
]
# s: CPSC2018 calls rsr' with a late S RBBB from about 90 ms on; RBBB is complete from 120 ms
RBBB_FROM = 0.090
CONDUCTION = {
    "normal": Conduction(NORMAL, (0.068, 0.104), (0.26, 0.20, -0.15), (0, 0, 0)),
    "RBBB": Conduction(RIGHT, (RBBB_FROM, 0.165), (0.28, 0.18, 0.13), (0.02, 0, 0.05)),
    "LBBB": Conduction(LEFT, (0.122, 0.178), (-0.30, -0.08, -0.36), (-0.08, -0.02, -0.09)),
}
EDGE = 0.025  # QRS begins and ends where its waves have this part of the largest size
INVERTED = 0.3  # share of the elevations that have an inverted T
LARGEST = 5  # mV, of QRS in any lead: more than nearly all hypertrophic hearts have


def rotation(turn, tilt):
    """Return the matrix (3, 3) that turns by `turn` rad in the frontal plane, then by `tilt`."""
    frontal = [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    horizontal = [[np.cos(tilt), 0, -np.sin(tilt)], [0, 1, 0], [np.sin(tilt), 0, np.cos(tilt)]]
    return np.array(horizontal) @ np.array(frontal)


def fit_duration(time, vector):
    """Move and stretch waves (4, 3) so that QRS goes from 0 to 1, its duration."""
    size = np.linalg.norm(vector, axis=1)
    seen = size > EDGE * size.max()
    reach = np.zeros(4)
    reach[seen] = np.sqrt(2 * np.log(size[seen] / (EDGE * size.max())))
    start = (time[:, 0] - reach * time[:, 1])[seen].min()
    stop = (time[:, 0] + reach * time[:, 2])[seen].max()
    return (time - [start, 0, 0]) / (stop - start)


def limit_size(time, vector, leads):
    """Return the vectors (4, 3) of a QRS, smaller if it exceeds LARGEST mV in a lead."""
    course = Waves(*time.T, vector).at(np.linspace(0, 1, 41))
    return vector * min(1, LARGEST / np.abs(course @ leads.T).max())


def conducted_form(rng, patient, block, segment, shift=None):
    """Draw the form of beats conducted from the atria, with a bundle branch block or "normal".

    `shift` is the class (STD, STE) that the Segment makes, if any.
    """
    st = segment.st
    for attempt in range(40):
        time, vector = draw_qrs(rng, patient, block)
        turn = patient.turn if block != "LBBB" else rng.normal(-0.1, 0.45)
        own = rotation(turn, patient.tilt * (0.5 if block == "normal" else 0.5**attempt))
        turned = patient.gain * vector @ own.T
        if block == "RBBB":  # its late part keeps its direction, whatever the axis is
            turned[2] = patient.gain * rotation(0.2 * turn, 0) @ vector[2]
        time = fit_duration(time, turned)
        turned = limit_size(time, turned, patient.leads)
        if shows_block(block, Waves(*time.T, turned), patient.leads):
            break
    _, (low, high), t_block, st_block = CONDUCTION[block]
    if block == "normal" and patient.variant == "incomplete RBBB":
        high = 0.094
    t = patient.t_axis * np.linalg.norm(t_block)
    if block != "normal":
        t = patient.gain * (own @ t_block) * log_uniform(rng, 0.5, 1.7) + 0.3 * t
        st = st + patient.gain * (own @ st_block) * rng.uniform(0, 1.6)
    if shift == "STE":  # T rises out of the segment, or turns over as an infarct grows older
        along = rng.uniform(-2, -0.3) if rng.random() < INVERTED else rng.uniform(0, 2.5)
        t = t * rng.uniform(0.3, 1) + along * st
    elif shift and segment.strain:
        t = t * rng.uniform(0, 0.5) + rng.uniform(0.8, 3.5) * st
    elif shift == "STD":  # T upright after it, or flat, or along with it
        t = t * rng.uniform(0.3, 1.1) + rng.choice([0, 1]) * rng.uniform(-0.4, 0.9) * st
    elif block == "normal":  # a normal, high ST goes over into a T that is several times as high
        t = t + rng.uniform(0, 4) * st
    return Form(time, turned, low + patient.width * (high - low), t, st, segment.slope)


def draw_qrs(rng, patient, block):
    """Draw the four waves of a QRS, before it is turned: time (4, 3) and vector (4, 3)."""
    waves = np.array([*CONDUCTION[block].waves, (0.9, 0.05, 0.05, 0, 0, 0)])
    time, vector = waves[:, :3].copy(), waves[:, 3:].copy()
    if block == "normal" and patient.variant == "incomplete RBBB":
        late = np.array([-0.15, -0.05, -0.45]) + rng.normal(0, 0.12, 3)
        vector[3], time[3] = late * rng.uniform(0.2, 0.6), (0.85, 0.07, 0.06)
    elif patient.variant == "notch":  # slurs, fragments, J waves of early repolarisation
        vector[3], time[3] = rng.normal(0, 0.14, 3), (rng.uniform(0.15, 0.95), 0.05, 0.05)
    elif patient.variant == "infarct" and block != "LBBB":
        vector[3] = -patient.scar
        time[3] = rng.uniform(0.15, 0.4), *rng.uniform(0.06, 0.12, 2)
    if block == "LBBB":
        vector[0] *= rng.uniform(-0.5, 2)
        vector[1:3] *= log_uniform(rng, 0.6, 1.5, (2, 1))
    else:
        vector[0] *= patient.septal if block == "normal" else rng.uniform(0, 1.6)
        vector[1:] += patient.loop[1:] * np.linalg.norm(vector[1:], axis=1, keepdims=True)
    if block == "RBBB":
        vector[1, 2] += rng.normal(0, 0.25)
        vector[2] = (vector[2] + rng.normal(0, 0.14, 3)) * log_uniform(rng, 0.4, 1.5)
        time[2, 1:] *= rng.uniform(0.75, 1.2)
    time[:, 0] += 0.025 * rng.standard_normal(4)
    time[:, 1:] *= np.exp(0.2 * rng.standard_normal((4, 2)) - 0.1)
    return time, vector


def shows_block(block, waves, leads):
    """Tell whether a QRS has what its bundle branch block must have in I, V1, V2 and V6."""
    if block == "normal":
        return True
    i, v1, v2, v6 = leads[[0, 2, 3, 7]] @ waves.at(np.linspace(0, 1, 41)).T  # each (41,)
    if block == "RBBB":  # rsr' to rsR' in V1 or V2; a late S in I or V6
        late = [v[20:].max() > max(0.08, 0.5 * v[:20].max()) for v in (v1, v2)]
        return any(late) and v1[20:].max() > 0.05 and max(i[20:].min(), v6[20:].min()) < -0.04
    no_q = min(i[:16].min(), v6[:16].min()) > -0.06
    broad = all((v > 0.4 * v.max()).mean() > 0.4 and v.max() > 0.15 for v in (i, v6))
    return no_q and broad and v1.min() < -0.25 and v1.max() < 0.25 and v1[16:].max() < 0.06


def ventricular_form(rng, patient):
    """Draw the form of the PVCs of one focus: any origin, slurred or notched, T opposed."""
    time = np.array([(0.35, 0.13, 0.14), (0.63, 0.14, 0.14), (0.2, 0.06, 0.06), (0.85, 0.06, 0.06)])
    time[:, 0] += 0.04 * rng.standard_normal(4)
    time[:, 1:] *= np.exp(0.2 * rng.standard_normal((4, 2)))
    axis = rng.normal(0, 1, 3) * [1, 1, 0.9] + [0.1, 0.1, 0.1]
    axis /= np.linalg.norm(axis)
    vector = axis + rng.normal(0, 0.35, (4, 3))
    vector *= np.array([rng.uniform(0.4, 1.1), 1, *rng.uniform(0, 0.4, 2)])[:, None]
    vector *= log_uniform(rng, 0.55, 1.9) * patient.gain**0.5
    mean = vector[:2].mean(0)
    width = rng.uniform(0.122, 0.18)
    t = -mean * rng.uniform(0.2, 0.6) + rng.normal(0, 0.05, 3)
    time, st = fit_duration(time, vector), -mean * rng.uniform(0, 0.18)
    return Form(time, limit_size(time, vector, patient.leads), width, t, st, patient.st_slope)


def pre_excited_form(rng, patient, usual):
    """Return a usual form with a delta wave: QRS begins early and slowly, T is opposed to it."""
    size = np.linalg.norm(usual.vector, axis=1).max()
    delta = rng.normal(0, 1, 3)
    delta *= rng.uniform(0.2, 0.5) * size / np.linalg.norm(delta)
    time, vector = usual.time.copy(), usual.vector.copy()
    time[3], vector[3] = (rng.uniform(-0.15, 0.05), 0.12, 0.16), delta
    time, t = fit_duration(time, vector), usual.t - rng.uniform(0, 1) * delta
    vector = limit_size(time, vector, patient.leads)
    return usual._replace(time=time, vector=vector, width=rng.uniform(0.11, 0.16), t=t)
