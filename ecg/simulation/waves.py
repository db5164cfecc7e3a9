"""The waves of the dipole: Gaussians for P, QRS, T and U, the ST segment, fibrillatory waves.

After McSharry et al., IEEE Trans Biomed Eng 2003, and Sameni et al., EURASIP J Adv Signal Process
2007; all beats of a record are made at once. The dipole is (3, T), in mV, from -MARGIN s on.
"""

import numpy as np

from dataset import SAMPLE_RATE
from ecg.simulation.leads import MARGIN, log_uniform

# Waves of P: centre and width (s), x, y, z
P_WAVES = np.array([(0.038, 0.016, 0.03, 0.07, -0.05), (0.064, 0.017, 0.06, 0.05, 0.04)])


def gaussians(dipole, centre, before, after, vector):
    """Add Gaussian waves (M,), in s, with vectors (M, 3), to a dipole (3, T)."""
    half = int(4.2 * SAMPLE_RATE * max(before.max(), after.max())) + 1
    middle = np.rint((centre + MARGIN) * SAMPLE_RATE).astype(int)
    rows = middle[:, None] + np.arange(-half, half + 1)  # (M, W)
    away = rows / SAMPLE_RATE - MARGIN - centre[:, None]
    shape = np.exp(-0.5 * (away / np.where(away < 0, before[:, None], after[:, None])) ** 2)
    add_pieces(dipole, rows, shape, vector)


def add_pieces(dipole, rows, shape, vector):
    """Add shape (M, W) times vector (M, 3) to a dipole (3, T) at the samples `rows` (M, W)."""
    n = dipole.shape[1]
    inside = (rows >= 0) & (rows < n)
    rows = np.where(inside, rows, 0).ravel()
    shape = np.where(inside, shape, 0)
    for axis in range(3):
        weights = (shape * vector[:, axis, None]).ravel()
        dipole[axis] += np.bincount(rows, weights, minlength=n)


def waves_at(moment, centre, before, after, vector):
    """Return the sum over K waves (B, K) at one moment a beat (B,): (B, 3)."""
    away = moment[:, None] - centre
    shape = np.exp(-0.5 * (away / np.where(away < 0, before, after)) ** 2)
    return (shape[..., None] * vector).sum(1)


def add_p_waves(dipole, patient, beats):
    """Add the P waves; those of PACs have an axis of their own."""
    scale = patient["p_width"]
    for early, matrix in ((False, patient["p_turn"]), (True, patient["pac_turn"])):
        start = beats["p"][~np.isnan(beats["p"]) & ((beats["kind"] != "sinus") == early)]
        for centre, width, *vector in P_WAVES if len(start) else ():
            size = np.full(len(start), scale * width)
            vectors = np.tile(patient["p_gain"] * matrix @ vector, (len(start), 1))
            gaussians(dipole, start + scale * centre, size, size, vectors)


def draw_dipole(patient, beats, forms, n):
    """Return the dipole (3, T) of all beats, from -MARGIN on."""
    dipole = np.zeros((3, n))
    add_p_waves(dipole, patient, beats)
    conducted = beats["kind"] != "blocked PAC"
    form, onset, j, t_end, size = (
        beats[key][conducted] for key in ("form", "onset", "j", "t_end", "size")
    )
    parts = {key: np.stack([f[key] for f in forms])[form] for key in ("time", "vector", "t", "st")}
    time = parts["time"] * (j - onset)[:, None, None]
    vector = parts["vector"] * size[:, None, None]
    centre = onset[:, None] + time[..., 0]
    qrs = centre, time[..., 1], time[..., 2], vector
    stretch = patient["t_width"] * np.clip(t_end - j, 0.15, 0.5) / 0.3
    before, after = 0.055 * stretch * patient["t_lean"], 0.038 * stretch
    peak = t_end - 2.2 * after
    u = np.full(len(onset), 0.035)
    late = (np.stack([peak, t_end + 0.09], 1), np.stack([before, u], 1), np.stack([after, u], 1),
            np.stack([parts["t"], patient["u"] * parts["t"]], 1))  # fmt: skip
    for waves in (qrs, late):
        gaussians(dipole, *(part.reshape(-1, *part.shape[2:]) for part in waves))
    # the segment is what makes J + 60 ms what it has to be, whatever T and QRS give there
    moment = j + 0.06
    height = parts["st"] - waves_at(moment, *qrs) - waves_at(moment, *late)
    add_segments(dipole, j, t_end - 1.8 * after, height, patient["st_slope"])
    return dipole


def add_segments(dipole, j, off, height, slope):
    """Add ST segments, `height` (B, 3) at J + 60 ms: on as QRS ends, off along T, also sloping."""
    rows = np.floor((j + MARGIN - 0.06) * SAMPLE_RATE).astype(int)[:, None] + np.arange(375)
    after_j = rows / SAMPLE_RATE - MARGIN - j[:, None]
    off = np.maximum(off - j, 0.10)[:, None]
    with np.errstate(over="ignore"):
        shape = 1 / (1 + np.exp(-(after_j - 0.008) / 0.005)) / (1 + np.exp((after_j - off) / 0.022))
    shape *= 1 + slope * np.clip((after_j - 0.06) / 0.1, -1, 1.5)
    add_pieces(dipole, rows, shape * (1 + np.exp((0.06 - off) / 0.022)), height)


def fibrillation(rng, t):
    """Return fibrillatory waves as a dipole (3, T): saw-teeth whose rate and height wander.

    After Stridh and Sornmo, IEEE Trans Biomed Eng 2001, coarse to fine (0.01 to 0.15 mV), 4 to 9 Hz
    (Bollmann et al., Europace 2006), organised or not; two parts, the larger in V1 and II.
    """
    found, teeth, n = np.zeros((3, len(t))), rng.uniform(0.1, 0.9), len(t)
    main = np.array([-0.35, 0.55, -0.5]) + rng.normal(0, 0.15, 3)
    height, rate = log_uniform(rng, 0.008, 0.11), rng.uniform(4.2, 8.5)
    unrest = log_uniform(rng, 0.5, 5)  # rad that the phase strays in a second
    for part, axis in ((1.0, main), (rng.uniform(0.2, 1.0), rng.normal(0, 0.45, 3))):
        stray = np.cumsum(rng.normal(0, unrest / np.sqrt(SAMPLE_RATE), n))
        angle = 2 * np.pi * rate * rng.normal(1, 0.06) * t + stray + rng.uniform(0, 2 * np.pi)
        knots = np.arange(t[0], t[-1] + 1, log_uniform(rng, 0.25, 1.0))
        size = np.interp(t, knots, np.exp(rng.normal(-0.15, 0.5, len(knots))))
        saw = np.sin(angle) + teeth * (np.sin(2 * angle) / 2 + np.sin(3 * angle) / 3)
        lagging = np.sin(angle + rng.uniform(0, 2 * np.pi))  # a loop, not a line
        side = rng.normal(0, 0.2, 3)
        found += part * height * size * (axis[:, None] * saw + side[:, None] * lagging)
    return found
