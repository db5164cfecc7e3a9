"""Attributions of one record: which samples of the signal move a logit, and by how much.

The values phi (L, T) say how much each sample moved the logit away from its mean over a background.
Expected gradients (Erion et al., Nature Machine Intelligence 2021; what shap.GradientExplainer
computes): the mean over background records b and alpha uniform in [0, 1] of
(x - b) * gradient at b + alpha (x - b).

The gradients are summed in two independent halves, each against its own half of the background. How
far the halves agree says how far the values can be trusted, whoever draws the background next:
`reliability`.
"""

import copy
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dataset import SAMPLE_RATE

VALUE_BIN = 0.04  # s: values are summed over a millimetre of paper, within which they are noise
WINDOWS = f"{1000 * VALUE_BIN:g} ms"  # the same in words
RELIABLE = 0.9  # from which single windows of a map can be read
UNKNOWABLE = ("base_logit", "residual", "reliability", "reliability_leads", "difference")
UNKNOWN = {name: [""] for name in UNKNOWABLE}  # cells of values.csv that are NaN
DRAW = 20  # samples between two looks at the reliability
GRADIENT_MEMORY = 4  # a gradient takes about this many times the memory of a prediction


class Options(NamedTuple):
    """What decides the values of a record, beside its name, the data and the model."""

    method: str = "shap"  # a name in METHODS
    samples: int = 200  # gradients, or steps of an integral, for each class: at most
    background: int = 100  # records
    seed: int = 42
    round: int = 0  # of the cross-validation
    batch_size: int = 32  # signals in a prediction; changes values by rounding only
    amp: bool = False  # compute in bfloat16
    reliability: float | None = None  # of the windows, at which to stop drawing


def fold_norms(network):
    """Return a copy of a ResNet1d in eval mode, its batch norms folded into the convolutions.

    The same function up to rounding, with fewer passes over the activations: about a tenth faster.
    """
    folded = copy.deepcopy(network)
    pairs = [(folded.stem, "0", "1")]
    for block in folded.stages:
        pairs += [(block, "conv1", "bn1"), (block, "conv2", "bn2")]
        pairs += [(block.shortcut, "0", "1")] * isinstance(block.shortcut, nn.Sequential)
    for parent, conv, norm in pairs:
        setattr(parent, conv, fuse_conv_bn_eval(getattr(parent, conv), getattr(parent, norm)))
        setattr(parent, norm, nn.Identity())
    return folded.requires_grad_(False)


def random_path(samples, n, seed):
    """Draw background records (S,) of n and alphas (S,) as shap.GradientExplainer does.

    A longer path starts with the shorter one of the same seed.
    """
    rng = np.random.RandomState(seed)  # noqa: NPY002  (the generator that shap draws from)
    rows, alphas = np.zeros(samples, int), np.zeros(samples)
    for i in range(samples):
        rows[i], alphas[i] = rng.choice(n), rng.uniform()
    return rows, alphas


def straight_path(samples, n, seed):
    """Return the steps of integrated gradients from a background of one signal.

    Sundararajan et al. (2017), equation 3, by the midpoint rule; the values sum to
    f(x) - f(background) as the steps grow. Nothing is drawn.
    """
    return np.zeros(samples, int), (np.arange(samples) + 0.5) / samples


class Path(NamedTuple):
    """The points at which gradients are taken: starts + alpha (x - starts)."""

    background: torch.Tensor  # (B, L, T)
    rows: np.ndarray  # (S,), of the background: each is where a point's line to x starts
    alphas: np.ndarray  # (S,), how far along that line the point lies, 0 to 1

    @property
    def halves(self):
        """Which half each point belongs to, (S,): that of every other signal of the background.

        With a background of one signal every other point.
        """
        return (self.rows if len(self.background) > 1 else np.arange(len(self.rows))) % 2


class Attribution(NamedTuple):
    """The values of one logit, on the network's device."""

    phi: torch.Tensor  # (L, T)
    halves: torch.Tensor  # (2, L, T), each from its own part of what phi is made from
    samples: int  # gradients, or signals that were passed through the network
    difference: float = np.nan  # relative L2, of a library's values from ours of the same draws


def mean_gradients(logit_of, x, path, batch_size, stop_when=None):
    """Return the Attribution of x (L, T), for a logit that `logit_of` maps (N, L, T) to: (N,).

    The halves are those of the path. `stop_when` is called after every DRAW samples with the halves
    and the number of samples in them; the path ends there where it returns True.
    """
    rows, alphas = torch.from_numpy(path.rows), torch.from_numpy(path.alphas)
    of_half = torch.from_numpy(path.halves)
    totals = x.new_zeros(2, *x.shape)
    for draw in torch.arange(len(rows)).split(DRAW if stop_when else len(rows)):
        for part in draw.split(batch_size):
            starts = path.background[rows[part].to(x.device)]
            alpha = alphas[part].to(x.device, x.dtype)[:, None, None]
            points = (starts + alpha * (x - starts)).requires_grad_()  # (batch, L, T)
            gradients = torch.autograd.grad(logit_of(points).float().sum(), points)[0]
            values = (x - starts) * gradients
            for half in range(2):
                totals[half] += values[(of_half[part] == half).to(x.device)].sum(0)
        samples = int(draw[-1]) + 1
        counts = of_half[:samples].bincount(minlength=2).clamp(min=1).to(x.device)
        halves = totals / counts[:, None, None]
        if stop_when and stop_when(halves, samples):
            break
    return Attribution(totals.sum(0) / samples, halves, samples)


def mean_gradients_of(draw, network, parts, background, options, stop_when=None):
    """Return the Attributions of some classes, {k: part (L, T) of a record} -> {k: Attribution}.

    `draw` (samples, background records, seed) returns rows and alphas of a Path, `background`
    (B, L, T) are the signals to start from, `options.seed` seeds what is drawn. `stop_when` is that
    of `mean_gradients`, but its first argument is the number of the class.
    """
    network = fold_norms(network)
    path = Path(background, *draw(options.samples, len(background), options.seed))
    batch_size, attributions = max(1, options.batch_size // GRADIENT_MEMORY), {}
    for k, x in parts.items():
        stop = partial(stop_when, k) if stop_when else None
        with torch.autocast(x.device.type, torch.bfloat16, enabled=options.amp):
            attributions[k] = mean_gradients(logit_of(network, k), x, path, batch_size, stop)
    return attributions


def logit_of(network, k):
    """Return the function that maps signals (N, L, T) to logit k of a network, (N,)."""
    return lambda points: network(points)[:, k]


def binned(phi):
    """Return values (..., t) summed over windows of VALUE_BIN, of which the last may be shorter."""
    edges = np.arange(0, phi.shape[-1], round(VALUE_BIN * SAMPLE_RATE))
    return np.add.reduceat(phi, edges, axis=-1)


def correlation(a, b):
    """Return Pearson's correlation of two arrays, NaN where one of them does not vary."""
    a, b = (np.ravel(part).astype(float) - np.mean(part, dtype=float) for part in (a, b))
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 0 else np.nan


def reliability(halves):
    """Return how reliable values are that are the mean of two halves (2, L, windows).

    The split-half reliability: Pearson's correlation r of the halves, stepped up to their mean,
    which is twice as long: 2 r / (1 + r), and 2 r / (1 - r) where r is negative. It estimates the
    correlation with a second map made in the same way; its square root, that with the map of
    endless samples. Spearman, British Journal of Psychology 3:271 (1910), and Brown, 3:296 (1910).

    Two numbers: of the windows in all leads, and of the leads' shares of the sums of |values|
    (NaN for fewer than three leads).
    """
    shares = np.abs(halves).sum(-1)  # (2, L)
    pairs = [correlation(*halves), correlation(*shares) if len(shares[0]) > 2 else np.nan]
    return np.array([2 * r / (1 + abs(r)) for r in pairs])


def half_agreement(halves):
    """Return how far two halves (2, ...) agree on each single value: 1 where they are equal.

    0 where their signs differ: there the mean of the halves is noise.
    """
    size = np.abs(halves).sum(0)
    return 1 - np.abs(halves[0] - halves[1]) / np.maximum(size, 1e-30)


def batch_logits(network, x, batch_size):
    """Return the logits (N, K) of signals x (N, L, T)."""
    with torch.no_grad():
        return np.concatenate([network(part).cpu().numpy() for part in x.split(batch_size)])
