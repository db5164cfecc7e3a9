"""What measured intervals say of findings: the number beside a class, and contradictions.

PR of 200 ms and more is first-degree AV block, QRS of 120 ms and more a complete bundle branch
block (Surawicz et al., Circulation 119:e235, 2009; CPSC2018 calls RBBB from about 90 ms on); RR in
atrial fibrillation is irregular. A measurement contradicts a finding only if it is further away
than its usual error (docs/own.md).
"""

from typing import NamedTuple

from ecg.io.diagnoses import NORMAL
from ecg.processing.quality import Caution


class Support(NamedTuple):
    """The measurement that a class rests on."""

    field: str  # of Intervals
    least: float  # below it, the class is contradicted
    text: str  # of the number


SUPPORT = {
    "IAVB": Support("pr", 180, "PR {:.0f} ms"),
    "LBBB": Support("qrs", 105, "QRS {:.0f} ms"),
    "RBBB": Support("qrs", 80, "QRS {:.0f} ms"),
    "AF": Support("rr_spread", 0.05, "RR varies by {:.0%}"),
}

ADULT = 18  # years
NORMAL_RATES = (60, 100)  # beats per minute of a normal sinus rhythm of an adult
# Below so many years: the 1st and 99th centiles of the heart rate of healthy children (Fleming et
# al., Lancet 377:1011, 2011), of the months of a year together
CHILD_RATES = {
    1: (93, 181),
    2: (82, 156),
    3: (76, 142),
    4: (70, 136),
    6: (65, 131),
    8: (59, 123),
    12: (52, 115),
    15: (47, 108),
    ADULT: (43, 104),
}


def measured(name, intervals):
    """Return the number that a class rests on as text, '' if it was not measured."""
    support = SUPPORT.get(name)
    value = getattr(intervals, support.field) if support else None
    return "" if value is None else support.text.format(value)


def contradictions(findings, intervals):
    """Return critical Cautions on findings that their measurement contradicts."""
    cautions = []
    for name in findings:
        support, number = SUPPORT.get(name), measured(name, intervals)
        if number and getattr(intervals, support.field) < support.least:
            cautions.append(Caution(f"{number} contradicts {name}", critical=True))
    return cautions


def usual_rates(age):
    """Return the lowest and highest usual heart rate at an age in years, and of whom it is."""
    if age is None or age >= ADULT:
        return *NORMAL_RATES, "adults"
    low, high = next(rates for below, rates in CHILD_RATES.items() if age < below)
    return low, high, f"at {age:.0f} years"


def rate_cautions(findings, rate, age):
    """Return a Caution, in a list, if sinus rhythm is found at another rate than the usual."""
    low, high, whose = usual_rates(age)
    if NORMAL not in findings or not rate or low <= rate <= high:
        return []
    text = f"rate {rate:.0f}/min is outside {low}-{high} ({whose})"
    return [Caution(f"{text}; {NORMAL} does not imply a normal rate")]
