"""The values of config/paper.yaml, checked before a workflow plans anything with them."""

import argparse
from pathlib import Path

from dataset import N_FOLDS, parse_leads
from ecg.evaluation.classifiers import METHODS
from utils import BLOCKS, natural, positive, positive_number

SCHEDULES = ("constant", "cosine")
TRUTHS = {"true": True, "false": False}  # YAML's own are booleans already


def truth(text):
    """Read True or False."""
    if text.lower() not in TRUTHS:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return TRUTHS[text.lower()]


def one_of(names):
    """Return a function that reads one of some names."""

    def read(text):
        if text not in names:
            raise argparse.ArgumentTypeError(f"{text!r} is unknown; choose from {', '.join(names)}")
        return text

    return read


def rounds(text):
    """Read a number of rounds of cross-validation."""
    if positive(text) > N_FOLDS:
        raise argparse.ArgumentTypeError(f"{text} rounds are more than the {N_FOLDS} folds")
    return int(text)


def folder(text):
    """Read the name of a data folder."""
    if not text.strip() or set(text) & set("{}\n"):  # Snakemake reads braces as wildcards
        raise argparse.ArgumentTypeError(f"{text!r}: a name without braces and line breaks")
    return text


def model(text):
    """Read the path of a model that is there."""
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"{text}: no such file")
    return text


# How each value is read, as the steps read their flags.
KINDS = {
    "data_dir": folder,
    "seed": natural,
    "rounds": rounds,
    "arch": one_of(tuple(BLOCKS)),
    "init": model,
    "lead_sets": parse_leads,  # each of them
    "classifiers": one_of(METHODS),
    "lr": positive_number,
    "schedule": one_of(SCHEDULES),
    "num_workers": natural,
    **dict.fromkeys(("windows", "amp", "no_evidence", "use_gpu", "shared"), truth),
}
LISTS = ("lead_sets", "classifiers")  # which may be empty but for the first
NUMBER = positive  # of what is not named above


def words(value):
    """Return a list of the configuration, which the command line gives as one text."""
    return value.split() if isinstance(value, str) else list(value)


def check(config, paper):
    """Raise ValueError, naming key and fault, where a configuration cannot be carried out.

    `paper` is config/paper.yaml: it has every key, and null where a value may be missing.
    """
    unknown = [name for name in config if name not in paper]
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: unknown; choose from {', '.join(paper)}")
    for name, value in config.items():
        if value is None and (paper[name] is None or name == "epochs"):
            continue
        try:
            for item in words(value) if name in LISTS and value is not None else [value]:
                KINDS.get(name, NUMBER)(str(item))
        except (argparse.ArgumentTypeError, TypeError) as error:
            raise ValueError(f"{name}: {error}") from None
    if not words(config["lead_sets"]):
        raise ValueError("lead_sets: it is empty; give at least one, such as all")
