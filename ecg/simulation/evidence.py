"""The evidence: where the criterion of a class is visible, in time and in which leads.

Rows hold samples, start included, stop left out; a beat cut by an end of the record is left out.
"""

import numpy as np

from dataset import LEADS, SAMPLE_RATE
from ecg.simulation.leads import twelve_leads


def shifted_leads(dipole, t, beats, patient, sign):
    """Return the leads in which, on average, J + 60 ms is at least 0.1 mV up (sign 1) or down."""
    rows = [np.searchsorted(t, beat["j"] + 0.06) for beat in beats]
    eight = patient["leads"] @ dipole[:, rows].mean(1)
    shift = twelve_leads(eight[0], eight[1], eight[2:])
    return [lead for lead, value in zip(LEADS, sign * shift, strict=True) if value >= 0.1]


def evidence_rows(name, patient_id, beats, n, leads):
    """Return rows (patient_id, class, start, stop, leads) of one class, for n samples."""
    rows = []
    for before, beat in zip([None, *beats], beats, strict=False):
        if name in ("PAC", "PVC") and beat["kind"] != name:
            continue
        if name in ("SNR", "IAVB", "LBBB", "RBBB", "STD", "STE") and beat["kind"] == "PVC":
            continue
        qrs_end = "onset" if beat["kind"] == "PVC" else "j"  # a PVC's QRS is no sign of AF
        span = {
            "SNR": (beat["p"], beat["t_end"]),
            "AF": (before["t_end"] if before else -1, beat[qrs_end]),
            "IAVB": (beat["p"], beat["onset"]),
            "PAC": (beat["p"], beat["j"]),
            "PVC": (beat["onset"], beat["t_end"]),
            "STD": (beat["j"], beat["j"] + 0.12),
            "STE": (beat["j"], beat["j"] + 0.12),
        }.get(name, (beat["onset"], beat["j"]))
        start, stop = (round(SAMPLE_RATE * second) for second in span)
        if start >= 0 and stop <= n and start < stop:
            rows.append((patient_id, name, start, stop, leads))
    return rows
