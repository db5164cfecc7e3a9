"""A tiny data folder and a model of random weights, for the tests of explanations."""

import json

import numpy as np
import pandas as pd
import torch
from conftest import model_keys
from torch import nn

from dataset import CLASSES, LEADS, SAMPLE_RATE, labels_digest, load_labels
from ecg.inference.checkpoint import save_checkpoint
from resnet import ResNet1d
from utils import run_name

SECONDS = 1
WIDTH = 8  # a thin network
N_SAMPLES = SECONDS * SAMPLE_RATE
QUICK = ["--arch", "resnet18", "--samples", "4", "--background", "3", "--batch-size", "16"]


def write_data(folder, n=24, first=1):
    """Write labels.csv and packed signals: 0.5, 1 and 1.5 s and folds 1-10 in turn."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(first)
    names = [f"R{i:03d}" for i in range(first, first + n)]
    lengths = [SAMPLE_RATE // 2 * (1 + i % 3) for i in range(n)]
    parts = [rng.normal(0, 300, (12, t)).astype("<i2") for t in lengths]
    np.concatenate([part.ravel() for part in parts]).tofile(folder / "signals-x.i16")
    starts = np.cumsum([0] + [part.size for part in parts]).tolist()
    rows = [[name, s, t, ""] for name, s, t in zip(names, starts, lengths, strict=False)]
    index = {"fingerprint": f"test {first}", "file": "signals-x.i16", "records": rows}
    (folder / "signals.json").write_text(json.dumps(index))
    labels = pd.DataFrame(np.eye(9, dtype=int)[np.arange(n) % 9], columns=list(CLASSES))
    labels.insert(0, "patient_id", names)
    labels["fold"] = np.arange(n) % 10 + 1
    labels.to_csv(folder / "labels.csv", index=False)
    return dict(zip(names, parts, strict=True)), labels


def write_model(folder, leads=LEADS, seconds=SECONDS):
    """Write a model with random weights, as main.py would after training; return its network."""
    torch.manual_seed(0)
    network = ResNet1d("resnet18", len(leads), len(CLASSES), WIDTH)
    nn.init.normal_(network.fc.weight, 0, 0.3)
    with torch.no_grad():  # as if trained: normalised by the statistics of such signals
        for _ in range(20):
            network(0.3 * torch.randn(8, len(leads), N_SAMPLES))
    network.eval()
    data = folder / "data/own"
    flags = {"arch": "resnet18", "seconds": seconds, "data_dir": "data/own", "round": 0}
    flags |= {"width": WIDTH}
    content = {
        "state_dict": network.state_dict(),
        "epoch": 1,
        "leads": list(leads),
        "classes": list(CLASSES),
        "labels": labels_digest(load_labels(data)),
        "versions": {},
        "shortest": 1.0,
        "args": flags | {"limit": None, "seed": 42},
    }
    run = run_name("resnet18", "data/own", 42, 0, "all" if leads == LEADS else "II")
    save_checkpoint(folder / "models" / f"{run}.pth", content | model_keys(data))
    return network


def padded(signal, leads=slice(None)):
    """Return the last second in mV with zeros in front, as the network sees it: (1, L, T)."""
    x = np.zeros((1, 12, N_SAMPLES), np.float32)
    kept = signal[:, -N_SAMPLES:]
    x[0, :, N_SAMPLES - kept.shape[1] :] = kept / 1000
    return torch.from_numpy(x[:, leads])
