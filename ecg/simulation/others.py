"""Rhythms that are none of the nine classes: what a network must not give one of their names.

Rates and intervals follow the textbooks (Surawicz and Knilans, Chou's Electrocardiography): flutter
at 240 to 330 a minute, mostly conducted 2:1 or 4:1; supraventricular tachycardia at 143 to 220;
ventricular tachycardia at 120 to 200; escape rhythms of complete block at 27 to 50.
"""

from typing import NamedTuple

import numpy as np

from ecg.simulation.forms import conducted_form, pre_excited_form, ventricular_form
from ecg.simulation.patient import at_rate
from ecg.simulation.rhythm import finish_beats, make_beats

# the rhythms and their RR, s
RR = {
    "paced": (0.55, 1.1),
    "flutter": (0.36, 1.0),
    "SVT": (0.27, 0.42),
    "VT": (0.30, 0.50),
    "pre-excitation": (0.55, 1.2),
    "complete block": (1.2, 2.2),
    "junctional": (0.65, 1.6),
    "sinus tachycardia": (0.36, 0.57),
    "sinus bradycardia": (1.22, 1.9),
}


class Extra(NamedTuple):
    """What a record has besides its beats."""

    p: np.ndarray = np.empty(0)  # onsets of P waves without a QRS, s
    spikes: np.ndarray = np.empty(0)  # times of a pacemaker's spikes, s
    flutter: float = 0  # cycle of flutter waves, s; 0: none


def steady(rng, rr, seconds):
    """Return times (M,) from before a record to after it, hardly irregular."""
    steps = rr * (1 + rng.normal(0, rng.uniform(0.001, 0.02), int(seconds / rr) + 20))
    times = -1.5 - rng.random() + np.cumsum(steps)
    return times[times < seconds + 1.5]


def other_patient(rng, patient, rhythm):
    """Return the patient with the rate and PR of a rhythm."""
    patient = at_rate(patient, rng.uniform(*RR[rhythm]))
    return patient._replace(pr=rng.uniform(0.07, 0.11)) if rhythm == "pre-excitation" else patient


def other_beats(rng, patient, rhythm, seconds):
    """Return the Beats of a rhythm and its Extra."""
    if rhythm.startswith("sinus") or rhythm == "pre-excitation":
        return make_beats(rng, patient, [], seconds), Extra()
    extra, times = Extra(), steady(rng, patient.rr, seconds)
    kind, pr = "junctional", np.nan  # no P
    if rhythm == "flutter":
        times, extra = conducted_flutter(rng, patient, seconds)
    elif rhythm in ("VT", "complete block"):
        kind = "PVC" if rhythm == "VT" or rng.random() < 0.5 else kind
        extra = Extra(p=steady(rng, rng.uniform(0.5, 1.0), seconds))
        extra = extra if rhythm != "VT" or rng.random() < 0.5 else Extra()
    elif rhythm == "paced":
        kind, extra = "PVC", Extra(spikes=times - 0.004)
        if rng.random() < 0.6:  # the pacemaker follows the P of the sinus node, or paces the atria
            extra = extra._replace(p=times - rng.uniform(0.13, 0.20))
        if len(extra.p) and rng.random() < 0.4:
            extra = extra._replace(spikes=np.r_[extra.spikes, extra.p - 0.004])
    elif rng.random() < 0.4:  # P conducted backwards, before or after QRS
        pr = rng.choice([rng.uniform(0.03, 0.10), -rng.uniform(0.07, 0.15)])
    rows = [(time, kind, pr) for time in times]
    return finish_beats(rng, patient._replace(second_focus=0), rows, np.inf), extra


def conducted_flutter(rng, patient, seconds):
    """Return the times of QRS (M,) in flutter, every second to fourth wave, and the Extra."""
    cycle = rng.uniform(0.18, 0.25)
    every = min((2, 3, 4), key=lambda n: abs(n * cycle - patient.rr))
    steps = np.full(int(seconds / cycle), every)
    if rng.random() < 0.2:
        steps = rng.choice([2, 3, 4], len(steps))
    times = -1.5 - rng.random() + cycle * np.cumsum(steps)
    return times[times < seconds + 1.5], Extra(flutter=cycle)


def other_forms(rng, patient, rhythm, segment):
    """Return the forms of a rhythm's beats, as heart.py's draw_forms does."""
    block = rng.choice(["normal", "RBBB", "LBBB"], p=[0.85, 0.1, 0.05])
    usual = conducted_form(rng, patient, block, segment)
    if rhythm == "pre-excitation":
        usual = pre_excited_form(rng, patient, usual)
    foci = [ventricular_form(rng, patient) for _ in range(2)]
    if rhythm == "paced" and rng.random() < 0.5:  # from the right ventricle, like LBBB
        foci = [conducted_form(rng, patient, "LBBB", segment)] * 2
    return [usual, *foci, usual]
