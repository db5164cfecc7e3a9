"""Answers for one's own records: reading them in batches, findings, and their text.

An answer is a dictionary, as in the JSON (`ecg.evaluation.answers`): record (its name), path,
sample_rate (Hz), seconds, heart_rate (per minute, or null and why not), flat (leads without a
signal), warnings (large ones first), probabilities, not_assessable (why) and findings by class
name, leading (the finding furthest above its threshold), answer (that in a sentence), page (the
PDF, or null), explained (that of what raises and lowers the leading finding, or null).
"""

import itertools
import os
import sys

import numpy as np
from tqdm import tqdm

from dataset import LEADS, SAMPLE_RATE, signal_digest, to_mv
from ecg.evaluation.metrics import apply_thresholds
from ecg.io.formats import TABLES, read_record
from ecg.io.packing import pack_signal
from ecg.io.record import IMPLAUSIBLE_MV, describe_error
from ecg.io.sources import find_records
from ecg.processing import quality
from ecg.processing.detection import find_peaks
from ecg.processing.quality import Caution
from utils import RESEARCH_USE, fail

FULL_NAMES = {
    "SNR": "normal sinus rhythm",
    "AF": "atrial fibrillation",
    "IAVB": "first-degree atrioventricular block",
    "LBBB": "left bundle branch block",
    "RBBB": "right bundle branch block",
    "PAC": "premature atrial contraction",
    "PVC": "premature ventricular contraction",
    "STD": "ST-segment depression",
    "STE": "ST-segment elevation",
}
DIGITS = 4  # of a probability
KNOWN = "the model was trained or chosen on this record"
NORMAL_RATES = (60, 100)  # beats per minute of a normal sinus rhythm
COUNTED = 60  # s, the last ones, in which beats are counted
LONG = 60  # s; in longer records findings of single windows gather
RATES = (20, 300)  # beats per minute that a heart may have


def full_name(name):
    """Return a class's name in words, with the short one."""
    return f"{FULL_NAMES[name]} ({name})" if name in FULL_NAMES else name


def find_own(paths):
    """Return the sources behind the paths, each once, and (path, reason) of a path without any.

    Stops if there is none at all.
    """
    sources, bad = [], []
    for path in paths:
        try:
            sources += find_records(path)
        except (ValueError, OSError) as error:
            bad.append((str(path), describe_error(error)))
    if len(sources) + len(bad) > 1:
        tell_skipped(bad)
    if not sources:
        fail_unread(bad)
    return list(dict.fromkeys(sources)), bad


def tell_skipped(bad):
    """Name the records that cannot be read on stderr, from pairs (path, reason)."""
    for path, why in bad:
        tqdm.write(f"skipped: {path}: {why}", file=sys.stderr)


def fail_unread(bad):
    """Stop, as none of the records can be read."""
    fail("none of the records can be read" if len(bad) > 1 else ": ".join(bad[0]))


def heart_rate(packed):
    """Return the mean heart rate (per minute) of (12, n) int16 microvolts, or None; and why not.

    It is 60 s over the mean interval between R peaks, of the last minute.
    """
    packed = packed[:, -COUNTED * SAMPLE_RATE :]
    peaks = find_peaks(packed)
    if not quality.has_beats(to_mv(packed), peaks):
        return None, "no QRS complex repeats"
    if len(peaks) < 3:
        return None, "fewer than three beats are found"
    rate = 60 * SAMPLE_RATE * (len(peaks) - 1) / (peaks[-1] - peaks[0])
    low, high = RATES
    return (round(rate, 1), None) if low <= rate <= high else (None, f"{rate:.0f} is no heart's")


def read_own(path, table, window, shortest):
    """Read a record: the beginning of its answer, and its packed signal (12, n).

    `table` holds what a table cannot say (arguments of `read_record`: sample_rate in Hz,
    leads_order, units_per_mv), `window` the seconds that are scored (None: all), `shortest` those
    of the shortest record the model was trained on. Raises ValueError if there is nothing to score.
    """
    record, signal, notes = read_record(path, (), **table)
    packed, _ = pack_signal(signal, record.sample_rate)
    cautions = [Caution(note) for note in notes]
    missing = np.isnan(signal).sum()
    if missing:
        cautions.append(Caution(f"{missing} samples are missing and count as 0 mV"))
    tops = np.fmax.reduce(np.abs(signal), axis=1)  # NaN, without a warning, if all of a lead is
    high = [lead for lead, top in zip(LEADS, tops, strict=True) if top > IMPLAUSIBLE_MV]
    if high:
        text = f"beyond {IMPLAUSIBLE_MV} mV in {' '.join(high)}"
        text += ": probably an artefact; the findings may be wrong"
        cautions.append(Caution(text, critical=True))
    cautions += quality.record_warnings(to_mv(packed), record.sample_rate, window, shortest)
    if path.suffix.lower() not in TABLES:
        given = ", ".join(f"--{name.replace('_', '-')}" for name, value in table.items() if value)
        if given:
            cautions.append(Caution(f"{given}: for tables alone; this file says its own"))
    scored = quality.scored_part(packed, window)
    rate, why = heart_rate(scored)
    row = {"record": path.stem, "path": str(path), "sample_rate": record.sample_rate}
    row |= {"seconds": round(signal.shape[1] / record.sample_rate, 3), "heart_rate": rate}
    row |= {"heart_rate_unknown": why, "flat": quality.flat_leads(to_mv(scored))}
    return row | {"warnings": cautions}, packed


def read_batches(sources, batch_size, table, window, shortest, bad):
    """Yield the records in batches (answers, {name: packed}); (path, reason) goes to `bad`.

    A name that was there before gets a number: names are those of the pages.
    """
    taken = set()
    for start in range(0, len(sources), batch_size):
        rows, signals = [], {}
        for path in sources[start : start + batch_size]:
            try:
                row, packed = read_own(path, table, window, shortest)
            except Exception as error:  # a damaged file makes the libraries raise almost anything
                bad.append((str(path), describe_error(error)))
                continue
            number = 1
            while row["record"] in taken:
                number += 1
                row["record"] = f"{path.stem}-{number}"
            taken.add(row["record"])
            rows.append(row)
            signals[row["record"]] = packed
        yield rows, signals


def add_findings(row, packed, y_score, checkpoint):
    """Add probabilities (K,), and what they mean at a model's thresholds, to an answer.

    A class that rests on leads without a signal gets neither a probability nor a finding. A record
    (12, n) whose signals the model has seen gets a warning.
    """
    if signal_digest(packed) in checkpoint["training_records"].values():
        text = f"{KNOWN}: the answer does not show what it makes of new ones"
        row["warnings"].append(Caution(text, critical=True))
    classes = checkpoint["classes"]
    thresholds = np.array([checkpoint["thresholds"][name] for name in classes])
    blocked = quality.not_assessable(row["flat"], checkpoint["leads"])
    found = zip(classes, apply_thresholds(y_score, thresholds), strict=True)
    margins = dict(zip(classes, y_score - thresholds, strict=True))
    row["findings"] = [name for name, yes in found if yes and name not in blocked]
    row["probabilities"] = {
        name: None if name in blocked else round(float(p), DIGITS)
        for name, p in zip(classes, y_score, strict=True)
    }
    row["not_assessable"] = {name: why for name, why in blocked.items() if name in margins}
    order = sorted(row["findings"], key=margins.get, reverse=True)
    row["leading"] = order[0] if order else None
    row["answer"] = answer_sentence(row, order[1:])
    if "SNR" in row["findings"] and len(row["findings"]) > 1:
        text = "SNR tells of sinus rhythm without the other findings, so that what is found "
        row["warnings"].append(Caution(f"{text}contradicts itself"))
    if checkpoint.get("window") and row["seconds"] > LONG:
        seconds = checkpoint["window"] / SAMPLE_RATE
        text = f"{row['seconds']:.0f} s are read in windows of {seconds:g} s, and what one of them "
        text += "shows is found: wrong findings gather in long records"
        row["warnings"].append(Caution(text))
    rate, (low, high) = row["heart_rate"], NORMAL_RATES
    if "SNR" in row["findings"] and rate and not low <= rate <= high:
        text = f"{rate:.0f} beats per minute are outside {low}-{high}: SNR tells of sinus rhythm "
        row["warnings"].append(Caution(f"{text}without the other findings, not of a normal rate"))
    row["warnings"].sort(key=lambda caution: not caution.critical)  # stable


def answer_sentence(row, others):
    """Say in one sentence which finding leads, and which `others` there are, or that none is."""
    name, left = row["leading"], len(row["not_assessable"])
    if name:
        text = f"Leading finding: {full_name(name)}, probability {row['probabilities'][name]:.3f}"
        text += f"; also {', '.join(map(full_name, others))}" if others else ""
    else:
        text = "No finding reaches its threshold"
    return f"{text}; {left} not assessable." if left else f"{text}."


def rate_text(row):
    """Say how fast the heart beats, or why that cannot be measured."""
    if row["heart_rate"] is None:
        return f"Heart rate: cannot be measured ({row['heart_rate_unknown']})"
    part = f" in the last {COUNTED} s" if row["seconds"] > COUNTED else ""
    return f"Heart rate: {row['heart_rate']:.0f} beats per minute{part}"


def mark(caution):
    """Return the word in front of a warning; it is in capitals if the findings may be artefacts."""
    return "!!! WARNING" if caution.critical else "warning"


def warning_lines(row):
    """Return an answer's warnings, a line each."""
    return [f"{mark(caution)}: {caution.text}" for caution in row["warnings"]]


def warning_notes(row):
    """Return an answer's warnings in at most two notes, of which the first has the large ones."""
    groups = itertools.groupby(row["warnings"], mark)
    return [f"{word}: {' | '.join(each.text for each in group)}" for word, group in groups]


def table_lines(row, limits):
    """Return the table of an answer's classes, furthest above its threshold first.

    `limits` are class -> threshold.
    """
    lines = [f"{'':42}{'probability':>12}{'threshold':>11}{'margin':>9}  finding"]
    margins = {name: p - limits[name] for name, p in row["probabilities"].items() if p is not None}
    for name in sorted(margins, key=margins.get, reverse=True):
        found = "yes" if name in row["findings"] else "no"
        numbers = f"{row['probabilities'][name]:12.3f}{limits[name]:11.3f}{margins[name]:+9.3f}"
        lines.append(f"{full_name(name):42}{numbers}  {found}")
    for name, why in row["not_assessable"].items():
        blank = f"{'-':>12}{limits[name]:11.3f}{'-':>9}"
        lines.append(f"{full_name(name):42}{blank}  not assessable ({why})")
    return lines


def threshold_lines(row, rule):
    """Return a line that explains, if need be, how a low probability can be a finding."""
    low = [name for name in row["findings"] if row["probabilities"][name] < 0.5]
    if not low:
        return []
    text = f"{', '.join(low)}: found although less likely than not, as a threshold is not one half "
    return [f"{text}but chosen ({rule}); it is low where a class is rare or hard to see"]


def answer_text(row, checkpoint):
    """Return an answer as text: warnings, the answer in a sentence, heart rate, all classes."""
    head = f"\n{row['record']}: {row['seconds']:.1f} s at {row['sample_rate']:g} Hz"
    table = table_lines(row, checkpoint["thresholds"])
    table += threshold_lines(row, checkpoint["threshold_rule"])
    return "\n".join([head, *warning_lines(row), row["answer"], rate_text(row), *table,
                      RESEARCH_USE])  # fmt: skip


def show(text):
    """Print an answer at once, before its page, which takes longer; stop if nobody reads on."""
    try:
        tqdm.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's last flush
        fail("stdout was closed before the last answer; for all of them give --csv or --json FILE")


def line(row):
    """Return an answer in a line, for the screen where there are many."""
    large = [caution.text for caution in row["warnings"] if caution.critical]
    marks = f" !!! {'; '.join(large)}" if large else ""
    return f"{row['record']}: {row['answer']} {rate_text(row)}.{marks}"


def page_title(row):
    """Return the title of an answer's page: the leading finding, the other ones, heart rate."""
    found = [full_name(row["leading"])] if row["leading"] else ["no finding reaches its threshold"]
    found += [name for name in row["findings"] if name != row["leading"]]
    rate = "" if row["heart_rate"] is None else f"; {row['heart_rate']:.0f} beats per minute"
    left = f"; {len(row['not_assessable'])} not assessable" if row["not_assessable"] else ""
    return f"{row['record']}: {', '.join(found)}{rate}{left}"
