"""Finished runs as they lie in results/: which there are, and the records they are tested on."""

import json
import re
from argparse import Namespace
from pathlib import Path

import numpy as np
import pandas as pd

from dataset import CLASSES, N_FOLDS, leads_text, round_folds
from resnet import BLOCKS
from utils import fail, run_name


def named_run(args, leads, round_number):
    """Name the run of a round; a classifier's name holds no leads."""
    flags = Namespace(data_dir=args.data_dir, seed=args.seed, round=round_number)
    return run_name(args.arch, flags, leads_text(leads) if args.arch in BLOCKS else None)


def finished_rounds(args, leads):
    """Return {round: run} of the rounds that predict.py or baselines.py has scored."""
    runs = {i: named_run(args, leads, i) for i in range(N_FOLDS)}
    files = ("predictions.csv", "thresholds.json")
    return {
        i: run
        for i, run in runs.items()
        if all(Path("results", run, name).is_file() for name in files)
    }


def read_table(path):
    """Read a csv of fold, the nine probabilities or thresholds, and perhaps patient_id."""
    if not path.is_file():
        fail(f"no {path}; finish the run first: python predict.py (or baselines.py)")
    try:
        table = pd.read_csv(path, dtype={"patient_id": str}, keep_default_na=False)
        values = table[list(CLASSES)].to_numpy(float)
        known = table["fold"].notna().all() and np.isfinite(values).all()
    except (ValueError, KeyError):
        known = False
    if not known:
        fail(f"{path} is damaged; make it again: python predict.py (or baselines.py)")
    return table


def read_thresholds(folder, folds):
    """Return each record's thresholds (N, K): those of the run, or of its fold if pooled."""
    if (folder / "pooled.csv").is_file():
        table = read_table(folder / "thresholds.csv").set_index("fold")
        return table.loc[folds, list(CLASSES)].to_numpy()
    path = folder / "thresholds.json"
    try:
        stored = json.loads(path.read_text())["thresholds"]
        return np.tile([float(stored[name]) for name in CLASSES], (len(folds), 1))
    except (OSError, ValueError, KeyError, TypeError):
        fail(f"{path} is missing or damaged; make it: python predict.py (or baselines.py)")


def load_test(run, labels, args):
    """Return the tested records of a run: rows of labels.csv, y_score (N, K), thresholds (N, K).

    They are the test fold of the run's round; all its records, if it is pooled or has been trained
    on another data set. Stops where they are not the records of labels.csv.
    """
    folder = Path(run) if Path(run).is_dir() else Path("results", run)
    run = folder.resolve().name
    if (folder / "pooled.csv").is_file():
        table = read_table(folder / "pooled.csv")
    else:
        table = read_table(folder / "predictions.csv")
        if not run.endswith(f"_on_{Path(args.data_dir).resolve().name}"):
            numbered = re.search(r"_r([1-9])$", run)
            _, _, fold = round_folds(int(numbered[1]) if numbered else 0)
            table = table[table["fold"] == fold]
            labels = labels[labels["fold"] == fold]
    table = table.sort_values("patient_id")
    known = labels[labels["patient_id"].isin(table["patient_id"])].sort_values("patient_id")
    same = known[["patient_id", "fold"]].to_numpy().tolist()
    if table.empty or table[["patient_id", "fold"]].to_numpy().tolist() != same:
        fail(f"{folder} was not tested on the folds of {args.data_dir}/labels.csv (or --limit); "
             "give its --data-dir, or score it again: python predict.py")  # fmt: skip
    return known, table[list(CLASSES)].to_numpy(), read_thresholds(folder, table["fold"])


def truth(labels):
    """Return the classes of rows of labels.csv as y_true (N, K)."""
    return labels[list(CLASSES)].to_numpy()


def pool(parts):
    """Put the tested records of several runs (what load_test returns) one below the other."""
    labels, *arrays = zip(*parts, strict=True)
    return pd.concat(labels), *(np.concatenate(array) for array in arrays)
