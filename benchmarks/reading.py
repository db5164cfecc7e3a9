"""Measure how fast a folder of ECGs is answered, of this checkout and, if named, of an older one.

    python -m benchmarks.reading --records 400 --before ../older

Both answer the same synthetic records of 10 s by `python -m ecg.read FOLDER --csv`, one after the
other. Seconds of processor time are told beside seconds on the clock, because the machine may have
other work. The first answer is that of one record, without its page.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ecg.running.command import make_parser
from ecg.synthetic import write_dataset
from utils import positive

HERE = Path(__file__).parents[1]


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("--records", type=positive, default=400, help="records in the folder")
    parser.add_argument("--before", type=Path, help="checkout of an older version")
    return parser.parse_args(argv)


def read(checkout, folder, *flags):
    """Answer for a folder or file; return (s on the clock, s of processor, MiB of one process)."""
    command = [sys.executable, "-m", "ecg.read", str(folder), *flags]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=checkout, env=os.environ | {"OMP_NUM_THREADS": "1"}, **quiet
    )
    _, status, usage = os.wait4(process.pid, 0)  # with the processes that it has started
    if status:
        raise SystemExit(f"{checkout}: ecg.read ended with {status}")
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main(args):
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work, "records")
        write_dataset(folder, args.records, seed=0)
        one = min(folder.glob("*.hea"))
        for name, checkout in (("before", args.before), ("now", HERE)):
            if checkout is None:
                continue
            first = read(checkout, one, "--no-pages")
            clock, used, memory = read(checkout, folder, "--csv", f"{work}/{name}.csv")
            each = (used - first[1]) / (args.records - 1) * 1000
            print(
                f"{name}: {args.records} records in {clock:.1f} s, {each:.1f} ms of processor "
                f"each, {memory:.0f} MiB; first answer {first[0]:.1f} s ({first[1]:.1f} s of "
                "processor)"
            )


if __name__ == "__main__":
    main(parse_args())
