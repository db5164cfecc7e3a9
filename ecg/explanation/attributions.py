"""Attributions of one record: which samples of the signal move a logit, and by how much.

The values phi (L, T) say how much each sample moved the logit away from its mean over a background.
Expected gradients (Erion et al., Nature Machine Intelligence 2021; what shap.GradientExplainer
computes): the mean over background records b and alpha uniform in [0, 1] of
(x - b) * gradient at b + alpha (x - b).
"""

import copy
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

VALUE_BIN = 0.04  # s: values are summed over a millimetre of paper, within which they are noise
GRADIENT_MEMORY = 4  # a gradient takes about this many times the memory of a prediction


class Options(NamedTuple):
    """What decides the values of a record, beside its name, the data and the model."""

    method: str = "shap"  # a name in METHODS
    samples: int = 200  # gradients, or steps of an integral, for each class
    background: int = 100  # records
    seed: int = 42
    round: int = 0  # which rotation of the folds
    batch_size: int = 32  # signals in a prediction; changes values by rounding only
    amp: bool = False  # compute in bfloat16


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


def integrated_gradients(model, x, background, samples, seed, batch_size):
    """Return integrated gradients (L, T) of x from a background of one signal (1, L, T).

    Sundararajan et al. (2017), equation 3, by the midpoint rule in `samples` steps; they sum to
    f(x) - f(background) as the steps grow. `seed` is not used, as nothing is drawn.
    """
    total, way = torch.zeros_like(x), x - background[0]
    for part in ((torch.arange(samples, device=x.device) + 0.5) / samples).split(batch_size):
        points = (background + part[:, None, None] * way).requires_grad_()  # (steps, L, T)
        total += torch.autograd.grad(model(points).sum(), points)[0].sum(0)
    return (way * total / samples).cpu().numpy()


class Method(NamedTuple):
    """A way to compute values; adding one to METHODS is all that a new one needs."""

    text: str  # for --help
    values: Callable  # (one-logit model, x, background, samples, seed, batch_size) -> (L, T)
    from_zero: bool = False  # the background is a flat line, not records of the training folds


METHODS = {
    "shap": Method("shap.GradientExplainer (expected gradients)", sampled_gradients),
    "ig": Method("integrated gradients from a signal of zeros", integrated_gradients, True),
}


def explain(model, x, classes, background, options, seed):
    """Return the values (k, L, T) of one record x (L, T) for the logits of some classes."""
    network, phi = OneLogit(fold_norms(model)), []
    n = max(1, options.batch_size // GRADIENT_MEMORY)
    method = METHODS[options.method].values
    with torch.autocast(x.device.type, torch.bfloat16, enabled=options.amp):
        for network.k in classes:
            phi.append(method(network, x, background, options.samples, seed, n))
    return np.stack(phi).astype(np.float32)


def score(model, x, batch_size):
    """Return the logits (N, K) of signals x (N, L, T)."""
    with torch.no_grad():
        return np.concatenate([model(part).cpu().numpy() for part in x.split(batch_size)])
