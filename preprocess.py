"""Turn a folder of 12-lead records into labels, ten folds and packed signals.

Reads   data/CPSC: WFDB records (.hea with .mat or .dat, in any sub-folders), or the challenge's
        structs (TrainingSet*/*.mat) with REFERENCE.csv.
Writes  into the same folder
        reference.csv      records found: patient_id, sample_rate, signal_len, age, sex, dx, note
        labels.csv         records with one of the nine labels: patient_id, the classes, fold
        dataset_table.csv  records, sex, age and length per class
        signals.json, signals-<hash>.i16   all signals at 500 Hz, int16 microvolts

A record is skipped, with the reason in `note`, if it lacks one of the twelve leads, is shorter than
1 s or longer than an hour, cannot be read, or has the name of an earlier one. It is kept, with a
note, if samples are missing (set to 0 mV), a lead is constant, the amplitude exceeds 20 mV (cut at
32.767 mV), its checksum differs, a gain is negative, the limb leads do not add up, it was resampled
or has the same signal as another. Records with the same signal, or of one patient as a header's
'#Patient: ...' or --groups says, share a fold.

    python preprocess.py --data-dir data/CPSC
"""

from utils import run_main  # first, as it also knows of Ctrl-C while the others load

# isort: split

import os
from pathlib import Path

import pandas as pd

from dataset import CLASSES, N_FOLDS, add_data_args
from ecg.io.folds import assign_folds, find_groups, read_groups
from ecg.io.packing import pack, read_index, remove_unused, sources_digest
from ecg.io.records import classes_of, find_sources, read_reference
from utils import fail, make_parser, positive, write_csv


def parse_args(argv=None):
    parser = make_parser(__doc__)
    add_data_args(parser)
    group = parser.add_argument_group("folds and speed")
    group.add_argument(
        "--folds",
        choices=("random", "stratified"),
        default="random",
        help="random: a seeded permutation, as in the paper; stratified: the labels balanced",
    )
    group.add_argument("--groups", help="csv of patient_id,patient: a patient keeps to one fold")
    group.add_argument("--jobs", type=positive, default=os.cpu_count(), help="processes to use")
    return parser.parse_args(argv)


def reference_frame(rows):
    """Return reference.csv as a DataFrame, from rows that may lack cells."""
    columns = ["patient_id", "sample_rate", "signal_len", "age", "sex", "dx", "note"]
    frame = pd.DataFrame(rows, columns=columns).astype({"signal_len": "Int64"})
    return frame.fillna({"sex": "", "dx": ""})


def make_labels(reference):
    """Return patient_id and the nine classes as 0/1 of the records with one of them, by name."""
    used = reference[~reference["note"].str.startswith("skipped")].sort_values("patient_id")
    found = [classes_of(dx.split(";")) for dx in used["dx"]]
    labels = pd.DataFrame(
        [[int(name in names) for name in CLASSES] for names in found], columns=list(CLASSES)
    )
    labels.insert(0, "patient_id", used["patient_id"].to_list())
    return labels[labels[list(CLASSES)].any(axis=1)].reset_index(drop=True)


def dataset_table(reference, labels):
    """Return the paper's table: per class records, %, male %, age and seconds as mean and sd.

    Percentages are of all labelled records; an age of -1 is kept in the means, as in the paper.
    """
    used = reference[~reference["note"].str.startswith("skipped")].set_index("patient_id")
    rows = []
    for name in CLASSES:
        part = used.loc[labels.loc[labels[name] == 1, "patient_id"]]
        age = part["age"].astype(float)
        seconds = (part["signal_len"] / part["sample_rate"]).astype(float)
        row = {"class": name, "records": len(part), "percent": 100 * len(part) / len(labels)}
        row |= {"male_percent": 100 * (part["sex"] == "Male").mean()}
        row |= {"age_mean": age.mean(), "age_sd": age.std()}
        rows.append(row | {"seconds_mean": seconds.mean(), "seconds_sd": seconds.std()})
    return pd.DataFrame(rows).round(2)


def report(reference, labels, table, data_dir):
    """Print what was found: skipped records with reasons, notes, classes, folds."""
    skipped = reference[reference["note"].str.startswith("skipped")]
    for row in skipped.itertuples():
        print(f"{row.patient_id} {row.note}")
    used = len(reference) - len(skipped)
    print(
        f"\n{len(reference)} records found, {len(skipped)} skipped, {used} packed, "
        f"{len(labels)} with one of the nine labels"
    )
    notes = reference["note"].drop(skipped.index).str.split("; ").explode()
    kinds = notes[notes != ""].str.replace(r":.*|^\d+ ", "", regex=True)
    for kind, count in kinds.value_counts().items():
        print(f"  {count} with a note: {kind}")
    counts = labels.groupby("fold")[list(CLASSES)].sum().T
    counts = counts.reindex(columns=range(1, N_FOLDS + 1), fill_value=0)
    counts["all"] = counts.sum(axis=1)
    print(f"\nrecords per class and fold\n{counts.to_string()}")
    print(f"\n{table.to_string(index=False, na_rep='', float_format='{:.2f}'.format)}")
    print(f"\nwrote reference.csv, labels.csv, dataset_table.csv and packed signals to {data_dir}")


def read_inputs(args, data_dir):
    """Return the sources, the labels by name, their files and the patients; stop on a fault."""
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


def stop_without_labels(rows):
    """Stop if no record is readable and has one of the nine labels."""
    if make_labels(reference_frame(rows)).empty:
        why = rows[0]["note"] if "signal" not in rows[0] or not rows[0]["dx"] else ""
        first = why or f"its diagnoses are {rows[0]['dx'] or 'none'}"
        fail(
            f"none of the {len(rows)} records is readable and has one of the nine labels (the "
            f"first, {rows[0]['patient_id']}: {first}); nothing was written"
        )


def tell_unknown(patients, reference, path):
    """Say which records of --groups are not there; stop if none is, as the names do not fit."""
    unknown = [name for name in patients if name not in set(reference["patient_id"])]
    first = ", ".join(unknown[:3]) + " ..." * (len(unknown) > 3)
    if patients and len(unknown) == len(patients):
        fail(
            f"--groups {path} names none of the {len(reference)} records (it names {first}); "
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
        print(f"the packed signals of {len(index['records'])} records are up to date")
    else:
        try:
            index = pack(data_dir, sources, labels_by_name, key, args.jobs, stop_without_labels)
        except OSError as error:
            fail(
                f"the signals cannot be packed in {data_dir}: {error}; free some space, or make "
                "the folder writable, and run preprocess.py again"
            )
    remove_unused(data_dir, index["file"])
    reference = reference_frame(index["reference"])
    tell_unknown(patients, reference, args.groups)
    labels = make_labels(reference)
    groups = find_groups(labels["patient_id"], index["reference"], patients)
    labels = assign_folds(labels, args.folds, args.seed, groups)
    table = dataset_table(reference, labels)
    write_csv(reference, data_dir / "reference.csv")
    write_csv(labels, data_dir / "labels.csv")
    write_csv(table, data_dir / "dataset_table.csv")
    report(reference, labels, table, data_dir)
    if len(set(groups)) < len(groups):
        print(
            f"{len(groups)} labelled records are of {len(set(groups))} patients or signals, each "
            "in one fold"
        )


if __name__ == "__main__":
    run_main(main, parse_args)
