"""The evidence: where the criterion of a class is visible, in time and in which leads.

A beat that is cut by an end of the record gives no evidence.
"""

from typing import NamedTuple

import numpy as np

from dataset import SAMPLE_RATE
from ecg.simulation.leads import MARGIN


class Evidence(NamedTuple):
    """One place where the criterion of a class is visible, a row of evidence.csv."""

    name: str  # of the class
    start: int  # first sample
    stop: int  # the sample after the last one
    leads: str  # such as V1;V2, or "all"


# the kinds of beats that show a class; sinus beats show the others
SHOWN_BY = {
    "AF": ("sinus", "PAC", "PVC"),
    "LBBB": ("sinus", "PAC"),
    "RBBB": ("sinus", "PAC"),
    "PAC": ("PAC", "blocked PAC"),
    "PVC": ("PVC",),
}


def evidence_rows(name, beats, n, leads):
    """Return the list of Evidence of one class in a record of n samples."""
    rows, t_before = [], -MARGIN  # t_before: the end of the last T wave, s
    columns = beats.kind, beats.p, beats.onset, beats.j, beats.t_end
    for i, (kind, p, onset, j, t_end) in enumerate(zip(*columns, strict=True)):
        span = {
            "SNR": (p, t_end),
            "AF": (t_before, onset if kind == "PVC" else j),  # the QRS of a PVC is no sign of AF
            "IAVB": (p, onset),
            "PAC": (p, p + 0.1 if kind == "blocked PAC" else j),
            "PVC": (onset, t_end),
            "STD": (j, j + 0.12),
            "STE": (j, j + 0.12),
        }.get(name, (onset, j))
        t_before = t_before if kind == "blocked PAC" else t_end
        if name == "AF" and not (beats.af[i] and beats.af[i - 1]):
            continue  # the beat before AF begins within the record
        if kind in SHOWN_BY.get(name, ("sinus",)) and not np.isnan(span[0]):
            start, stop = (round(SAMPLE_RATE * second) for second in span)
            if 0 <= start < stop <= n:
                rows.append(Evidence(name, start, stop, leads))
    return rows
