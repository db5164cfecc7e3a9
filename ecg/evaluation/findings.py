"""Answers for one's own records: reading them in batches, findings, text and JSON.

An answer is a dictionary, as in the JSON: record (its name), path, sample_rate (Hz), seconds,
warnings, probabilities and findings by class name, page (the PDF, or null).
"""

import json
import sys

import numpy as np

from dataset import LEADS, to_mv
from ecg.evaluation.metrics import apply_thresholds
from ecg.io.formats import TABLES, read_record
from ecg.io.record import HIGH_MV
from ecg.io.records import find_records, pack_signal, reason
from ecg.processing.quality import record_warnings
from utils import RESEARCH_USE, replacing


def find_all(paths):
    """Return the sources behind the paths, each once, and (path, reason) of a path without any."""
    sources, bad = [], []
    for path in paths:
        try:
            sources += find_records(path)
        except (ValueError, OSError) as error:
            bad.append((str(path), reason(error)))
    return list(dict.fromkeys(sources)), bad


def read_own(path, sample_rate, window, shortest):
    """Read a record: the beginning of its answer, and its packed signal (12, n).

    `sample_rate` in Hz is that of a table, `window` the seconds that are scored (None: all),
    `shortest` those of the shortest record the model was trained on. Raises ValueError if there is
    nothing to score.
    """
    record, signal, notes = read_record(path, (), sample_rate)
    packed, _ = pack_signal(signal, record.sample_rate)
    missing = np.isnan(signal).sum()
    if missing:
        notes.append(f"{missing} samples are missing and count as 0 mV")
    tops = np.fmax.reduce(np.abs(signal), axis=1)  # NaN, without a warning, if all of a lead is
    high = [lead for lead, top in zip(LEADS, tops, strict=True) if top > HIGH_MV]
    if high:
        notes.append(
            f"beyond {HIGH_MV} mV in {' '.join(high)}: an artefact, which may decide the findings"
        )
    notes += record_warnings(to_mv(packed), record.sample_rate, window, shortest)
    if sample_rate and path.suffix.lower() not in TABLES:
        notes.append(f"--sample-rate does not apply: the record says {record.sample_rate:g} Hz")
    row = {"record": path.stem, "path": str(path), "sample_rate": record.sample_rate}
    return row | {"seconds": signal.shape[1] / record.sample_rate, "warnings": notes}, packed


def read_batches(sources, batch_size, sample_rate, window, shortest, bad):
    """Yield the records in batches (answers, {name: packed}); (path, reason) goes to `bad`.

    A name that was there before gets a number: names are those of the pages.
    """
    taken = set()
    for start in range(0, len(sources), batch_size):
        rows, signals = [], {}
        for path in sources[start : start + batch_size]:
            try:
                row, packed = read_own(path, sample_rate, window, shortest)
            except Exception as error:  # a damaged file makes the libraries raise almost anything
                bad.append((str(path), reason(error)))
                continue
            number = 1
            while row["record"] in taken:
                number += 1
                row["record"] = f"{path.stem}-{number}"
            taken.add(row["record"])
            rows.append(row)
            signals[row["record"]] = packed
        yield rows, signals


def add_findings(row, y_score, thresholds, classes):
    """Add the probabilities (K,), and the classes that reach their thresholds, to an answer."""
    found = zip(classes, apply_thresholds(y_score, thresholds), strict=True)
    row["probabilities"] = {name: float(p) for name, p in zip(classes, y_score, strict=True)}
    row["findings"] = [name for name, yes in found if yes]


def answer_text(row, thresholds):
    """Return an answer as text: a table of the classes, then the warnings."""
    lines = [f"\n{row['record']}: {row['seconds']:.1f} s at {row['sample_rate']:g} Hz"]
    lines += [f"{'class':6}{'probability':>12}{'threshold':>11}  finding"]
    for (name, p), threshold in zip(row["probabilities"].items(), thresholds, strict=True):
        found = "yes" if name in row["findings"] else "no"
        lines.append(f"{name:6}{p:12.3f}{threshold:11.3f}  {found}")
    return "\n".join([*lines, *(f"warning: {text}" for text in row["warnings"]), RESEARCH_USE])


def write_json(target, model, model_text, thresholds, classes, rows, bad):
    """Write all answers, and the records that gave none, to a file, or ('-') to stdout."""
    content = {
        "use": RESEARCH_USE,
        "model": model,
        "about": model_text,
        "thresholds": dict(zip(classes, map(float, thresholds), strict=True)),
        "rule": "a finding is probability >= threshold",
        "records": rows,
        "skipped": [{"path": path, "reason": why} for path, why in bad],
    }
    text = json.dumps(content, indent=2) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    with replacing(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
