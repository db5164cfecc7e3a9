"""Finished runs as they lie in results/: which there are, and the records they are tested on."""

import glob
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd

from dataset import CLASSES, LEADS, N_FOLDS, leads_text, round_folds
from resnet import BLOCKS
from utils import fail, file_digest, read_json, replacing, run_name

# options that differ between the rounds of one experiment, or change no number
FREE_SETTINGS = {
    "round", "resume", "data_dir", "num_workers", "jobs", "use_gpu", "compile", "deterministic",
    "classifier", "leads", "model_path",
}  # fmt: skip


def round_runs(method, data_dir, seed, leads=None):
    """Name the runs of the ten rounds, {round: run}; a classifier's names hold no leads."""
    text = leads_text(leads) if method in BLOCKS else None
    return {i: run_name(method, data_dir, seed, i, text) for i in range(N_FOLDS)}


def run_settings(run):
    """Return what decides a run's numbers beside its round: its options and labels; {} if lost."""
    try:
        content = json.loads(Path("results", run, "run.json").read_text())
        settings = {"labels": content.get("labels"), **content["args"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {name: value for name, value in settings.items() if name not in FREE_SETTINGS}


def differing_settings(run, other):
    """Return the names of the settings in which two runs differ."""
    a, b = run_settings(run), run_settings(other)
    return sorted(name for name in a.keys() & b.keys() if a[name] != b[name])


def has_current_scores(run):
    """Tell whether a run's scores are those of the weights it was trained to last, if known."""
    contents = [read_json(Path("results", run, name)) for name in ("run.json", "thresholds.json")]
    trained, scored = ((content or {}).get("weights") for content in contents)
    return None in (trained, scored) or trained == scored


def scored_rounds(runs):
    """Return those of {round: run} that predict.py or baselines.py has scored."""
    files = ("predictions.csv", "thresholds.json")
    return {
        i: run
        for i, run in runs.items()
        if all(Path("results", run, name).is_file() for name in files)
    }


def finished_rounds(runs):
    """Return those of {round: run} that are scored, with the settings of the first of them."""
    runs = {i: run for i, run in scored_rounds(runs).items() if has_current_scores(run)}
    return {i: run for i, run in runs.items() if not differing_settings(run, runs[min(runs)])}


def left_out(runs):
    """Return a sentence for each scored round of {round: run} that `finished_rounds` leaves out."""
    scored = scored_rounds(runs)
    runs = {i: run for i, run in scored.items() if has_current_scores(run)}
    old = [
        f"{run} is left out: trained again since it was scored; run predict.py again"
        for i, run in scored.items()
        if i not in runs
    ]
    pairs = {run: differing_settings(run, runs[min(runs)]) for run in runs.values()}
    return old + [
        f"{run} is left out: made with other {', '.join(names)} than {runs[min(runs)]}"
        for run, names in pairs.items()
        if names
    ]


def other_lead_sets(arch, data_dir, seed):
    """Return the choices of several leads, though not all, of which there are results."""
    data, found = Path(data_dir).resolve().name, []
    for path in sorted(Path("results").glob(f"{arch}_{glob.escape(data)}_*-*_{seed}")):
        leads = tuple(path.name.removeprefix(f"{arch}_{data}_").split("_")[0].split("-"))
        if set(leads) <= set(LEADS):
            found.append(leads)
    return found


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


def load_test(run, labels, data_dir):
    """Return the tested records of a run: rows of labels.csv, y_score (N, K), thresholds (N, K).

    They are the test fold of the run's round; all its records, if it is pooled or has been trained
    on another data set. Stops where they are not the records of labels.csv.
    """
    path = scored_file(run)
    folder, table = path.parent, read_table(path)
    run = folder.resolve().name
    if path.name != "pooled.csv":
        if not run.endswith(f"_on_{Path(data_dir).resolve().name}"):
            numbered = re.search(r"_r([1-9])$", run)
            _, _, fold = round_folds(int(numbered[1]) if numbered else 0)
            table = table[table["fold"] == fold]
            labels = labels[labels["fold"] == fold]
    table = table.sort_values("patient_id")
    known = labels[labels["patient_id"].isin(table["patient_id"])].sort_values("patient_id")
    same = known[["patient_id", "fold"]].to_numpy().tolist()
    if table.empty or table[["patient_id", "fold"]].to_numpy().tolist() != same:
        fail(f"{folder} was not tested on the folds of {data_dir}/labels.csv (or --limit); "
             "give its --data-dir, or score it again: python predict.py")  # fmt: skip
    return known, table[list(CLASSES)].to_numpy(), read_thresholds(folder, table["fold"])


def scored_file(run):
    """Return the file of a run's probabilities."""
    folder = Path(run) if Path(run).is_dir() else Path("results", run)
    pooled = folder / "pooled.csv"
    return pooled if pooled.is_file() else folder / "predictions.csv"


def write_sources(folder, runs, notes):
    """Keep what a comparison was made from, for `read_sources`, and its notes."""
    content = {"made_from": {str(path): file_digest(path) for path in map(scored_file, runs)}}
    with replacing(folder / "sources.json") as temporary:
        temporary.write_text(json.dumps(content | {"notes": notes}, indent=2) + "\n")


def read_sources(folder):
    """Return a comparison's notes, or None if what it was made from is no longer what is there."""
    try:
        content = json.loads((folder / "sources.json").read_text())
        same = all(file_digest(path) == kept for path, kept in content["made_from"].items())
        pooled = [Path(path).parent for path in content["made_from"] if "pooled.csv" in path]
        same = same and all(read_sources(folder) is not None for folder in pooled)
        return content["notes"] if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def truth(labels):
    """Return the classes of rows of labels.csv as y_true (N, K)."""
    return labels[list(CLASSES)].to_numpy()


def pool(parts):
    """Put the tested records of several runs (what load_test returns) one below the other."""
    labels, *arrays = zip(*parts, strict=True)
    return pd.concat(labels), *(np.concatenate(array) for array in arrays)
