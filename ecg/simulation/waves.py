"""The waves of the dipole: Gaussians for P, QRS, T and U, the ST segment, fibrillatory waves.

After McSharry et al., IEEE Trans Biomed Eng 2003, and Sameni et al., EURASIP J Adv Signal Process
2007; all beats of a record are made at once. The dipole is (3, T), in mV, and begins at -MARGIN s.
"""

from typing import NamedTuple

import numpy as np

from dataset import SAMPLE_RATE
from ecg.simulation.leads import MARGIN, log_uniform

# Waves of P: centre and width (s), x, y, z
P_WAVES = np.array([(0.038, 0.016, 0.03, 0.07, -0.05), (0.064, 0.017, 0.06, 0.05, 0.04)])
P_AREA = (P_WAVES[:, 1:2] * P_WAVES[:, 2:]).sum(0)  # mV s over the root of 2 pi, of its vector (3,)


class Waves(NamedTuple):
    """Gaussian waves of any shape (...): their places, widths and vectors."""

    centre: np.ndarray  # s, or parts of a duration
    before: np.ndarray  # sd before the centre, in the same unit
    after: np.ndarray  # sd after it
    vector: np.ndarray  # (..., 3)

    def at(self, moment):
        """Return the sum (B, 3) of waves (B, K), or (K,), at one moment per beat (B,)."""
        away = moment[:, None] - self.centre
        shape = np.exp(-0.5 * (away / np.where(away < 0, self.before, self.after)) ** 2)
        return (shape[..., None] * self.vector).sum(1)

    def add_to(self, dipole):
        """Add the waves, in s, to a dipole (3, T)."""
        if not np.size(self.centre):
            return
        centre, before, after = (part.reshape(-1, 1) for part in self[:3])  # (M, 1)
        half = int(4.2 * SAMPLE_RATE * max(before.max(), after.max())) + 1
        middle = np.rint((centre + MARGIN) * SAMPLE_RATE).astype(int)
        rows = middle + np.arange(-half, half + 1)  # (M, W)
        away = rows / SAMPLE_RATE - MARGIN - centre
        shape = np.exp(-0.5 * (away / np.where(away < 0, before, after)) ** 2)
        add_pieces(dipole, rows, shape, self.vector.reshape(-1, 3))


def add_pieces(dipole, rows, shape, vector):
    """Add shape (M, W) times vector (M, 3) to a dipole (3, T) at the samples `rows` (M, W)."""
    n = dipole.shape[1]
    inside = (rows >= 0) & (rows < n)
    rows = np.where(inside, rows, 0).ravel()
    shape = np.where(inside, shape, 0)
    for axis in range(3):
        weights = (shape * vector[:, axis, None]).ravel()
        dipole[axis] += np.bincount(rows, weights, minlength=n)


def add_p_waves(dipole, patient, start, matrix):
    """Add the P waves that begin at `start` (M,), s, turned by a matrix (3, 3)."""
    scale = patient.p_width
    for centre, width, *vector in P_WAVES:
        size = np.full(len(start), scale * width)
        vectors = np.tile(patient.p_gain * matrix @ vector, (len(start), 1))
        Waves(start + scale * centre, size, size, vectors).add_to(dipole)


def atrial_repolarisation(patient, start, matrix):
    """Return the Waves (M,) that follow P waves which begin at `start` (M,), s: Ta.

    Ta is opposed to P in all leads and lasts about three times as long (Debbas et al., J Am Coll
    Cardiol 1999), so that PR and ST lie below the line between T and P; its area is about P's.
    """
    size = np.full(len(start), patient.ta_width)
    vector = -patient.ta * patient.p_gain * patient.p_width * matrix @ P_AREA / patient.ta_width
    return Waves(start + patient.ta_delay, size, size, np.tile(vector, (len(start), 1)))


def draw_dipole(patient, beats, forms, n):
    """Return the dipole (3, T) of all beats."""
    dipole, repolarising = np.zeros((2, 3, n))
    sinus, seen = beats.kind == "sinus", ~np.isnan(beats.p)
    for chosen, turn in ((sinus, patient.p_turn), (~sinus, patient.pac_turn)):
        start = beats.p[chosen & seen]
        add_p_waves(dipole, patient, start, turn)
        atrial_repolarisation(patient, start, turn).add_to(repolarising)
    dipole += repolarising
    conducted = beats.kind != "blocked PAC"
    onset, j, t_end = beats.onset[conducted], beats.j[conducted], beats.t_end[conducted]
    form, size = beats.form[conducted], beats.size[conducted, None, None]
    time, vector, _, t, st, slope = (np.stack(part)[form] for part in zip(*forms, strict=True))
    time = time * (j - onset)[:, None, None]
    qrs = Waves(onset[:, None] + time[..., 0], time[..., 1], time[..., 2], vector * size)
    stretch = patient.t_width * np.clip(t_end - j, 0.15, 0.5) / 0.3
    before, after = 0.055 * stretch * patient.t_lean, 0.038 * stretch
    u = np.full(len(onset), 0.035)
    late = Waves(
        np.stack([t_end - 2.2 * after, t_end + 0.09], 1),
        np.stack([before, u], 1),
        np.stack([after, u], 1),
        np.stack([t, patient.u * t], 1),
    )
    qrs.add_to(dipole)
    late.add_to(dipole)
    # the segment brings J + 60 ms to its height above the onset of QRS, whatever waves are there
    level, there = (at_times(repolarising, times) for times in (onset, j + 0.06))
    height = st + level - there - qrs.at(j + 0.06) - late.at(j + 0.06)
    rows, shape = segment_shapes(j, t_end - 1.8 * after, slope[:, None])
    add_pieces(dipole, rows, shape, height)
    return dipole


def at_times(dipole, times):
    """Return a dipole (3, T) at some times (B,), s: (B, 3); beyond its ends, that at the end."""
    rows = np.rint((times + MARGIN) * SAMPLE_RATE).astype(int)
    return dipole[:, np.clip(rows, 0, dipole.shape[1] - 1)].T


def segment_shapes(j, off, slope):
    """Return samples and shape (B, 375) of ST segments between J and `off` (B,), s.

    They rise as QRS ends, end along T, and are 1 at J + 60 ms; the slopes (B, 1) are per 100 ms.
    """
    rows = np.floor((j + MARGIN - 0.06) * SAMPLE_RATE).astype(int)[:, None] + np.arange(375)
    after_j = rows / SAMPLE_RATE - MARGIN - j[:, None]
    off = np.maximum(off - j, 0.10)[:, None]
    with np.errstate(over="ignore"):
        shape = 1 / (1 + np.exp(-(after_j - 0.008) / 0.005)) / (1 + np.exp((after_j - off) / 0.022))
    shape *= 1 + slope * np.clip((after_j - 0.06) / 0.1, -1, 1.5)
    return rows, shape * (1 + np.exp((0.06 - off) / 0.022))


def flutter(rng, t, cycle):
    """Return flutter waves as a dipole (3, T): steady saw-teeth, largest in II, III, aVF and V1."""
    axis = np.array([-0.2, -0.8, -0.5]) + rng.normal(0, 0.25, 3)
    angle = 2 * np.pi * (t / cycle + rng.random())
    saw = np.sin(angle) + np.sin(2 * angle) / 2 + rng.uniform(0, 1) * np.sin(3 * angle) / 3
    return log_uniform(rng, 0.03, 0.18) * axis[:, None] * saw


def add_spikes(rng, dipole, times):
    """Add the spikes of a pacemaker at `times` (M,), s; filters make most of them small."""
    vector = rng.normal(0, 1, 3) * log_uniform(rng, 0.1, 6)
    size = np.full(len(times), 0.0008)
    Waves(times, size, size, np.tile(vector, (len(times), 1))).add_to(dipole)


def fibrillation(rng, t):
    """Return fibrillatory waves as a dipole (3, T): saw-teeth with a wandering rate and height.

    After Stridh and Sornmo, IEEE Trans Biomed Eng 2001, coarse to fine (0.01 to 0.15 mV), 4 to 9 Hz
    (Bollmann et al., Europace 2006), organised or not; two parts, the larger in V1 and II.
    """
    dipole, teeth, n = np.zeros((3, len(t))), rng.uniform(0.1, 0.9), len(t)
    main = np.array([-0.35, 0.55, -0.5]) + rng.normal(0, 0.15, 3)
    height, rate = log_uniform(rng, 0.008, 0.11), rng.uniform(4.2, 8.5)
    unrest = log_uniform(rng, 0.5, 5)  # rad by which the phase strays in a second
    for part, axis in ((1.0, main), (rng.uniform(0.2, 1.0), rng.normal(0, 0.45, 3))):
        stray = np.cumsum(rng.normal(0, unrest / np.sqrt(SAMPLE_RATE), n))
        angle = 2 * np.pi * rate * rng.normal(1, 0.06) * t + stray + rng.uniform(0, 2 * np.pi)
        knots = np.arange(t[0], t[-1] + 1, log_uniform(rng, 0.25, 1.0))
        size = np.interp(t, knots, np.exp(rng.normal(-0.15, 0.5, len(knots))))
        saw = np.sin(angle) + teeth * (np.sin(2 * angle) / 2 + np.sin(3 * angle) / 3)
        lagging = np.sin(angle + rng.uniform(0, 2 * np.pi))  # a loop, not a line
        side = rng.normal(0, 0.2, 3)
        dipole += part * height * size * (axis[:, None] * saw + side[:, None] * lagging)
    return dipole
