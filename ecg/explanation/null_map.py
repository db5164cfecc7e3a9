"""What a map that knows neither model nor class scores: |x| with random signs, and chance.

A measure that this null map reaches tells of the size of the signal, not of the model.
"""

import numpy as np

from ecg.explanation.check_measures import (
    LEADS_ABOVE,
    PLACES,
    POINTING_GAME,
    POINTING_TIME,
    Measure,
    check_evidence,
    place_name,
    window_mask,
)

DRAWS = 20  # of signs, whose mean is the null map's score
COMPARED = (*map(place_name, PLACES), POINTING_GAME, POINTING_TIME, LEADS_ABOVE)
CHANCE = {POINTING_GAME: "pointing game, chance", POINTING_TIME: "pointing game in time, chance"}


def null_name(measure):
    """Name what the null map scores in a measure."""
    return f"{measure}, null"


def gain_name(measure):
    """Name how far a map's score lies above that of the null map."""
    return f"{measure}, less null"


def null_maps(x, rng):
    """Yield DRAWS maps (L, t) of a signal (L, t): its distance from the median, signs at random."""
    size = np.abs(x - np.median(x, axis=1, keepdims=True))
    for _ in range(DRAWS):
        yield size * rng.choice([-1, 1], size.shape)


def check_against_null(phi, x, mask, rng):
    """Yield the Measures of `check_evidence`, those of the null map of x, and the differences.

    phi, x and mask are (L, t); differences of one record are paired, so that an interval over
    records tells whether a map is above the null.
    """
    own = list(check_evidence(phi, mask))
    yield from own
    draws = [{m.name: m.value for m in check_evidence(null, mask)} for null in null_maps(x, rng)]
    windows = window_mask(mask)
    for name, part in ((POINTING_GAME, windows), (POINTING_TIME, windows.any(0))):
        yield Measure(CHANCE[name], part.mean())
    for measure in own:
        if measure.name in COMPARED:
            null = np.mean([draw[measure.name] for draw in draws])
            yield Measure(null_name(measure.name), null)
            yield Measure(gain_name(measure.name), measure.value - null)
