"""The finished runs in results/: which there are, and the records they are tested on."""

import glob
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd

from dataset import (
    CLASSES,
    LEADS,
    N_FOLDS,
    labels_digest,
    leads_text,
    load_labels,
    round_folds,
)
from ecg.evaluation.classifiers import METHODS
from utils import fail, file_digest, read_json, replacing, run_name

# options that differ between the rounds of one experiment, or change no number
FREE_SETTINGS = {
    "round",
    "resume",
    "data_dir",
    "num_workers",
    "jobs",
    "use_gpu",
    "compile",
    "deterministic",
    "classifier",
    "leads",
    "model_path",
}
MARKED = ("run.json", "thresholds.json")  # of the training; of the scores, which it finishes


def round_runs(method, data_dir, seed, leads=None):
    """Name the runs of the ten rounds, {round: run}; a classifier's names hold no leads."""
    text = None if method in METHODS else leads_text(leads)
    return {i: run_name(method, data_dir, seed, i, text) for i in range(N_FOLDS)}


def is_training_data(model, labels, signals, data_dir, limit, round_number):
    """Tell whether a model was trained on these labels and signals, or on another data set.

    The same labels in a folder of another name are the training data too. Stops if only the labels
    or only the folder's name are those of the training, if the signals are not, or if the round is
    another: the test fold would hold records the model has seen, or be another one.
    """
    if model.classes != CLASSES:
        fail(
            f"the model's classes are {', '.join(model.classes)}, not those of {data_dir}: "
            f"{', '.join(CLASSES)}; train it again: python main.py"
        )
    trained, settings = model.flags, model.settings
    same = settings.labels == labels_digest(labels)
    if not same and Path(trained.data_dir).name != Path(data_dir).resolve().name:
        return False
    changed = {"labels or folds": not same, "--limit": trained.limit != limit}
    changed["signals"] = settings.signals != signals.fingerprint
    if any(changed.values()):
        names = ", other ".join(name for name, differs in changed.items() if differs)
        fail(
            f"the model was trained on other {names} than {data_dir} has now; run preprocess.py "
            "as it was then, or train again: python main.py"
        )
    if trained.round != round_number:
        fail(
            f"the model was trained in round {trained.round}, not {round_number}; add "
            f"--round {trained.round}"
        )
    return True


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


def data_digests(data_dir, limit=None):
    """Return {"labels", "signals"}: the digests of a data folder now; None where it has none."""
    folder = Path(data_dir)
    labels = load_labels(data_dir, limit) if (folder / "labels.csv").is_file() else None
    return {
        "labels": None if labels is None else labels_digest(labels),
        "signals": read_dict(folder / "signals.json").get("fingerprint"),
    }


def why_outdated(folder, today):
    """Return why scores are not those of the weights and data there are now; '' if they are.

    `today` is what `data_digests` returns; a digest that is None there is not compared.
    """
    if (folder / "pooled.csv").is_file():
        same = read_sources(folder, today) is not None
        return "" if same else "made from other scores or data than there are now"
    trained, scored = (read_dict(folder / name) for name in MARKED)
    if not scored:
        return "its thresholds.json is missing or damaged"
    if trained.get("weights") not in (None, scored.get("weights")):
        return "trained again since it was scored"
    for name in ("labels", "signals"):
        if not scored.get(name):
            return f"its thresholds.json does not say on which {name} it was scored"
        if today[name] not in (None, scored[name]):
            return f"the {name} have changed since it was scored"
    return ""


def scored_rounds(runs):
    """Return those of {round: run} that predict.py or baselines.py has scored."""
    files = ("predictions.csv", "thresholds.json")
    return {
        i: run
        for i, run in runs.items()
        if all(Path("results", run, name).is_file() for name in files)
    }


def finished_rounds(runs, today):
    """Return those of {round: run} whose scores are up to date, with the settings of the first."""
    runs = scored_rounds(runs)
    runs = {i: run for i, run in runs.items() if not why_outdated(Path("results", run), today)}
    return {i: run for i, run in runs.items() if not differing_settings(run, runs[min(runs)])}


def left_out(runs, today):
    """Return a sentence for each scored round of {round: run} that `finished_rounds` leaves out."""
    found = scored_rounds(runs)
    reasons = {run: why_outdated(Path("results", run), today) for run in found.values()}
    first = next((run for run, why in reasons.items() if not why), None)
    unfinished = [
        run
        for i, run in runs.items()
        if i not in found and Path("results", run, "predictions.csv").is_file()
    ]
    sentences = [
        f"{run} is left out: its scoring has not been finished; run predict.py (or "
        "baselines.py) again"
        for run in unfinished
    ]
    for run, why in reasons.items():
        if why:
            sentences.append(f"{run} is left out: {why}; run predict.py (or baselines.py) again")
        elif names := differing_settings(run, first):
            sentences.append(f"{run} is left out: made with other {', '.join(names)} than {first}")
    return sentences


def other_lead_sets(network, data_dir, seed):
    """Return the choices of several leads, though not all, of which there are results."""
    data, found = Path(data_dir).resolve().name, []
    for path in sorted(Path("results").glob(glob.escape(f"{network}_{data}") + f"_*-*_{seed}")):
        leads = tuple(path.name.removeprefix(f"{network}_{data}_").split("_")[0].split("-"))
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


def load_test(run, labels, data_dir, today):
    """Return the tested records of a run: rows of labels.csv, y_score (N, K), thresholds (N, K).

    They are the test fold of the run's round; all its records, if it is pooled or has been trained
    on another data set. Stops where they are not the records of labels.csv, or the scores not of
    the weights and data there are now (`today`, from `data_digests`).
    """
    path = scored_file(run)
    folder, table, tested = path.parent, read_table(path), labels
    run = folder.resolve().name
    if why := why_outdated(folder, today):
        again = (
            "ecg.compare --rounds" if path.name == "pooled.csv" else "predict.py (or baselines.py)"
        )
        fail(f"{folder}: {why}; run {again} again")
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
        fail(
            f"{folder} was not tested on the folds of {data_dir}/labels.csv (or --limit); "
            "give its --data-dir, or score it again: python predict.py"
        )
    thresholds = read_thresholds(folder, table["fold"])
    return known, table[list(CLASSES)].to_numpy(), thresholds


def scored_file(run):
    """Return the file of a run's probabilities."""
    folder = Path(run) if Path(run).is_dir() else Path("results", run)
    pooled = folder / "pooled.csv"
    return pooled if pooled.is_file() else folder / "predictions.csv"


def write_sources(folder, runs, notes):
    """Keep what a comparison was made from, for `read_sources`, and its notes."""
    files = []
    for path in map(scored_file, runs):
        suffix = "csv" if path.name == "pooled.csv" else "json"
        files += [path, path.with_name(f"thresholds.{suffix}")]
    content = {"made_from": {str(path): file_digest(path) for path in files}, "notes": notes}
    with replacing(folder / "sources.json") as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def read_sources(folder, today):
    """Return a comparison's notes, or None if what it was made from is no longer what is there."""
    try:
        content = json.loads((folder / "sources.json").read_text())
        kept = content["made_from"]
        same = all(file_digest(path) == digest for path, digest in kept.items())
        parents = {Path(path).parent for path in kept}
        same = same and not any(why_outdated(parent, today) for parent in parents)
        return content["notes"] if same else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def truth(labels):
    """Return the classes of rows of labels.csv as y_true (N, K)."""
    return labels[list(CLASSES)].to_numpy()


def pool(parts):
    """Put the tested records of several runs (what load_test returns) one below the other."""
    labels, *arrays = zip(*parts, strict=True)
    return pd.concat(labels), *(np.concatenate(array) for array in arrays)
