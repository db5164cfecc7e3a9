"""ST shifts: how large one is a class, in which leads, and the vectors that make one or none.

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
NEIGHBOURS = np.array([[LEADS.index(lead) for lead in pair] for pair in FRONTAL + CHEST])
# directions of elevation, the usual one first: anterior; of what depression is opposed to: lateral
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


def excess(shift, limits):
    """Return how many times its limit the shift (12,) of two neighbours is, where it is largest."""
    return (shift / limits)[NEIGHBOURS].min(1).max()


def shifted_leads(name, patient, form):
    """Return the leads in which a form's ST is beyond the limit of STD or STE."""
    shift = twelve_leads(patient["leads"] @ form["st"]) * (1 if name == "STE" else -1)
    beyond = shift >= st_limits(name, patient["sex"])
    return [lead for lead, shown in zip(LEADS, beyond, strict=True) if shown]


def is_shifted(name, patient, form):
    """Tell whether a form's ST is beyond the limit of STD or STE in two neighbouring leads."""
    shift = twelve_leads(patient["leads"] @ form["st"]) * (1 if name == "STE" else -1)
    return excess(shift, st_limits(name, patient["sex"])) >= 1


def draw_st(rng, patient, name=None, other=None):
    """Draw the vector (3,) of ST at J + 60 ms: a shift of class STD or STE, or none to speak of.

    With both, the depression is the reciprocal of the elevation, itself beyond the limit.
    """
    sign = -1 if name == "STD" else 1
    limits = st_limits("STE", patient["sex"]), st_limits("STD", patient["sex"])
    territories = TERRITORIES[name or "STE"]
    while True:
        direction = sign * np.array(territories[rng.integers(len(territories))])
        direction = direction + rng.normal(0, 0.3, 3)
        shift = twelve_leads(patient["leads"] @ direction)
        up, down = excess(shift, limits[0]), excess(-shift, limits[1])
        if name is None:  # as large as is still normal: more up, as in early repolarisation
            size = rng.uniform(0, 0.65) * rng.choice([1, 1, 1, -0.7])
            return size * direction / max(up, down, 0.3)
        wanted, against = (up, down) if name == "STE" else (down, up)
        if other:
            wanted, against = min(up, down), 0.4 * max(up, down)
        if wanted > max(against, 0.2):  # most are not far beyond the limit
            return direction * 1.05 * np.exp(0.55 * abs(rng.standard_normal())) / wanted
