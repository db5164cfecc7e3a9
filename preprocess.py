"""Turn a folder of 12-lead records into labels, ten folds and packed signals.

Reads   data/CPSC: WFDB records (.hea with .mat or .dat, in any sub-folders), the challenge's
        structs (TrainingSet*/*.mat) with REFERENCE.csv, files of hospitals, or a data set that is
        recognised by its own table (docs/data.md): PTB-XL, CODE-15 %, SPH, Chapman, MIMIC-IV-ECG.
        --labels: a table of record and classes, for any of these and for .csv and .npy.
Writes  into the same folder
        reference.csv      all records: patient_id, sample_rate, signal_len, age, sex, dx, note
        labels.csv         the labelled records: patient_id, the classes (empty: unknown), fold
        dataset_table.csv  records, sex, age and length per class
        tables.json        digests of these three: a file that is not ours is never replaced
        signals.json, signals-<hash>.i16   all signals at 500 Hz, int16 microvolts

A record is skipped, with the reason in `note`, if it lacks one of the twelve leads (III, aVR, aVL
and aVF are calculated), is flat in all, shorter than 1 s or longer than an hour, cannot be read, or
has the name of an earlier one. It is kept, with a note, if samples are missing (set to 0 mV), a
lead is constant, the amplitude exceeds 20 mV (cut at 32.767 mV), its checksum differs, a gain is
negative, the limb leads do not add up, it was resampled or has the same signal as another. Records
with the same signal or of one patient (by the header, the labels or --groups) share a fold.

    python preprocess.py --data-dir data/CPSC
    python preprocess.py --data-dir data/mine --labels labels.xlsx
"""

import os
import re
from collections import Counter
from pathlib import Path

from dataset import CLASSES, LEADS, N_FOLDS, add_data_args, classes_of, parse_leads
from ecg.io.catalogue import RecordNames, add_labels, join_facts, list_folder
from ecg.io.diagnoses import without_class
from ecg.io.folds import (
    assign_folds,
    find_groups,
    given_folds,
    read_folds,
    read_groups,
)
from ecg.io.label_table import find_label_table, read_label_table
from ecg.io.labels import dataset_table, make_labels, reference_frame
from ecg.io.layouts.known import read_layout
from ecg.io.own_tables import stop_if_foreign, write_tables
from ecg.io.packing import Reading, pack, read_index, remove_unused, sources_digest
from ecg.io.stops import stop_if_empty, stop_if_odd, stop_without_labels
from ecg.io.text_table import TableFormat, add_table_args
from ecg.running.command import make_parser, run_main
from utils import InputError, positive, printable, way_out

KINDS = ("random", "stratified")  # of folds
MAX_LISTED = 20  # diagnoses without a class


def parse_args(argv=None):
    parser = make_parser(__doc__)
    add_data_args(parser)
    group = parser.add_argument_group("labels and folds")
    text = "table (csv, xlsx) of record and classes; not given: REFERENCE.csv, or the headers"
    group.add_argument("--labels", metavar="TABLE", help=text)
    group.add_argument(
        "--folds",
        metavar="KIND|TABLE",
        help="random: a seeded permutation, as in the paper; stratified: with balanced labels; or "
        "a table of record (or patient) and fold; not given: those of the labels, else random",
    )
    group.add_argument("--groups", help="table of record and patient: one patient, one fold")
    group = parser.add_argument_group("signals")
    text = "leads that every record must hold; without it: all twelve"
    group.add_argument("--leads", type=parse_leads, help=text)
    add_table_args(group)
    text = "pack them even if most are flat, of an impossible size or standardised"
    group.add_argument("--force-signals", action="store_true", help=text)
    group.add_argument("--jobs", type=positive, default=os.cpu_count(), help="processes to use")
    return parser.parse_args(argv)


def report(index, labels, table, data_dir):
    """Print skipped records with reasons, notes, classes and folds."""
    kinds = Counter()
    for row in index.rows:
        if row.skipped:
            print(printable(f"{row.patient_id} {row.note}"))
        else:
            kinds.update(re.sub(r":.*|^\d+ ", "", note) for note in row.notes)
    n, n_packed = len(index.rows), len(index.packed)
    print(f"\n{n} records, {n - n_packed} skipped, {n_packed} packed, {len(labels)} labelled")
    for kind, count in kinds.most_common():
        print(f"  {count} with a note: {kind}")
    counts = labels.groupby("fold")[list(classes_of(labels))].sum().T
    counts = counts.reindex(columns=range(1, N_FOLDS + 1), fill_value=0)
    counts["all"] = counts.sum(axis=1)
    print(f"\nrecords per class and fold\n{counts.to_string()}")
    print(f"\n{table.to_string(index=False, na_rep='', float_format='{:.2f}'.format)}")
    if again := sum(row.passing for row in index.rows):
        print(f"\n{again} could not be read for a reason that may pass; run the same command again")
    print(f"\nwrote reference.csv, labels.csv, dataset_table.csv and packed signals to {data_dir}")


def find_catalogue(args, data_dir):
    """Return the Catalogue of a data folder; raises ValueError."""
    catalogue = read_layout(data_dir) or list_folder(data_dir)
    labels = args.labels or find_label_table(data_dir)
    if labels:
        catalogue = add_labels(catalogue, read_label_table(labels), data_dir)
    given = (args.sample_rate, args.leads_order, args.units_per_mv)
    known = catalogue.table_format
    merged = TableFormat(*(new or old for new, old in zip(given, known, strict=True)))
    return catalogue._replace(sources=catalogue.sources[: args.limit], table_format=merged)


def report_unknown(patients, missing, path):
    """Say which records of --groups are not there; stop if none is: the names do not match."""
    first = ", ".join(missing[:3]) + " ..." * (len(missing) > 3)
    if missing and not patients:
        raise InputError(
            f"--groups {path} names none of the records (it names {first}); "
            "name each record like its file, with or without the ending"
        )
    if missing:
        n = len(patients) + len(missing)
        print(printable(f"{len(missing)} of the {n} records of --groups are not there: {first}"))


def report_without_class(rows, catalogue):
    """Say how often which diagnoses have no class."""
    if catalogue.classes != CLASSES:
        return
    counts = Counter(dx for row in rows for dx in without_class(row.dx.split(";")))
    if counts:
        listed = ", ".join(f"{dx} {n}" for dx, n in counts.most_common(MAX_LISTED))
        more = len(counts) - MAX_LISTED
        text = f" and {more} more (column dx of reference.csv)" if more > 0 else ""
        print(printable(f"without a class: {listed}{text}"))


def choose_folds(args, labels, groups, rows, catalogue, fold_table):
    """Return labels with the folds of --folds, else of the labels, else random ones."""
    facts = [catalogue.facts.get(name) for name in labels.patient_id]
    wanted = [each and each.fold for each in facts]
    try:
        if fold_table:
            patients = {row.patient_id: row.patient for row in rows}
            wanted = [fold_table.find(name, patients[name]) for name in labels.patient_id]
            return given_folds(labels, groups, wanted)
        if not args.folds and any(wanted):
            return given_folds(labels, groups, wanted)
    except ValueError as error:
        where = f"--folds {args.folds}" if args.folds else catalogue.tables[-1]
        raise InputError(
            f"{where}: {error}; correct that, or give --folds random; no label was written"
        ) from error
    return assign_folds(labels, args.folds or "random", args.seed, groups)


def main(args):
    data_dir = Path(args.data_dir)
    if not data_dir.is_dir():
        raise InputError(
            f"no folder {data_dir}; put the records there, or make some: python -m ecg.synthetic "
            "--data-dir data/synthetic"
        )
    stop_if_foreign(data_dir)
    remedy = "correct that and run preprocess.py again"
    try:
        catalogue = find_catalogue(args, data_dir)
    except (OSError, ValueError) as error:
        raise InputError(f"{error}; {remedy}") from error
    stop_if_empty(catalogue, data_dir)
    names = RecordNames(catalogue.sources, data_dir)
    try:
        patients, missing = read_groups(args.groups, names) if args.groups else ({}, [])
    except (OSError, ValueError) as error:
        raise InputError(f"--groups {args.groups}: {error}; {remedy}") from error
    report_unknown(patients, missing, args.groups)
    fold_table = None
    if args.folds not in (None, *KINDS):
        try:
            fold_table = read_folds(args.folds, names)
        except (OSError, ValueError) as error:
            kinds = " or ".join(KINDS)
            raise InputError(
                f"--folds {args.folds}: {error}; correct that, or give --folds {kinds}"
            ) from error

    def check(index):
        try:
            rows = join_facts(index.rows, catalogue)
        except ValueError as error:
            raise InputError(f"{error}; nothing was written") from error
        if not args.force_signals:
            stop_if_odd(index.rows)
        stop_without_labels(catalogue, rows)
        return rows

    reading = Reading(catalogue.table_format, args.leads or LEADS, args.jobs)
    structs = any(source.path.suffix.lower() == ".mat" for source in catalogue.sources)
    read_tables = catalogue.tables if structs else ()  # the diagnoses of structs are in a table
    key = sources_digest(catalogue.sources, read_tables, data_dir, reading)
    index = read_index(data_dir, key)
    if index:
        print(f"the packed signals of {len(index.packed)} records are up to date")
    else:
        try:
            index = pack(data_dir, catalogue, key, reading, check)
        except OSError as error:
            raise InputError(
                f"the signals cannot be packed in {data_dir}: {error}; {way_out(error)}, and run "
                "preprocess.py again; where the folder is read-only, link its groups into one of "
                "your own"
            ) from error
    remove_unused(data_dir, index.file)
    rows = check(index)
    index = index._replace(rows=rows)
    packed = reference_frame(index.packed)
    labels = make_labels(packed, catalogue)
    groups = find_groups(labels.patient_id, rows, patients)
    labels = choose_folds(args, labels, groups, rows, catalogue, fold_table)
    table = dataset_table(packed, labels)
    reference = reference_frame(rows)
    tables = {"reference.csv": reference, "labels.csv": labels, "dataset_table.csv": table}
    write_tables(data_dir, tables)
    report(index, labels, table, data_dir)
    if len(set(groups)) < len(groups):
        print(
            f"{len(groups)} labelled records come from {len(set(groups))} patients or signals, "
            "each in one fold"
        )
    for note in catalogue.notes:
        print(printable(note))
    report_without_class(index.packed, catalogue)


if __name__ == "__main__":
    run_main(main, parse_args)
