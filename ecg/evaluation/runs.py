"""Finished runs as they lie in results/: which there are, and the records they are tested on."""

import glob
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd

from dataset import CLASSES, LEADS, N_FOLDS, labels_digest, leads_text, round_folds
from resnet import BLOCKS
from utils import fail, file_digest, read_json, replacing, run_name

# options that differ between the rounds of one experiment, or change no number
FREE_SETTINGS = {
    "round", "resume", "data_dir", "num_workers", "jobs", "use_gpu", "compile", "deterministic",
    "classifier", "leads", "model_path",
}  # fmt: skip
MARKED = ("run.json", "thresholds.json")  # of the training; of the scores, which it finishes


def round_runs(method, data_dir, seed, leads=None):
    """Name the runs of the ten rounds, {round: run}; a classifier's names hold no leads."""
    text = leads_text(leads) if method in BLOCKS else None
    return {i: run_name(method, data_dir, seed, i, text) for i in range(N_FOLDS)}


def read_dict(path):
    """Return the dictionary of a JSON file, {} where it is missing or damaged."""
    content = read_json(path)
    return content if isinstance(content, dict) else {}


def run_settings(run):
    """Return what decides a run's numbers beside its round: its options and labels; {} if lost."""
    content, mark = (read_dict(Path("results", run, name)) for name in MARKED)
    if not isinstance(content.get("args"), dict):
        return {}
    settings = {"labels": content.get("labels"), **content["args"], "thresholds": mark.get("rule")}
    return {name: value for name, value in settings.items() if name not in FREE_SETTINGS}


def differing_settings(run, other):
    """Return the names of the settings in which two runs differ."""
    a, b = run_settings(run), run_settings(other)
    return sorted(name for name in a.keys() & b.keys() if a[name] != b[name])


def data_digests(labels, data_dir):
    """Return the digests of labels.csv and of a folder's packed signals (None if there are none).

    They are those that the scores of a run carry, for `finished_rounds` and `left_out`.
    """
    return labels_digest(labels), read_dict(Path(data_dir, "signals.json")).get("fingerprint")


def has_current_scores(run, labels=None, signals=None):
    """Tell whether a run's scores are those of its weights, of these labels and these signals.

    `run` is a name or a folder; `labels` and `signals` are what `data_digests` returns. Labels or
    signals that are None are not looked at; nor are weights that are not known.
    """
    trained, mark = (read_dict(scored_file(run).with_name(name)) for name in MARKED)
    if None not in (trained.get("weights"), mark.get("weights")):
        if trained["weights"] != mark["weights"]:
            return False
    today = {"labels": labels, "signals": signals}
    return all(mark.get(name) == value for name, value in today.items() if value is not None)


def scored_rounds(runs):
    """Return those of {round: run} that predict.py or baselines.py has scored."""
    files = ("predictions.csv", "thresholds.json")
    return {
        i: run
        for i, run in runs.items()
        if all(Path("results", run, name).is_file() for name in files)
    }


def current_rounds(runs, labels, signals):
    """Return those of {round: run} whose scores are there, and those of today."""
    runs = scored_rounds(runs)
    return {i: run for i, run in runs.items() if has_current_scores(run, labels, signals)}


def finished_rounds(runs, labels=None, signals=None):
    """Return those of {round: run} that are scored, with the settings of the first of them.

    `labels` and `signals` are as for `has_current_scores`.
    """
    runs = current_rounds(runs, labels, signals)
    return {i: run for i, run in runs.items() if not differing_settings(run, runs[min(runs)])}


def left_out(runs, labels=None, signals=None):
    """Return a sentence for each scored round of {round: run} that `finished_rounds` leaves out."""
    current, notes = current_rounds(runs, labels, signals), []
    for i, run in runs.items():
        if i in current:
            names = differing_settings(run, current[min(current)])
            if names:
                notes.append(f"{run} is left out: made with other {', '.join(names)} than "
                             f"{current[min(current)]}")  # fmt: skip
        elif i in scored_rounds(runs):
            why = "trained again" if not has_current_scores(run) else "other labels or signals"
            notes.append(f"{run} is left out: {why} since it was scored; run predict.py (or "
                         "baselines.py) again")  # fmt: skip
        elif Path("results", run, "predictions.csv").is_file():
            notes.append(f"{run} is left out: its scoring has not been finished; run predict.py "
                         "(or baselines.py) again")  # fmt: skip
    return notes


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
    folder, table, tested = path.parent, read_table(path), labels
    run = folder.resolve().name
    if path.name != "pooled.csv":
        if not run.endswith(f"_on_{Path(data_dir).resolve().name}"):
            numbered = re.search(r"_r([1-9])$", run)
            _, _, fold = round_folds(int(numbered[1]) if numbered else 0)
            table = table[table["fold"] == fold]
            tested = labels[labels["fold"] == fold]
    table = table.sort_values("patient_id")
    known = tested[tested["patient_id"].isin(table["patient_id"])].sort_values("patient_id")
    same = known[["patient_id", "fold"]].to_numpy().tolist()
    if table.empty or table[["patient_id", "fold"]].to_numpy().tolist() != same:
        fail(f"{folder} was not tested on the folds of {data_dir}/labels.csv (or --limit); "
             "give its --data-dir, or score it again: python predict.py")  # fmt: skip
    thresholds = read_thresholds(folder, table["fold"])
    for source in rounds_of(folder):
        if not has_current_scores(source, *data_digests(labels, data_dir)):
            fail(f"{source} was scored with other weights, labels or signals than those of today "
                 f"({data_dir}); score it again: python predict.py (or baselines.py)")  # fmt: skip
    return known, table[list(CLASSES)].to_numpy(), thresholds


def rounds_of(folder):
    """Return the folders of the rounds that predictions were pooled from; a run's own, if not."""
    if not (folder / "pooled.csv").is_file():
        return [folder]
    if read_sources(folder) is None:
        fail(f"{folder} was gathered from other predictions than there are now; gather them again: "
             "python -m ecg.compare --rounds")  # fmt: skip
    return [Path(path).parent for path in read_dict(folder / "sources.json")["made_from"]]


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
