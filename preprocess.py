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
32.767 mV), its checksum differs, or it was resampled.

    python preprocess.py --data-dir data/CPSC
"""

import hashlib
import json
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from dataset import CLASSES, LEADS, N_FOLDS, SAMPLE_RATE, add_data_args
from ecg.io.formats import read_record
from ecg.io.records import classes_of, find_sources, pack_signal, read_reference, reason
from utils import fail, make_parser, positive, replacing, write_csv

FORMAT_VERSION = 1  # of signals.json and what it names; a change repacks
CHUNK = 256  # records handed to the workers at a time, so that memory stays flat


def parse_args(argv=None):
    parser = make_parser(__doc__)
    add_data_args(parser)
    parser.add_argument(
        "--folds",
        choices=("random", "stratified"),
        default="random",
        help="random: a seeded permutation, as in the paper; stratified: the labels balanced",
    )
    parser.add_argument("--jobs", type=positive, default=os.cpu_count(), help="processes to use")
    return parser.parse_args(argv)


def sources_digest(sources, references, data_dir):
    """Hash the names, sizes and times of all source files; any change repacks."""
    digest = hashlib.sha256(f"{FORMAT_VERSION} {SAMPLE_RATE} {LEADS}".encode())
    folders = {path.parent for path in sources}
    stems = {path.with_suffix("") for path in sources}
    files = sorted(
        path
        for folder in folders
        for path in folder.iterdir()
        if path.with_suffix("") in stems and path.is_file()
    )
    for path in [*files, *references]:
        info = path.stat()
        name = os.fsencode(path.relative_to(data_dir))
        digest.update(name + f" {info.st_size} {info.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def record_name(path):
    """Return a record's patient_id: its file's name without the ending."""
    return os.fsencode(path.stem).decode("utf-8", "replace")


def read_source(path, labels):
    """Return (row of reference.csv, packed signal) of a record, or (row, None) if it is skipped."""
    row = {"patient_id": record_name(path)}
    try:
        record, signal, notes = read_record(path, labels)
        packed, more = pack_signal(signal, record.sample_rate)
    except Exception as error:  # a damaged file makes the libraries raise almost anything
        return row | {"note": f"skipped: {reason(error)}"}, None
    age = None if np.isnan(record.age) else record.age
    row |= {"sample_rate": record.sample_rate, "signal_len": record.signal_len, "age": age}
    row |= {"sex": record.sex, "dx": ";".join(record.dx), "note": "; ".join(notes + more)}
    return row, packed


def read_all(sources, labels, jobs):
    """Yield read_source's result of every source, in order, a bounded number at a time."""
    listed = [labels.get(path.stem) for path in sources]
    if jobs == 1:
        yield from map(read_source, sources, listed)
        return
    with ProcessPoolExecutor(jobs) as pool:
        for start in range(0, len(sources), CHUNK):
            part = slice(start, start + CHUNK)
            yield from pool.map(read_source, sources[part], listed[part], chunksize=8)


def pack(data_dir, sources, labels, key, jobs):
    """Write signals-<hash>.i16 and signals.json, which names it; return the index.

    The hash is that of the records' names and samples: the same signals have the same name,
    wherever they were packed. `key` is the digest of the sources. The index is renamed into place
    last: a run killed before leaves the old index and the old file.
    """
    for leftover in data_dir.glob(".signals*.tmp.*"):
        if not is_running(leftover.name.split(".")[-3]):  # left by a killed run
            leftover.unlink(missing_ok=True)
    rows, records, seen, start = [], [], {}, 0
    digest, written = hashlib.sha256(), data_dir / f"signals-{key}.i16"
    with replacing(written) as temporary, open(temporary, "wb") as file:
        results = read_all(sources, labels, jobs)
        progress = tqdm(zip(sources, results, strict=True), "reading", len(sources), unit="record")
        for path, (row, packed) in progress:
            name = record_name(path)
            if packed is not None and name in seen:
                row, packed = (
                    {"patient_id": name, "note": f"skipped: same name as {seen[name]}"},
                    None,
                )
            if packed is not None:
                seen[name] = path.relative_to(data_dir).as_posix()
                records.append([name, start, packed.shape[1], row["note"]])
                content = packed.tobytes()
                digest.update(f"{name} {len(content)}\n".encode() + content)
                file.write(content)
                start += packed.size
            rows.append(row)
        if make_labels(reference_frame(rows)).empty:
            first = rows[0].get("note") or f"its diagnoses are {rows[0].get('dx') or 'none'}"
            fail(f"none of the {len(rows)} records is readable and has one of the nine labels (the "
                 f"first, {rows[0]['patient_id']}: {first}); nothing was written")  # fmt: skip
    fingerprint = digest.hexdigest()[:16]
    index = {"sources": key, "fingerprint": fingerprint, "file": f"signals-{fingerprint}.i16"}
    index |= {"sample_rate": SAMPLE_RATE, "records": records, "reference": rows}
    written.replace(data_dir / index["file"])
    with replacing(data_dir / "signals.json") as temporary:
        temporary.write_text(json.dumps(index))
    for old in data_dir.glob("signals-*.i16"):
        if old.name != index["file"]:
            old.unlink()
    return index


def is_running(pid):
    """Tell whether a process of this number, as text, runs."""
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:  # it runs, as another user
        pass
    return True


def reference_frame(rows):
    """Return reference.csv as a DataFrame, from rows that may lack cells."""
    columns = ["patient_id", "sample_rate", "signal_len", "age", "sex", "dx", "note"]
    frame = pd.DataFrame(rows, columns=columns).astype({"signal_len": "Int64"})
    return frame.fillna({"sex": "", "dx": ""})


def read_index(data_dir, key):
    """Return the index if it stands, whole, for the same sources; else None."""
    try:
        index = json.loads((data_dir / "signals.json").read_text())
        size = sum(n for _, _, n, _ in index["records"]) * len(LEADS) * 2
        current = index["sources"] == key and index["reference"]
        return index if current and (data_dir / index["file"]).stat().st_size == size else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def make_labels(reference):
    """Return patient_id and the nine classes as 0/1 of the records with one of them, by name."""
    used = reference[~reference["note"].str.startswith("skipped")].sort_values("patient_id")
    found = [classes_of(dx.split(";")) for dx in used["dx"]]
    labels = pd.DataFrame([[int(name in names) for name in CLASSES] for names in found],
                          columns=list(CLASSES))  # fmt: skip
    labels.insert(0, "patient_id", used["patient_id"].to_list())
    return labels[labels[list(CLASSES)].any(axis=1)].reset_index(drop=True)


def random_folds(n, seed):
    """Return a fold 1-10 for each of n records: a seeded permutation dealt out in turn."""
    # RandomState's stream is frozen by NumPy's policy; a Generator's may change between releases
    rng = np.random.RandomState(seed)  # noqa: NPY002
    folds = np.empty(n, int)
    folds[rng.permutation(n)] = np.arange(n) % N_FOLDS + 1
    return folds


def stratified_folds(y, seed):
    """Return a fold 1-10 for each row of y (N, K), the labels balanced over the folds.

    Iterative stratification (Sechidis et al., 2011): the label with the fewest records left is
    dealt first, each record to the fold that lacks most of it, then most records, then by lot.
    """
    rng = np.random.RandomState(seed)  # noqa: NPY002  (frozen stream, as above)
    folds = np.zeros(len(y), int)
    wanted = np.tile(y.sum(0) / N_FOLDS, (N_FOLDS, 1))  # (folds, K)
    room = np.full(N_FOLDS, len(y) / N_FOLDS)
    while (free := folds == 0).any():
        left = y[free].sum(0)
        label = np.where(left > 0, left, np.inf).argmin()
        for i in rng.permutation(np.flatnonzero(free & (y[:, label] == 1))):
            lot = rng.permutation(N_FOLDS)
            fold = lot[np.lexsort((-room[lot], -wanted[lot, label]))[0]]
            folds[i] = fold + 1
            wanted[fold] -= y[i]
            room[fold] -= 1
    return folds


def assign_folds(labels, kind, seed):
    """Return labels with a `fold` column."""
    if kind == "stratified":
        return labels.assign(fold=stratified_folds(labels[list(CLASSES)].to_numpy(), seed))
    return labels.assign(fold=random_folds(len(labels), seed))


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
    print(f"\n{len(reference)} records found, {len(skipped)} skipped, {used} packed, "
          f"{len(labels)} with one of the nine labels")  # fmt: skip
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


def main(args):
    data_dir = Path(args.data_dir)
    if not data_dir.is_dir():
        fail(f"no folder {data_dir}; put the records there, or make some: python -m ecg.synthetic "
             "--data-dir data/synthetic")  # fmt: skip
    sources = find_sources(data_dir)[: args.limit]
    if not sources:
        fail(f"{data_dir} holds no .hea header and no .mat struct; name the folder of the records "
             "with --data-dir")  # fmt: skip
    try:
        labels_by_name, references = read_reference(data_dir)
    except ValueError as error:
        fail(f"{error}; correct that line and run preprocess.py again")
    if not references and all(path.suffix.lower() == ".mat" for path in sources):
        fail(f"{data_dir} holds .mat files without .hea headers and no REFERENCE.csv; copy the "
             "challenge's REFERENCE.csv into it")  # fmt: skip
    if data_dir / "reference.csv" in references:
        fail(f"{data_dir / 'reference.csv'} is the challenge's table of labels, and preprocess.py "
             f"writes a file of that name; move it to {data_dir / 'TrainingSet1'}")  # fmt: skip
    key = sources_digest(sources, references, data_dir)
    index = read_index(data_dir, key)
    if index:
        print(f"the packed signals of {len(index['records'])} records are up to date")
    else:
        index = pack(data_dir, sources, labels_by_name, key, args.jobs)
    reference = reference_frame(index["reference"])
    labels = make_labels(reference)
    labels = assign_folds(labels, args.folds, args.seed)
    table = dataset_table(reference, labels)
    write_csv(reference, data_dir / "reference.csv")
    write_csv(labels, data_dir / "labels.csv")
    write_csv(table, data_dir / "dataset_table.csv")
    report(reference, labels, table, data_dir)


if __name__ == "__main__":
    main(parse_args())
