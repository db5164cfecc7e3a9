"""The evidence: where the criterion of a class is visible, in time and in which leads.

Rows hold samples, start included, stop left out; a beat cut by an end of the record is left out.
"""

import numpy as np

from dataset import LEADS, SAMPLE_RATE
from ecg.simulation.leads import MARGIN, twelve_leads

# neighbours in the frontal and in the horizontal plane
FRONTAL = (("aVL", "I"), ("II", "aVF"), ("aVF", "III"))
CHEST = (("V1", "V2"), ("V2", "V3"), ("V3", "V4"), ("V4", "V5"), ("V5", "V6"), ("I", "V6"))
NEIGHBOURS = np.array([[LEADS.index(lead) for lead in pair] for pair in FRONTAL + CHEST])


def st_limits(name, sex):
    """Return from how many mV at J + 60 ms a lead shows STD or STE: (12,).

    A tenth; elevation in V2 and V3 0.15 in women and 0.2 in men (Thygesen et al. 2018).
    """
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


def evidence_rows(name, beats, n, leads):
    """Return rows (class, start, stop, leads) of one class, for n samples."""
    rows, t_end_before = [], -MARGIN
    for i, kind in enumerate(beats["kind"]):
        p, onset, j, t_end = (beats[key][i] for key in ("p", "onset", "j", "t_end"))
        before, t_end_before = t_end_before, t_end if kind != "blocked PAC" else t_end_before
        if (name in ("PAC", "PVC") and kind not in (name, f"blocked {name}")) or (
            name not in ("AF", "PAC", "PVC")
            and kind != "sinus"
            and not (name[1:] == "BBB" and kind == "PAC")
        ):
            continue
        span = {
            "SNR": (p, t_end),
            "AF": (before, onset if kind == "PVC" else j),  # a PVC's QRS is no sign of AF
            "IAVB": (p, onset),
            "PAC": (p, p + 0.1 if kind == "blocked PAC" else j),
            "PVC": (onset, t_end),
            "STD": (j, j + 0.12),
            "STE": (j, j + 0.12),
        }.get(name, (onset, j))
        start, stop = (round(SAMPLE_RATE * second) for second in span)
        if start >= 0 and stop <= n and start < stop:
            rows.append((name, start, stop, leads))
    return rows
