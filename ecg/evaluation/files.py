"""The files of a scored run: predictions, scores, and the mark that they are finished."""

import json
from pathlib import Path

import pandas as pd

from ecg.evaluation.challenge import CHALLENGE_GROUPS, CHALLENGE_RULE, challenge_scores
from ecg.evaluation.metrics import N_RESAMPLES, find_thresholds, score_table
from utils import RESEARCH_USE, remove, replacing, write_csv


def evaluate_run(folder, validation, test, scores, classes, seed=42, rule="middle"):
    """Find thresholds on the validation fold, score the test fold and write what that gives.

    `validation` and `test` are rows of labels.csv; `scores` their two arrays of probabilities
    (N, K); `seed` is that of the resamples. Returns the table of scores.csv, and what
    `write_thresholds` is to write.
    """
    y_true = validation[list(classes)].to_numpy()
    thresholds = find_thresholds(y_true, scores[0], rule)
    absent = [name for name, held in zip(classes, y_true.any(0), strict=True) if not held]
    found = {
        "thresholds": dict(zip(classes, thresholds.tolist(), strict=True)),
        "rule": f"best F1 on the validation fold, the {rule} of the best",
        "notes": [f"{name}: no positives in the validation fold, so 0.5" for name in absent],
    }
    return write_results(folder, [validation, test], scores, thresholds, classes, seed), found


def write_results(folder, parts, scores, thresholds, classes, seed=42):
    """Write predictions.csv of parts of labels.csv and, of the last one, what `write_scores` does.

    `scores` are the parts' probabilities (N, K). thresholds.json, which says that all this is
    finished, is removed first; `write_thresholds` writes it again. Returns the table of scores.csv.
    """
    remove(Path(folder) / "thresholds.json")
    frames = []
    for part, y_score in zip(parts, scores, strict=True):
        frame = part[["patient_id", "fold"]].reset_index(drop=True)
        frames.append(frame.join(pd.DataFrame(y_score, columns=list(classes))))
    write_csv(pd.concat(frames), folder / "predictions.csv")
    y_true = parts[-1][list(classes)].to_numpy()
    return write_scores(folder, y_true, scores[-1], thresholds, classes, seed)


def write_scores(folder, y_true, y_score, thresholds, classes, seed=42):
    """Write scores.csv, with intervals, and challenge.json; return the table.

    challenge.json is left out where the classes are not those of the challenge.
    """
    table = score_table(y_true, y_score, thresholds, classes, N_RESAMPLES, seed)
    write_csv(table, folder / "scores.csv")
    if {name for names in CHALLENGE_GROUPS.values() for name in names} <= set(classes):
        content = challenge_scores(y_true, y_score, classes)
        write_json(folder / "challenge.json", content | {"rule": CHALLENGE_RULE})
    return table


def write_thresholds(folder, found, weights=None, labels=None, signals=None):
    """Write thresholds.json, the mark of finished scores: call it when all else is written.

    `found` holds `thresholds` {class: value}, the `rule` they come from and `notes`. The others
    are digests of what the scores were computed from: of the weights, labels.csv and the signals.
    """
    found = found | {"rule": f"{found['rule']}; a finding is probability >= threshold"}
    digests = {"weights": weights, "labels": labels, "signals": signals}
    write_json(Path(folder) / "thresholds.json", found | digests)


def write_json(path, content):
    """Write a dictionary as JSON, with the reminder that it is for research."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content | {"use": RESEARCH_USE}, indent=2) + "\n")
