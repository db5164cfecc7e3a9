"""The files of a training: its state while it lasts, its model when it has ended, and its lock.

models/<run>.last.pth holds the last finished epoch and the weights of the best one, in one file, so
that a killed training never leaves weights and state of two trainings side by side.
models/<run>.pth, the model, is replaced only when a training has ended.
"""

import contextlib
import fcntl
import glob
import os
from pathlib import Path

import numpy as np

from ecg.training import distributed
from resnet import TRAINING, load_checkpoint, read_checkpoint, save_checkpoint, weights_digest
from utils import checkpoint_path, fail, read_json

# flags that may differ between a run and its --resume: they do not change the numbers
FREE_ARGS = {"epochs", "resume", "num_workers", "patience", "use_gpu"}


@contextlib.contextmanager
def lock(run):
    """Keep other processes from training the same run while the block runs; stop if one does.

    The lock ends with the process, however that ends. Under torchrun process 0 holds it.
    """
    if distributed.rank() > 0:
        yield
        return
    path = Path("models", f".{run}.lock")
    with writing(run):
        path.parent.mkdir(exist_ok=True)
        file = open(path, "a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except (BlockingIOError, FileNotFoundError):  # held, or removed at this moment by its holder
        held = False
    if not held:
        fail(f"another process is training {run}; wait until it has ended, or stop it")
    try:
        for left in Path("models").glob(f".{glob.escape(run)}.*tmp.pth"):  # by a killed process
            left.unlink()
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


@contextlib.contextmanager
def writing(run):
    """Stop with one line where a file of the run cannot be written in the block."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch raises RuntimeError on a full disk
        fail(
            f"the files of {run} cannot be written ({error}); what was written before stands; "
            "make room, then go on: the same command with --resume"
        )


def best_epoch(history, schedule):
    """Return the number of the epoch that is kept: the highest validation F1, the first if several.

    Where the learning rate is annealed it is the last one: those before it are unfinished.
    """
    if schedule == "cosine":
        return len(history)
    return 1 + int(np.argmax([row["val_f1"] for row in history]))


def has_ended(history, epochs, patience, schedule):
    """Tell whether a training is over: all epochs done, or `patience` of them without a better."""
    waited = len(history) - best_epoch(history, schedule) if history else 0
    return len(history) >= epochs or bool(patience and waited >= patience)


def load_state(run, settings, resume, device):
    """Return the last finished epoch to go on from (a dictionary), or None to start anew.

    `resume` is None, 'strict' (stop where there is none that fits `settings`) or 'auto' (move
    aside what does not fit, and start anew).
    """
    path = checkpoint_path(f"{run}.last")
    if resume == "auto":
        if distributed.rank() == 0:
            move_misfit(path, settings)
        distributed.wait()  # all processes find the same
    if resume is None or (resume == "auto" and not path.is_file()):
        return None
    if not path.is_file():
        fail(f"--resume found no {path}; start the run: the same command without --resume")
    state = load_checkpoint(path, device, TRAINING)
    changed = changes(state, settings)
    if changed:
        fail(
            f"{path} was made with other {', '.join(changed)}; give the flags and data it was "
            "started with, or leave out --resume to start anew"
        )
    return state


def changes(state, settings):
    """Return the names of the flags and data in which a state differs from a command."""
    then, now = state["args"], settings["args"]
    free = FREE_ARGS - ({"epochs"} if now["schedule"] == "cosine" else set())  # which they stretch
    changed = [name for name in now if name not in free and now[name] != then.get(name)]
    names = ("labels", "signals", "origin")
    return changed + [name for name in names if settings[name] != state.get(name)]


def move_misfit(path, settings):
    """Move a state aside, with a message, if the command could not have made it."""
    try:
        state = read_checkpoint(path, content=TRAINING)
    except FileNotFoundError:
        return
    except ValueError as error:
        why = str(error)
    else:
        why = ", ".join(changes(state, settings))
        why = why and f"was made with other {why}"
        ends = [settings["args"][name] for name in ("epochs", "patience", "schedule")]
        if not why and has_ended(state["history"][:-1], *ends):
            why = f"is further ({state['epoch']} epochs) than this command goes"
    if why:
        os.replace(path, f"{path}.old")
        print(f"{path} {why}; moved to {path}.old, the training starts anew")


def save_state(run, model, optimizer, settings, history, best):
    """Write the last finished epoch, and `best`, the weights of the best one."""
    content = {
        "state_dict": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": len(history),
        "best_f1": history[best_epoch(history, settings["args"]["schedule"]) - 1]["val_f1"],
        "history": history,
        "best": best,
    }
    save_checkpoint(checkpoint_path(f"{run}.last"), **settings, **content)


def is_published(run, history, best):
    """Tell whether models/ and results/ hold all that a training that has ended leaves."""
    folder = Path("results", run)
    described = read_json(folder / "run.json") or {}
    try:
        stands = weights_digest(read_checkpoint(checkpoint_path(run))["state_dict"])
    except (FileNotFoundError, ValueError):
        return False
    epochs = len(described.get("seconds_per_epoch", []))
    same = stands == described.get("weights") == weights_digest(best) and epochs == len(history)
    return same and (folder / "history.csv").is_file()
