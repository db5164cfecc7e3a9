"""The evidence: where the criterion of a class is visible, in time and in which leads.

Rows hold samples, start included, stop left out; a beat cut by an end of the record is left out.
"""

import numpy as np

from dataset import SAMPLE_RATE
from ecg.simulation.leads import MARGIN

# the kinds of beats that show a class; for the others: sinus beats
SHOWN_BY = {
    "AF": ("sinus", "PAC", "PVC"),
    "LBBB": ("sinus", "PAC"),
    "RBBB": ("sinus", "PAC"),
    "PAC": ("PAC", "blocked PAC"),
    "PVC": ("PVC",),
}


def evidence_rows(name, beats, n, leads):
    """Return rows (class, start, stop, leads) of one class, for n samples."""
    rows, before = [], -MARGIN  # before: the end of the last T
    for i, kind in enumerate(beats["kind"]):
        p, onset, j, t_end = (beats[key][i] for key in ("p", "onset", "j", "t_end"))
        span = {
            "SNR": (p, t_end),
            "AF": (before, onset if kind == "PVC" else j),  # a PVC's QRS is no sign of AF
            "IAVB": (p, onset),
            "PAC": (p, p + 0.1 if kind == "blocked PAC" else j),
            "PVC": (onset, t_end),
            "STD": (j, j + 0.12),
            "STE": (j, j + 0.12),
        }.get(name, (onset, j))
        before = before if kind == "blocked PAC" else t_end
        if name == "AF" and not (beats["af"][i] and beats["af"][i - 1]):
            continue  # where AF sets in within the record
        if kind in SHOWN_BY.get(name, ("sinus",)) and not np.isnan(span).any():
            start, stop = (round(SAMPLE_RATE * second) for second in span)
            if 0 <= start < stop <= n:
                rows.append((name, start, stop, leads))
    return rows
