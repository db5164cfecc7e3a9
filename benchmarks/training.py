"""Measure training in samples a second at 12 x 15,000 and batch 32 against a plain loop; one run.

    python -m benchmarks.training                # two CPU cores: about six minutes
    python -m benchmarks.training --use-gpu --batches 100

The plain loop is float32 and reads every item with wfdb.rdsamp; all loaders have the same number of
workers. Records are noise of CPSC2018's lengths. All ways take turns on the same batches, and the
best turn counts. `waiting` is the share of the time in which the network waits for data.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import wfdb
from torch.utils.data import DataLoader

from benchmarks.loading import LENGTHS, make_records, run_preprocess, timed
from dataset import (
    CLASSES,
    LEADS,
    SAMPLE_RATE,
    SECONDS,
    ECGDataset,
    PackedSignals,
    load_labels,
    make_batches,
    pad_signal,
)
from ecg.inference.device import get_device, set_seed
from ecg.running.command import make_parser, run_main
from ecg.training.loop import batch_loss
from resnet import ResNet1d
from utils import natural, positive

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
    loader = DataLoader(items, batch_sampler=batches, num_workers=num_workers)
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
    device = get_device("cuda" if args.use_gpu else "cpu")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_records(folder, max(2 * len(LENGTHS), (args.batches + WARM_UP) * args.batch_size))
        timed(run_preprocess, folder, 2)
        labels, signals = load_labels(folder), PackedSignals(folder)
        packed = ECGDataset(signals, labels, augment_seed=0)
        batches = make_batches(len(labels), args.batch_size, 0, 1)[: args.batches + WARM_UP]
        ways = {
            "plain loop, float32": (PlainDataset(folder, labels), False),
            "this project, float32": (packed, False),
            "this project, --amp": (packed, True),
        }
        results = {way: [] for way in ways}
        for _ in range(args.turns):
            for way, (items, amp) in ways.items():
                results[way].append(train(items, batches, device, amp, args.num_workers))
    threads = f"{torch.get_num_threads()} threads, {args.num_workers} workers"
    print(f"ResNet-34, 12 x 15,000, batch {args.batch_size}, {device}, {threads}")
    plain = max(rate for rate, _ in results["plain loop, float32"])
    for way, measured in results.items():
        best = max(rate for rate, _ in measured)
        waiting = statistics.median(share for _, share in measured)
        print(f"{way:22s} {best:8.2f} samples/s  {best / plain:5.2f} x  waiting {waiting:6.2%}")


if __name__ == "__main__":
    run_main(main, parse_args)
