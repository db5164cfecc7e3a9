"""ST shifts: how large a shift makes a class, in which leads, and vectors with and without one.

J + 60 ms counts, against the PR segment, in two neighbouring leads: from 0.1 mV, elevation in V2
and V3 from 0.15 mV in women and 0.2 mV in men (fourth universal definition of myocardial
infarction, Thygesen et al., Circulation 2018). Any territory, up-sloping, level or down-sloping.
"""

import numpy as np

from dataset import LEADS
from ecg.simulation.leads import twelve_leads

# neighbours in the frontal and in the horizontal plane
FRONTAL = (("aVL", "I"), ("II", "aVF"), ("aVF", "III"))
CHEST = (("V1", "V2"), ("V2", "V3"), ("V3", "V4"), ("V4", "V5"), ("V5", "V6"), ("I", "V6"))
NEIGHBOURS = np.array([(LEADS.index(a), LEADS.index(b)) for a, b in FRONTAL + CHEST])
# directions of elevation, the usual one first: anterior; depression is opposed to: lateral
ANTERIOR, LATERAL, OTHERS = (0.45, 0.1, -1), (0.9, 0.6, 0.1), ((1, 0.2, -0.25), (0.2, 1, 0))
TERRITORIES = {
    "STE": (ANTERIOR, ANTERIOR, (1, -0.3, 0.3), *OTHERS),
    "STD": (LATERAL, LATERAL, ANTERIOR, *OTHERS),
}


def st_limits(name, sex):
    """Return from how many mV at J + 60 ms a lead shows STD or STE: (12,)."""
    limits = np.full(len(LEADS), 0.1)
    if name == "STE":
        limits[[LEADS.index("V2"), LEADS.index("V3")]] = 0.15 if sex == "Female" else 0.2
    return limits


def relative_shift(name, patient, st):
    """Return by how many times the limit of STD or STE a vector st (3,) shifts each lead: (12,)."""
    sign = 1 if name == "STE" else -1
    return sign * twelve_leads(patient.leads @ st) / st_limits(name, patient.sex)


def strongest_pair(relative):
    """Return what both of two neighbouring leads reach of (12,), where that is largest."""
    return relative[NEIGHBOURS].min(1).max()


def shifted_leads(name, patient, st):
    """Return the leads in which ST is beyond the limit of STD or STE."""
    beyond = relative_shift(name, patient, st) >= 1
    return [lead for lead, shown in zip(LEADS, beyond, strict=True) if shown]


def is_shifted(name, patient, st):
    """Tell whether ST is beyond the limit of STD or STE in two neighbouring leads."""
    return strongest_pair(relative_shift(name, patient, st)) >= 1


def draw_st(rng, patient, name=None, other=None):
    """Draw the vector (3,) of ST at J + 60 ms: a shift of class STD or STE, or a normal one.

    With both, the depression is the reciprocal of the elevation, itself beyond the limit.
    """
    sign = -1 if name == "STD" else 1
    territories = TERRITORIES[name or "STE"]
    while True:
        direction = sign * np.array(territories[rng.integers(len(territories))])
        direction = direction + rng.normal(0, 0.3, 3)
        up, down = (strongest_pair(relative_shift(c, patient, direction)) for c in ("STE", "STD"))
        if name is None:  # within the normal range: more up, as in early repolarisation
            size = rng.uniform(0, 0.65) * rng.choice([1, 1, 1, -0.7])
            return size * direction / max(up, down, 0.3)
        wanted, opposite = (up, down) if name == "STE" else (down, up)
        if other:
            wanted, opposite = min(up, down), 0.4 * max(up, down)
        if wanted > max(opposite, 0.2):  # most are not far beyond the limit
            return direction * 1.05 * np.exp(0.55 * abs(rng.standard_normal())) / wanted
