"""Compare synthetic records with real ones, lead by lead: amplitude and power in three bands.

    python -m benchmarks.simulation                    # beside ../shared/data/cpsc2018_feb2020
    python -m benchmarks.simulation --records 400 --real FOLDER

Prints the median and the 10th and 90th percentile over records of the 99th percentile of absolute
amplitude (mV, from the record's median) and of log10 of mean power density (mV^2/Hz), and how many
records a second one core makes.
"""

import time
from pathlib import Path

import numpy as np
import wfdb
from scipy.signal import periodogram

from dataset import LEADS, SAMPLE_RATE, UNITS_PER_MV
from ecg.running.command import make_parser, run_main
from ecg.simulation.heart import make_record
from utils import natural, positive

REAL = Path(__file__).parents[2] / "shared/data/cpsc2018_feb2020"
BANDS = ((0.2, 0.5), (15, 30), (60, 90))  # Hz


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("--real", type=Path, default=REAL, help="folder of real records")
    parser.add_argument("--records", type=positive, default=200, help="synthetic records to make")
    parser.add_argument("--seed", type=natural, default=0, help="seed of the synthetic records")
    return parser.parse_args(argv)


def describe(signal):
    """Return amplitude and log10 powers of the last 10 s of a signal (12, t) mV: (12, 4)."""
    part = signal[:, -10 * SAMPLE_RATE :]
    part = part - np.median(part, 1, keepdims=True)
    f, power = periodogram(part, SAMPLE_RATE)
    bands = [power[:, (f >= low) & (f <= high)].mean(1) for low, high in BANDS]
    return np.stack([np.quantile(np.abs(part), 0.99, 1), *np.log10(np.maximum(bands, 1e-12))], 1)


def read_folder(folder):
    """Return the signals (12, t) in mV of a folder's records, which must have 500 Hz."""
    paths = sorted(folder.rglob("*.hea"))
    return [wfdb.rdsamp(str(path.with_suffix("")))[0].T for path in paths]


def main(args):
    start = time.process_time()
    made = [make_record(args.seed, number).signal for number in range(1, args.records + 1)]
    speed = args.records / (time.process_time() - start)
    real = read_folder(args.real)
    measures = {
        "real": np.stack([describe(signal) for signal in real]),
        "synthetic": np.stack([describe(signal / UNITS_PER_MV) for signal in made]),
    }
    heads = ["99th percentile, mV", *(f"power {low}-{high} Hz" for low, high in BANDS)]
    print("lead  " + "".join(f"{head:>52}" for head in heads))
    print("      " + "".join(f"{name:>26}" for name in measures) * len(heads))
    for i, lead in enumerate(LEADS):
        cells = []
        for column in range(len(heads)):
            for values in measures.values():
                low, middle, high = np.quantile(values[:, i, column], [0.1, 0.5, 0.9])
                cells.append(f"{middle:.2f} ({low:.2f} to {high:.2f})".rjust(26))
        print(f"{lead:<6}" + "".join(cells))
    print(f"{len(real)} real records; {speed:.0f} synthetic records a second on one core")


if __name__ == "__main__":
    run_main(main, parse_args)
