"""Compute the expert features of a data set's records for the baselines, and keep them.

Reads   data/CPSC/labels.csv and the packed signals (both from preprocess.py).
Writes  data/CPSC/features.csv, and features_rhythm.csv for --features rhythm, each with a json that
        says what it was computed from. Files that are up to date are kept.

baselines.py computes missing features itself; compute them here first if several of its runs start
at once.

    python -m ecg.features --data-dir data/CPSC
    python -m ecg.features --data-dir data/CPSC --features rhythm
"""

import os

from dataset import load_labels
from ecg.processing.features import add_features_arg, load_features
from ecg.running.command import make_parser, run_main
from utils import positive


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("--data-dir", default="data/CPSC", help="folder of the data set")
    parser.add_argument("--limit", type=positive, help="use only the first N records")
    add_features_arg(parser)
    parser.add_argument("--jobs", type=positive, default=os.cpu_count(), help="processes to use")
    return parser.parse_args(argv)


def main(args):
    names = list(load_labels(args.data_dir, args.limit).patient_id)
    features = load_features(args.data_dir, names, args.features, args.jobs)
    print(f"{args.data_dir} holds {features.shape[1]} features of {len(names)} records; next:")
    rhythm = " --features rhythm" if args.features == "rhythm" else ""
    print(f"python baselines.py --data-dir {args.data_dir}{rhythm}")


if __name__ == "__main__":
    run_main(main, parse_args)
