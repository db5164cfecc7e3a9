"""A thin model of random weights, as main.py would write it."""

import numpy as np
import torch

from dataset import CLASSES, LEADS
from ecg.inference.model import Model
from ecg.inference.provenance import Provenance
from ecg.inference.settings import Settings, TrainingFlags

LIMITS = dict(zip(CLASSES, np.linspace(0.41, 0.57, 9).tolist(), strict=True))


def make_model(leads=LEADS, window=None, seconds=3, data="tiny", limits=LIMITS, seen=()):
    """Return a Model; `window` in samples, `seen` are the digests of its training records."""
    torch.manual_seed(3)
    windows = window is not None
    flags = TrainingFlags("resnet18", data, seconds, 0, 42, None, width=8, windows=windows)
    settings = Settings(tuple(leads), CLASSES, "labels", "signals", 6.0, window, flags, {})
    network = settings.build_network()
    with torch.no_grad():  # as if trained: normalised by the statistics of such signals
        for _ in range(10):
            network(0.5 * torch.randn(8, len(leads), 500))
    return Model(
        network.eval().requires_grad_(False),
        settings,
        limits,
        "best F1 on the validation fold, the middle of the best",
        Provenance(data, 100, synthetic=False, has_patients=True),
        {f"R{i}": digest for i, digest in enumerate(seen)},
        epoch=1,
        weights="digest",
    )
