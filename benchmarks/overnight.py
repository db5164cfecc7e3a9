"""Measure what a night of config/laptop.yaml consists of, in processor seconds of one core.

    python -m benchmarks.overnight --data-dir data/CPSC_twin --init models/general.pth

Prints the parts of a training with V6 of one epoch, without and with synthetic records beside the
real ones, and the records that the small and the paper's network train on in a second, by batch and
precision: for docs/reproduce.md. All are seconds of processor time, which counts other work on the
machine less than clock time does.
"""

import time

import torch

import main as step
from dataset import CLASSES, SAMPLE_RATE, PackedSignals, load_labels, signal_digest
from ecg.inference.device import set_seed
from ecg.running.command import make_parser
from ecg.training.loop import batch_loss, train_epoch, validate
from ecg.training.training import Epoch
from resnet import ResNet1d

SMALL, PAPER = ("resnet18", 24), ("resnet34", 64)
# network, seconds, leads, batch, bfloat16
CASES = [(SMALL, 10, 12, batch, False) for batch in (8, 16, 32, 64)]
CASES += [(SMALL, 10, 1, 16, False), (SMALL, 10, 12, 16, True)]
CASES += [(PAPER, 10, 12, 8, False), (PAPER, 30, 12, 4, False)]
STEPS = 3  # timed, after one that is not


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("--data-dir", default="data/CPSC_twin", help="packed records")
    parser.add_argument("--init", default="models/general.pth", help="model to start from")
    parser.add_argument("--limit", type=int, help="use only the first N records")
    return parser.parse_args(argv)


def rate(network, seconds, n_leads, batch_size, amp):
    """Return the records that one core trains on in a second of its time."""
    set_seed(0)
    arch, width = network
    model = ResNet1d(arch, n_leads, len(CLASSES), width).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    x = torch.randn(batch_size, n_leads, seconds * SAMPLE_RATE)
    y = (torch.rand(batch_size, len(CLASSES)) > 0.8).float()
    for i in range(STEPS + 1):
        if i == 1:
            started = time.process_time()
        loss = batch_loss(model, x, y, amp=amp)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return STEPS * batch_size / (time.process_time() - started)


def parts(args, evidence):
    """Yield the parts of a training with lead V6, in words, and the s that each takes."""
    own = ["--data-dir", args.data_dir, "--init", args.init, "--leads", "V6", "--epochs", "1"]
    own += [evidence, *(["--limit", str(args.limit)] if args.limit else [])]
    flags, mark = step.parse_args(own), time.process_time()
    train_set, validation_set, training = step.set_up(flags, torch.device("cpu"))
    yield f"{len(train_set)} and {len(validation_set)} records set up", time.process_time() - mark
    beside, mark = training.synthetic, time.process_time()
    train_epoch(training, training.network, train_set)
    yield f"epoch, {len(beside) if beside else 0} synthetic ones", time.process_time() - mark
    mark = time.process_time()
    scores = validate(training.network, validation_set, training.loading)
    yield "validation of an epoch", time.process_time() - mark
    training.add(Epoch(1, 0.0, *scores, 0.0))
    mark = time.process_time()
    model = step.make_model(training, train_set, validation_set, flags)
    yield "thresholds (validation again), digests", time.process_time() - mark
    signals, mark = PackedSignals(args.data_dir), time.process_time()
    for name in load_labels(args.data_dir, args.limit)["patient_id"]:
        signal_digest(signals[name])
    yield "of these, digests of all records", time.process_time() - mark
    mark = time.process_time()
    step.publish(training, model)
    yield f"files of {training.run}", time.process_time() - mark


def main(args):
    torch.set_num_threads(1)
    print(f"{'start of Python, packages':45s} {time.process_time():7.2f} s")
    for evidence in ("--no-evidence", "--evidence"):
        for name, seconds in parts(args, evidence):
            print(f"{name:45s} {seconds:7.2f} s", flush=True)
    for network, seconds, n_leads, batch_size, amp in CASES:
        found = rate(network, seconds, n_leads, batch_size, amp)
        shape = f"{n_leads} x {seconds * SAMPLE_RATE}, batch {batch_size}"
        precision = "bfloat16" if amp else "float32"
        print(f"{network[0]}, width {network[1]}, {shape}, {precision}: {found:.1f} records/s")


if __name__ == "__main__":
    main(parse_args())
