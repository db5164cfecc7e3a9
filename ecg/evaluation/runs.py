"""The finished runs in results/: which there are, and the records they are tested on."""

import glob
import json
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dataset import (
    LEADS,
    N_FOLDS,
    classes_of,
    labels_digest,
    leads_text,
    load_labels,
    round_folds,
)
from ecg.evaluation.classifiers import METHODS
from ecg.evaluation.scored_run import Digests, Scored
from utils import (
    WIDTH,
    InputError,
    file_digest,
    read_json,
    results_path,
    run_name,
    write_json,
)

# options that differ between the rounds of one experiment, or change no number
FREE_SETTINGS = {
    "round",
    "resume",
    "data_dir",
    "num_workers",
    "jobs",
    "use_gpu",
    "device",
    "compile",
    "deterministic",
    "classifier",
    "leads",
    "model_path",
}
SCORE_AGAIN = "run predict.py (or baselines.py) again"


class DataFolder(NamedTuple):
    """A data folder as it is now; a digest is None where the folder lacks its file."""

    path: Path
    labels: pd.DataFrame | None  # the rows of labels.csv
    digests: Digests  # of labels.csv and of the signals


class LeftOut(NamedTuple):
    """A round that is not used, and why."""

    run: str
    reason: str
    settings: tuple[str, ...] = ()  # those that differ, if this is the reason

    def __str__(self):
        return f"{self.run} is left out: {self.reason}"


def read_data_folder(data_dir, limit=None, required=False):
    """Return the DataFolder; `required`: with labels and packed signals, else InputError."""
    path = Path(data_dir)
    known = required or (path / "labels.csv").is_file()
    labels = load_labels(data_dir, limit) if known else None
    signals = read_dict(path / "signals.json").get("fingerprint")
    if required and signals is None:
        raise InputError(
            f"no {data_dir}/signals.json to compare the scores with; make it: "
            f"python preprocess.py --data-dir {data_dir}"
        )
    digest = None if labels is None else labels_digest(labels)
    return DataFolder(path, labels, Digests(labels=digest, signals=signals))


def round_runs(method, data_dir, seed, leads=None):
    """Name the runs of the ten rounds, {round: run}; a classifier's names hold no leads."""
    text = None if method in METHODS else leads_text(leads)
    return {i: run_name(method, data_dir, seed, i, text) for i in range(N_FOLDS)}


def is_training_data(model, labels, signals, limit, round_number):
    """Tell whether a model was trained on these labels and signals, or on another data set.

    The same labels in a folder of another name are the training data too. Raises InputError if
    only the labels or only the folder's name are those of the training, if the signals are not, or
    if the round is another: the test fold would hold records the model has seen, or be another one.
    """
    data_dir, trained, settings = signals.path.parent, model.flags, model.settings
    classes = classes_of(labels)
    if tuple(model.classes) != classes:
        raise InputError(
            f"the model's classes are {', '.join(model.classes)}, not those of {data_dir}: "
            f"{', '.join(classes)}; train a model of these: python main.py --data-dir {data_dir}"
        )
    same = settings.labels == labels_digest(labels)
    if not same and Path(trained.data_dir).name != data_dir.resolve().name:
        return False
    if trained.limit != limit:  # before the labels, which differ for this reason alone
        own = f"--limit {trained.limit}"
        how = f"with {own}; add {own}" if trained.limit else "without --limit; leave it out"
        raise InputError(f"the model was trained on {trained.data_dir} {how}")
    changed = {
        "labels or folds": not same,
        "signals": settings.signals != signals.fingerprint,
    }
    if any(changed.values()):
        names = ", other ".join(name for name, differs in changed.items() if differs)
        raise InputError(
            f"the model was trained on other {names} than {data_dir} has now; run preprocess.py "
            "as it was then, or train again: python main.py"
        )
    if trained.round != round_number:
        raise InputError(
            f"the model was trained in round {trained.round}, not {round_number}; add "
            f"--round {trained.round}"
        )
    return True


def read_dict(path):
    """Return the dictionary of a JSON file, {} where it is missing or damaged."""
    content = read_json(path)
    return content if isinstance(content, dict) else {}


def read_digests(path):
    """Return the Digests in a run.json or thresholds.json, or None if it is missing or damaged."""
    content = read_dict(path)
    return Digests(*map(content.get, Digests._fields)) if content else None


def run_settings(run):
    """Return what decides a run's numbers beside its round: its options and labels; {} if lost."""
    content = read_dict(results_path(run, "run.json"))
    if not isinstance(content.get("args"), dict):
        return {}
    rule = read_dict(results_path(run, "thresholds.json")).get("rule")
    settings = {"labels": content.get("labels"), **content.get("args"), "thresholds": rule}
    return {name: value for name, value in settings.items() if name not in FREE_SETTINGS}


def differing_settings(run, other):
    """Return the names of the settings in which two runs differ."""
    a, b = run_settings(run), run_settings(other)
    return sorted(name for name in a.keys() & b.keys() if a[name] != b[name])


def why_scores_outdated(folder, data):
    """Return why scores are not those of the present weights and DataFolder; '' if they are.

    A digest that is None in `data` is not compared.
    """
    if (folder / "pooled.csv").is_file():
        same = read_sources(folder, data) is not None
        return "" if same else "made from other scores or data than there are now"
    trained, scored = (read_digests(folder / name) for name in ("run.json", "thresholds.json"))
    if scored is None:
        return "its thresholds.json is missing or damaged"
    if trained and trained.weights not in (None, scored.weights):
        return "trained again since it was scored"
    for name in ("labels", "signals"):
        then, now = getattr(scored, name), getattr(data.digests, name)
        if not then:
            return f"its thresholds.json does not say on which {name} it was scored"
        if now not in (None, then):
            return f"the {name} have changed since it was scored"
    return ""


def scored_runs(data_dir):
    """Return the names of the networks' runs of round 0 that are scored on a data folder."""
    name = glob.escape(Path(data_dir).resolve().name)
    paths = results_path().glob(f"*_{name}_*_*/predictions.csv")
    return sorted(p.parent.name for p in paths if not re.search(r"_r[1-9]$", p.parent.name))


def flags_of(run):
    """Return the flags that name a run, as text, from its run.json."""
    args, flags = read_dict(results_path(run, "run.json")).get("args"), []
    args = args if isinstance(args, dict) else {}
    usual = {"init": None, "arch": "resnet34", "width": WIDTH, "seed": 42}
    for name in ("init", "seed") if args.get("init") else ("arch", "width", "seed"):
        if args.get(name, usual[name]) != usual[name]:
            flags += [f"--{name}", str(args[name])]
    leads = args.get("leads")
    if isinstance(leads, list) and len(leads) < len(LEADS):
        flags += ["--leads", ",".join(map(str, leads))]
    return shlex.join(flags)


def describe_scored(data_dir):
    """Name the networks' runs that are scored on a data folder, with their flags; '' for none."""
    flags = {run: flags_of(run) for run in scored_runs(data_dir)}
    return ", ".join(f"{run} ({text})" if text else run for run, text in flags.items())


def scored_rounds(runs):
    """Return those of {round: run} that predict.py or baselines.py has scored."""
    return {
        i: run
        for i, run in runs.items()
        if results_path(run, "predictions.csv").is_file()
        and results_path(run, "thresholds.json").is_file()
    }


def finished_rounds(runs, data):
    """Return those of {round: run} whose scores are up to date, with the settings of the first."""
    runs = scored_rounds(runs)
    runs = {i: run for i, run in runs.items() if not why_scores_outdated(results_path(run), data)}
    return {i: run for i, run in runs.items() if not differing_settings(run, runs[min(runs)])}


def left_out(runs, data):
    """Return a LeftOut for each scored round of {round: run} that `finished_rounds` leaves out."""
    scored = scored_rounds(runs)
    result = []
    for i, run in runs.items():
        if i not in scored and results_path(run, "predictions.csv").is_file():
            result.append(LeftOut(run, f"its scoring has not been finished; {SCORE_AGAIN}"))
    reasons = {run: why_scores_outdated(results_path(run), data) for run in scored.values()}
    first = next((run for run, why in reasons.items() if not why), None)
    for run, why in reasons.items():
        if why:
            result.append(LeftOut(run, f"{why}; {SCORE_AGAIN}"))
        elif names := differing_settings(run, first):
            reason = f"made with other {', '.join(names)} than {first}"
            result.append(LeftOut(run, reason, tuple(names)))
    return result


def settings_notes(groups):
    """Say which groups {round: run} were made with other settings than the first one."""
    chosen = [rounds[min(rounds)] for rounds in groups]
    notes = []
    for run in chosen[1:]:
        if names := differing_settings(run, chosen[0]):
            notes.append(f"{run} was made with other {', '.join(names)} than {chosen[0]}")
    return notes


def other_lead_sets(network, data_dir, seed):
    """Return the choices of several leads, though not all, of which there are results."""
    data, choices = Path(data_dir).resolve().name, []
    for path in sorted(results_path().glob(glob.escape(f"{network}_{data}") + f"_*-*_{seed}")):
        leads = tuple(path.name.removeprefix(f"{network}_{data}_").split("_")[0].split("-"))
        if set(leads) <= set(LEADS):
            choices.append(leads)
    return choices


def read_probabilities(path, classes):
    """Read a csv of fold, a probability or threshold per class, and perhaps patient_id."""
    if not path.is_file():
        raise InputError(f"no {path}; finish the run first: python predict.py (or baselines.py)")
    try:
        table = pd.read_csv(path, dtype={"patient_id": str}, keep_default_na=False)
        values = table[list(classes)].to_numpy(float)
        whole = table.fold.notna().all() and np.isfinite(values).all()
    except (ValueError, KeyError, AttributeError):
        whole = False
    if not whole:
        raise InputError(f"{path} is damaged; make it again: python predict.py (or baselines.py)")
    return table


def read_thresholds(folder, classes, folds):
    """Return each record's thresholds (N, K): those of the run, or of its fold if pooled."""
    if (folder / "pooled.csv").is_file():
        table = read_probabilities(folder / "thresholds.csv", classes).set_index("fold")
        return table.loc[folds, list(classes)].to_numpy()
    path = folder / "thresholds.json"
    try:
        stored = json.loads(path.read_text())["thresholds"]
        return np.tile([float(stored[name]) for name in classes], (len(folds), 1))
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{path} is missing or damaged; make it: python predict.py (or baselines.py)"
        ) from None


def load_test(run, data):
    """Return the tested records of a run, Scored with thresholds (N, K), sorted by name.

    They are the test fold of the run's round; all its records, if it is pooled or has been trained
    on another data set. Raises InputError where they are not the records of the DataFolder, or
    the scores not of the present weights and data.
    """
    path = scored_file(run)
    folder, pooled = path.parent, path.name == "pooled.csv"
    labels, classes = data.labels, classes_of(data.labels)
    table = read_probabilities(path, classes)
    if why := why_scores_outdated(folder, data):
        command = "ecg.compare --rounds" if pooled else "predict.py (or baselines.py)"
        raise InputError(f"{folder}: {why}; run {command} again")
    name = folder.resolve().name
    if not pooled and not name.endswith(f"_on_{data.path.resolve().name}"):
        numbered = re.search(r"_r([1-9])$", name)
        _, _, fold = round_folds(int(numbered[1]) if numbered else 0)
        table, labels = table[table.fold == fold], labels[labels.fold == fold]
    labels = labels[labels.patient_id.isin(table.patient_id)].sort_values("patient_id")
    table = table.sort_values("patient_id")
    keys = ["patient_id", "fold"]
    if table.empty or table[keys].to_numpy().tolist() != labels[keys].to_numpy().tolist():
        raise InputError(
            f"{folder} was not tested on the folds of {data.path}/labels.csv (or --limit); "
            "give its --data-dir, or score it again: python predict.py"
        )
    thresholds = read_thresholds(folder, classes, table.fold)
    return Scored(labels, table[list(classes)].to_numpy(), thresholds)


def scored_file(run):
    """Return the file of a run's probabilities."""
    folder = Path(run) if Path(run).is_dir() else results_path(run)
    pooled = folder / "pooled.csv"
    return pooled if pooled.is_file() else folder / "predictions.csv"


def write_sources(folder, runs, notes):
    """Keep what a comparison was made from, for `read_sources`, and its notes."""
    files = []
    for path in map(scored_file, runs):
        suffix = "csv" if path.name == "pooled.csv" else "json"
        files += [path, path.with_name(f"thresholds.{suffix}")]
    content = {"made_from": {str(path): file_digest(path) for path in files}, "notes": notes}
    write_json(folder / "sources.json", content)


def read_sources(folder, data):
    """Return a comparison's notes, or None if what it was made from is no longer what is there."""
    try:
        content = json.loads((folder / "sources.json").read_text())
        digests, notes = content["made_from"], content["notes"]
        same = all(file_digest(path) == digest for path, digest in digests.items())
        parents = {Path(path).parent for path in digests}
        same = same and not any(why_scores_outdated(parent, data) for parent in parents)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return notes if same else None


def pool(parts):
    """Put the tested records of several runs (what load_test returns) one below the other."""
    labels, *arrays = zip(*parts, strict=True)
    return Scored(pd.concat(labels), *map(np.concatenate, arrays))
