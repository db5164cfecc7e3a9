"""Turn a folder of 12-lead records into labels, ten folds and packed signals.

Reads   data/CPSC: WFDB records (.hea with .mat or .dat, in any sub-folders), or the challenge's
        structs (TrainingSet*/*.mat) with REFERENCE.csv.
Writes  into the same folder
        reference.csv      all records: patient_id, sample_rate, signal_len, age, sex, dx, note
        labels.csv         records with one of the nine labels: patient_id, the classes, fold
        dataset_table.csv  records, sex, age and length per class
        signals.json, signals-<hash>.i16   all signals at 500 Hz, int16 microvolts

A record is skipped, with the reason in `note`, if it lacks one of the twelve leads, is shorter than
1 s or longer than an hour, cannot be read, or has the name of an earlier one. It is kept, with a
note, if samples are missing (set to 0 mV), a lead is constant, the amplitude exceeds 20 mV (cut at
32.767 mV), its checksum differs, a gain is negative, the limb leads do not add up, it was resampled
or has the same signal as another. Records with the same signal or of one patient (by the header's
'#Patient: ...' or by --groups) share a fold.

    python preprocess.py --data-dir data/CPSC
"""

import os
import re
from collections import Counter
from pathlib import Path

import pandas as pd

from dataset import CLASSES, N_FOLDS, add_data_args
from ecg.io.diagnoses import classes_of
from ecg.io.folds import assign_folds, find_groups, read_groups
from ecg.io.packing import Row, pack, read_index, remove_unused, sources_digest
from ecg.io.sources import find_sources, read_reference
from utils import fail, make_parser, positive, printable, run_main, way_out, write_csv

REFERENCE_COLUMNS = [*Row._fields[: Row._fields.index("note") + 1]]


def parse_args(argv=None):
    parser = make_parser(__doc__)
    add_data_args(parser)
    group = parser.add_argument_group("folds and speed")
    group.add_argument(
        "--folds",
        choices=("random", "stratified"),
        default="random",
        help="random: a seeded permutation, as in the paper; stratified: with balanced labels",
    )
    group.add_argument("--groups", help="csv of patient_id,patient: one patient, one fold")
    group.add_argument("--jobs", type=positive, default=os.cpu_count(), help="processes to use")
    return parser.parse_args(argv)


def reference_frame(rows):
    """Return Rows as a DataFrame with the columns of reference.csv."""
    frame = pd.DataFrame(rows, columns=Row._fields)[REFERENCE_COLUMNS]
    return frame.astype({"signal_len": "Int64"})


def make_labels(reference):
    """Return patient_id and the nine classes as 0/1 of the records that have a class, by name.

    `reference` has the columns of reference.csv, of packed records alone.
    """
    reference = reference.sort_values("patient_id")
    labels = pd.DataFrame({"patient_id": reference.patient_id.to_list()})
    classes = [classes_of(dx.split(";")) for dx in reference.dx]
    for name in CLASSES:
        labels[name] = [int(name in present) for present in classes]
    return labels[labels[list(CLASSES)].any(axis=1)].reset_index(drop=True)


def dataset_table(reference, labels):
    """Return the paper's table: per class records, %, male %, age and seconds as mean and sd.

    Percentages are of all labelled records; an age of -1 is kept in the means, as in the paper.
    """
    reference = reference.set_index("patient_id")
    rows = []
    for name in CLASSES:
        part = reference.loc[labels.patient_id[labels[name] == 1]]
        age = part.age.astype(float)
        seconds = (part.signal_len / part.sample_rate).astype(float)
        rows.append(
            {
                "class": name,
                "records": len(part),
                "percent": 100 * len(part) / len(labels),
                "male_percent": 100 * (part.sex == "Male").mean(),
                "age_mean": age.mean(),
                "age_sd": age.std(),
                "seconds_mean": seconds.mean(),
                "seconds_sd": seconds.std(),
            }
        )
    return pd.DataFrame(rows).round(2)


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
    counts = labels.groupby("fold")[list(CLASSES)].sum().T
    counts = counts.reindex(columns=range(1, N_FOLDS + 1), fill_value=0)
    counts["all"] = counts.sum(axis=1)
    print(f"\nrecords per class and fold\n{counts.to_string()}")
    print(f"\n{table.to_string(index=False, na_rep='', float_format='{:.2f}'.format)}")
    if again := sum(row.passing for row in index.rows):
        print(f"\n{again} could not be read for a reason that may pass; run the same command again")
    print(f"\nwrote reference.csv, labels.csv, dataset_table.csv and packed signals to {data_dir}")


def read_inputs(args, data_dir):
    """Return the sources, the labels by name, their files and the patients; stop on an error."""
    remedy = "correct that and run preprocess.py again"
    try:
        sources = find_sources(data_dir)[: args.limit]
        labels, references = read_reference(data_dir)
    except (OSError, ValueError) as error:
        fail(f"{error}; {remedy}")
    try:
        patients = read_groups(args.groups) if args.groups else {}
    except (OSError, ValueError) as error:
        fail(f"--groups {args.groups}: {error}; {remedy}")
    return sources, labels, references, patients


def stop_without_labels(index):
    """Stop if no record is readable and has one of the nine labels."""
    if make_labels(reference_frame(index.packed)).empty:
        first = index.rows[0]
        if first.skipped or not first.dx:
            why = first.note or "it has no diagnoses"
        else:
            why = f"its diagnoses are {first.dx}"
        fail(
            f"none of the {len(index.rows)} records is readable and has one of the nine labels "
            f"(the first, {first.patient_id}: {why}); nothing was written"
        )


def report_unknown(patients, rows, path):
    """Say which records of --groups are not there; stop if none is: the names do not match."""
    names = {row.patient_id for row in rows}
    unknown = [name for name in patients if name not in names]
    first = ", ".join(unknown[:3]) + " ..." * (len(unknown) > 3)
    if patients and len(unknown) == len(patients):
        fail(
            f"--groups {path} names none of the {len(rows)} records (it names {first}); "
            "name each record like its file, without the ending"
        )
    if unknown:
        print(f"{len(unknown)} of the {len(patients)} records of --groups are not there: {first}")


def main(args):
    data_dir = Path(args.data_dir)
    if not data_dir.is_dir():
        fail(
            f"no folder {data_dir}; put the records there, or make some: python -m ecg.synthetic "
            "--data-dir data/synthetic"
        )
    sources, labels_by_name, references, patients = read_inputs(args, data_dir)
    if not sources:
        fail(
            f"{data_dir} holds no .hea header and no .mat struct; name the folder of the records "
            "with --data-dir"
        )
    if not references and all(path.suffix.lower() == ".mat" for path in sources):
        fail(
            f"{data_dir} holds .mat files without .hea headers and no REFERENCE.csv; copy the "
            "challenge's REFERENCE.csv into it"
        )
    if data_dir / "reference.csv" in references:
        fail(
            f"{data_dir / 'reference.csv'} is the challenge's table of labels, and preprocess.py "
            f"writes a file of that name; move it to {data_dir / 'TrainingSet1'}"
        )
    key = sources_digest(sources, references, data_dir)
    index = read_index(data_dir, key)
    if index:
        print(f"the packed signals of {len(index.packed)} records are up to date")
    else:
        try:
            index = pack(data_dir, sources, labels_by_name, key, args.jobs, stop_without_labels)
        except OSError as error:
            fail(
                f"the signals cannot be packed in {data_dir}: {error}; {way_out(error)}, and run "
                "preprocess.py again; where the folder is read-only, link its groups into one of "
                "your own"
            )
    remove_unused(data_dir, index.file)
    report_unknown(patients, index.rows, args.groups)
    reference = reference_frame(index.packed)
    labels = make_labels(reference)
    groups = find_groups(labels.patient_id, index.rows, patients)
    labels = assign_folds(labels, args.folds, args.seed, groups)
    table = dataset_table(reference, labels)
    write_csv(reference_frame(index.rows), data_dir / "reference.csv")
    write_csv(labels, data_dir / "labels.csv")
    write_csv(table, data_dir / "dataset_table.csv")
    report(index, labels, table, data_dir)
    if len(set(groups)) < len(groups):
        print(
            f"{len(groups)} labelled records come from {len(set(groups))} patients or signals, "
            "each in one fold"
        )


if __name__ == "__main__":
    run_main(main, parse_args)
