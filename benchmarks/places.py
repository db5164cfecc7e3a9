"""Ask whether the highest window of a map is on the beat, or the part of it, that a person marked.

    python -m benchmarks.places --data-dir ../shared/data --methods evidence ig

Real records: LUDB's with first-degree or bundle branch block (odd numbers; cardiologists' borders:
P to QRS, or QRS, between the outermost marked beats), and 20 of CPSC2018 whose early beats were
marked by eye before any map was made (tests/explanation/marked_beats.csv). Chance is the share of
the windows that would do.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dataset import SAMPLE_RATE
from ecg.explanation import ludb
from ecg.explanation.attributions import Options, binned
from ecg.explanation.explanation import Explainer, Record
from ecg.inference.model import Model
from ecg.io.formats import read_record
from ecg.io.packing import pack_signal
from ecg.processing.beats import REGIONS
from ecg.running.command import make_parser, run_main

ROOT = Path(__file__).parents[1]
PARTS = {"IAVB": "before_qrs", "LBBB": "qrs", "RBBB": "qrs"}
# s before and after the R peak: a PVC from its onset to its T, a PAC from its P wave to QRS
REACH = {"PVC": (0.12, 0.5), "PAC": (0.25, 0.1)}


class Case(NamedTuple):
    """A real record, a class that it shows, and where."""

    source: str
    record: str
    class_name: str
    packed: np.ndarray  # (12, n)
    right: np.ndarray  # (n,) bool: where the criterion is
    counts: np.ndarray  # (n,) bool: where a person looked for it


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("--data-dir", default=ROOT.parent / "shared/data", help="real records")
    parser.add_argument("--model", default=ROOT / "models/general.pth", help="model to explain")
    parser.add_argument("--methods", nargs="+", default=["evidence", "ig"], help="methods")
    return parser.parse_args(argv)


def ludb_cases(folder):
    """Yield the Cases of LUDB's records with a block; nine_classes.csv names them."""
    table = pd.read_csv(folder / "nine_classes.csv", dtype=str).fillna("")
    for row in table.itertuples():
        for name in PARTS.keys() & set(row.labels.split(";")):
            path = folder / row.record
            packed = ludb.read_ludb(path.with_suffix(".hea"))
            regions = ludb.marked_regions(ludb.read_marks(path), packed.shape[1])
            right = regions == REGIONS.index(PARTS[name])
            yield Case("LUDB", row.record, name, packed, right, regions >= 0)


def beat_cases(folder):
    """Yield the Cases of CPSC2018's records whose early beats were marked by eye."""
    table = pd.read_csv(ROOT / "tests/explanation/marked_beats.csv")
    paths = {path.stem: path for path in folder.glob("cpsc2018_original/*/*.mat")}
    paths |= {path.stem: path for path in folder.glob("cpsc2018_feb2020/*.hea")}
    for record, beats in table.groupby("record"):
        read, signal, _ = read_record(paths[record])
        packed = pack_signal(signal, read.sample_rate)[0]
        seconds, (name,) = np.arange(packed.shape[1]) / SAMPLE_RATE, beats["type"].unique()
        offset = seconds[:, None] - beats["seconds"].to_numpy()
        right = ((offset > -REACH[name][0]) & (offset < REACH[name][1])).any(1)
        yield Case("CPSC2018", record, name, packed, right, np.ones_like(right))


def is_hit(model, method, case):
    """Tell whether the highest window lies right, and how often chance does: (hit, chance)."""
    options, k = Options(method=method, samples=50), model.classes.index(case.class_name)
    record = Record(case.record, model.network_input(case.packed), case.packed.shape[1])
    explained = Explainer(model.network, options).explain(record, [k]).of(k)
    part = slice(explained.start, explained.stop)
    right, counts = (binned(mask[part].astype(int)) > 0 for mask in (case.right, case.counts))
    heights = np.where(counts, binned(explained.values).max(0), -np.inf)
    return right[heights.argmax()], right[counts].mean()


def main(args):
    model, folder = Model.load(args.model), Path(args.data_dir)
    cases = [*ludb_cases(folder / "ludb"), *beat_cases(folder)]
    for method in args.methods:
        rows = [(c.source, c.class_name, c.record, *is_hit(model, method, c)) for c in cases]
        table = pd.DataFrame(rows, columns=["source", "class", "record", "hit", "chance"])
        groups = table.groupby(["source", "class"])
        found = groups.agg(n=("hit", "size"), hits=("hit", "sum"), chance=("chance", "mean"))
        print(f"{method}\n{found.round(2).to_string()}")
        print(f"missed: {', '.join(table.record[~table.hit.astype(bool)]) or 'none'}")


if __name__ == "__main__":
    run_main(main, parse_args)
