"""Synthetic records that are made while a network trains on them, and are never seen twice."""

import numpy as np

from dataset import CLASSES, LEADS, augment, to_mv
from ecg.simulation.heart import WIDE_MIX, make_record
from resnet import frame_shares

# records of a data folder are numbered from 1: these are of the same seed and never the same
FIRST = 10_000_000


class FreshRecords:
    """A data set for `train_epoch` of `n` new synthetic records in each epoch; see ECGDataset.

    Item i is x (L, T) float32 in mV and y (K,) float32; it depends on the seed, `epoch` (set it
    before each pass) and i alone. `classes` are some of the simulator's. With `evidence`, a third
    part (K, frames) is the share of each frame in which the criterion of a class shows.
    """

    def __init__(self, n, seed, leads, seconds, classes=CLASSES, centred=False, evidence=False):
        self.n, self.seed, self.seconds = n, seed, seconds
        self.centred, self.evidence = centred, evidence
        self.classes = classes
        self.rows = [LEADS.index(lead) for lead in leads]
        self.epoch = 0

    def __len__(self):
        return self.n

    def known(self, rows):
        """Return how many labels of some rows are known, in records: all."""
        return len(rows)

    def number(self, i):
        """Return the number of item i among the records of the seed."""
        return FIRST + self.epoch * self.n + i

    @property
    def patient_ids(self):
        """Name the records of this epoch."""
        return [f"synthetic {self.number(i)} of seed {self.seed}" for i in range(self.n)]

    def __getitem__(self, i):
        record = make_record(self.seed, self.number(i), self.seconds, WIDE_MIX)
        rng = np.random.default_rng([self.seed, self.epoch, i])
        y = np.array([name in record.classes for name in self.classes], np.float32)
        x = augment(to_mv(record.signal, self.rows), rng)
        if self.centred:
            x = x - np.median(x, axis=1, keepdims=True)
        return (x, y, self.shares(record)) if self.evidence else (x, y)

    def shares(self, record):
        """Return the share of each frame that shows the criterion of each class, (K, frames)."""
        spans = {name: [] for name in self.classes}
        for row in record.evidence:
            if row.name in spans:
                spans[row.name].append((row.start, row.stop))
        n_samples = record.signal.shape[1]
        return np.stack([frame_shares(spans[name], n_samples) for name in self.classes])
