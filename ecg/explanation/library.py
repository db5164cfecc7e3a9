"""Our values beside those of the library shap: GradientExplainer itself, and shap.Explanation.

shap takes seconds to import, so only what uses it does.
"""

import copy

import numpy as np
import torch
from torch import nn

from dataset import SAMPLE_RATE
from ecg.explanation.attributions import VALUE_BIN, mean_gradients_of, random_path


class OneLogit(nn.Module):
    """A network seen through one logit, as shap.GradientExplainer takes it: (N, 1)."""

    def __init__(self, network, k):
        super().__init__()
        self.network, self.k = copy.deepcopy(network), k

    def forward(self, x):
        """Map (N, L, T) to (N, 1)."""
        return self.network(x)[:, self.k : self.k + 1]


def gradient_explainer(network, parts, background, options, stop_when=None):
    """Return the Attributions that shap.GradientExplainer makes, with their difference from ours.

    The halves are those of our values from the same draws. `stop_when` cannot be asked.
    """
    import shap

    ours = mean_gradients_of(random_path, network, parts, background, options)
    made, draws = {}, {"nsamples": options.samples, "rseed": options.seed}
    for k, x in parts.items():
        explainer = shap.GradientExplainer(OneLogit(network, k), background, options.batch_size)
        values = torch.from_numpy(explainer.shap_values(x[None], **draws)[0, ..., 0]).to(x)
        difference = torch.linalg.norm(ours[k].phi - values) / torch.linalg.norm(values)
        made[k] = ours[k]._replace(phi=values, difference=float(difference))
    return made


def shap_explanation(explained, signal, leads, seconds=VALUE_BIN):
    """Return a ClassExplanation as a shap.Explanation, for shap.plots.

    A feature is a lead in a window of `seconds` (None: the whole lead). Its value is the sum of the
    values there, its datum the deflection furthest from the lead's median (mV). `signal` (L, t) is
    the part of the record that the values are of, in mV.
    """
    import shap

    n = signal.shape[1]
    step = n if seconds is None else round(seconds * SAMPLE_RATE)
    starts = np.arange(0, n, step)
    values = np.add.reduceat(explained.values.astype(float), starts, axis=1)
    centred = signal - np.median(signal, axis=1, keepdims=True)
    high, low = (f.reduceat(centred, starts, axis=1) for f in (np.maximum, np.minimum))
    names = []
    for lead in leads:
        places = (explained.start + starts) / SAMPLE_RATE
        names += [lead if seconds is None else f"{lead} {place:.2f} s" for place in places]
    return shap.Explanation(
        values=values.ravel(),
        base_values=float(explained.logit - explained.change),
        data=np.where(high >= -low, high, low).ravel(),
        feature_names=names,
    )
