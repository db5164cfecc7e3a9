"""Measure training in samples a second at 12 x 15,000 and batch 32 against a plain loop; one run.

    python benchmarks/training.py                # two CPU cores: about six minutes
    python benchmarks/training.py --use-gpu --batches 100

The plain loop is float32 and reads every item with wfdb.rdsamp, its loader with as many workers as
this project's. Records are noise of CPSC2018's lengths. All take turns on the same batches; the
best of the turns counts. `waiting` is the share of the time in which the network waits for data.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import wfdb
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).parents[1]))

from loading import LENGTHS, make_records, run_preprocess, timed  # noqa: E402

from dataset import (  # noqa: E402
    CLASSES,
    LEADS,
    SAMPLE_RATE,
    SECONDS,
    ECGDataset,
    PackedSignals,
    load_labels,
    make_batches,
    pad_batch,
    pad_signal,
)
from ecg.training.loop import batch_loss  # noqa: E402
from resnet import ResNet1d  # noqa: E402
from utils import get_device, make_parser, natural, positive, set_seed  # noqa: E402

WARM_UP = 1  # batches before the clock starts


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("--batches", type=positive, default=3, help="timed batches a turn")
    parser.add_argument("--turns", type=positive, default=2, help="turns of each way")
    parser.add_argument("--batch-size", type=positive, default=32, help="records a batch")
    parser.add_argument("--num-workers", type=natural, default=0, help="of every loader")
    parser.add_argument("--use-gpu", action="store_true", help="run on cuda:0, or stop")
    return parser.parse_args(argv)


class PlainDataset:
    """An item as the reference reads it: wfdb.rdsamp, the last 30 s, zeros in front."""

    def __init__(self, folder, labels):
        self.paths = [str(folder / name) for name in labels["patient_id"]]
        self.y = labels[list(CLASSES)].to_numpy(np.float32, copy=True)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        signal, _ = wfdb.rdsamp(self.paths[i])
        return pad_signal(signal.T.astype(np.float32), SECONDS * SAMPLE_RATE), self.y[i]


def train(items, batches, device, amp, num_workers):
    """Train on some batches; return samples a second and the share of time spent waiting."""
    set_seed(0)
    model = ResNet1d("resnet34", len(LEADS), len(CLASSES)).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    loader = DataLoader(items, batch_sampler=batches, num_workers=num_workers, collate_fn=pad_batch)
    waiting, samples, mark = 0.0, 0, time.perf_counter()
    for step, (x, y) in enumerate(loader):
        if device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        if step == WARM_UP:
            waiting, samples, started = 0.0, 0, now
        waiting += now - mark if step > WARM_UP else 0.0
        loss = batch_loss(model, x.to(device), y.to(device), amp)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        samples += len(x)
        mark = time.perf_counter()
    return samples / (mark - started), waiting / (mark - started)


def main(args):
    device = get_device(args.use_gpu)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_records(folder, max(2 * len(LENGTHS), (args.batches + WARM_UP) * args.batch_size))
        timed(run_preprocess, folder, 2)
        labels, signals = load_labels(folder), PackedSignals(folder)
        packed = ECGDataset(signals, labels, augment_seed=0)
        short = ECGDataset(signals, labels, augment_seed=0, pad="batch")
        n = len(labels)
        window = make_batches(n, args.batch_size, 0, 1)[: args.batches + WARM_UP]
        by_length = make_batches(n, args.batch_size, 0, 1, short.lengths())
        ways = {
            "plain loop, float32": (PlainDataset(folder, labels), window, False),
            "this project, float32": (packed, window, False),
            "this project, --amp": (packed, window, True),
            # the batches differ in length, so all of them are timed
            "--pad batch, float32": (short, [by_length[0], *by_length], False),
            "--pad batch, --amp": (short, [by_length[0], *by_length], True),
        }
        results = {way: [] for way in ways}
        for _ in range(args.turns):
            for way, (items, batches, amp) in ways.items():
                results[way].append(train(items, batches, device, amp, args.num_workers))
    print(f"ResNet-34, 12 x 15,000, batch {args.batch_size}, {device}, "
          f"{torch.get_num_threads()} threads, {args.num_workers} workers")  # fmt: skip
    plain = max(rate for rate, _ in results["plain loop, float32"])
    for way, measured in results.items():
        best = max(rate for rate, _ in measured)
        waiting = statistics.median(share for _, share in measured)
        print(f"{way:22s} {best:8.2f} samples/s  {best / plain:5.2f} x  waiting {waiting:6.2%}")


if __name__ == "__main__":
    main(parse_args())
