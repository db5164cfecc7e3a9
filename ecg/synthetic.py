"""Make a synthetic 12-lead ECG data set of all nine classes, with the place of each criterion.

Writes  data/synthetic/S0001.hea and .mat ... (the layout of CPSC2018 at PhysioNet, 500 Hz, 1 uV)
and     data/synthetic/evidence.csv: patient_id, class, start, stop, leads

    python -m ecg.synthetic --data-dir data/synthetic --records 400 --seed 0

With --like it writes the twin of a data set: a record for each row of a table (record, labels, age,
sex, n_samples), in the folders g1, g2 ... of PhysioNet's CPSC2018; ecg/simulation/twin.py explains
how its labels are drawn. The same command resumes a run that was stopped.

    python -m ecg.synthetic --like METADATA.csv --data-dir data/CPSC_twin

The criteria of the classes and their sources are in ecg/simulation/heart.py.
"""

import os
import struct
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from dataset import CLASSES, LEADS, SAMPLE_RATE, UNITS_PER_MV
from ecg.io.sources import SOURCE_LINE
from ecg.running.command import make_parser, run_main
from ecg.running.workers import workers
from ecg.simulation.heart import make_record
from ecg.simulation.twin import make_twin, read_table
from utils import InputError, Progress, natural, positive, remove_leftovers, replacing, write_csv

TWIN_LINE = "#Twin: name, labels, length, age and sex of a real record; signal drawn with seed {}"
EVIDENCE = ["patient_id", "class", "start", "stop", "leads"]  # columns of evidence.csv
MIN_SECONDS = 5  # shorter records have no room for an early beat and its pause
CODES = (426783006, 164889003, 270492004, 164909002, 59118001, 284470004, 164884008, 429622005)
SNOMED = {name: str(code) for name, code in zip(CLASSES, (*CODES, 164931005), strict=True)}


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("--data-dir", default="data/synthetic", help="folder to write to")
    parser.add_argument("--records", type=positive, default=400, help="number of records")
    parser.add_argument("--seed", type=natural, default=0, help="random seed")
    parser.add_argument("--seconds", type=positive, default=10, help="length of a record")
    text = "make the twin of this table of records, in place of --records and --seconds"
    parser.add_argument("--like", metavar="METADATA.csv", help=text)
    parser.add_argument("--jobs", type=positive, default=os.cpu_count(), help="processes to use")
    args = parser.parse_args(argv)
    if args.like and args.data_dir == parser.get_default("data_dir"):
        parser.error(f"--like would replace what is in {args.data_dir}; name another --data-dir")
    return args


def comments(age, sex, classes, *more):
    """Return the comment lines of a header, `more` last."""
    codes = ",".join(SNOMED[name] for name in classes)
    lines = [f"#Age: {age}", f"#Sex: {sex}", f"#Dx: {codes}"]
    return [*lines, "#Rx: Unknown", "#Hx: Unknown", "#Sx: Unknown", SOURCE_LINE, *more]


def write_record(stem, signal, comment_lines):
    """Write <stem>.hea, then <stem>.mat, a MATLAB version 4 file of the signal (12, T) int16 uV."""
    n, name = signal.shape[1], stem.name
    lines = [f"{name} {len(LEADS)} {SAMPLE_RATE} {n}"]
    for lead, row in zip(LEADS, signal, strict=True):
        checksum = (int(row.sum(dtype=np.int64)) + 2**15) % 2**16 - 2**15
        lines.append(f"{name}.mat 16+24 {UNITS_PER_MV}/mV 16 0 {row[0]} {checksum} 0 {lead}")
    # header first: a run killed in between leaves no signal without the mark of its source
    with replacing(stem.with_suffix(".hea")) as temporary:
        temporary.write_bytes(("\n".join([*lines, *comment_lines]) + "\n").encode())
    head = struct.pack("<5i", 30, len(LEADS), n, 0, 4) + b"val\0"  # 30: little-endian int16
    with replacing(stem.with_suffix(".mat")) as temporary:
        temporary.write_bytes(head + signal.astype("<i2").tobytes(order="F"))


def clear_folder(folder, kept=()):
    """Remove the records of an earlier run; stop, having removed nothing, if there are others.

    `kept` are the paths, without suffix, of records that may stay. evidence.csv loses its rows, but
    stays as the mark of a synthetic set, in case the run is stopped.
    """
    another = "choose another folder: python -m ecg.synthetic --data-dir FOLDER"
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; {another}")
    below = [path.parent for path in folder.rglob("evidence.csv") if path.parent != folder]
    if below:
        raise InputError(f"{folder} holds another synthetic data set, {min(below)}; {another}")
    remove_leftovers(folder)
    headers = sorted(folder.rglob("*.hea"))
    made = [path for path in headers if SOURCE_LINE in path.read_text(errors="replace")]
    stems = {path.with_suffix("") for path in made}
    files = [*headers, *folder.rglob("*.mat")]
    foreign = [path for path in files if path.with_suffix("") not in stems]
    if foreign:
        raise InputError(
            f"{folder} holds records of other origin, such as {min(foreign)}; {another}"
        )
    for stem in sorted(stems - set(kept)):
        stem.with_suffix(".mat").unlink(missing_ok=True)
        stem.with_suffix(".hea").unlink()
    write_csv(pd.DataFrame(columns=EVIDENCE), folder / "evidence.csv")


def make_one(folder, seed, seconds, patient_id):
    """Write one record, such as S0007; return its classes and its rows of evidence.csv."""
    record = make_record(seed, int(patient_id[1:]), seconds)
    lines = comments(record.patient.age, record.patient.sex, record.classes)
    write_record(folder / patient_id, record.signal, lines)
    return record.classes, [(patient_id, *row) for row in record.evidence]


def is_made(stem, lines, n):
    """Tell whether a record is there: a header with those comments, and a signal of n samples."""
    header, signal = stem.with_suffix(".hea"), stem.with_suffix(".mat")
    if not header.is_file() or not signal.is_file():
        return False
    complete = signal.stat().st_size == 24 + 2 * len(LEADS) * n
    return complete and header.read_text(errors="replace").splitlines()[-len(lines) :] == lines


def make_like(folder, seed, row):
    """Write the twin of a Row unless it is there; return its classes and its rows of evidence."""
    stem = folder / row.group / row.name
    lines = comments(row.age, row.sex, row.labels, TWIN_LINE.format(seed))
    made = is_made(stem, lines, row.n)
    signal, evidence = make_twin(seed, row, with_signal=not made)
    if not made:
        write_record(stem, signal, lines)
    return row.labels, [(row.name, *place) for place in evidence]


def write_all(make, items, folder, jobs):
    """Make all items with `jobs` processes, write evidence.csv; return the records per class."""
    counts, rows = dict.fromkeys(CLASSES, 0), []
    with workers(jobs) if jobs > 1 else nullcontext() as pool:
        made = pool.map(make, items, chunksize=20) if pool else map(make, items)
        for classes, evidence in Progress(made, "making records", len(items), unit="record"):
            rows += evidence
            for name in classes:
                counts[name] += 1
    write_csv(pd.DataFrame(rows, columns=EVIDENCE), folder / "evidence.csv")
    return counts


def write_dataset(data_dir, n_records, seed, seconds=10, jobs=1):
    """Write the data set with `jobs` processes; return the records per class, as a dictionary.

    A record depends on the seed, its number and `seconds` alone, not on how many there are.
    """
    folder, digits = Path(data_dir), max(4, len(str(n_records)))
    clear_folder(folder)
    names = [f"S{number:0{digits}}" for number in range(1, n_records + 1)]
    return write_all(partial(make_one, folder, seed, seconds), names, folder, jobs)


def write_twin(data_dir, rows, seed, jobs=1):
    """Write the twins of Rows that are not there yet; return the records per class.

    A record depends on the seed and its row alone.
    """
    folder = Path(data_dir)
    clear_folder(folder, [folder / row.group / row.name for row in rows])
    return write_all(partial(make_like, folder, seed), rows, folder, jobs)


def main(args):
    if args.seed < 0:
        raise InputError(f"--seed {args.seed} is negative; see: python -m ecg.synthetic --help")
    if args.seconds < MIN_SECONDS:
        too_short = f"shorter than {MIN_SECONDS}, too short for an early beat and its pause"
        raise InputError(
            f"--seconds {args.seconds} is {too_short}; see: python -m ecg.synthetic --help"
        )
    n = args.records
    if args.like:
        try:
            rows = read_table(args.like)
        except (OSError, ValueError) as error:
            raise InputError(
                f"--like {args.like}: {error}; correct that and run it again"
            ) from error
        try:
            counts, n = write_twin(args.data_dir, rows, args.seed, args.jobs), len(rows)
        except ValueError as error:  # a record that cannot show all of its labels
            raise InputError(
                f"--like {args.like}: {error}; correct that and run it again"
            ) from error
    else:
        counts = write_dataset(args.data_dir, n, args.seed, args.seconds, args.jobs)
    counted = ", ".join(f"{name} {count}" for name, count in counts.items())
    print(f"{n} records in {args.data_dir}: {counted} (a record may have several)")


if __name__ == "__main__":
    run_main(main, parse_args)
