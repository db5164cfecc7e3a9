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

import os
import time
from typing import NamedTuple

import numpy as np
import pandas as pd

from dataset import (
    LEADS,
    add_data_args,
    add_round_arg,
    classes_of,
    leads_text,
    load_labels,
    split_labels,
)
from ecg.evaluation.classifiers import CLASSIFIERS, fit, importances, make_model
from ecg.evaluation.metrics import SCORES, add_threshold_arg, divide, format_table
from ecg.evaluation.runs import read_data_folder
from ecg.evaluation.scored_run import (
    Scored,
    evaluate_run,
    write_research_json,
    write_thresholds,
)
from ecg.inference.flags import add_network_args
from ecg.processing.features import add_features_arg, load_features
from ecg.running.command import make_parser, run_main
from utils import (
    RESEARCH_USE,
    checkpoint_path,
    file_digest,
    network_name,
    positive,
    replacing,
    results_dir,
    results_path,
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
    parts = [classifier]
    if features != "paper":
        parts.append(features)
    if scale != "none":
        parts.append(scale)
    return "-".join(parts)


class Importance(NamedTuple):
    """How much features count for classes."""

    values: pd.DataFrame  # a row per feature, a column per class; NaN in a class never fitted
    measure: str  # what they are


def write_importances(folder, run, importance):
    """Write importance.csv, and its sums by lead, each class to 1, as csv and figure."""
    from ecg.plot.scores import HeatMap, plot_heat_maps

    table = importance.values
    columns, classes, values = table.index, list(table.columns), table.to_numpy().T
    write_csv(table.reset_index(names="feature"), folder / "importance.csv")
    group = np.array([name.split("_")[0] for name in columns])
    groups = [name for name in (*LEADS, "rhythm") if name in group]
    leads = np.stack([values[:, group == name].sum(1) for name in groups], axis=1)
    total = leads.sum(1, keepdims=True)
    leads = np.where(total > 0, divide(leads, total), np.nan)  # (K, 12 or 13)
    known = leads[np.isfinite(leads).all(1)]
    average = known.mean(0) if len(known) else np.full(len(groups), np.nan)
    leads, rows = np.vstack([leads, average]), [*classes, "AVG"]
    table = pd.DataFrame(leads, columns=groups)
    table.insert(0, "class", rows)
    write_csv(table, folder / "importance_leads.csv")
    notes = ["never fitted, or without weight"] * len(rows)
    heat_map = HeatMap(leads, f"share of {importance.measure}", notes)
    title = f"{run}: where the classifier looks"
    plot_heat_maps([heat_map], rows, groups, folder / "importance.png", title)


def name_run(classifier, args):
    method = method_name(classifier, args.features, args.scale)
    return run_name(method, args.data_dir, args.seed, args.round)


def run_classifier(classifier, args, parts, features, digests):
    """Fit, score and save one classifier; print and return its score table.

    `parts` are the rows of labels.csv and `features` the features for training, validation and
    test; the run's files keep `digests`, the Digests of the data.
    """
    import joblib

    run, started = name_run(classifier, args), time.perf_counter()
    x_train, x_validation, x_test = features
    model = make_model(classifier, args.scale, args.seed, args.jobs)
    print(f"{run}: fitting on {x_train.shape[0]} records, {x_train.shape[1]} features", flush=True)
    classes = list(classes_of(parts[0]))
    notes = fit(model, x_train, parts[0][classes].to_numpy(), classes)
    validation = Scored(parts[1], model.predict_proba(x_validation))
    test = Scored(parts[2], model.predict_proba(x_test))
    seconds = time.perf_counter() - started
    folder, path = results_dir(run), checkpoint_path(run).with_suffix(".joblib")
    rule = args.thresholds or "middle"
    table, thresholds = evaluate_run(folder, validation, test, args.seed, rule)
    measure = CLASSIFIERS[classifier].importance
    if measure:
        values = importances(model, x_train).T
        by_feature = pd.DataFrame(values, index=list(x_train.columns), columns=classes)
        write_importances(folder, run, Importance(by_feature, measure))
    with replacing(path) as temporary:
        joblib.dump(model, temporary)
    digests = digests._replace(weights=file_digest(path))
    content = {"run": run, "args": vars(args), "records": [len(part) for part in parts]}
    content |= digests._asdict()
    content |= {"notes": notes, "seconds": round(seconds, 1), "versions": software_versions()}
    write_research_json(folder / "run.json", content)
    write_thresholds(folder, thresholds, digests)
    print(f"\n{run} ({seconds:.0f} s), test fold\n{format_table(table)}")
    for note in [*notes, *thresholds.notes]:
        print(f"{run}: note: {note}")
    return table


def network_table(args, tables):
    """Return the network's scores.csv if it is there and counts the same test records, or None."""
    name = network_name(args.arch, args.width, args.init)
    run = run_name(name, args.data_dir, args.seed, args.round, leads_text(LEADS))
    path = results_path(run, "scores.csv")
    if not path.is_file():
        return None
    table = pd.read_csv(path)
    if not table.n.equals(next(iter(tables.values())).n):
        print(f"{path} counts other records than these runs; left out of the table")
        return None
    return table


def comparison(tables):
    """Lay out F1 and AUC of every classifier: columns classifier, score, the classes, AVG."""
    rows = []
    for score in TABLE_SCORES:
        for name, table in tables.items():
            row = {"classifier": name, "score": SCORES[score].label}
            rows.append(row | table.set_index("class")[score].to_dict())
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
    classifiers = CLASSIFIERS if args.classifier == "all" else (args.classifier,)
    for name in classifiers:
        CLASSIFIERS[name].make(args.seed, args.jobs)  # a library that is missing is said at once
    labels = load_labels(args.data_dir, args.limit)
    names = list(labels["patient_id"])
    features = load_features(args.data_dir, names, args.features, args.jobs)
    parts = split_labels(labels, args.round)
    features = [features.loc[part["patient_id"]] for part in parts]
    digests = read_data_folder(args.data_dir, args.limit).digests
    tables = {name: run_classifier(name, args, parts, features, digests) for name in classifiers}
    if args.classifier == "all":
        write_comparison(args, tables)


if __name__ == "__main__":
    run_main(main, parse_args)
