"""How much each lead counts for each class, over the records that are predicted as the class."""

from typing import NamedTuple

import numpy as np
import pandas as pd

FEW_RECORDS = 5  # below which a row says so
CANCELLED = 0.05  # a row whose signed sum is below this part of its absolute sum is not divided


class HeatMap(NamedTuple):
    """A number per class and lead."""

    cells: np.ndarray  # (K + 1, L), NaN in a row without records; the last row is their mean
    label: str
    notes: list[str]  # (K + 1,)


def with_mean(cells, label, notes):
    """Return the HeatMap of cells (K, L), with a row for the mean over the classes."""
    filled = cells[np.isfinite(cells).all(1)]
    mean = filled.mean(0) if len(filled) else np.full(cells.shape[1], np.nan)
    return HeatMap(np.vstack([cells, mean]), label, [*notes, f"mean of {len(filled)} classes"])


class Population:
    """Sums over explained records, added one by one, of what the leads' values are."""

    def __init__(self, classes, leads, unit="SHAP value"):
        self.classes, self.leads, self.unit = list(classes), list(leads), unit
        self.count = np.zeros(len(classes), int)
        self.shares, self.sums = np.zeros((2, len(classes), len(leads)))

    def add(self, explained):
        """Add the ClassExplanation of a record's predicted class."""
        k, size = explained.k, np.abs(explained.values).sum(1)
        self.shares[k] += size / max(size.sum(), 1e-30)
        self.sums[k] += explained.values.sum(1)
        self.count[k] += 1

    def notes(self):
        """Say where there are few records or none: (K,)."""
        notes = np.where(self.count, "", "no record predicted as this").astype(object)
        notes[(self.count > 0) & (self.count < FEW_RECORDS)] = f"fewer than {FEW_RECORDS} records"
        return notes

    def mean_shares(self):
        """Return the HeatMap of the leads' mean shares of |value|, which cannot cancel."""
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = self.shares / self.count[:, None]
        return with_mean(shares, f"mean share of |{self.unit}|", self.notes())

    def signed_sums(self):
        """Return the HeatMap of the paper's signed sums, each row divided by its sum."""
        totals = self.sums.sum(1, keepdims=True)
        cancelled = np.abs(totals[:, 0]) < CANCELLED * np.abs(self.sums).sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            signed = self.sums / totals
        signed[cancelled | (totals[:, 0] == 0)] = np.nan
        notes = self.notes()
        note = "signed sums cancel: not divided by a sum near zero"
        notes[cancelled & (self.count > 0)] = note
        return with_mean(signed, f"sum of {self.unit}s, of the row's sum", notes)

    def table(self, heat_map):
        """Return a HeatMap as it is written: class, n, the leads, note."""
        counts = [*self.count, self.count.sum()]
        table = pd.DataFrame({"class": [*self.classes, "AVG"], "n": counts})
        table[self.leads] = heat_map.cells
        return table.assign(note=heat_map.notes)

    def row_labels(self):
        """Return the labels of a heat map's rows: the classes with their numbers of records."""
        labels = []
        for name, n in zip(self.classes, self.count, strict=True):
            labels.append(f"{name} (n = {n}{', few' if 0 < n < FEW_RECORDS else ''})")
        n = self.count.sum()
        return [*labels, f"AVG (n = {n}{', few' if 0 < n < FEW_RECORDS else ''})"]

    def few_text(self):
        """Return what a title says of classes with few records."""
        some = ((self.count > 0) & (self.count < FEW_RECORDS)).any()
        return f"\nfew: fewer than {FEW_RECORDS} records, read with care" if some else ""
