"""ST shifts: how large a shift makes a class, in which leads, and segments with and without one.

The fourth universal definition of myocardial infarction (Thygesen et al., Circulation 2018) counts
the J point, against the PR segment, in two neighbouring leads: elevation from 0.1 mV, in V2 and V3
from 0.15 mV in women, 0.2 mV in men and 0.25 mV in men below 40; level or down-sloping depression
from 0.05 mV. Here it begins at STD_LIMIT: the labelled ones of PTB-XL and CPSC2018 have a median of
0.054 and 0.041 mV. A class is beyond its limit at J + 20 ms, where QRS is over, and at J + 60 ms.
Normal elevation stays below it at J + 20 ms but may pass it at J + 60 ms: in V2 and V3 of men, the
young above all, ST rises steeply to 0.2 mV and more there (Macfarlane, J Electrocardiol 2001; early
repolarisation, Macfarlane et al., J Am Coll Cardiol 2015). Shifts lie in any territory.

ST is measured from just before QRS. Ta, the repolarisation of the atria, puts that below the line
between T and P (waves.py). Limits hold for what is drawn: in the signal, ST still rises at J + 20
ms and Ta ends, so that one in six elevations is a little smaller there.

Beside another finding readers name only a clear depression: in PTB-XL, half of the records with
AF, IAVB, RBBB or PVC, and in CPSC2018 half of those with AF, are depressed by more than 0.045 mV
without the label, 2 in 100 of the healthy. There the limit is STD_BESIDE, and many smaller ones are
drawn.

Strain is a depression of its own: in I, aVL, V5 and V6, down-sloping into an inverted T, with ST
raised in V1 to V3 (hypertrophy: AHA/ACCF/HRS recommendations V, Hancock et al.,
Circulation 2009; old infarcts look alike). The elevation may exceed the limits, and is no STE:
they hold without hypertrophy only (Armstrong et al., Am J Cardiol 2012).
"""

from typing import NamedTuple

import numpy as np

from dataset import LEADS
from ecg.simulation.leads import twelve_leads

# neighbours in the frontal and in the horizontal plane
FRONTAL = (("aVL", "I"), ("II", "aVF"), ("aVF", "III"))
CHEST = (("V1", "V2"), ("V2", "V3"), ("V3", "V4"), ("V4", "V5"), ("V5", "V6"), ("I", "V6"))
NEIGHBOURS = np.array([(LEADS.index(a), LEADS.index(b)) for a, b in FRONTAL + CHEST])
# directions of elevation: anterior (V1-V4), inferior with reciprocal aVL, lateral and high lateral
ANTERIOR, INFERIOR, LATERAL = (0.45, 0.1, -1), (-0.1, 1, 0.1), (0.9, 0.3, 0.1)
HIGH_LATERAL = (1, -0.4, 0.2)
WIDESPREAD = (0.7, 0.6, -0.7)  # in front, on the left and below: early repolarisation
TERRITORIES = (ANTERIOR, ANTERIOR, INFERIOR, INFERIOR, LATERAL, HIGH_LATERAL)
# depression is opposed to what is elevated in the leads of these
DEPRESSED = (LATERAL, (0.9, 0.6, 0.1), ANTERIOR, (1, 0.2, -0.25), INFERIOR, (0.9, 0.3, 0.6))
STRAIN = ((0.9, 0.2, 0.8), (0.8, 0, 1.3), (0.8, -0.3, 0.6))
STRAIN_SHARE = 0.4  # of the depressions
LEAST = 0.02  # mV: a direction that shifts leads by less is drawn again
STD_LIMIT, STD_BESIDE = 0.045, 0.1  # mV: alone, and beside another finding


class Segment(NamedTuple):
    """An ST segment."""

    st: np.ndarray  # vector at J + 60 ms (3,), in mV
    slope: float  # change in 100 ms, a part of st
    strain: bool = False  # T goes along with ST


def least_of(slope):
    """Return the smaller shift of J + 20 and J + 60 ms, a part of that at J + 60 ms."""
    return min(1, 1 - 0.4 * slope)


def st_limits(name, patient):
    """Return from how many mV a lead shows STD or STE: (12,)."""
    if name == "STD":
        return np.full(len(LEADS), patient.std_limit)
    limits, men = np.full(len(LEADS), 0.1), 0.25 if patient.age < 40 else 0.2
    limits[[LEADS.index("V2"), LEADS.index("V3")]] = 0.15 if patient.sex == "Female" else men
    return limits


def relative_shift(name, patient, st):
    """Return by how many times the limit of STD or STE a vector st (3,) shifts each lead: (12,)."""
    sign = 1 if name == "STE" else -1
    return sign * twelve_leads(patient.leads @ st) / st_limits(name, patient)


def class_shift(name, patient, segment):
    """Return the same of a Segment: where its shift is smaller, J + 20 or J + 60 ms."""
    return least_of(segment.slope) * relative_shift(name, patient, segment.st)


def strongest_pair(relative):
    """Return what both of two neighbouring leads reach of (12,), where that is largest."""
    return relative[NEIGHBOURS].min(1).max()


def shifted_leads(name, patient, segment):
    """Return the leads in which ST is beyond the limit of STD or STE."""
    beyond = class_shift(name, patient, segment) >= 1
    return [lead for lead, shown in zip(LEADS, beyond, strict=True) if shown]


def is_shifted(name, patient, segment):
    """Tell whether ST is beyond the limit of STD or STE in two neighbouring leads."""
    return strongest_pair(class_shift(name, patient, segment)) >= 1


def draw_direction(rng, territories, spread=0.3):
    """Draw the direction of a shift (3,)."""
    return np.array(territories[rng.integers(len(territories))]) + rng.normal(0, spread, 3)


def pairs_of(patient, st):
    """Return by how many times the limits of STE and STD a vector (3,) shifts ST at J + 60 ms."""
    return [strongest_pair(relative_shift(name, patient, st)) for name in ("STE", "STD")]


def draw_normal(rng, patient):
    """Draw a Segment without a class: most often elevation in V2 and V3, see usual_height.

    Beside another finding, a third have a depression without the label.
    """
    if patient.std_limit > STD_LIMIT and rng.random() < 0.35:
        return draw_unlabelled(rng, patient)
    if rng.random() < 0.85:
        return draw_elevated(rng, patient)
    direction, slope = draw_direction(rng, TERRITORIES), patient.st_slope
    if rng.random() < 0.5:
        direction = -draw_direction(rng, DEPRESSED)
        if rng.random() < 0.5:  # J below the line, then rising at once, as with a fast heart
            slope = rng.uniform(-4, 0)
    up, down = pairs_of(patient, direction)
    scale = min(rng.uniform(0, 0.85) / max(up, 0.3), 0.7 / max(down, 0.3))
    return Segment(scale * direction, slope)


def usual_height(patient):
    """Return median and log sd of the higher of V2 and V3 at J + 60 ms, mV, in healthy people.

    As measured in the 300 of PTB-XL: 0.24 mV in men up to 30, 0.18 to 50, 0.14 beyond; women 0.10.
    What is drawn is lower by about a tenth (one in seven has hardly any elevation, and none exceeds
    the limits at J + 20 ms); measured in the signal it is about as high (benchmarks/st_levels.py).
    """
    if patient.sex == "Female":
        return 0.10, 0.45
    return 0.24 * np.exp((24 - patient.age) / 75), 0.35


def draw_elevated(rng, patient):
    """Draw a Segment with normal elevation: it may pass the limits at J + 60 ms, not at J + 20."""
    median, spread = usual_height(patient)
    height = median * np.exp(spread * rng.standard_normal())
    most = 1.35 if patient.sex == "Female" else 1.6  # of the limit
    while True:
        direction = draw_direction(rng, (ANTERIOR, ANTERIOR, WIDESPREAD), 0.2)
        front = twelve_leads(patient.leads @ direction)[[LEADS.index("V2"), LEADS.index("V3")]]
        st = height * direction / max(front.max(), 0.3)
        up, down = pairs_of(patient, st)
        if up < most and down < 0.8:
            break
        height *= 0.97
    # it rises steeply to that height
    slope = max(patient.st_slope, rng.uniform(0.3, 1.2), (1 - 0.9 / max(up, 0.1)) / 0.4 + 0.2)
    return Segment(st, slope)


def draw_unlabelled(rng, patient):
    """Draw a Segment with a depression below the limit, as many patients with a finding have.

    What it raises elsewhere may reach twice the limits of STE, as in strain.
    """
    direction = -draw_direction(rng, STRAIN if rng.random() < STRAIN_SHARE else DEPRESSED)
    up, down = pairs_of(patient, direction)
    scale = rng.uniform(0.2, 0.98) / max(down, 0.4, 0.5 * up)
    return Segment(scale * direction, np.clip(patient.st_slope, 0, 0.9))


def draw_segment(rng, patient, name=None, other=None):
    """Draw a Segment: a shift of class STD or STE, or a normal one.

    With both, the depression is the reciprocal of the elevation, itself beyond the limit.
    """
    if name is None:
        return draw_normal(rng, patient)
    if name == "STE":
        slope, spread, least = np.clip(patient.st_slope + 0.2, -0.5, 0.9), 0.55, LEAST / 0.1
    else:  # level or down-sloping
        slope, spread, least = np.clip(patient.st_slope, 0, 0.9), 0.45, LEAST / patient.std_limit
    first = 1.15 if name == "STE" else 1.05  # of the limit
    strain = name == "STD" and not other and rng.random() < STRAIN_SHARE
    while True:
        if name == "STE":
            direction = draw_direction(rng, TERRITORIES)
        else:
            direction = -draw_direction(rng, STRAIN if strain else DEPRESSED)
        up, down = pairs_of(patient, direction)
        wanted = min(up, down) if other else up if name == "STE" else down
        # most are not far beyond the limit
        size = first * np.exp(spread * abs(rng.standard_normal())) / least_of(slope)
        if other:
            enough = wanted > 0.4 * max(up, down)
        elif name == "STE":  # in mV, the larger of the two shifts
            enough = 0.1 * up > patient.std_limit * down and not is_strain(direction)
        else:  # what is raised elsewhere is no STE
            enough = size * up < (2 if strain else 0.95) * down
        if enough and wanted > least:
            return Segment(size * direction / wanted, slope, strain)


def is_strain(direction):
    """Tell whether a shift (3,) goes to the front and to the right."""
    x, y, z = direction
    return x < 0 and z < -abs(y)
