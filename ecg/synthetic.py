"""Make a synthetic 12-lead ECG data set of all nine classes, with the place of each criterion.

Writes  data/synthetic/S0001.hea and .mat ... (the layout of CPSC2018 at PhysioNet, 500 Hz, 1 uV)
and     data/synthetic/evidence.csv: patient_id, class, start, stop, leads

    python -m ecg.synthetic --data-dir data/synthetic --records 400 --seed 0

The signals and the criteria, with their sources, are those of ecg/simulation/heart.py.
"""

from utils import run_main  # first, as it also knows of Ctrl-C while the others load

# isort: split

import os
import struct
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from dataset import CLASSES, LEADS, SAMPLE_RATE, UNITS_PER_MV
from ecg.simulation.heart import make_record
from utils import (
    Progress,
    fail,
    make_parser,
    natural,
    positive,
    remove_leftovers,
    replacing,
    workers,
    write_csv,
)

SOURCE_LINE = "#Source: synthetic.py, a model of the cardiac dipole; no patient"
MIN_SECONDS = 5  # shorter records have no room for an early beat and its pause
CODES = (426783006, 164889003, 270492004, 164909002, 59118001, 284470004, 164884008, 429622005)
SNOMED = {name: str(code) for name, code in zip(CLASSES, (*CODES, 164931005), strict=True)}


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("--data-dir", default="data/synthetic", help="folder to write to")
    parser.add_argument("--records", type=positive, default=400, help="number of records")
    parser.add_argument("--seed", type=natural, default=0, help="seed of all records")
    parser.add_argument("--seconds", type=positive, default=10, help="length of a record")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count(), help="processes to use")
    return parser.parse_args(argv)


def write_record(folder, patient_id, signal, patient, classes):
    """Write the header, then the signal as a MATLAB version 4 file."""
    n = signal.shape[1]
    lines = [f"{patient_id} {len(LEADS)} {SAMPLE_RATE} {n}"]
    for lead, row in zip(LEADS, signal, strict=True):
        checksum = (int(row.sum(dtype=np.int64)) + 2**15) % 2**16 - 2**15
        lines.append(f"{patient_id}.mat 16+24 {UNITS_PER_MV}/mV 16 0 {row[0]} {checksum} 0 {lead}")
    codes = ",".join(SNOMED[name] for name in classes)
    lines += [f"#Age: {patient['age']}", f"#Sex: {patient['sex']}", f"#Dx: {codes}"]
    lines += ["#Rx: Unknown", "#Hx: Unknown", "#Sx: Unknown", SOURCE_LINE]
    # header first: a run killed in between leaves no signal without the mark of its source
    with replacing(folder / f"{patient_id}.hea") as temporary:
        temporary.write_bytes(("\n".join(lines) + "\n").encode())
    head = struct.pack("<5i", 30, len(LEADS), n, 0, 4) + b"val\0"  # 30: little-endian int16
    with replacing(folder / f"{patient_id}.mat") as temporary:
        temporary.write_bytes(head + signal.astype("<i2").tobytes(order="F"))


def clear_folder(folder):
    """Remove the records of an earlier run; stop, having removed nothing, if any is not ours."""
    remove_leftovers(folder)
    headers = sorted(folder.rglob("*.hea"))
    ours = [path for path in headers if SOURCE_LINE in path.read_text(errors="replace")]
    stems = {path.with_suffix("") for path in ours}
    foreign = [path for path in folder.rglob("*.mat") if path.with_suffix("") not in stems]
    foreign += [path for path in headers if path.with_suffix("") not in stems]
    if foreign:
        fail(f"{folder} holds records that synthetic.py did not make (such as {min(foreign)}); "
             "choose another folder: python -m ecg.synthetic --data-dir FOLDER")  # fmt: skip
    for stem in sorted(stems):
        stem.with_suffix(".mat").unlink(missing_ok=True)
        stem.with_suffix(".hea").unlink()
    (folder / "evidence.csv").unlink(missing_ok=True)


def make_one(folder, digits, seed, seconds, number):
    """Write one record; return its classes and its rows of evidence.csv."""
    patient_id = f"S{number:0{digits}}"
    signal, classes, rows, patient = make_record(seed, number, seconds)
    write_record(folder, patient_id, signal, patient, classes)
    return classes, [(patient_id, *row) for row in rows]


def write_dataset(data_dir, n_records, seed, seconds=10, jobs=1):
    """Write the data set with `jobs` processes; return the records per class, as a dictionary.

    A record depends on the seed, its number and `seconds` alone, not on how many there are.
    """
    folder = Path(data_dir)
    if folder.exists() and not folder.is_dir():
        fail(f"{folder} is a file; choose a folder: python -m ecg.synthetic --data-dir FOLDER")
    clear_folder(folder)
    make = partial(make_one, folder, max(4, len(str(n_records))), seed, seconds)
    numbers, counts, rows = range(1, n_records + 1), dict.fromkeys(CLASSES, 0), []
    with workers(jobs) if jobs > 1 else nullcontext() as pool:
        made = pool.map(make, numbers, chunksize=20) if pool else map(make, numbers)
        for classes, evidence in Progress(made, "making records", n_records, unit="record"):
            rows += evidence
            for name in classes:
                counts[name] += 1
    columns = ["patient_id", "class", "start", "stop", "leads"]
    write_csv(pd.DataFrame(rows, columns=columns), folder / "evidence.csv")
    return counts


def main(args):
    if args.seed < 0:
        fail(f"--seed {args.seed} is negative; see: python -m ecg.synthetic --help")
    if args.seconds < MIN_SECONDS:
        fail(f"--seconds {args.seconds} is shorter than {MIN_SECONDS}, too short for an early beat "
             "and its pause; see: python -m ecg.synthetic --help")  # fmt: skip
    counts = write_dataset(args.data_dir, args.records, args.seed, args.seconds, args.jobs)
    counted = ", ".join(f"{name} {count}" for name, count in counts.items())
    print(f"{args.records} records in {args.data_dir}: {counted} (a record may have two)")


if __name__ == "__main__":
    run_main(main, parse_args)
