"""Measure how synthetic records help with real ones: with no patients in training, and with few.

    python -m benchmarks.transfer zero --models models/general.pth ...
    python -m benchmarks.transfer healthy --models models/general.pth ...  # false alarms
    python -m benchmarks.transfer few --models models/general.pth ...      # ten-fold, 100 records
    python -m benchmarks.transfer ptbxl --models models/general.pth ...    # 528 records
    python -m benchmarks.transfer ptbxl --paper --models models/general34.pth

Several models are trainings of one recipe with several seeds: `zero` and `healthy` score each of
them, `few` starts from one a seed, `ptbxl` from the first. Intervals over trainings are of their
means (t distribution, `benchmarks.tables`), intervals over records of resampled records, the mean
of the models on each resample. Everything goes to results/transfer/, from where
`python -m benchmarks.tables` takes it to README and docs/model.md. The data are the folders of
--shared, packed (by preprocess.py) into --data. Random weights get the optimiser and schedule of
--init, and the number of epochs that suits them.

General models of other seeds, which are not in the repository, are trained like `make model`'s,
with --seed 42 and 44; the paper's network with --arch resnet34 --lr 5e-4 --epochs 10
--batch-size 8 --amp.
"""

import json
import os
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import main as training
import predict
import preprocess
from dataset import CLASSES, PackedSignals, load_labels, round_folds
from ecg import compare
from ecg.evaluation.metrics import (
    INTERVAL,
    apply_thresholds,
    divide,
    find_thresholds,
    ranking_scores,
    resample_weights,
)
from ecg.evaluation.scored_run import write_research_json
from ecg.inference.model import Model
from ecg.plot.figures import BLUE, ORANGE, save_figure
from ecg.running.command import make_parser, run_main
from utils import (
    checkpoint_path,
    network_name,
    positive,
    results_path,
    run_name,
    software_versions,
    write_csv,
)

SMALL = "--arch resnet18 --width 24 --seconds 10 --windows --schedule cosine --batch-size 16"
PAPER = "--arch resnet34 --seconds 10 --batch-size 8 --lr 3e-4 --amp"
SETS = {
    "cpsc2018_feb2020": ("cpsc2018_feb2020",),
    "georgia, chapman, ptbxl": ("georgia", "chapman", "ptbxl"),
    "ptbxl_official": ("ptbxl_official",),
    "ludb": ("ludb",),
    "ptbxl_zscored": ("ptbxl_zscored",),
}
TOO_FEW = {"ptbxl_official": ("STE",)}  # two records: not in the macro average
HEALTHY = "ptbxl_official"  # with 300 healthy people
YOUNG = 30  # years
OUT = results_path("transfer")
SHARED = Path(__file__).parents[2] / "shared/data"
SEEDS = (42, 43, 44)


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("part", choices=("zero", "healthy", "few", "ptbxl"), help="what to measure")
    parser.add_argument("--models", nargs="+", required=True, help="models of synthetic records")
    parser.add_argument("--shared", type=Path, default=SHARED, help="records")
    parser.add_argument("--data", type=Path, default=Path("data"), help="where they are packed")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count(), help="trainings at a time")
    parser.add_argument("--amp", action="store_true", help="train in bfloat16")
    parser.add_argument(
        "--demo", action="store_true", help="zero, healthy: the models are make demo's"
    )
    parser.add_argument("--paper", action="store_true", help="ptbxl: the paper's network")
    return parser.parse_args(argv)


def pack(args, names):
    """Copy and preprocess the folders that are not there yet."""
    for name in names:
        if not (args.data / name / "signals.json").is_file():
            shutil.copytree(args.shared / name, args.data / name, dirs_exist_ok=True)
            flags = ["--force-signals"]  # ptbxl_zscored is standardised
            preprocess.main(preprocess.parse_args(["--data-dir", str(args.data / name), *flags]))


def write_table(table, name):
    """Write results/transfer/<name>.csv, and with what code and on what machine it was made."""
    write_csv(table, OUT / f"{name}.csv")
    write_research_json(OUT / f"{name}.json", {"versions": software_versions()})
    print(f"{OUT}/{name}.csv; its tables: python -m benchmarks.tables")


def ludb_labels(folder):
    """Return rows as of labels.csv for all records of LUDB; SNR and STD are unknown there."""
    table = pd.read_csv(folder / "nine_classes.csv", dtype=str, keep_default_na=False)
    rows = pd.DataFrame({"patient_id": table["record"]})
    for name in CLASSES:
        present = table["labels"].map(lambda text, name=name: name in text.split(";"))
        rows[name] = np.nan if name in ("SNR", "STD") else present.astype(float)
    return rows.assign(fold=1 + np.arange(len(rows)) % 10)


def score_set(path, folders):
    """Return labels.csv's rows and the scores (N, K) of a model on the records of some folders."""
    model, rows, scores = Model.load(path), [], []
    for folder in folders:
        labels = ludb_labels(folder) if folder.name == "ludb" else load_labels(folder)
        data = model.dataset(PackedSignals(folder), labels)
        rows.append(labels)
        scores.append(model.score(data, 16))
    return pd.concat(rows, ignore_index=True), np.concatenate(scores), model


def f1(y_true, y_pred, weights):
    """Return F1 (B, K) for weights (B, N) of records, NaN for a class without a positive."""
    known, true = np.isfinite(y_true), np.nan_to_num(y_true)
    positives = weights @ true
    hits, called = weights @ (true * y_pred), weights @ (known * y_pred)
    return np.where(positives > 0, divide(2 * hits, positives + called), np.nan)


def exactly(y_true, y_pred, weights):
    """Return the share (B,) of records of which every known class is right."""
    right = ((y_pred == y_true) | np.isnan(y_true)).all(1)
    return weights @ right / weights.sum(1)


def cross_validated(labels, y_score):
    """Return the findings (N, K) with thresholds chosen on the other nine folds."""
    y_true, y_pred = labels[list(CLASSES)].to_numpy(float), np.zeros(y_score.shape, int)
    for fold in labels["fold"].unique():
        test = labels["fold"].to_numpy() == fold
        thresholds = find_thresholds(y_true[~test], y_score[~test])
        y_pred[test] = apply_thresholds(y_score[test], thresholds)
    return y_pred


def scores_of(labels, y_score, model, weights):
    """Return {score: (B, K)} and the share exactly right (B,), for weights (B, N) of records."""
    y_true, found = labels[list(CLASSES)].to_numpy(float), model.findings(y_score)
    auc = [ranking_scores(*column, weights)[0] for column in zip(y_true.T, y_score.T, strict=True)]
    scores = {"AUC": np.transpose(auc), "F1, own thresholds": f1(y_true, found, weights)}
    scores["F1, cross-validated"] = f1(y_true, cross_validated(labels, y_score), weights)
    return scores, exactly(y_true, found, weights)


def all_and_resamples(n):
    """Return weights (1 + B, n): every record once, and resamples of the records."""
    return np.concatenate([np.ones((1, n)), resample_weights(n)])


def over_records(values):
    """Return the mean over models of values (M, 1 + B) on each resample: low and high."""
    return np.quantile(np.mean(values, axis=0)[1:], INTERVAL)


def zero(args):
    """Score the models on records of which they have seen none."""
    rows = []
    for title, names in SETS.items():
        pack(args, names)
        rows += score_models(args, title, [args.data / name for name in names])
    write_table(pd.DataFrame(rows), "zero_demo" if args.demo else "zero")


def score_models(args, title, folders):
    """Return rows of zero.csv: each model's scores on the records of some folders."""
    rows, resampled, kept = [], {}, [name not in TOO_FEW.get(title, ()) for name in CLASSES]
    for path in args.models:
        labels, y_score, model = score_set(path, folders)
        counts = labels[list(CLASSES)].sum().astype(int)
        scores, exact = scores_of(labels, y_score, model, all_and_resamples(len(labels)))
        for score, values in scores.items():
            macro = pd.DataFrame(values[:, kept]).mean(axis=1).to_numpy()
            resampled.setdefault(score, []).append(macro)
            row = {"records": title, "n": len(labels), "model": Path(path).name, "score": score}
            row |= dict(zip(CLASSES, values[0], strict=True)) | {"macro": macro[0]}
            row |= {"exactly right": exact[0]} | {f"n {c}": n for c, n in counts.items()}
            rows.append(row)
        resampled.setdefault("exactly right", []).append(exact)
    for row in rows:
        row["macro low"], row["macro high"] = over_records(resampled[row["score"]])
        row["exact low"], row["exact high"] = over_records(resampled["exactly right"])
    return rows


def healthy_groups(labels, people):
    """Return {group: whether each record is of it (N,)} of the healthy, by sex and age."""
    own = people.loc[labels["patient_id"]].reset_index()
    normal, male = labels["SNR"] == 1, own["sex"] == "Male"
    return {
        "all": normal,
        "women": normal & (own["sex"] == "Female"),
        "men": normal & male,
        f"men up to {YOUNG}": normal & male & (own["age"] <= YOUNG),
    }


def healthy(args):
    """Count the abnormal findings in healthy people: false alarms, by class, sex and age."""
    pack(args, [HEALTHY])
    folder, rows, resampled = args.data / HEALTHY, [], {}
    people = pd.read_csv(folder / "reference.csv").set_index("patient_id")
    for path in args.models:
        labels, y_score, model = score_set(path, [folder])
        found = pd.DataFrame(model.findings(y_score), columns=list(CLASSES))
        right = (found.to_numpy() == labels[list(CLASSES)].to_numpy()).all(1)
        for group, chosen in healthy_groups(labels, people).items():
            alarms = found.loc[chosen, list(CLASSES[1:])]
            weights = all_and_resamples(len(alarms))
            any_alarm = weights @ alarms.any(axis=1) / len(alarms)
            resampled.setdefault(group, []).append(any_alarm)
            row = {"model": Path(path).name, "group": group, "n": len(alarms)}
            row |= {"any": any_alarm[0], **alarms.mean()}
            rows.append(row | {"exactly right": right[chosen].mean()})
    for row in rows:
        row["any low"], row["any high"] = over_records(resampled[row["group"]])
    write_table(pd.DataFrame(rows), "healthy_demo" if args.demo else "healthy")


def train_and_score(job):
    """Train and score one run with one thread; return the seconds that the training took."""
    torch.set_num_threads(1)
    flags, more = job
    started = time.perf_counter()
    args = training.parse_args([*flags, *more])
    training.main(args)
    seconds = time.perf_counter() - started
    predict.main(predict.parse_args(flags))
    return seconds


def run_all(jobs, n_jobs):
    """Train and score runs, so many at a time; return the seconds of each."""
    with ProcessPoolExecutor(n_jobs, get_context("spawn")) as pool:
        return list(pool.map(train_and_score, jobs))


def pooled(name, folder):
    """Return the share exactly right and the lowest threshold of ten rounds' test folds."""
    runs = [Path(results_path(name if r == 0 else f"{name}_r{r}")) for r in range(10)]
    labels, right, lowest = load_labels(folder).set_index("patient_id"), [], 1
    for number, run in enumerate(runs):
        thresholds = json.loads((run / "thresholds.json").read_text())["thresholds"]
        model = Model.load(checkpoint_path(run.name))
        table = pd.read_csv(run / "predictions.csv", dtype={"patient_id": str})
        test = table[table["fold"] == round_folds(number)[2]]
        found = model.findings(test[list(CLASSES)].to_numpy())
        right += list((found == labels.loc[test["patient_id"], list(CLASSES)]).all(axis=1))
        lowest = min(lowest, *thresholds.values())
    return {"exactly right": np.mean(right), "lowest threshold": lowest}


def few(args):
    """Cross-validate within 100 records: from random weights and from the models."""
    pack(args, ["cpsc2018_feb2020"])
    data = ["--data-dir", str(args.data / "cpsc2018_feb2020")]
    path = OUT / "few.csv"
    rows = pd.read_csv(path).to_dict("records") if path.is_file() else []
    for seed, model in zip(SEEDS, args.models, strict=False):
        own = [*data, "--seed", str(seed)]
        arms = {
            "random": (SMALL.split()[:4], [*SMALL.split()[4:], *"--lr 2e-3 --epochs 30".split()]),
            "init": (["--init", model], []),
        }
        for arm, (named, more) in arms.items():
            if any((row["arm"], row["seed"]) == (arm, seed) for row in rows):
                continue  # by a run before
            more = [*more, "--amp"] if args.amp else more
            jobs = [([*own, *named, "--round", str(number)], more) for number in range(10)]
            seconds = run_all(jobs, args.jobs)
            compare.main(compare.parse_args([*own, *named, "--rounds"]))
            network = network_name("resnet18", 24, model if arm == "init" else None)
            name = run_name(network, data[1], seed, 0, "all")
            table = pd.read_csv(results_path(f"compare_rounds_{name}", "scores.csv"))
            table = table.set_index("class")
            row = {"arm": arm, "seed": seed, "seconds": np.mean(seconds)}
            row |= {f"AUC {c}": table.loc[c, "auc"] for c in (*CLASSES, "AVG")}
            row |= {"low": table.loc["AVG", "auc_low"], "high": table.loc["AVG", "auc_high"]}
            rows.append(row | {"F1": table.loc["AVG", "f1"]} | pooled(name, data[1]))
            write_table(pd.DataFrame(rows), "few")


def draw_curves(table, path):
    """Draw the validation AUC after each epoch, mean and range over the rounds, by leads."""
    from matplotlib import pyplot as plt

    size = {"figsize": (9, 3.4), "squeeze": False, "layout": "constrained"}
    figure, axes = plt.subplots(1, table["leads"].nunique(), **size)
    for ax, (leads, part) in zip(axes[0], table.groupby("leads", sort=False), strict=True):
        for (arm, group), colour in zip(part.groupby("arm"), (ORANGE, BLUE), strict=False):
            curve = group.groupby("epoch")["val_auc"].agg(["mean", "min", "max"])
            ax.plot(curve.index, curve["mean"], "o-", ms=3, c=colour, label=arm)
            ax.fill_between(curve.index, curve["min"], curve["max"], color=colour, alpha=0.15, lw=0)
        title = "12 leads" if leads == "all" else leads
        ax.set(xlabel="epoch", ylabel="validation macro AUC", title=title, ylim=(0.5, 1))
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8)
    save_figure(figure, path)


def ptbxl(args):
    """Train on 528 records of PTB-XL, three rounds: random weights and the models, 12 leads, V5."""
    pack(args, ["ptbxl_zscored"])
    data = ["--data-dir", str(args.data / "ptbxl_zscored")]
    if args.paper:
        random = (PAPER.split()[:2], [*PAPER.split()[2:], "--epochs", "20"])
        init = (["--init", args.models[0]], PAPER.split()[4:])
        arms = {"paper, random": random, "paper, init": init}
    else:
        random = (SMALL.split()[:4], [*SMALL.split()[4:], *"--lr 2e-3 --epochs 24".split()])
        arms = {"small, random": random, "small, init": (["--init", args.models[0]], [])}
    runs = {}
    for leads, arm, number in product(("all", "V5"), arms, range(3)):
        named, more = arms[arm]
        flags = [*data, *named, "--leads", leads, "--round", str(number)]
        parsed = training.parse_args(flags)
        network = network_name(parsed.arch, parsed.width, parsed.init)
        folder = results_path(run_name(network, data[1], 42, number, leads))
        runs[leads, arm, number] = folder, (flags, [*more, "--amp"] if args.amp else more)
    run_all([job for f, job in runs.values() if not (f / "scores.csv").is_file()], args.jobs)
    rows = []
    for (leads, arm, number), (folder, _) in runs.items():
        test_auc = pd.read_csv(folder / "scores.csv").set_index("class").loc["AVG", "auc"]
        table = pd.read_csv(folder / "history.csv")[["epoch", "val_auc", "seconds"]]
        rows.append(table.assign(leads=leads, arm=arm, round=number, test_auc=test_auc))
    table, name = pd.concat(rows), "paper" if args.paper else "ptbxl"
    write_table(table, name)
    draw_curves(table, OUT / f"{name}.png")


def main(args):
    torch.set_num_threads(1)
    {"zero": zero, "healthy": healthy, "few": few, "ptbxl": ptbxl}[args.part](args)


if __name__ == "__main__":
    run_main(main, parse_args)
