"""The electrodes: the leads that see the dipole, what disturbs them, and the recorder's filters.

The lead vectors are those of Dower et al., Clin Cardiol 1980. Disturbances are added to the nine
electrodes before leads are formed, and the recorder's filters are the same for all leads, so that
Einthoven's and Goldberger's relations hold to rounding. Bandwidths: 35 to 150 Hz, and none to
0.67 Hz (AHA/ACCF/HRS recommendations I, Kligfield et al., Circulation 2007, and the monitor
settings named there). Electrodes sit up to half an interspace off (Wenger and Kligfield, J
Electrocardiol 1996). The heights of noise, wander and hum are those of real records: see
benchmarks/simulation.py. Loose and failing electrodes were chosen by eye.
"""

import numpy as np

from dataset import SAMPLE_RATE, UNITS_PER_MV

MARGIN = 1  # s made before and after a record and cut off: filters ring at their ends

# mV per unit of dipole, for the leads I, II, V1-V6 (Dower et al. 1980)
LEAD_VECTORS = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)

CHEST_GAIN = np.array([1.0, 1.45, 1.5, 1.65, 1.55, 1.35])  # V1-V6 of real records beside Dower's


def log_uniform(rng, low, high, size=None):
    """Draw a number (or an array) whose logarithm is uniform."""
    return np.exp(rng.uniform(np.log(low), np.log(high), size))


def draw_leads(rng):
    """Draw the lead vectors (8, 3) of one person: position and conductivity of the electrodes."""
    place = np.arange(6) + rng.normal(0, 0.25) + rng.normal(0, 0.15, 6)
    chest = [np.interp(place, np.arange(6), axis) for axis in LEAD_VECTORS[2:].T]
    vectors = np.vstack([LEAD_VECTORS[:2], CHEST_GAIN[:, None] * np.transpose(chest)])
    gain = np.r_[rng.normal(0, 0.08, 2), rng.normal(0, 0.2) + rng.normal(0, 0.18, 6)]
    return vectors * np.exp(gain)[:, None] + rng.normal(0, 0.07, (8, 3))


def eight_leads(electrodes):
    """Return I, II, V1-V6 (8, ...) of the electrodes RA, LA, LL, V1-V6 (9, ...)."""
    arm_right, arm_left, leg = electrodes[:3]
    limb = np.stack([arm_left - arm_right, leg - arm_right])
    return np.concatenate([limb, electrodes[3:] - electrodes[:3].mean(0)])  # Wilson's terminal


def twelve_leads(eight):
    """Return the twelve leads (12, ...) of I, II, V1-V6 (8, ...)."""
    i, ii = eight[:2]
    limb = [i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2]
    return np.concatenate([np.stack(limb), eight[2:]])


def noise_spectrum(rng, frequencies, n):
    """Return the spectrum of noise, wander and hum of nine electrodes: (9, F) for rfft."""
    white = log_uniform(rng, 0.0004, 0.018)
    pink, slope = log_uniform(rng, 0.0008, 0.022), rng.uniform(0.4, 1.2)
    wander, edge = log_uniform(rng, 0.0015, 0.15), rng.uniform(0.08, 0.35)
    f = np.maximum(frequencies, 0.02)
    pinkness = np.maximum(f, 0.4) ** -slope
    swing = np.exp(-0.5 * (f / edge) ** 2)
    height = 0
    for size, part in ((white, np.ones_like(f)), (pink, pinkness), (wander, swing)):
        height = height + size / np.sqrt((part**2).mean()) * part
    spectrum = rng.standard_normal((9, 2 * len(f))).view(complex)
    spectrum *= height * np.sqrt(n / 2)
    spectrum *= np.exp(rng.normal(0, 0.4, (9, 1)))
    spectrum[:3] *= np.exp(rng.uniform(0, 0.8))  # arms and legs move more than the chest
    hum = log_uniform(rng, 0.0002, 0.02) * rng.normal(0, 0.6, 9)
    mains = np.argmin(np.abs(frequencies - rng.choice([50, 60])))
    spectrum[:, mains] += n / 2 * hum * np.exp(2j * np.pi * rng.random())
    return spectrum


def rare_disturbances(rng, t):
    """Return the disturbances of some records, (9, T) mV: tremor, muscle, loose electrodes."""
    disturbance = np.zeros((9, len(t)))
    tremor, muscle, loose, failing = rng.random(4) < [0.10, 0.25, 0.05, 0.12]
    if tremor:  # 4 to 8 Hz, Parkinson's among others: no fibrillatory waves, P goes on
        angle = 2 * np.pi * rng.uniform(4, 8) * t + np.cumsum(rng.normal(0, 0.07, len(t)))
        wave = np.sin(angle) + rng.uniform(0, 0.5) * np.sin(2 * angle + rng.uniform(0, 6.3))
        size = log_uniform(rng, 0.008, 0.05) * (1 + 0.5 * np.sin(rng.uniform(0.5, 4) * t))
        disturbance[rng.integers(3)] += size * wave
    if muscle:
        envelope = np.zeros(len(t))
        for _ in range(rng.integers(1, 4)):
            middle, length = rng.uniform(t[0], t[-1]), log_uniform(rng, 0.15, 2)
            envelope += np.exp(-0.5 * ((t - middle) / length) ** 2)
        noise = np.diff(rng.standard_normal((9, len(t) + 1))) * log_uniform(rng, 0.005, 0.06)
        disturbance += noise * envelope * (rng.random((9, 1)) < 0.5)
    if loose:
        start, length = rng.uniform(t[0], t[-1]), rng.uniform(0.2, 1.5)
        on = (t > start) & (t < start + length)
        size = rng.normal(0, 1.0) * np.exp(-(t - start) * on / rng.uniform(0.3, 3))
        disturbance[rng.integers(9)] += on * size
    if failing:  # more often a chest electrode
        possible = np.arange(3, 9) if rng.random() < 0.8 else np.arange(3)
        for electrode in rng.choice(possible, rng.integers(1, 3), replace=False):
            disturbance[electrode] += failing_electrode(rng, t)
    return disturbance


def failing_electrode(rng, t):
    """Return what an electrode that is about to come off adds (T,), mV: steps, wander, rustle."""
    knots = np.arange(t[0], t[-1] + 2, log_uniform(rng, 0.4, 2))
    course = np.interp(t, knots, rng.normal(0, log_uniform(rng, 0.02, 0.5), len(knots)))
    size = log_uniform(rng, 0.2, 4)
    for start in rng.uniform(t[0] - 1, t[-1], rng.integers(0, 5)):
        after, on = np.maximum(t - start, 0), t > start
        course += on * rng.normal(0, size) * np.exp(-after / log_uniform(rng, 0.1, 5))
        rustle = log_uniform(rng, 0.01, 0.3) * rng.standard_normal(len(t))
        course += on * rustle * np.exp(-after / 0.3)
    return course


def recorder_response(rng, frequencies):
    """Return the recorder's gain at each frequency: Butterworth filters without phase."""
    low = log_uniform(rng, 35, 150)
    gain = 1 / np.sqrt(1 + (frequencies / low) ** (2 * rng.integers(1, 9)))
    if rng.random() < 0.65:
        high = log_uniform(rng, 0.05, 0.67)
        ratio = (np.maximum(frequencies, 1e-3) / high) ** (2 * rng.integers(1, 3))
        gain = gain * np.sqrt(ratio / (1 + ratio))
    return gain


def record_leads(rng, eight, t):
    """Disturb and filter leads I, II, V1-V6 (8, T), mV, with their margins; return (12, n) in uV.

    t (T,) holds the times in s, from -MARGIN to MARGIN after the end. The samples are int16.
    """
    n, cut = len(t), MARGIN * SAMPLE_RATE
    frequencies = np.fft.rfftfreq(n, 1 / SAMPLE_RATE)
    noise = noise_spectrum(rng, frequencies, n)
    eight = eight + eight_leads(rare_disturbances(rng, t))
    spectrum = np.fft.rfft(eight) + eight_leads(noise)
    eight = np.fft.irfft(spectrum * recorder_response(rng, frequencies), n)[:, cut:-cut]
    # I and II are rounded first, as a recorder does, so that III = II - I is exact
    whole = np.rint(twelve_leads(np.rint(UNITS_PER_MV * eight)))
    return np.clip(whole, -32768, 32767).astype(np.int16)
