"""The place of a criterion, as the network's evidence head gives it: trained localisation.

The head says of every 64 ms how likely the criterion of a class shows there (resnet.py). It was
trained on records whose criteria have a known place. It has no lead axis, so that every lead shows
the place; the leads that the head needs most do so twice as strongly: those without which its logit
falls most where it shows the class. A map needs no background and draws nothing.
"""

import numpy as np
import torch

from dataset import SAMPLE_RATE
from ecg.explanation.attributions import VALUE_BIN, Attribution
from resnet import FRAME


def evidence_maps(network, parts, background, options, stop_when=None):
    """Return the Attributions of some classes, {k: part (L, T) of a record} -> {k: Attribution}.

    Windows of VALUE_BIN sum to the probability, 0 to 1, that the criterion shows there, times the
    weight of the lead. `background` and `stop_when` are not needed. Raises ValueError if the
    network has no evidence head.
    """
    if network.evidence is None:
        raise ValueError("the network has no evidence head")
    maps = {}
    for k, x in parts.items():
        signals = torch.cat([x[None], without_each_lead(x)])
        with torch.no_grad():
            batches = signals.split(options.batch_size)
            frames = [network(batch, with_evidence=True)[1][:, k] for batch in batches]
        logits = torch.cat(frames).float()  # (1 + L, frames)
        shown = torch.sigmoid(logits[0])
        time = between_frames(shown.cpu().numpy(), x.shape[1])
        phi = torch.from_numpy(time).to(x) * lead_weights(logits, shown)[:, None]
        phi = phi / round(VALUE_BIN * SAMPLE_RATE)
        maps[k] = Attribution(phi, torch.stack([phi, phi]), len(signals))
    return maps


def without_each_lead(x):
    """Return L copies of x (L, T), each with another lead flat: (L, L, T)."""
    flat = x.repeat(len(x), 1, 1)
    flat[range(len(x)), range(len(x))] = 0
    return flat


def lead_weights(logits, shown):
    """Return how much each lead counts, 1/2 of one that is not needed to 1: (L,).

    `logits` (1 + L, frames) are of the whole signal and of those without a lead, `shown` (frames,)
    weighs the frames. All leads count fully where the logits fall without none.
    """
    falls = ((logits[0] - logits[1:]) * shown).sum(1).clamp(min=0)
    return (1 + falls / falls.max()) / 2 if falls.max() > 0 else torch.ones_like(falls)


def between_frames(values, n):
    """Return values of frames as n samples, linear from the centre of one frame to the next."""
    return np.interp(np.arange(n), np.arange(len(values)) * FRAME, values)
