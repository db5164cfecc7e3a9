"""The settings of a training, which its checkpoints keep."""

import dataclasses
import math
from dataclasses import dataclass, field

import torch

from dataset import LEADS, SAMPLE_RATE
from ecg.inference.provenance import Start
from resnet import BLOCKS, ResNet1d
from utils import WIDTH

MAX_SECONDS = 3600  # of what a network sees, as of any recording
MAX_WIDTH = 1024  # channels of the first stage; the paper's network has 64
MAX_CLASSES = 1000


def check_fields(record, **kinds):
    """Raise ValueError with the names of a record's fields that are not of their kinds.

    True and False are no numbers.
    """
    values = {name: getattr(record, name) for name in kinds}
    wrong = [name for name, kind in kinds.items() if not is_of_kind(values[name], kind)]
    if wrong:
        raise ValueError(", ".join(wrong))


def is_of_kind(value, kind):
    """Tell whether a value is of a kind; True is no number, and infinity neither."""
    if isinstance(value, bool) and kind is not bool:
        return False
    return isinstance(value, kind) and not (isinstance(value, float) and not math.isfinite(value))


@dataclass(frozen=True)
class TrainingFlags:
    """The flags of main.py that a model was trained with: those that its use depends on.

    `others` are the rest, by name; `data_dir` is the folder's name alone.
    """

    arch: str
    data_dir: str
    seconds: int
    round: int
    seed: int
    limit: int | None
    width: int = WIDTH
    windows: bool = False
    others: dict = field(default_factory=dict)

    def __post_init__(self):
        kinds = {"arch": str, "data_dir": str, "seconds": int, "round": int, "width": int}
        check_fields(self, **kinds, seed=int, limit=int | None, windows=bool)
        if not 1 <= self.seconds <= MAX_SECONDS:
            raise ValueError("seconds")
        if not 1 <= self.width <= MAX_WIDTH:
            raise ValueError("width")
        if self.arch not in BLOCKS:
            raise ValueError(f"arch {self.arch!r}: unknown; choose {' or '.join(BLOCKS)}")

    @classmethod
    def from_dict(cls, content):
        """Read the dictionary of a checkpoint; raises ValueError naming what is wrong."""
        own = {each.name for each in dataclasses.fields(cls)} - {"others"}
        required = ("arch", "data_dir", "seconds", "round", "seed", "limit")
        lacking = [name for name in required if name not in content]
        if lacking:
            raise ValueError(", ".join(lacking))
        if content.get("pad", "window") != "window":
            raise ValueError("pad: records padded to their batch are no longer supported")
        others = {name: value for name, value in content.items() if name not in own}
        return cls(**{name: content[name] for name in own & set(content)}, others=others)

    def to_dict(self):
        """Return the dictionary that a checkpoint keeps."""
        own = {name: getattr(self, name) for name in vars(self) if name != "others"}
        return own | self.others


@dataclass(frozen=True)
class Settings:
    """What decides a training beside its random numbers; each of its checkpoints keeps it."""

    leads: tuple[str, ...]
    classes: tuple[str, ...]
    labels: str  # digest of the labels and folds
    signals: str  # digest of the packed signals
    shortest: float  # s, of the shortest training record
    window: int | None  # samples; None: the network sees the end of a record alone
    flags: TrainingFlags
    versions: dict
    start: Start | None = None  # of --init
    centred: bool = False  # each lead's median is taken off before the network sees it
    evidence: bool = False  # the network has a head for the place of each criterion
    normal: str | None = None  # the class that excludes the others

    def __post_init__(self):
        kinds = {"labels": str, "signals": str, "shortest": int | float, "window": int | None}
        check_fields(self, **kinds, versions=dict, centred=bool, evidence=bool)
        if self.shortest <= 0:
            raise ValueError("shortest")
        if self.window is not None and not 2 <= self.window <= MAX_SECONDS * SAMPLE_RATE:
            raise ValueError("window")
        if len(self.leads) > len(LEADS) or len(self.classes) > MAX_CLASSES:
            raise ValueError("leads or classes")
        if self.normal is not None and self.normal not in self.classes:
            raise ValueError("normal")
        for names in (self.leads, self.classes):
            texts = all(isinstance(name, str) for name in names)
            if not names or not texts or len(set(names)) < len(names):
                raise ValueError("leads or classes")

    @classmethod
    def from_dict(cls, content):
        """Read a checkpoint's dictionary; raises ValueError naming what is wrong."""
        kinds = {"leads": list, "classes": list, "args": dict}
        kinds |= {"labels": str, "signals": str, "shortest": int | float, "versions": dict}
        wrong = [name for name, kind in kinds.items() if not isinstance(content.get(name), kind)]
        if wrong:
            raise ValueError(", ".join(wrong))
        try:
            flags = TrainingFlags.from_dict(content["args"])
        except ValueError as error:
            raise ValueError(f"args: {error}") from None
        start = content.get("start")
        return cls(
            tuple(content["leads"]),
            tuple(content["classes"]),
            *(content[name] for name in ("labels", "signals", "shortest")),
            content.get("window"),
            flags,
            content["versions"],
            start and Start.from_dict(start),
            content.get("centred", False),
            content.get("evidence", False),
            content.get("normal"),
        )

    def to_dict(self):
        """Return plain lists, dictionaries, numbers and text, as a checkpoint keeps them."""
        own = {name: getattr(self, name) for name in vars(self) if name != "flags"}
        start = self.start and dataclasses.asdict(self.start)
        lists = {"leads": list(self.leads), "classes": list(self.classes)}
        return own | lists | {"args": self.flags.to_dict(), "start": start}

    def build_network(self):
        """Return the network, with random weights."""
        shape = len(self.leads), len(self.classes), self.flags.width, self.window
        normal = None if self.normal is None else self.classes.index(self.normal)
        return ResNet1d(self.flags.arch, *shape, self.evidence, normal)

    def fits(self, state_dict):
        """Tell whether these are weights of the network, by name, shape and kind of number.

        No memory is taken, however large the network is said to be.
        """
        with torch.device("meta"):
            expected = self.build_network().state_dict()
        if set(expected) != set(state_dict):
            return False
        return all(
            isinstance(value, torch.Tensor)
            and value.layout == torch.strided
            and value.shape == expected[name].shape
            and value.is_floating_point() == expected[name].is_floating_point()
            and (value.is_floating_point() or value.dtype == torch.int64)
            for name, value in state_dict.items()
        )
