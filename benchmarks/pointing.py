"""Measure where the evidence head of models points: in synthetic records, and in LUDB's.

    python -m benchmarks.pointing --models models/general.pth ...

Of each record and class that it shows: whether the frame (64 ms) with the highest probability lies
in the evidence, the share of frames that do (chance), and the intersection over union of the frames
above 0.5. The evidence of synthetic records of another seed is the simulator's; that of LUDB's
records with IAVB, LBBB or RBBB is the cardiologists' marks: P to QRS, or QRS. Everything goes to
results/transfer/pointing.csv, from where `python -m benchmarks.tables` takes it to docs/model.md.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.transfer import SHARED, ludb_labels, write_table
from dataset import CLASSES
from ecg.explanation.ludb import joint_waves, match, read_ludb, read_marks
from ecg.inference.model import Model
from ecg.running.command import make_parser, run_main
from ecg.simulation.heart import make_record
from resnet import frame_shares
from utils import positive

SEED = 9  # of no training
MARKED = ("IAVB", "LBBB", "RBBB")


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("--models", nargs="+", required=True, help="models with an evidence head")
    parser.add_argument("--records", type=positive, default=240, help="synthetic ones")
    parser.add_argument("--shared", type=Path, default=SHARED, help="the folder of ludb")
    return parser.parse_args(argv)


def place_probabilities(model, packed):
    """Return the probability of each class in each frame of a record of one window, (K, F)."""
    x = torch.from_numpy(model.network_input(packed))[None]
    with torch.inference_mode():
        return torch.sigmoid(model.network(x, with_evidence=True)[1][0]).numpy()


def measure(probability, shares):
    """Return whether the highest of (F,) is in the evidence (F,), chance, and the overlap."""
    evidence, found = shares > 0, probability > 0.5
    union = (found | (shares > 0.5)).sum()
    overlap = (found & (shares > 0.5)).sum() / union if union else np.nan
    return {
        "inside": bool(evidence[probability.argmax()]),
        "chance": evidence.mean(),
        "overlap": overlap,
    }


def synthetic_cases(n):
    """Yield (packed record, class, shares (F,), slice of the frames to look at) of n records."""
    for number in range(1, n + 1):
        record = make_record(SEED, number)
        for name in record.classes:
            spans = [(row.start, row.stop) for row in record.evidence if row.name == name]
            shares = frame_shares(spans, record.signal.shape[1]).numpy()
            yield record.signal, name, shares, slice(None)


def marked_spans(marks, name):
    """Return where the marks (`read_marks`) show IAVB or a bundle branch block, in samples."""
    qrs = joint_waves(marks, "qrs")
    if name != "IAVB":
        spans = qrs[:, [0, 2]]
    else:
        p = match(joint_waves(marks, "p"), qrs[:, 0], -0.45, 0)
        spans = np.stack([p[:, 0], qrs[:, 0]], 1)
    return [(int(a), int(b)) for a, b in spans if 0 <= a < b]


def ludb_cases(folder):
    """Yield the same of LUDB's records with one of the three classes."""
    labels = ludb_labels(folder).set_index("patient_id")
    for record in labels.index:
        for name in MARKED:
            if labels.loc[record, name] == 1:
                packed = read_ludb(folder / f"{record}.hea")
                spans = marked_spans(read_marks(folder / record), name)
                shares = frame_shares(spans, packed.shape[1]).numpy()
                marked = np.flatnonzero(shares)  # the first and last beats have no marks
                yield packed, name, shares, slice(marked[0], marked[-1] + 1)


def main(args):
    torch.set_num_threads(1)
    cases = {"synthetic": list(synthetic_cases(args.records))}
    cases["LUDB"] = list(ludb_cases(args.shared / "ludb"))
    rows = []
    for path in args.models:
        model = Model.load(path)
        for title, of_set in cases.items():
            for packed, name, shares, part in of_set:
                probability = place_probabilities(model, packed)[CLASSES.index(name)]
                row = {"model": Path(path).name, "records": title, "class": name}
                rows.append(row | measure(probability[part], shares[part]))
    write_table(pd.DataFrame(rows), "pointing")


if __name__ == "__main__":
    run_main(main, parse_args)
