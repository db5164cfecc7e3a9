"""A training: its settings, epochs and weights, and the files it leaves.

models/<run>.last.pth holds the last finished epoch and the weights of the best one, in one file, so
that a killed training never leaves weights and state of two trainings side by side.
models/<run>.pth, the model, is replaced only when a training has ended.
"""

import contextlib
import fcntl
import glob
import math
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ecg.inference.checkpoint import read_checkpoint, save_checkpoint, weights_digest
from ecg.inference.settings import Settings
from ecg.training import distributed
from ecg.training.synthetic_stream import FreshRecords
from resnet import ResNet1d
from utils import InputError, checkpoint_path, read_json, results_path, way_out

# flags that may differ between a run and its --resume: they do not change the numbers
FREE_FLAGS = {"epochs", "resume", "num_workers", "patience", "use_gpu", "device"}
WARM_UP = 50  # steps, or a tenth of them, in which the cosine schedule reaches its top


class Epoch(NamedTuple):
    """A row of history.csv: mean losses a record, and macro scores on the validation fold."""

    epoch: int  # from 1
    train_loss: float
    val_loss: float
    val_f1: float
    val_auc: float
    seconds: float


class Loading(NamedTuple):
    """How records come to the network; it changes no number but by rounding."""

    batch_size: int
    num_workers: int = 0
    amp: bool = False  # compute in bfloat16


class Schedule(NamedTuple):
    """The course of the learning rate, and when a training ends."""

    name: str  # one of SCHEDULES
    lr: float  # the highest learning rate
    epochs: int
    patience: int | None = None  # epochs without a better one

    def rate(self, epoch, batch, n_batches):
        """Return the learning rate of a step; epochs count from 1, batches from 0.

        'cosine' rises linearly and falls along half a cosine to 0 (Loshchilov and Hutter, ICLR
        2017).
        """
        if self.name == "constant":
            return self.lr
        step, steps = (epoch - 1) * n_batches + batch, self.epochs * n_batches
        rise = min(1, (step + 1) / min(WARM_UP, max(1, steps // 10)))
        return self.lr * (rise * 0.5 * (1 + math.cos(math.pi * step / steps)))

    def best_epoch(self, history):
        """Return the number of the epoch to keep: the (first) highest validation F1.

        Where the learning rate falls to 0 it is the last: those before it are unfinished.
        """
        if self.name == "cosine":
            return len(history)
        return 1 + int(np.argmax([row.val_f1 for row in history]))

    def has_ended(self, history):
        """Tell whether all epochs are done, or `patience` of them without a better one."""
        waited = len(history) - self.best_epoch(history) if history else 0
        return len(history) >= self.epochs or bool(self.patience and waited >= self.patience)


@dataclass
class Training:
    """A run in training; `best` are the weights of the epoch that is kept.

    `first` are the weights that it began with, if the model is to be the mean of both;
    `synthetic` are records (FreshRecords) that keep the evidence head alive beside real ones.
    """

    run: str
    settings: Settings
    schedule: Schedule
    loading: Loading
    network: ResNet1d
    optimizer: torch.optim.Optimizer
    first: dict | None = None
    synthetic: FreshRecords | None = None
    history: list[Epoch] = field(default_factory=list)
    best: dict | None = None

    @property
    def seed(self):
        """Seed of the run."""
        return self.settings.flags.seed

    @property
    def best_epoch(self):
        """Number of the epoch that is kept."""
        return self.schedule.best_epoch(self.history)

    @property
    def best_f1(self):
        """Validation F1 of the epoch that is kept."""
        return self.history[self.best_epoch - 1].val_f1

    def model_weights(self):
        """Return the weights of the model: the best, or their mean with the first ones.

        The mean of weights before and after training on other records is often better than either
        (Wortsman et al., CVPR 2022). Counts of batches are those of the best.
        """
        if self.first is None:
            return self.best
        return {
            name: (value + self.first[name].to(value)) / 2 if value.is_floating_point() else value
            for name, value in self.best.items()
        }

    def has_ended(self):
        """Tell whether no epoch is left."""
        return self.schedule.has_ended(self.history)

    def add(self, epoch):
        """Append a finished epoch, and keep its weights if it is the best so far."""
        self.history.append(epoch)
        if self.best_epoch == len(self.history):
            weights = self.network.state_dict()
            self.best = {name: value.cpu().clone() for name, value in weights.items()}

    def save(self):
        """Write the last finished epoch and the weights of the best one."""
        content = self.settings.to_dict() | {
            "state_dict": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": len(self.history),
            "best_f1": self.best_f1,
            "history": [row._asdict() for row in self.history],
            "best": self.best,
        }
        save_checkpoint(last_path(self.run), content)

    def resume(self, how, device):
        """Take over the last finished epoch from its file, if it is to be and fits the settings.

        `how` is None (start over), 'strict' (stop without a file that fits) or 'auto' (move aside
        what does not fit, and start over).
        """
        path = last_path(self.run)
        if how == "auto":
            if distributed.rank() == 0:
                self.move_misfit(path)
            distributed.wait()  # all processes see the same file
        if how is None or (how == "auto" and not path.is_file()):
            return
        if not path.is_file():
            raise InputError(f"no {path}; start the run: the same command without --resume")
        try:
            state = read_state(path, device)
        except ValueError as error:
            raise InputError(f"{path} {error}; train it again: python main.py") from error
        changed = self.changes(state.settings)
        if changed:
            raise InputError(
                f"{path} was made with other {', '.join(changed)}; give the flags and data it was "
                "started with, or leave out --resume to start over"
            )
        self.network.load_state_dict(state.state_dict)
        self.optimizer.load_state_dict(state.optimizer)
        self.history, self.best = state.history, state.best

    def changes(self, then):
        """Return the names of the flags and data in which earlier Settings differ from ours."""
        now, before = self.settings.flags.to_dict(), then.flags.to_dict()
        # epochs stretch the cosine
        free = FREE_FLAGS - ({"epochs"} if self.schedule.name == "cosine" else set())
        changed = [name for name in now if name not in free and now[name] != before.get(name)]
        data = ("labels", "signals", "start")
        return changed + [n for n in data if getattr(self.settings, n) != getattr(then, n)]

    def move_misfit(self, path):
        """Move a state aside, with a message, if this training could not have made it."""
        try:
            state = read_state(path)
        except FileNotFoundError:
            return
        except ValueError as error:
            why = str(error)
        else:
            why = ", ".join(self.changes(state.settings))
            why = why and f"was made with other {why}"
            if not why and self.schedule.has_ended(state.history[:-1]):
                why = f"has more epochs ({len(state.history)}) than this command asks for"
        if why:
            os.replace(path, f"{path}.old")
            print(f"{path} {why}; moved to {path}.old, the training starts over")

    def is_published(self):
        """Tell whether models/ and results/ hold all that a training that has ended leaves."""
        described = read_json(results_path(self.run, "run.json")) or {}
        try:
            weights = weights_digest(read_checkpoint(checkpoint_path(self.run))["state_dict"])
        except (FileNotFoundError, ValueError):
            return False
        if not weights == described.get("weights") == weights_digest(self.model_weights()):
            return False
        whole = len(described.get("seconds_per_epoch", [])) == len(self.history)
        return whole and results_path(self.run, "history.csv").is_file()


class State(NamedTuple):
    """What models/<run>.last.pth holds."""

    settings: Settings
    state_dict: dict
    optimizer: dict
    history: list[Epoch]
    best: dict


def last_path(run):
    """Return the path of the last finished epoch of a run."""
    return checkpoint_path(f"{run}.last")


def read_state(path, device="cpu"):
    """Read a State; raises FileNotFoundError, or ValueError with what is wrong with the file."""
    content = read_checkpoint(path, device)
    try:
        settings = Settings.from_dict(content)
        kinds = {"optimizer": dict, "history": list, "best": dict}
        wrong = [name for name, kind in kinds.items() if not isinstance(content.get(name), kind)]
        if wrong:
            raise ValueError(", ".join(wrong))
        history = [Epoch(**row) for row in content["history"]]
    except (ValueError, TypeError) as error:
        raise ValueError(f"is damaged ({error})") from None
    return State(settings, content["state_dict"], content["optimizer"], history, content["best"])


@contextlib.contextmanager
def lock(run):
    """Keep other processes from training the same run while the block runs; InputError if one does.

    The lock ends with the process, however that ends. Under torchrun process 0 holds it.
    """
    if distributed.rank() > 0:
        yield
        return
    path = Path("models", f".{run}.lock")
    with writing(run):
        path.parent.mkdir(exist_ok=True)
        held = take_lock(path)
    if held is None:
        raise InputError(f"another process is training {run}; wait until it has ended, or stop it")
    try:
        for left in Path("models").glob(f".{glob.escape(run)}.*tmp.pth"):  # by a killed process
            left.unlink()
        yield
    finally:
        path.unlink(missing_ok=True)
        release(held)


@contextlib.contextmanager
def writing(run):
    """Raise InputError where a file of the run cannot be written in the block."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch raises RuntimeError on a full disk
        remedy = way_out(error) if isinstance(error, OSError) else "free some space"
        raise InputError(
            f"the files of {run} cannot be written ({error}); the files written before are whole; "
            f"{remedy}, then resume: the same command with --resume"
        ) from error


HELD = set()  # the open files of locks
# those that load data are forked from this process, and may live a few seconds longer than it
os.register_at_fork(after_in_child=lambda: [file.close() for file in HELD])


def take_lock(path):
    """Return the open file of a lock on a path, or None if another process holds it.

    The processes that are forked from this one do not hold it.
    """
    while True:
        file = open(path, "w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        except OSError as error:  # a file system without locks
            text = f"warning: {path} cannot be locked ({error.strerror}): start no second training"
            print(f"{text} of the same run", file=sys.stderr)
        try:
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                HELD.add(file)
                return file
        except FileNotFoundError:
            pass
        file.close()  # the process that held it has ended meanwhile, and removed it


def release(file):
    """Give a lock back."""
    HELD.discard(file)
    file.close()
