"""Measure packing and reading against one wfdb.rdsamp an item, in one run; print ratios.

    python -m benchmarks.loading
    python -m benchmarks.loading --large 100000    # peak memory too; needs 13 GB in --folder

Records are noise of CPSC2018's lengths in its PhysioNet layout, in a temporary folder.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import wfdb

import preprocess
from dataset import CLASSES, SAMPLE_RATE, ECGDataset, PackedSignals, load_labels, pad_signal
from ecg import synthetic
from ecg.running.command import make_parser, run_main
from utils import positive

ROOT = Path(__file__).parents[1]
# the lengths of CPSC2018's 6,877 records, in samples: percentiles 1.25, 3.75, ... 98.75
# fmt: off
LENGTHS = (
    5000, 5000, 5000, 5000, 5000, 5000, 5000, 5000, 5000, 5000, 5000, 5000, 5000, 5000,
    5276, 5500, 5500, 5648, 5882, 6000, 6022, 6341, 6500, 6677, 7000, 7166, 7500, 7522,
    8000, 8500, 9000, 9500, 10000, 10500, 11500, 13000, 15000, 16500, 19525, 26650,
)
# fmt: on
LINKS = 50_000  # to one file; ext4 allows 65,000
EPOCH = """
import sys
from torch.utils.data import DataLoader
from dataset import ECGDataset, PackedSignals, load_labels
folder = sys.argv[1]
items = ECGDataset(PackedSignals(folder), load_labels(folder), seconds=10, augment_seed=1)
for x, y in DataLoader(items, 32, shuffle=True):
    pass
"""


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("--records", type=positive, default=1000, help="records to make")
    parser.add_argument("--large", type=positive, help="records of 10 s to measure memory with")
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where to make them")
    return parser.parse_args(argv)


def make_records(folder, n_records):
    """Write noise in the length mix of CPSC2018, nine classes in turn."""
    rng = np.random.default_rng(0)
    for i in range(n_records):
        signal = rng.integers(-900, 900, (12, LENGTHS[i % len(LENGTHS)])).astype(np.int16)
        patient = {"age": 60, "sex": "Male"}
        synthetic.write_record(folder, f"B{i:06d}", signal, patient, [CLASSES[i % 9]])


def repeat_records(folder, n_records):
    """Write n headers whose signal files are links to one file of 10 s."""
    signal = np.random.default_rng(0).integers(-900, 900, (12, 5000)).astype(np.int16)
    synthetic.write_record(folder, "L000000", signal, {"age": 60, "sex": "Male"}, ["AF"])
    header = (folder / "L000000.hea").read_text()
    data = (folder / "L000000.mat").read_bytes()
    for i in range(1, n_records):
        name = f"L{i:06d}"
        (folder / f"{name}.hea").write_text(header.replace("L000000", name))
        first = f"L{i // LINKS * LINKS:06d}"
        if name == first:
            (folder / f"{name}.mat").write_bytes(data)
        else:
            os.link(folder / f"{first}.mat", folder / f"{name}.mat")


def run_preprocess(folder, jobs):
    preprocess.main(preprocess.parse_args(["--data-dir", str(folder), "--jobs", str(jobs)]))


def timed(function, *args):
    """Return the seconds a call takes, its printing and progress bar silenced."""
    with open(os.devnull, "w") as null:
        streams, sys.stdout, sys.stderr = (sys.stdout, sys.stderr), null, null
        started = time.perf_counter()
        try:
            function(*args)
        finally:
            sys.stdout, sys.stderr = streams
    return time.perf_counter() - started


def read_plainly(folder, names):
    for name in names:
        signal, _ = wfdb.rdsamp(str(folder / name))
        pad_signal(signal.T.astype(np.float32), 30 * SAMPLE_RATE)


def read_packed(items):
    for i in range(len(items)):
        items[i]


def peak_memory_mb(command):
    """Run a command; return the highest sum of resident memory of it and its children, in MB."""
    process, peak = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL), 0
    while process.poll() is None:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        total = 0
        for pid in [process.pid, *children]:
            try:
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
            except OSError:
                pass  # it has just ended
        peak = max(peak, total)
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"{command} failed")
    return peak / 1e6


def main(args):
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        make_records(folder, args.records)
        packing = timed(run_preprocess, folder, 2)
        unchanged = timed(run_preprocess, folder, 2)
        labels = load_labels(folder)
        items = ECGDataset(PackedSignals(folder), labels)
        names = list(labels["patient_id"])
        plain, packed = [], []
        for _ in range(3):  # in turn, so that whatever else the machine does meets both
            plain.append(timed(read_plainly, folder, names) / len(names))
            packed.append(timed(read_packed, items) / len(names))
        print(
            f"{len(names)} records of CPSC2018's lengths, 12 leads, 500 Hz, {os.cpu_count()} cores"
        )
        print(f"preprocess.py, 2 processes    {len(names) / packing:8.0f} records/s")
        print(f"preprocess.py, nothing new    {len(names) / unchanged:8.0f} records/s")
        print(f"item by wfdb.rdsamp           {min(plain) * 1e3:8.3f} ms")
        print(f"item from the packed signals  {min(packed) * 1e3:8.3f} ms")
        print(f"ratio                         {min(plain) / min(packed):8.1f}")
    if args.large:
        with tempfile.TemporaryDirectory(dir=args.folder) as name:
            repeat_records(Path(name), args.large)
            command = [sys.executable, "preprocess.py", "--data-dir", name, "--jobs", "2"]
            reading = [sys.executable, "-c", EPOCH, name]
            for text, words in (("preprocess.py", command), ("one epoch's reading", reading)):
                started = time.perf_counter()
                result = f"{text} {peak_memory_mb(words):.0f} MB"
                seconds = time.perf_counter() - started
                print(f"{args.large} records of 10 s: {result}, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    run_main(main, parse_args)
