"""Attributions of one record: which samples of the signal move a logit, and by how much.

The values phi (L, T) say how much each sample moved the logit away from its mean over a background.
Expected gradients (Erion et al., Nature Machine Intelligence 2021; what shap.GradientExplainer
computes): the mean over background records b and alpha uniform in [0, 1] of
(x - b) * gradient at b + alpha (x - b).
"""

import copy

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

VALUE_BIN = 0.02  # s: values are summed over half a millimetre of paper to be visible
GRADIENT_MEMORY = 4  # a gradient takes about this many times the memory of a prediction
METHODS = {
    "shap": "shap.GradientExplainer",
    "stratified": "the same expectation with evenly spread draws",
    "ig": "integrated gradients from a zero baseline",
}


class OneLogit(nn.Module):
    """The network seen through the logit of class `k`: (N, L, T) to (N, 1)."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.k = None

    def forward(self, x):
        """Return the logits of class k (N, 1), or zeros while no class is chosen."""
        if self.k is None:  # shap's constructor runs the whole background to count the outputs
            return x.new_zeros(len(x), 1)
        return self.model(x)[:, self.k : self.k + 1].float()


def fold_norms(model):
    """Return a copy of a ResNet1d in eval mode, its batch norms folded into the convolutions.

    The same function up to rounding, with fewer passes over the activations: about a tenth faster.
    """
    folded = copy.deepcopy(model)
    pairs = [(folded.stem, "0", "1")]
    for block in folded.stages:
        pairs += [(block, "conv1", "bn1"), (block, "conv2", "bn2")]
        pairs += [(block.shortcut, "0", "1")] * isinstance(block.shortcut, nn.Sequential)
    for parent, conv, norm in pairs:
        setattr(parent, conv, fuse_conv_bn_eval(getattr(parent, conv), getattr(parent, norm)))
        setattr(parent, norm, nn.Identity())
    return folded.requires_grad_(False)


def sampled_gradients(model, x, background, samples, seed, batch_size):
    """Return shap.GradientExplainer's values (L, T) of x for the chosen logit."""
    import shap  # takes seconds to import

    k, model.k = model.k, None
    explainer = shap.GradientExplainer(model, background, batch_size=batch_size)
    model.k = k
    values = explainer.shap_values(x[None], nsamples=samples, rseed=seed)  # (1, L, T, 1)
    return values[0, ..., 0]


def spread_draws(samples, n_background, rng):
    """Draw the backgrounds' rows and the steps alpha of `samples` gradients, both (samples,).

    Every background serves equally often, once in each of as many equal stretches of [0, 1], and
    within a stretch each has a part of its own. Every second stretch is the mirror image (alpha,
    1 - alpha) of another, background by background. A remainder spreads over the whole of [0, 1].
    """
    rounds, rest = divmod(samples, n_background)
    rows, steps = [], []

    def add(size, first, stretches):
        rows.append(rng.permutation(n_background)[:size])
        steps.append((first + (rng.permutation(size) + rng.random(size)) / size) / stretches)

    for number in range(rounds):
        if number % 2 == 0:
            add(n_background, number // 2, rounds)
        else:
            rows.append(rows[-1])
            steps.append(1 - steps[-1])
    if rest:
        add(rest, 0, 1)
    return np.concatenate(rows), np.concatenate(steps)


def stratified_gradients(model, x, background, samples, seed, batch_size):
    """Return the same expectation (L, T) for the chosen logit, from evenly spread draws."""
    rows, steps = spread_draws(samples, len(background), np.random.default_rng(seed))
    rows = torch.from_numpy(rows).to(x.device)
    steps = torch.from_numpy(steps).to(x)[:, None, None]
    total = torch.zeros_like(x)
    for part, alpha in zip(rows.split(batch_size), steps.split(batch_size), strict=True):
        way = x - background[part]  # (n, L, T)
        points = (background[part] + alpha * way).requires_grad_()
        total += (torch.autograd.grad(model(points).sum(), points)[0] * way).sum(0)
    return (total / samples).cpu().numpy()


def integrated_gradients(model, x, steps, batch_size):
    """Return integrated gradients (L, T) of x from zero, by the midpoint rule.

    Sundararajan et al. (2017), equation 3; they sum to f(x) - f(0) as the steps grow.
    """
    total = torch.zeros_like(x)
    for part in ((torch.arange(steps, device=x.device) + 0.5) / steps).split(batch_size):
        points = (part[:, None, None] * x).requires_grad_()  # (steps, L, T)
        total += torch.autograd.grad(model(points).sum(), points)[0].sum(0)
    return (x * total / steps).cpu().numpy()


def explain(model, x, classes, background, args, seed, amp=False):
    """Return the values (k, L, T) of one record x (L, T) for the logits of some classes."""
    phi = []
    n = max(1, args.batch_size // GRADIENT_MEMORY)
    sampled = stratified_gradients if args.method == "stratified" else sampled_gradients
    with torch.autocast(x.device.type, torch.bfloat16, enabled=amp):
        for model.k in classes:
            if args.method == "ig":
                phi.append(integrated_gradients(model, x, args.samples, n))
            else:
                phi.append(sampled(model, x, background, args.samples, seed, n))
    return np.stack(phi).astype(np.float32)


def score(model, x, batch_size):
    """Return the logits (N, K) of signals x (N, L, T)."""
    with torch.no_grad():
        return np.concatenate([model(part).cpu().numpy() for part in x.split(batch_size)])
