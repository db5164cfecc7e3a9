"""Time the explanation of a record, beside the plain way to compute it with shap.

    python -m benchmarks.attributions                  # one record of 30 s, 50 samples a class
    python -m benchmarks.attributions --seconds 10 --samples 50 --amp

The plain way gives shap.GradientExplainer the whole network, with gradients of the parameters, in
its own batches of 50, and explains all nine classes; ours explains the predicted class. Both have
the same network (resnet34, random weights, as slow as trained ones), record, background, seed and
samples a class, in one process. Times are its processor time, which other programs do not change,
and the time on the clock. The ratio holds for these settings. Ends with status 1 if it is below 12,
if the values of the predicted class, made from the same draws, differ by a tenth of what another
seed changes, or if our part needs 4 GB.
"""

import os

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # a thread that waits uses no processor time

import time

import numpy as np
import shap
import torch

from dataset import CLASSES, LEADS, SAMPLE_RATE
from ecg.explanation.attributions import (
    Options,
    batch_logits,
    mean_gradients_of,
    random_path,
)
from ecg.explanation.check_measures import measure_statistics
from ecg.running.command import make_parser, run_main
from resnet import ResNet1d
from utils import peak_memory_mb, positive

TARGET = 12  # times faster
MEMORY = 4.0  # GB
ROUNDING = 0.1  # of the Monte Carlo error; the gradient jumps where float32 turns a ReLU over


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("--seconds", type=positive, default=30, help="length of the record")
    parser.add_argument("--samples", type=positive, default=50, help="samples a class")
    parser.add_argument("--background", type=positive, default=20, help="background records")
    parser.add_argument("--amp", action="store_true", help="measure bfloat16 too")
    return parser.parse_args(argv)


def make_problem(args):
    """Return a network in eval mode, a record (L, T) and a background (B, L, T): random walks."""
    torch.manual_seed(0)
    steps = torch.randn(args.background + 1, len(LEADS), args.seconds * SAMPLE_RATE)
    signals = (steps.cumsum(-1) * 0.02).remainder(2) - 1
    network = ResNet1d("resnet34", len(LEADS), len(CLASSES))
    measure_statistics(network, signals[:8], 4)
    return network.eval(), signals[0], signals[1:]


def timed(function, *arguments):
    """Return the result, the processor time and the time on the clock (s)."""
    start, clock = time.process_time(), time.perf_counter()
    result = function(*arguments)
    return result, time.process_time() - start, time.perf_counter() - clock


def ours(samples, network, x, background, seed, amp=False):
    k = int(batch_logits(network, x[None], 1)[0].argmax())
    options = Options(samples=samples, seed=seed, amp=amp)
    made = mean_gradients_of(random_path, network, {k: x}, background, options)
    return made[k].phi.numpy()


def plain(samples, network, x, background, seed):
    network.requires_grad_(True)
    explainer = shap.GradientExplainer(network, background)
    return explainer.shap_values(x[None], nsamples=samples, rseed=seed)[0]  # (L, T, K)


def relative(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def main(args):
    problem = make_problem(args)
    k = int(batch_logits(problem[0], problem[1][None], 1)[0].argmax())
    ours(2, *problem, 0)  # what is set up once does not count
    first, fast, clock = timed(ours, args.samples, *problem, 1)
    memory = peak_memory_mb() / 1024
    print(
        f"{torch.get_num_threads()} threads, {args.seconds} s, {args.samples} samples a class, "
        f"{args.background} background records; processor (clock) s a record"
    )
    print(f"ours, the predicted class: {fast:.2f} ({clock:.2f}), peak memory {memory:.2f} GB")
    if args.amp:
        rough, seconds, clock = timed(ours, args.samples, *problem, 1, True)
        error = f"{relative(rough, first):.1%} (relative L2)"
        print(f"--amp: {seconds:.2f} ({clock:.2f}), values off by {error}")
    second, _, _ = timed(ours, args.samples, *problem, 2)
    values, slow, clock = timed(plain, args.samples, *problem, 1)
    difference, noise = relative(values[..., k], first), relative(second, first)
    print(
        f"plain, all nine classes: {slow:.2f} ({clock:.2f})\n{slow / fast:.1f} times faster; the "
        f"values differ by {difference:.1e} (relative L2; another seed: {noise:.1e})"
    )
    if slow / fast < TARGET or difference > ROUNDING * noise or memory >= MEMORY:
        raise SystemExit(1)


if __name__ == "__main__":
    run_main(main, parse_args)
