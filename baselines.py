"""Fit the paper's four baselines on expert features and score them as the network is scored.

Reads   data/CPSC/labels.csv and the packed signals (both from preprocess.py).
Writes  data/CPSC/features.csv, and features_rhythm.csv for --features rhythm: caches, each with a
        json that says what it was computed from; and for each classifier, with <run> such as
        LR_CPSC_42, results/<run>/predictions.csv, scores.csv, challenge.json, run.json (options,
        versions, convergence notes), for LR and LGB importance.csv, importance_leads.csv and
        importance.png, models/<run>.joblib, and last results/<run>/thresholds.json. With
        --classifier all also results/baselines_CPSC_42/table.csv, with the network's row where its
        predict.py has been run.

    python baselines.py --data-dir data/CPSC --classifier LR
    python baselines.py --data-dir data/CPSC --scale standard --features rhythm

No option but --data-dir means the paper's run: 636 raw, unscaled features. Other options have runs
of their own (LR-standard_CPSC_42, LR-rhythm-standard_CPSC_42), so neither overwrites the other; but
--limit and --thresholds have none. What neither the paper nor its code says (regularisation) is the
library's default.

A .joblib file is a pickle: loading it runs whatever code it holds. Load only your own, under the
package versions in run.json. No script here loads one.
"""

from utils import run_main  # first, as it also knows of Ctrl-C while the others load

# isort: split

import os
import time
from pathlib import Path

import numpy as np
import pandas as pd

from dataset import (
    CLASSES,
    LEADS,
    add_data_args,
    add_round_arg,
    leads_text,
    load_labels,
    split_labels,
)
from ecg.evaluation.classifiers import CLASSIFIERS, fit, importances, make_model
from ecg.evaluation.files import evaluate_run, write_json, write_thresholds
from ecg.evaluation.metrics import SCORES, add_threshold_arg, divide, format_table
from ecg.evaluation.runs import data_digests
from ecg.processing.features import add_features_arg, load_features
from resnet import add_network_args, network_name
from utils import (
    RESEARCH_USE,
    file_digest,
    make_parser,
    positive,
    replacing,
    results_dir,
    run_name,
    software_versions,
    write_csv,
)

TABLE_SCORES = ("f1", "auc")  # of the closing table, classifier x class


def parse_args(argv=None):
    parser = make_parser(__doc__)
    group = parser.add_argument_group("baselines")
    group.add_argument(
        "--classifier",
        choices=(*CLASSIFIERS, "all"),
        default="all",
        help="which classifier to fit",
    )
    add_features_arg(group)
    group.add_argument(
        "--scale", choices=("none", "standard"), default="none", help="scaling of the features"
    )
    add_data_args(parser)
    group = parser.add_argument_group("scores")
    add_round_arg(group)
    add_threshold_arg(group)
    group.add_argument("--jobs", type=positive, default=os.cpu_count(), help="processes to use")
    # the network whose row stands beside the baselines', where its scores are there
    add_network_args(parser)
    return parser.parse_args(argv)


def method_name(classifier, features, scale):
    """Name the method part of the run: LR, LR-standard, LR-rhythm, LR-rhythm-standard."""
    options = [features] * (features != "paper") + [scale] * (scale != "none")
    return "-".join([classifier, *options])


def write_importances(folder, run, values, columns, measure):
    """Write (K, F) as importance.csv, and summed by lead, each class to 1, as csv and figure."""
    from ecg.plot.scores import plot_heat_map

    table = pd.DataFrame(values.T, columns=list(CLASSES))
    table.insert(0, "feature", columns)
    write_csv(table, folder / "importance.csv")
    group = np.array([name.split("_")[0] for name in columns])
    groups = [name for name in (*LEADS, "rhythm") if name in group]
    leads = np.stack([values[:, group == name].sum(1) for name in groups], axis=1)
    total = leads.sum(1, keepdims=True)
    leads = np.where(total > 0, divide(leads, total), np.nan)  # (K, 12 or 13)
    known = leads[np.isfinite(leads).all(1)]
    average = known.mean(0) if len(known) else np.full(len(groups), np.nan)
    leads = pd.DataFrame(np.vstack([leads, average]), columns=groups)
    leads.insert(0, "class", [*CLASSES, "AVG"])
    write_csv(leads, folder / "importance_leads.csv")
    plot_heat_map(
        leads[groups].to_numpy(),
        list(leads["class"]),
        groups,
        folder / "importance.png",
        f"{run}: where the classifier looks",
        f"share of {measure}",
        ["never fitted, or without weight"] * len(leads),
    )


def name_run(classifier, args):
    method = method_name(classifier, args.features, args.scale)
    return run_name(method, args.data_dir, args.seed, args.round)


def run_classifier(classifier, args, parts, features, digests):
    """Fit, score and save one classifier; print and return its score table.

    `digests` are those of `data_digests`, which the run's files keep.
    """
    import joblib

    run, started = name_run(classifier, args), time.perf_counter()
    x_train, x_validation, x_test = features
    model = make_model(classifier, args.scale, args.seed, args.jobs)
    print(f"{run}: fitting on {x_train.shape[0]} records, {x_train.shape[1]} features", flush=True)
    notes = fit(model, x_train, parts[0][list(CLASSES)].to_numpy())
    scores = [model.predict_proba(x) for x in (x_validation, x_test)]  # (N, K) each
    seconds = time.perf_counter() - started
    folder, path = results_dir(run), Path(f"models/{run}.joblib")
    rule = args.thresholds or "middle"
    table, found = evaluate_run(folder, parts[1], parts[2], scores, CLASSES, args.seed, rule)
    measure = CLASSIFIERS[classifier].importance
    if measure:
        values, columns = importances(model, x_train), list(x_train.columns)
        write_importances(folder, run, values, columns, measure)
    with replacing(path) as temporary:
        joblib.dump(model, temporary)
    digests = {"weights": file_digest(path), **digests}
    content = {"run": run, "args": vars(args), "records": [len(part) for part in parts], **digests}
    content |= {"notes": notes, "seconds": round(seconds, 1), "versions": software_versions()}
    write_json(folder / "run.json", content)
    write_thresholds(folder, found, **digests)
    print(f"\n{run} ({seconds:.0f} s), test fold\n{format_table(table)}")
    for note in notes:
        print(f"{run}: note: {note}")
    return table


def network_table(args, tables):
    """Return the network's scores.csv if it is there and counts the same test records, or None."""
    name = network_name(args.arch, args.width, args.init)
    run = run_name(name, args.data_dir, args.seed, args.round, leads_text(LEADS))
    path = Path("results", run, "scores.csv")
    if not path.is_file():
        return None
    table = pd.read_csv(path)
    counts = next(iter(tables.values()))["n"]
    if not table["n"].equals(counts):
        print(f"{path} counts other records than these runs; left out of the table")
        return None
    return table


def comparison(tables):
    """Lay out F1 and AUC of every classifier: columns classifier, score, the classes, AVG."""
    rows = []
    for score in TABLE_SCORES:
        for name, table in tables.items():
            values = dict(zip(table["class"], table[score], strict=True))
            rows.append({"classifier": name, "score": SCORES[score].label, **values})
    return pd.DataFrame(rows)


def write_comparison(args, tables):
    """Print and write the table of all classifiers, and of the network where it has been run."""
    network = network_table(args, tables)
    name = network_name(args.arch, args.width, args.init)
    tables = tables if network is None else {**tables, name: network}
    table = comparison(tables)
    run = name_run("baselines", args)
    folder = results_dir(run)
    write_csv(table, folder / "table.csv")
    print(f"\n{run}, test fold\n{format_table(table)}\n{RESEARCH_USE} Wrote {folder}/table.csv")


def main(args):
    labels = load_labels(args.data_dir, args.limit)
    names = list(labels["patient_id"])
    features = load_features(args.data_dir, names, args.features, args.jobs)
    parts = split_labels(labels, args.round)
    features = [features.loc[part["patient_id"]] for part in parts]
    classifiers = CLASSIFIERS if args.classifier == "all" else (args.classifier,)
    digests = data_digests(args.data_dir, args.limit)
    tables = {name: run_classifier(name, args, parts, features, digests) for name in classifiers}
    if args.classifier == "all":
        write_comparison(args, tables)


if __name__ == "__main__":
    run_main(main, parse_args)
