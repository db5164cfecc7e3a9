"""Train the 1-D ResNet-34 and keep the epoch with the best macro F1 on the validation fold.

Reads   data/CPSC/labels.csv and the packed signals beside it (from preprocess.py)
Writes  models/<run>.pth              weights, optimizer, epoch, leads, classes, arguments, versions
        models/<run>.last.pth         the last finished epoch, from which --resume goes on
        results/<run>/history.csv     one row an epoch; history.png is its figure
        results/<run>/run.json        arguments, versions, hardware, times
<run> is resnet34_CPSC_all_42: network, data folder, leads, seed, and _r3 for round 3.

    python main.py --data-dir data/CPSC --leads all --use-gpu
"""

import json
import platform
import resource
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from dataset import (
    CLASSES,
    LEADS,
    SECONDS,
    ECGDataset,
    PackedSignals,
    add_data_args,
    add_round_arg,
    add_signal_args,
    folds_digest,
    leads_text,
    load_labels,
    split_labels,
)
from metrics import find_thresholds, mean_log_loss, score_table
from plots import plot_history
from resnet import ResNet1d, add_model_args
from utils import (
    checkpoint_path,
    fail,
    get_device,
    load_checkpoint,
    make_parser,
    positive,
    predict_scores,
    replacing,
    results_dir,
    run_name,
    save_checkpoint,
    set_seed,
    software_versions,
    write_csv,
)

# flags that may differ between a run and its --resume: they do not change the numbers
FREE_ARGS = {"epochs", "resume", "num_workers", "patience", "use_gpu"}


def parse_args(argv=None):
    parser = make_parser(__doc__)
    add_data_args(parser)
    add_round_arg(parser)
    add_signal_args(parser)
    add_model_args(parser)
    group = parser.add_argument_group("training")
    group.add_argument("--seconds", type=positive, default=SECONDS, help="length of the input, s")
    group.add_argument("--epochs", type=positive, default=40, help="passes over the records")
    group.add_argument(
        "--lr", "--learning-rate", type=float, default=1e-4, help="of Adam, constant"
    )
    group.add_argument("--patience", type=positive, help="stop after N epochs without a better one")
    group.add_argument("--resume", action="store_true", help="go on after the last finished epoch")
    return parser.parse_args(argv)


def train_epoch(model, dataset, optimizer, args, epoch, device):
    """Pass once over the training folds; return the mean loss per record."""
    # everything drawn in an epoch follows from (seed, epoch), so that a resumed run is the same run
    set_seed(args.seed, epoch)
    dataset.epoch = epoch
    order = torch.randperm(len(dataset)).tolist()
    loader = DataLoader(dataset, args.batch_size, sampler=order, num_workers=args.num_workers)
    model.train()
    total = 0.0
    progress = tqdm(loader, f"epoch {epoch}", unit="batch", leave=False)
    for step, (x, y) in enumerate(progress):
        x, y = x.to(device), y.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=args.amp):
            logits = model(x)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), y)
        if not torch.isfinite(loss):
            rows = order[step * args.batch_size :][: len(x)]
            names = " ".join(dataset.patient_ids[i] for i in rows)
            fail(f"the loss is {loss.item()} in epoch {epoch}, batch {step + 1}; the models of the "
                 f"earlier epochs stand; look at its records ({names}) or lower --lr")  # fmt: skip
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(x)
        progress.set_postfix(loss=f"{loss.item():.4f}")
    return total / len(dataset)


def validate(model, dataset, args, device):
    """Return loss, macro F1 (at the best thresholds) and macro AUC on the validation fold."""
    loader = DataLoader(dataset, args.batch_size, num_workers=args.num_workers)
    y_true, y_score = predict_scores(model, loader, device, args.amp)
    if not np.isfinite(y_score).all():
        fail("the network gives values that are not finite; the models of the earlier epochs "
             "stand; lower --lr")  # fmt: skip
    table = score_table(y_true, y_score, find_thresholds(y_true, y_score), CLASSES)
    average = table.set_index("class").loc["AVG"]
    return {
        "val_loss": float(mean_log_loss(y_true, y_score)),
        "val_f1": float(average["f1"]),
        "val_auc": float(average["auc"]),
    }


def restore(path, model, optimizer, settings, device):
    """Load the last finished epoch into model and optimizer; return its history rows."""
    if not path.is_file():
        fail(f"--resume found no {path}; start the run: the same command without --resume")
    last = load_checkpoint(path, device)
    then = {name: value for name, value in last["args"].items() if name not in FREE_ARGS}
    now = {name: value for name, value in settings["args"].items() if name not in FREE_ARGS}
    changed = [name for name in now if now[name] != then.get(name)]
    if changed or last["folds"] != settings["folds"]:
        fail(f"{path} was made with other {', '.join(changed) or 'folds'}; give the flags (and "
             "labels.csv) it was started with, or leave out --resume to start anew")  # fmt: skip
    model.load_state_dict(last["state_dict"])
    optimizer.load_state_dict(last["optimizer"])
    return last["history"]


def best_epoch(history):
    """Return the number of the epoch with the highest validation F1; the first, if several."""
    return 1 + int(np.argmax([row["val_f1"] for row in history]))


def save_epoch(run, model, optimizer, settings, history):
    """Write the model if its validation F1 is the best so far, then the state to resume from."""
    best = best_epoch(history) == len(history)
    content = settings | {
        "state_dict": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": len(history),
        "best_f1": history[best_epoch(history) - 1]["val_f1"],
        "history": history,
    }
    if best:
        save_checkpoint(checkpoint_path(run), **content)
    save_checkpoint(checkpoint_path(f"{run}.last"), **content)
    return best


def write_run(folder, args, device, settings, history):
    """Write history.csv, history.png and run.json."""
    write_csv(pd.DataFrame(history), folder / "history.csv")
    plot_history(pd.DataFrame(history), folder / "history.png")
    gpu = device.type == "cuda"
    content = settings | {
        "device": torch.cuda.get_device_name() if gpu else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "precision": "bfloat16 autocast" if args.amp else "float32",
        "seconds_per_epoch": [row["seconds"] for row in history],
        # ru_maxrss is in KiB on Linux
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "peak_gpu_memory_mb": torch.cuda.max_memory_allocated() >> 20 if gpu else None,
    }
    with replacing(folder / "run.json") as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def print_header(run, args, device, parts):
    counts = ", ".join(f"{len(part)} {name}" for name, part in parts.items())
    print(f"run {run} on {device}: {counts} records; git {software_versions()['git']}")
    print(" ".join(f"{name}={value}" for name, value in sorted(vars(args).items())))
    if checkpoint_path(run).exists() and not args.resume:
        print(f"{checkpoint_path(run)} stands already and is replaced after the first epoch")


def main(args):
    device = get_device(args.use_gpu)
    labels = load_labels(args.data_dir, args.limit)
    train, validation, test = split_labels(labels, args.round)
    signals = PackedSignals(args.data_dir)
    leads = args.leads or LEADS
    run = run_name(args.arch, args, leads_text(leads))
    train_set = ECGDataset(signals, train, leads, args.seconds, augment_seed=args.seed)
    validation_set = ECGDataset(signals, validation, leads, args.seconds)

    set_seed(args.seed)
    model = ResNet1d(args.arch, len(leads), len(CLASSES)).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    settings = {
        "leads": list(leads),
        "classes": list(CLASSES),
        "folds": folds_digest(labels),
        "args": vars(args) | {"data_dir": Path(args.data_dir).resolve().name, "leads": list(leads)},
        "versions": software_versions(),
    }
    history = []
    if args.resume:
        history = restore(checkpoint_path(f"{run}.last"), model, optimizer, settings, device)
    print_header(run, args, device, {"training": train, "validation": validation, "test": test})

    for epoch in range(len(history) + 1, args.epochs + 1):
        started = time.perf_counter()
        train_loss = train_epoch(model, train_set, optimizer, args, epoch, device)
        row = {"epoch": epoch, "train_loss": train_loss}
        row |= validate(model, validation_set, args, device)
        history.append(row | {"seconds": round(time.perf_counter() - started, 1)})
        best = save_epoch(run, model, optimizer, settings, history)
        write_run(results_dir(run), args, device, settings, history)
        print(f"epoch {epoch:02d}/{args.epochs}  train {train_loss:.4f}  val {row['val_loss']:.4f} "
              f" val F1 {row['val_f1']:.3f}  AUC {row['val_auc']:.3f} {'*' if best else ' '} "
              f"{history[-1]['seconds']:.0f} s", flush=True)  # fmt: skip
        since = epoch - best_epoch(history)
        if args.patience and since >= args.patience:
            print(f"no better epoch in the last {since}: stopped by --patience")
            break
    print(f"wrote {checkpoint_path(run)} and {results_dir(run)}; next: python predict.py "
          f"--data-dir {args.data_dir}")  # fmt: skip


if __name__ == "__main__":
    main(parse_args())
