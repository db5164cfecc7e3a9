"""LUDB's records, the cardiologists' marks in them, and how beats and maps compare with these.

Lobachevsky University database (Kalyakulina et al., IEEE Access 2020; physionet.org/content/ludb):
in each lead the onset, peak and end of P, QRS and T. The first and last beats are not marked.
"""

import numpy as np

from dataset import LEADS, SAMPLE_RATE, UNITS_PER_MV
from ecg.explanation.check_measures import Measure
from ecg.io.formats import read_record
from ecg.io.packing import pack_signal
from ecg.processing.beats import REGIONS, find_borders, region_of
from ecg.processing.detection import find_peaks
from utils import InputError

TOLERANCE = 0.075  # s, within which a detected R peak is the marked one
ENDS = ("QRS onset", "QRS end", "P onset", "T end")
WAVES = {"p": "p", "N": "qrs", "t": "t"}


def read_ludb(path, sd=None):
    """Read a record's .hea and .dat as packed signals are: (12, n) int16 microvolts at 500 Hz.

    With `sd`, every lead is brought to that standard deviation in mV.
    """
    record, signal, _ = read_record(path)
    if sd:
        signal = signal - signal.mean(1, keepdims=True)
        signal *= sd / np.maximum(signal.std(1, keepdims=True), 1e-6)
    return pack_signal(signal, record.sample_rate)[0]


def read_marks(path):
    """Read LUDB's annotations: lead -> wave ('p', 'qrs', 't') -> (B, 3) onset, peak, end.

    Samples; -1 where a border is not marked.
    """
    import wfdb  # takes a second to import

    marks = {}
    for lead in LEADS:
        try:
            annotation = wfdb.rdann(str(path), lead.lower())
        except (OSError, ValueError, IndexError) as error:
            text = f"{path}.{lead.lower()} cannot be read ({error})"
            raise InputError(
                f"{text}; LUDB has marks of every lead beside each record: copy the whole of it"
            ) from error
        places, symbols = annotation.sample.tolist(), annotation.symbol
        waves = {name: [] for name in WAVES.values()}
        for i, symbol in enumerate(symbols):
            if symbol in WAVES:
                first = places[i - 1] if i and symbols[i - 1] == "(" else -1
                after = i + 1 < len(symbols) and symbols[i + 1] == ")"
                waves[WAVES[symbol]].append((first, places[i], places[i + 1] if after else -1))
        marks[lead] = {name: np.array(w, int).reshape(-1, 3) for name, w in waves.items()}
    return marks


def joint_waves(marks, wave):
    """Return the waves that more than half of the leads mark: (B, 3), medians over the leads.

    Peaks closer than the R peaks' tolerance to the next belong together. -1: no lead marks it.
    """
    rows = np.concatenate([marks[lead][wave] for lead in LEADS])
    rows = rows[np.argsort(rows[:, 1], kind="stable")]
    cuts, medians = np.flatnonzero(np.diff(rows[:, 1]) > TOLERANCE * SAMPLE_RATE) + 1, []
    for group in np.split(rows, cuts):
        if 2 * len(group) > len(LEADS):
            for column in group.T:  # onsets, peaks, ends
                marked = column[column >= 0]
                medians.append(np.median(marked) if len(marked) else -1)
    return np.array(medians).reshape(-1, 3)


def check_beats(packed, marks):
    """Compare the detected R peaks and borders of a record (12, n) with the cardiologists' marks.

    Peaks beyond the outermost marks do not count, as the beats there are not marked.
    """
    reach, true = TOLERANCE * SAMPLE_RATE, joint_waves(marks, "qrs")
    every = find_peaks(packed)
    outer = np.concatenate([marks[lead]["qrs"][:, 1] for lead in LEADS])
    inside = (every >= outer.min() - reach) & (every <= outer.max() + reach)
    peaks, borders = every[inside], find_borders(packed / UNITS_PER_MV, every)[inside]
    distance = np.abs(true[:, 1:2] - peaks)
    hits = (distance <= reach).any(1)
    measures = [Measure("R peak sensitivity", hits.mean(), len(hits))]
    if len(peaks):
        measures.append(Measure("R peak ppv", (distance <= reach).any(0).mean(), len(peaks)))
    if not hits.any():
        return measures
    nearest = borders[distance.argmin(1)][hits]
    before = match(joint_waves(marks, "p"), true[hits, 0], -0.45, 0)
    after = match(joint_waves(marks, "t"), true[hits, 1], 0, 0.6)
    marked = true[hits, 0], true[hits, 2], before[:, 0], after[:, 2]
    for name, column, places in zip(ENDS, (1, 2, 0, 3), marked, strict=True):
        known = places >= 0
        error = (nearest[known, column] - places[known]) / SAMPLE_RATE * 1000
        if known.any():
            measures.append(Measure(f"{name} error, ms", error.mean(), len(error)))
            mean = np.abs(error).mean()
            measures.append(Measure(f"{name} absolute error, ms", mean, len(error)))
    return measures


def match(waves, places, low, high):
    """Return for each place the wave (3,) that peaks low to high s after it, -1 without one."""
    matches = np.full((len(places), 3), -1.0)
    for row, place in zip(matches, places, strict=True):
        offset = waves[:, 1] - place
        near = waves[(offset > low * SAMPLE_RATE) & (offset < high * SAMPLE_RATE)]
        if len(near):
            row[:] = near[-1] if low < 0 else near[0]
    return matches


def marked_regions(marks, n):
    """Return the number in REGIONS of each of n samples, by the marked borders; -1: not marked.

    Only from the first to the last marked wave, as the ends of a record are not marked.
    """
    qrs, p, t = (joint_waves(marks, wave) for wave in ("qrs", "p", "t"))
    regions = np.full(n, -1)
    edges = np.concatenate([qrs, p, t])
    if not len(edges) or (qrs[:, [0, 2]] < 0).any():
        return regions
    regions[int(edges[:, 0].min()) : int(edges[:, 2].max())] = REGIONS.index("elsewhere")
    borders = np.column_stack([qrs[:, 0], qrs[:, 0], qrs[:, 2], qrs[:, 2]])
    before, after = match(p, qrs[:, 0], -0.45, 0), match(t, qrs[:, 1], 0, 0.6)
    borders[before[:, 0] >= 0, 0] = before[before[:, 0] >= 0, 0]
    borders[after[:, 2] >= 0, 3] = after[after[:, 2] >= 0, 2]
    inside = region_of(borders.astype(int), n)
    return np.where(regions >= 0, inside, regions)


def share_name(region):
    """Name the share of |phi| in a region."""
    return f"share {region}"


def time_name(region):
    """Name the share of the time in a region."""
    return f"time {region}"


def check_marks(phi, regions):
    """Yield the shares of |phi| (L, t) and of the time in the marked regions (t,)."""
    known = regions >= 0
    size = np.abs(phi.astype(float)).sum(0) * known
    for number, region in enumerate(REGIONS):
        inside = regions == number
        yield Measure(share_name(region), size[inside].sum() / max(size.sum(), 1e-30))
        yield Measure(time_name(region), inside.sum() / max(known.sum(), 1))
