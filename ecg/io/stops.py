"""What stops the packing of a data folder: no records, no labels, or signals that are no ECGs.

All three raise InputError.
"""

import re

import numpy as np

from dataset import CLASSES
from ecg.io.formats import TABLES
from ecg.io.labels import make_labels, reference_frame
from ecg.io.sources import walk
from ecg.processing.quality import MAX_SPAN_MV, MIN_SPAN_MV
from utils import InputError

TYPICAL_SPAN_MV = 2  # of the tallest lead


def stop_if_empty(catalogue, data_dir):
    """Stop if a folder holds no record, or no labels for what it holds."""
    if not catalogue.sources:
        endings = sorted({path.suffix.lower() for path in walk(data_dir)} & {*TABLES})
        if endings:
            raise InputError(
                f"{data_dir} holds only tables ({', '.join(endings)}); if they are records, name "
                "the table of their labels: --labels TABLE"
            )
        found = ", ".join(sorted({path.suffix.lower() or "no ending" for path in walk(data_dir)}))
        raise InputError(
            f"{data_dir} holds no record that can be read (files there: {found or 'none'}); name "
            "the folder of the records with --data-dir"
        )
    if not catalogue.tables and all(
        source.path.suffix.lower() == ".mat" for source in catalogue.sources
    ):
        raise InputError(
            f"{data_dir} holds .mat files without .hea headers and no REFERENCE.csv; copy the "
            "challenge's REFERENCE.csv into it"
        )


def stop_without_labels(catalogue, rows):
    """Stop if no record is readable and has a label; `rows` are joined with the catalogue."""
    packed = [row for row in rows if not row.skipped]
    if not make_labels(reference_frame(packed), catalogue).empty:
        return
    first, last = rows[0], "name a table of labels: --labels TABLE"
    if not packed:
        why, last = first.note, "give records that can be read"
        if all(re.fullmatch("skipped: leads? .* missing", row.note) for row in rows):
            last = "name the leads that every record holds with --leads"
    elif catalogue.layout and not any(row.dx for row in packed):
        why = f"{catalogue.layout} comes without classes"
    elif catalogue.labels and packed[0].patient_id not in catalogue.facts:
        first, why = packed[0], f"not listed in {catalogue.labels.name}"
        last = f"name each record in {catalogue.labels} like its file"
    else:
        first = packed[0]
        why = f"its diagnoses are {first.dx}" if first.dx else "it has no diagnoses"
    lacks = "has one of the nine labels" if catalogue.classes == CLASSES else "has a label"
    raise InputError(
        f"none of the {len(rows)} records is readable and {lacks} "
        f"(the first, {first.patient_id}: {why}); {last}; nothing was written"
    )


def stop_if_odd(rows):
    """Stop if most of the records (Rows) that can be read cannot be ECGs as they are read."""
    rows = [row for row in rows if row.span is not None]
    blank = [row for row in rows if row.span == 0]
    low = [row.span for row in rows if 0 < row.span < MIN_SPAN_MV]
    high = [row.span for row in rows if row.span > MAX_SPAN_MV]
    standardised = [row for row in rows if row.standardised]
    go_on = "or go on with --force-signals; nothing was written"
    if len(blank) > len(rows) / 2:
        raise InputError(
            f"{len(blank)} of {len(rows)} records are flat in all leads; copy them again, {go_on}"
        )
    for spans, size in ((low, "small"), (high, "large")):
        if len(spans) > len(rows) / 2:
            middle = float(np.median(spans))
            unit = 10.0 ** round(np.log10(middle / TYPICAL_SPAN_MV))
            raise InputError(
                f"{len(spans)} of {len(rows)} records are too {size} for ECGs in mV (the tallest "
                f"lead spans {middle:.3g} mV); if the unit is wrong, give --units-per-mv {unit:g}, "
                f"{go_on}"
            )
    if len(standardised) > len(rows) / 2:
        raise InputError(
            f"{len(standardised)} of {len(rows)} records are standardised, each lead by its own "
            f"deviation, so heights mean nothing; take the raw records, {go_on}"
        )
