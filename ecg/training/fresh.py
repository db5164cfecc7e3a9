"""Synthetic records that are made while a network trains on them, and are never seen twice."""

import numpy as np

from dataset import CLASSES, LEADS, augment, to_mv
from ecg.simulation.heart import WIDE_MIX, make_record

# records of a data folder are numbered from 1: these are of the same seed and never the same
FIRST = 10_000_000


class FreshRecords:
    """A data set for train_epoch of `n` new synthetic records in each epoch; see ECGDataset.

    Item i is x (L, T) float32 in mV and y (K,) float32; it depends on the seed, `epoch` (set it
    before each pass) and i alone.
    """

    pad = "window"

    def __init__(self, n, seed, leads, seconds):
        self.n, self.seed, self.seconds = n, seed, seconds
        self.rows = [LEADS.index(lead) for lead in leads]
        self.epoch = 0

    def __len__(self):
        return self.n

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
        y = np.array([name in record.classes for name in CLASSES], np.float32)
        return augment(to_mv(record.signal, self.rows), rng), y
