"""The electrodes: the leads that see the dipole, and what disturbs them.

The lead vectors are those of Dower et al., Clin Cardiol 1980. Noise, baseline wander and mains hum
are added to the nine electrodes before leads are formed, so that Einthoven's and Goldberger's
relations hold to rounding.
"""

import numpy as np

from dataset import UNITS_PER_MV

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
