"""Train the 1-D ResNet and keep the epoch with the best macro F1 on the validation fold.

Reads   data/CPSC/labels.csv and the packed signals beside it (from preprocess.py)
Writes  models/<run>.last.pth         after each epoch: what --resume goes on from
        models/<run>.pth              at the end: weights of the best epoch, thresholds, leads,
                                      classes, arguments, versions, digests of the records used
        results/<run>/history.csv     one row per epoch; history.png is its figure
        results/<run>/run.json        arguments, versions, hardware, times
<run> is resnet34_CPSC_all_42: network, data folder, leads, seed, and _r3 for round 3.

    python main.py --data-dir data/CPSC --leads all --use-gpu

With --init it starts from a model's weights, network, seconds and windows, with defaults for 50 to
1,000 records; with --fresh it trains on synthetic records that it makes meanwhile, each seen once,
and the data folder serves for validation alone:

    python main.py --data-dir data/mine --init models/general.pth
    python main.py --data-dir data/general --fresh 2000 --seconds 10 --schedule cosine

With --schedule cosine it keeps the last epoch: before it, the learning rate is still high.
"""

from utils import run_main  # first, as it also knows of Ctrl-C while the others load

# isort: split

import json
import os
import resource
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dataset import (
    BATCH_SIZE,
    CLASSES,
    LEADS,
    SAMPLE_RATE,
    SECONDS,
    ECGDataset,
    PackedSignals,
    add_data_args,
    add_round_arg,
    add_signal_args,
    labels_digest,
    leads_text,
    load_labels,
    signal_digest,
    split_labels,
)
from ecg.evaluation import metrics
from ecg.io.sources import is_synthetic
from ecg.plot.scores import plot_history
from ecg.training import checkpoints, distributed
from ecg.training.fresh import FreshRecords
from ecg.training.loop import SCHEDULES, train_epoch, validate
from resnet import (
    NO_PATIENT,
    WIDTH,
    ResNet1d,
    add_model_args,
    load_checkpoint,
    network_name,
    save_checkpoint,
    transfer_weights,
    weights_digest,
)
from utils import (
    checkpoint_path,
    make_parser,
    positive,
    positive_number,
    predict_scores,
    replacing,
    results_dir,
    run_name,
    set_seed,
    software_versions,
    write_csv,
)

THRESHOLD_RULE = "best F1 on the validation fold, the middle of the best"
# what suits 50 to 1,000 records and weights that have learnt already (benchmarks/transfer.py)
INIT_DEFAULTS = {"epochs": None, "lr": 1e-3, "batch_size": 16, "schedule": "cosine"}
INIT_RECORDS, INIT_EPOCHS = 3000, (6, 30)  # in all epochs, and how many these are at least, at most


def parse_args(argv=None):
    parser = make_parser(__doc__)
    add_data_args(parser)
    add_signal_args(parser)
    add_model_args(parser)
    group = parser.add_argument_group("training")
    add_round_arg(group)
    group.add_argument("--seconds", type=positive, default=SECONDS, help="length of the input, s")
    text = "passes over the records; with --init, if not given: 6 to 30, more for fewer records"
    group.add_argument("--epochs", type=positive, default=40, help=text)
    group.add_argument(
        "--lr",
        "--learning-rate",
        type=positive_number,
        default=1e-4,
        help="learning rate, at its highest",
    )
    group.add_argument(
        "--schedule",
        choices=SCHEDULES,
        default="constant",
        help="course of the learning rate; cosine: a short rise, then down to 0 in the last epoch",
    )
    group.add_argument(
        "--windows",
        action="store_true",
        help="train on parts of --seconds from anywhere in longer records, and score records in "
        "overlapping windows, the largest logit counting",
    )
    group.add_argument(
        "--fresh", type=positive, metavar="N", help="train on N new synthetic records an epoch"
    )
    group.add_argument("--patience", type=positive, help="stop after N epochs without a better one")
    group.add_argument(
        "--pad",
        choices=("window", "batch"),
        default="window",
        help="window: zeros to --seconds, as in the paper; batch: to the longest of the batch",
    )
    group.add_argument("--compile", action="store_true", help="use torch.compile")
    group.add_argument(
        "--deterministic", action="store_true", help="the same weights in every run on a GPU too"
    )
    group.add_argument(
        "--resume",
        nargs="?",
        const="strict",
        choices=("strict", "auto"),
        help="go on after the last finished epoch; auto: or start anew",
    )
    args = parser.parse_args(argv)
    if args.init:
        trained = load_checkpoint(args.init)["args"]
        own = {name: trained[name] for name in ("arch", "seconds", "pad")}
        own |= {"width": trained.get("width", WIDTH), "windows": trained.get("windows", False)}
        parser.set_defaults(**INIT_DEFAULTS, **own)
        args = parser.parse_args(argv)
        if (args.arch, args.width) != (own["arch"], own["width"]):
            parser.error(f"--init {args.init} is a {network_name(own['arch'], own['width'])}; "
                         "leave out --arch and --width")  # fmt: skip
    if args.pad == "batch" and (args.windows or args.fresh):
        parser.error("--windows and --fresh go with --pad window")
    return args


def set_up(args):
    """Return the two data sets, the untrained model, and what every checkpoint of it holds."""
    labels = load_labels(args.data_dir, args.limit)
    signals = PackedSignals(args.data_dir)
    leads = args.leads or LEADS
    train, validation, _ = split_labels(labels, args.round)
    shape = {"pad": args.pad, "windows": args.windows}
    validation_set = ECGDataset(signals, validation, leads, args.seconds, **shape)
    if args.fresh:
        train_set, shortest = FreshRecords(args.fresh, args.seed, leads, args.seconds), args.seconds
    else:
        train_set = ECGDataset(signals, train, leads, args.seconds, args.seed, **shape)
        shortest = min(signals.index[name][1] for name in train["patient_id"]) / SAMPLE_RATE
    if args.epochs is None:
        args.epochs = int(np.clip(round(INIT_RECORDS / len(train_set)), *INIT_EPOCHS))
    set_seed(args.seed)
    window = args.seconds * SAMPLE_RATE if args.windows else None
    model = ResNet1d(args.arch, len(leads), len(CLASSES), args.width, window)
    settings = {
        "leads": list(leads),
        "classes": list(CLASSES),
        "labels": labels_digest(labels),
        "signals": signals.fingerprint,
        "shortest": shortest,  # s
        "window": window,
        "origin": transfer_weights(model, leads, CLASSES, args.init) if args.init else None,
        "args": vars(args) | {"data_dir": Path(args.data_dir).resolve().name, "leads": list(leads)},
        "versions": software_versions(),
    }
    return train_set, validation_set, model, settings


def quiet():
    return distributed.rank() > 0


def make_deterministic():
    """Let a GPU give the same bits in every run; a CPU does so anyway."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def train(run, args, device, train_set, validation_set, model, settings):
    """Train all epochs that are left; return the history and the weights of the best epoch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    history, best = [], None
    state = checkpoints.load_state(run, settings, args.resume, device)
    if state:
        model.load_state_dict(state["state_dict"])
        optimizer.load_state_dict(state["optimizer"])
        history, best = state["history"], state["best"]
    network = torch.compile(model) if args.compile else model
    network = distributed.wrap(network)
    while not checkpoints.has_ended(history, args.epochs, args.patience, args.schedule):
        validation_set.signals.stop_if_replaced()
        started = time.perf_counter()
        row = {"epoch": len(history) + 1}
        settled = args.batch_size, args.num_workers, args.amp
        row["train_loss"] = train_epoch(
            network, train_set, optimizer, device, row["epoch"], args.seed, *settled,
            lr=args.lr, schedule=args.schedule, epochs=args.epochs
        )  # fmt: skip
        row |= validate(model, validation_set, device, *settled)
        history.append(row | {"seconds": round(time.perf_counter() - started, 1)})
        if checkpoints.best_epoch(history, args.schedule) == len(history):
            best = {name: value.cpu().clone() for name, value in model.state_dict().items()}
        if not quiet():
            with checkpoints.writing(run):
                checkpoints.save_state(run, model, optimizer, settings, history, best)
                if not checkpoint_path(run).exists():  # an older model keeps its own until then
                    write_history(run, history, args.schedule)
            print_epoch(args, history)
    return history, best


def trained_on(args, n_records, epochs, origin):
    """Say in words what a model has learnt from."""
    if args.fresh:
        text = f"{epochs * n_records:,} synthetic records, {NO_PATIENT}"
    elif is_synthetic(args.data_dir):
        text = f"{n_records:,} synthetic records, {NO_PATIENT}"
    else:
        text = f"{n_records:,} records of {Path(args.data_dir).resolve().name}"
    return text + (f" after those of {origin['model']} ({origin['trained_on']})" if origin else "")


def publish(run, args, device, train_set, validation_set, model, settings, history, best):
    """Write the model with its thresholds, as predict.py finds them, and the run's tables."""
    model.load_state_dict(best)
    loader = validation_set.loader(BATCH_SIZE, args.num_workers)
    thresholds = metrics.find_thresholds(*predict_scores(model, loader, device))
    packed, used = validation_set.signals, list(validation_set.patient_ids)
    used += [] if args.fresh else train_set.patient_ids
    epoch = checkpoints.best_epoch(history, args.schedule)
    learnt = trained_on(args, len(train_set), epoch, settings["origin"])
    save_checkpoint(
        checkpoint_path(run),
        **settings,
        state_dict=best,
        epoch=epoch,
        best_f1=history[epoch - 1]["val_f1"],
        history=history,
        thresholds=dict(zip(CLASSES, thresholds.tolist(), strict=True)),
        threshold_rule=THRESHOLD_RULE,
        trained_on=learnt,
        training_records={name: signal_digest(packed[name]) for name in used},
    )
    write_history(run, history, args.schedule)
    write_run(run, args, device, settings | {"trained_on": learnt}, history, best)


def write_history(run, history, schedule):
    table, kept = pd.DataFrame(history), checkpoints.best_epoch(history, schedule)
    write_csv(table, results_dir(run) / "history.csv")
    plot_history(table, results_dir(run) / "history.png", kept)


def write_run(run, args, device, settings, history, best):
    """Write run.json, the last file of a training: it says that the others are complete."""
    gpu = device.type == "cuda"
    content = settings | {
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "weights": weights_digest(best),
        "threads": torch.get_num_threads(),
        "precision": "bfloat16 autocast" if args.amp else "float32",
        "seconds_per_epoch": [row["seconds"] for row in history],
        # ru_maxrss is in KiB on Linux
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "peak_gpu_memory_mb": torch.cuda.max_memory_allocated() >> 20 if gpu else None,
    }
    with replacing(results_dir(run) / "run.json") as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def print_header(run, args, device, train_set, validation_set):
    print(
        f"run {run} on {device}: {len(train_set)} training and {len(validation_set)} validation "
        f"records; git {software_versions()['git']}"
    )
    print(" ".join(f"{name}={value}" for name, value in sorted(vars(args).items())))
    if checkpoint_path(run).exists() and not args.resume:
        print(f"{checkpoint_path(run)} exists and is replaced when this training has ended")


def print_epoch(args, history):
    row = history[-1]
    star = "*" if checkpoints.best_epoch(history, args.schedule) == len(history) else " "
    print(
        f"epoch {row['epoch']:02d}/{args.epochs}  train {row['train_loss']:.4f}  "
        f"val {row['val_loss']:.4f}  val F1 {row['val_f1']:.3f}  AUC {row['val_auc']:.3f} {star} "
        f"{row['seconds']:.0f} s",
        flush=True,
    )


def main(args):
    device = distributed.start(args.use_gpu)
    if args.deterministic:
        make_deterministic()
    train_set, validation_set, model, settings = set_up(args)
    model = model.to(device)
    network = network_name(args.arch, args.width, args.init)
    run = run_name(network, args.data_dir, args.seed, args.round, leads_text(args.leads))
    with checkpoints.lock(run):
        if not quiet():
            print_header(run, args, device, train_set, validation_set)
        history, best = train(run, args, device, train_set, validation_set, model, settings)
        distributed.stop()
        if quiet():
            return
        if not checkpoints.is_published(run, history, best):
            with checkpoints.writing(run):
                publish(
                    run, args, device, train_set, validation_set, model, settings, history, best
                )
    path = checkpoint_path(run)
    print(f"epoch {checkpoints.best_epoch(history, args.schedule)} is kept in {path}; next:")
    print(f"python predict.py --data-dir {args.data_dir} --model-path {path} --round {args.round}")


if __name__ == "__main__":
    run_main(main, parse_args)
