"""ST as the benchmark measures it, against what the simulator drew."""

import numpy as np

from benchmarks.st_levels import measure
from dataset import LEADS
from ecg.simulation import leads
from ecg.simulation.heart import draw_heart, render
from ecg.simulation.leads import twelve_leads


def test_height_and_depression_are_those_of_the_drawn_st(monkeypatch):
    monkeypatch.setattr(leads, "noise_spectrum", lambda rng, f, n: np.zeros((9, len(f))))
    monkeypatch.setattr(leads, "rare_disturbances", lambda rng, t: np.zeros((9, len(t))))
    monkeypatch.setattr(leads, "recorder_response", lambda rng, f: np.ones(len(f)))
    neighbours = "aVL-I II-aVF aVF-III V1-V2 V2-V3 V3-V4 V4-V5 V5-V6 I-V6".split()
    pairs = [[LEADS.index(lead) for lead in pair.split("-")] for pair in neighbours]
    off = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        heart = draw_heart(rng, ["STD"] if seed % 2 else ["SNR"], 10)
        usual, drawn = heart.forms[0], measure(render(rng, heart))
        at_60 = twelve_leads(heart.patient.leads @ usual.st)
        depth = -np.maximum(at_60, (1 - 0.4 * usual.slope) * at_60)
        expected = max(at_60[7], at_60[8]), max(depth[pair].min() for pair in pairs)
        off.append(np.subtract(drawn, expected))
    assert (np.median(np.abs(off), axis=0) < 0.02).all()
