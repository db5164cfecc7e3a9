"""The waves of a beat: Gaussians of the dipole for P, QRS, ST and T, and the fibrillatory waves.

Each beat moves a current dipole x (left), y (down), z (back) along a sum of Gaussian waves (after
McSharry et al., IEEE Trans Biomed Eng 2003, and Sameni et al., EURASIP J Adv Signal Process 2007).
"""

import numpy as np

# Waves: centre, width (one sd) before and after it, x, y, z. Of QRS in parts of its duration.
QRS = {
    "normal": [
        (0.20, 0.085, 0.085, -0.12, -0.06, -0.30),
        (0.45, 0.120, 0.120, 1.05, 0.75, 0.50),
        (0.70, 0.115, 0.110, -0.24, -0.12, 0.40),
    ],
    "RBBB": [
        (0.13, 0.055, 0.055, -0.12, -0.06, -0.30),
        (0.31, 0.080, 0.080, 1.05, 0.75, 0.45),
        (0.69, 0.135, 0.120, -0.55, -0.08, -0.68),
    ],
    "LBBB": [
        (0.09, 0.035, 0.040, 0.06, 0.02, -0.12),
        (0.34, 0.125, 0.130, 0.80, 0.30, 0.85),
        (0.68, 0.130, 0.125, 0.95, 0.25, 1.05),
    ],
}
PVC_AXES = np.array([[0.35, 0.95, 0.75], [0.65, -0.75, 0.80], [-0.75, -0.55, -0.85]])
T_AXIS = {"normal": (0.26, 0.20, -0.15), "RBBB": (0.28, 0.18, 0.13), "LBBB": (-0.30, -0.08, -0.36)}
ST_LBBB = np.array([-0.08, -0.02, -0.09])
P_WAVES = [(0.038, 0.016, 0.016, 0.03, 0.07, -0.05), (0.064, 0.017, 0.017, 0.06, 0.05, 0.04)]
# direction and range (mV in the lead that shows most) of an ST shift
STE_AXES = [
    ((0.45, 0.10, -1.0), (0.30, 0.45)),  # V1-V4
    ((1.00, 0.20, -0.25), (0.26, 0.40)),  # V3-V6, I
    ((0.20, 1.00, 0.00), (0.22, 0.35)),  # II, III, aVF
]
STD_AXIS, STD_RANGE = (-1.0, -0.55, 0.25), (0.22, 0.36)  # V3-V6, II, I


def wave(t, centre, before, after):
    """Return a Gaussian of height 1 at times t (s), with a width on each side of its centre."""
    return np.exp(-0.5 * ((t - centre) / np.where(t < centre, before, after)) ** 2)


def add_waves(dipole, t, waves, start, scale, turn):
    """Add waves (times `scale` s, from `start`), their vectors turned by a matrix (3, 3)."""
    for centre, before, after, *vector in waves:
        shape = wave(t, start + scale * centre, scale * before, scale * after)
        dipole += np.outer(turn @ np.array(vector), shape)


def draw_shapes(rng, patient, classes):
    """Draw what one record's ectopic beats and ST shift look like: axes of P and PVC, ST vector."""
    angle = rng.uniform(1.9, 2.9)  # an ectopic P is turned by 110 to 165 degrees
    p_turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0]])
    pvc = PVC_AXES[rng.integers(len(PVC_AXES))] + rng.normal(0, 0.08, 3)
    shift = np.zeros(3)
    if "STE" in classes or "STD" in classes:
        axis, sizes = STE_AXES[rng.integers(3)] if "STE" in classes else (STD_AXIS, STD_RANGE)
        axis = np.array(axis) + rng.normal(0, 0.04, 3)
        # III and aVF of an inferior shift show more than II, the largest of the eight
        shift = axis * rng.uniform(*sizes) / np.abs(patient["leads"] @ axis).max()
    return {
        "p_turn": np.vstack([p_turn, [0, 0, 1]]),
        "pvc": pvc * rng.uniform(1.1, 1.5),
        "st": shift,
    }


def st_segment(t, beat):
    """Return the course (0 to 1) of an ST shift: on as QRS ends, off along T."""
    off = beat["t_end"] - 0.075
    return 1 / (1 + np.exp(-(t - beat["j"] + 0.012) / 0.005)) / (1 + np.exp((t - off) / 0.022))


def add_beat(dipole, t, beat, patient, shapes):
    """Add one beat to the dipole (3, T)."""
    window = slice(*np.searchsorted(t, [beat["onset"] - 0.5, beat["t_end"] + 0.2]))
    part, t = dipole[:, window], t[window]
    if beat["p"] is not None:
        turn = shapes["p_turn"] if beat["kind"] == "PAC" else np.eye(3)
        add_waves(part, t, P_WAVES, beat["p"], 1, patient["p_gain"] * turn)
    width, stretch = beat["j"] - beat["onset"], patient["qt"] / 0.4
    if beat["kind"] == "PVC":
        first, second = 0.75 * shapes["pvc"] + [0.1, 0.1, 0], shapes["pvc"]
        waves = [(0.31, 0.125, 0.14, *first), (0.61, 0.15, 0.15, *second)]
        turn, st, t_axis = np.eye(3), -0.10 * second, -0.42 * second
    else:
        waves, t_axis = QRS[beat["conduction"]], np.array(T_AXIS[beat["conduction"]])
        turn, t_axis = patient["gain"] * patient["axis"], t_axis * patient["t_gain"]
        st = shapes["st"] + (ST_LBBB * patient["gain"] if beat["conduction"] == "LBBB" else 0)
        t_axis = t_axis * (1 if beat["conduction"] == "normal" else patient["gain"])
        t_axis = t_axis * (0.75 if shapes["st"].any() else 1) + 0.35 * shapes["st"]
    add_waves(part, t, waves, beat["onset"], width, turn)
    part += np.outer(st, st_segment(t, beat))
    t_wave = (-0.085 * stretch, 0.050 * stretch, 0.036 * stretch, *t_axis)
    add_waves(part, t, [t_wave], beat["t_end"], 1, np.eye(3))


def fibrillation(rng, t):
    """Return fibrillatory waves as a dipole (3, T): a saw-tooth whose rate and height drift.

    After the model of Stridh and Sornmo, IEEE Trans Biomed Eng 2001; largest in V1 and II.
    """
    rate, drift, phase = rng.uniform(4.8, 7.5), rng.uniform(0.1, 0.4), rng.uniform(0, 2 * np.pi, 3)
    angle = 2 * np.pi * rate * t + 2.0 * np.sin(2 * np.pi * drift * t + phase[0])
    height = rng.uniform(0.05, 0.08) * (1 + 0.3 * np.sin(2 * np.pi * 2.1 * drift * t + phase[1]))
    axis = np.array([-0.35, 0.55, -0.5])[:, None]
    lag = np.array([0.0, 0.9, 0.0])[:, None]  # a loop, not a line
    saw = sum(np.sin(k * (angle + lag)) / k for k in (1, 2, 3))
    return axis * height * saw
