"""Records from their files to one form: find them, name their classes, pack their signals."""

import csv
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from dataset import CLASSES, LEADS, SAMPLE_RATE, UNITS_PER_MV
from ecg.io.formats import READERS, TABLES
from ecg.io.hospital import find_format
from ecg.io.record import HIGH_MV

# SNOMED CT codes, and the words of the first generation of headers, for each class.
CODES = {
    "426783006": "SNR",  # sinus rhythm
    "164889003": "AF",  # atrial fibrillation
    "270492004": "IAVB",  # first-degree atrioventricular block
    "164909002": "LBBB",  # left bundle branch block
    "733534002": "LBBB",  # complete left bundle branch block
    "59118001": "RBBB",  # right bundle branch block
    "713427006": "RBBB",  # complete right bundle branch block
    "284470004": "PAC",  # premature atrial contraction
    "63593006": "PAC",  # supraventricular premature beats
    "164884008": "PVC",  # ventricular ectopics
    "427172004": "PVC",  # premature ventricular contractions
    "17338001": "PVC",  # ventricular premature beats
    "429622005": "STD",  # ST depression
    "164931005": "STE",  # ST elevation
    "normal": "SNR",
    "i-avb": "IAVB",
    **{name.lower(): name for name in CLASSES},
}
# LUDB's headers give diagnoses as sentences; these openings carry one of the classes.
PHRASES = {
    "rhythm: atrial fibrillation": "AF",
    "i degree av block": "IAVB",
    "complete left bundle branch block": "LBBB",
    "complete right bundle branch block": "RBBB",
    "atrial extrasystole": "PAC",
    "ventricular extrasystole": "PVC",
    "stemi": "STE",
}
INT16_MAX_MV = 32.767
SOURCE_LINE = "#Source: synthetic.py, a model of the cardiac dipole; no patient"


def walk(folder):
    """Yield every file below a folder but hidden ones; a folder that links lead to is read once."""
    seen, folders, links = set(), [Path(folder)], []
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)  # a link only if nothing else leads on
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                (links if entry.is_symlink() else folders).append(folder / entry.name)
            elif entry.is_file():
                yield folder / entry.name


def find_sources(data_dir, suffixes=None):
    """Return the paths of all records below a folder, sorted by record name, then by path.

    `suffixes` are by default those of READERS that are no tables. Of files that differ in their
    suffix alone the first in READERS is the record: a .mat file without a .hea file is a struct.
    """
    suffixes = suffixes or [suffix for suffix in READERS if suffix not in TABLES]
    found = {}
    for path in walk(data_dir):
        if path.suffix.lower() in suffixes:
            found.setdefault(path.with_suffix(""), []).append(path)
    sources = [
        min(paths, key=lambda path: suffixes.index(path.suffix.lower())) for paths in found.values()
    ]
    root = Path(data_dir)
    return sorted(sources, key=lambda path: (path.stem, path.relative_to(root).as_posix()))


def is_synthetic(data_dir):
    """Tell whether ecg.synthetic made every record of a data folder, as their headers say.

    Where the records are gone and only packed signals are left, evidence.csv says so.
    """
    sources = find_sources(data_dir)
    if not sources:
        return Path(data_dir, "evidence.csv").is_file()
    return all(
        path.suffix.lower() == ".hea" and SOURCE_LINE in path.read_text(errors="replace")
        for path in sources
    )


def find_records(path):
    """Return the sources that a user names: [one], or all of a folder.

    A WFDB record is named by its .hea, .mat or .dat file or without extension, as is any other. In
    a folder, tables count only if it holds nothing else, as other formats come with tables of other
    content. Raises ValueError if nothing is found.
    """
    if not str(path):
        raise ValueError("the name of a record is empty; give a file or a folder, . for this one")
    path = Path(path)
    if path.is_dir():
        found = find_sources(path) or sorted(
            file for file in walk(path) if file.suffix.lower() in TABLES
        )
        if not found:
            raise ValueError("the folder holds no record")
        return found
    if not path.is_file():
        named = [path.with_name(path.name + suffix) for suffix in READERS if path.name]
        found = [file for file in named if file.is_file()]
        if not found:
            raise ValueError(f"there is no such record, with or without {', '.join(READERS)}")
        return found[:1]
    suffix = path.suffix.lower()
    if suffix in (".mat", ".dat"):  # the signal file of a header stands for its record
        headers = [path.with_suffix(end) for end in (".hea", ".HEA")]
        found = [file for file in headers if file.is_file()]
        if found or suffix == ".dat":
            if not found:
                raise ValueError("it has no .hea header beside it")
            return found[:1]
    if suffix not in READERS:
        find_format(path)  # raises ValueError with the reason if the content is no record either
    return [path]


def read_reference(data_dir):
    """Read every REFERENCE.csv below a folder: record name -> class names.

    Labels are 1-9 in the order of CLASSES; some copies write 10 where 1 is meant. Returns also the
    paths read. Raises ValueError, with file and line, for a table or a label that cannot be read,
    and for two rows that give a record different labels.
    """
    labels, places, paths = {}, {}, []
    for path in sorted(walk(data_dir)):
        if path.name.lower() != "reference.csv":
            continue
        with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
            lines = file.read().splitlines()
        separator = max(",;\t", key=lines[0].count) if lines else ","
        rows = list(csv.reader(lines, delimiter=separator))
        head = rows[0][0].strip().lower() if rows and rows[0] else ""
        if head == "patient_id":
            continue  # preprocess.py's own reference.csv, on a file system without case
        if head != "recording":
            raise ValueError(
                f"{path} is empty or its first row does not begin with Recording; the "
                "challenge's begins Recording,First_label"
            )
        paths.append(path)
        for line, row in enumerate(rows[1:], start=2):
            if not row or not row[0].strip():
                continue
            name, found = row[0].strip(), []
            for text in filter(None, (cell.strip() for cell in row[1:])):
                if not text.isdecimal() or not 1 <= int(text) <= 10:
                    raise ValueError(f"{path}, line {line}: label {text!r} is not a number 1-9")
                label = CLASSES[0 if text == "10" else int(text) - 1]
                found += [label] if label not in found else []
            if set(labels.setdefault(name, found)) != set(found):
                raise ValueError(
                    f"{path}, line {line}: {name} is {' '.join(found)}, but "
                    f"{' '.join(labels[name])} in {places[name]}"
                )
            places.setdefault(name, f"{path}, line {line}")
    return labels, paths


def classes_of(dx):
    """Return the set of the nine classes that diagnoses (codes, words or sentences) name.

    SNR counts only where none of the eight abnormal classes is present: outside CPSC2018 its code
    means 'sinus rhythm' and stands beside abnormal findings.
    """
    found = set()
    for text in dx:
        text = text.strip().rstrip(".").lower()
        found.add(CODES.get(text))
        found.update(name for opening, name in PHRASES.items() if text.startswith(opening))
    found.discard(None)
    return found - {"SNR"} or found


def resample(signal, sample_rate):
    """Bring (12, n) to 500 Hz with resample_poly's anti-aliasing filter."""
    ratio = Fraction(SAMPLE_RATE / sample_rate).limit_denominator(1000)
    if ratio == 1:
        return signal
    # padtype: the ends are extended by lines, so that an offset makes no step there
    return resample_poly(signal, ratio.numerator, ratio.denominator, axis=-1, padtype="line")


def pack_signal(signal, sample_rate):
    """Turn (12, n) mV into (12, m) int16 microvolts at 500 Hz; return it and what was noticed."""
    notes = []
    missing = np.isnan(signal)
    if missing.any():
        notes.append(f"{missing.sum()} missing samples set to 0 mV")
        signal = np.where(missing, 0, signal)
    constant = [lead for lead, row in zip(LEADS, signal, strict=True) if np.ptp(row) == 0]
    if constant:
        notes.append(f"constant: {' '.join(constant)}")
    if sample_rate != SAMPLE_RATE:
        notes.append(f"resampled from {sample_rate:g} Hz")
        signal = resample(signal, sample_rate)
    if np.abs(signal).max() > HIGH_MV:
        notes.append(f"over {HIGH_MV} mV")
        signal = np.clip(signal, -INT16_MAX_MV, INT16_MAX_MV)
    return np.rint(signal * UNITS_PER_MV).astype("<i2"), notes


def reason(error):
    """Tell in one line, of at most 200 characters, why a record cannot be read."""
    known = isinstance(error, ValueError | OSError)
    text = f"{error}" if known else f"cannot be read ({type(error).__name__}: {error})"
    return " ".join(text.split())[:200]
