"""What a model was trained on, and what the model that it started from was trained on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class Provenance:
    """The records behind a model's weights; `start` leads on to those behind its first weights."""

    data: str  # the data folder's name
    n_records: int | None  # that the weights were trained on; None: unknown
    synthetic: bool  # these records
    has_patients: bool  # among them, or among the records that chose epoch and thresholds
    start: Start | None = None

    def __post_init__(self):
        counted = self.n_records is None or (type(self.n_records) is int and self.n_records >= 0)
        flags = isinstance(self.synthetic, bool) and isinstance(self.has_patients, bool)
        typed = isinstance(self.data, str) and flags
        if not (typed and counted and isinstance(self.start, Start | None)):
            raise ValueError("provenance")

    @classmethod
    def unknown(cls, data, start=None):
        """Return that of a model that does not say it: it counts as having patients."""
        return cls(data, None, synthetic=False, has_patients=True, start=start)

    @property
    def ever_saw_patients(self):
        """Whether patients' records shaped the weights, anywhere in the line of descent.

        Records that are neither synthetic nor counted are of unknown origin, and count as patients.
        """
        inherited = self.start is not None and self.start.provenance.ever_saw_patients
        unknown = not self.synthetic or self.n_records is None
        return self.has_patients or unknown or inherited

    def __str__(self):
        if self.n_records is None:
            text = f"records of {self.data}"
        elif not self.synthetic:
            text = f"{self.n_records:,} records of {self.data}"
        else:
            text = f"{self.n_records:,} synthetic records"
            text += f", thresholds from {self.data}" if self.has_patients else ""
            text += "" if self.ever_saw_patients else ", no patient"
        return text + (f", starting from {self.start}" if self.start else "")

    def to_dict(self):
        """Return plain dictionaries, numbers and text, as a checkpoint keeps them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, content):
        """Read what `to_dict` returns; raises ValueError where it is anything else."""
        try:
            start = content.get("start")
            return cls(**content | {"start": start and Start.from_dict(start)})
        except (TypeError, AttributeError):
            raise ValueError("provenance") from None


@dataclass(frozen=True)
class Start:
    """The model whose weights a training started from."""

    model: str  # the file's name
    weights: str  # SHA-256
    provenance: Provenance

    def __str__(self):
        return f"{self.model} ({self.provenance})"

    @classmethod
    def from_dict(cls, content):
        """Read what `dataclasses.asdict` returns; raises ValueError where it is anything else."""
        try:
            provenance = Provenance.from_dict(content["provenance"])
            return cls(**content | {"provenance": provenance})
        except (TypeError, KeyError):
            raise ValueError("provenance") from None
