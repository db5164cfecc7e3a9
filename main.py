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
import os
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
    make_batches,
    pad_batch,
    split_labels,
)
from ecg.evaluation.metrics import find_thresholds, mean_log_loss, score_table
from ecg.plot.scores import plot_history
from ecg.training import distributed
from resnet import ResNet1d, add_model_args, weights_digest
from utils import (
    checkpoint_path,
    fail,
    load_checkpoint,
    make_parser,
    positive,
    positive_number,
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
        "--lr", "--learning-rate", type=positive_number, default=1e-4, help="of Adam, constant"
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
    group.add_argument("--resume", action="store_true", help="go on after the last finished epoch")
    return parser.parse_args(argv)


def train_epoch(network, dataset, optimizer, args, epoch, device):
    """Pass once over the training folds; return the mean loss per record."""
    # everything drawn in an epoch follows from (seed, epoch), so that a resumed run is the same run
    set_seed(args.seed, epoch, distributed.rank())
    dataset.epoch = epoch
    lengths = dataset.lengths() if args.pad == "batch" else None
    batches = make_batches(len(dataset), args.batch_size, args.seed, epoch, lengths)
    # a process left without a record of the last, small batch takes one along that does not count
    shares = [distributed.share(batch) or batch[:1] for batch in batches]
    loader = DataLoader(
        dataset, batch_sampler=shares, num_workers=args.num_workers, collate_fn=pad_batch
    )
    network.train()
    losses = []
    progress = tqdm(loader, f"epoch {epoch}", unit="batch", leave=False, disable=quiet())
    for batch, rows, (x, y) in zip(batches, shares, progress, strict=True):
        weight = len(distributed.share(batch)) / len(batch)  # this process's part of the batch
        loss = weight * batch_loss(network, x.to(device), y.to(device), args.amp)
        if not torch.isfinite(loss):
            names = " ".join(dataset.patient_ids[i] for i in rows)
            fail(f"the loss is {loss.item()} in epoch {epoch}; the models of the earlier epochs "
                 f"stand; look at the records of the batch ({names}) or lower --lr")  # fmt: skip
        optimizer.zero_grad()
        (loss * distributed.world_size()).backward()  # which averages over the processes
        optimizer.step()
        losses.append(loss.item() * len(batch))
        progress.set_postfix(loss=f"{loss.item() / weight if weight else 0:.4f}")
    return float(distributed.gather(np.array([[sum(losses)]])).sum()) / len(dataset)


def batch_loss(network, x, y, amp):
    """Return the paper's loss: unweighted binary cross-entropy, mean over records and classes."""
    with torch.autocast(x.device.type, torch.bfloat16, enabled=amp):
        logits = network(x)  # (N, K)
    return torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), y)


def validate(model, dataset, args, device):
    """Return loss, macro F1 (at the best thresholds) and macro AUC on the validation fold."""
    distributed.copy_buffers(model)
    rows = distributed.share(list(range(len(dataset))))
    loader = dataset.loader(args.batch_size, args.num_workers, rows)
    y_true, y_score = predict_scores(model, loader, device, args.amp, disable=quiet())
    y_true, y_score = distributed.gather(y_true), distributed.gather(y_score)
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


def quiet():
    return distributed.rank() > 0


def make_deterministic():
    """Let a GPU give the same bits in every run; a CPU does so anyway."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def restore(path, model, optimizer, settings, device):
    """Load the last finished epoch into model and optimizer; return its history rows."""
    if not path.is_file():
        fail(f"--resume found no {path}; start the run: the same command without --resume")
    last = load_checkpoint(path, device)
    then = {name: value for name, value in last["args"].items() if name not in FREE_ARGS}
    now = {name: value for name, value in settings["args"].items() if name not in FREE_ARGS}
    changed = [name for name in now if now[name] != then.get(name)]
    changed += [name for name in ("labels", "signals") if settings[name] != last.get(name)]
    if changed:
        fail(f"{path} was made with other {', '.join(changed)}; give the flags and "
             "data it was started with, or leave out --resume to start anew")  # fmt: skip
    model.load_state_dict(last["state_dict"])
    optimizer.load_state_dict(last["optimizer"])
    return last["history"]


def best_epoch(history):
    """Return the number of the epoch with the highest validation F1; the first, if several."""
    return 1 + int(np.argmax([row["val_f1"] for row in history]))


def save_epoch(run, model, optimizer, settings, history):
    """Write the model if its validation F1 is the best so far, then the state to resume from."""
    content = settings | {
        "state_dict": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": len(history),
        "best_f1": history[best_epoch(history) - 1]["val_f1"],
        "history": history,
    }
    paths = [checkpoint_path(f"{run}.last")]
    if best_epoch(history) == len(history):
        paths.insert(0, checkpoint_path(run))
    for path in paths:
        try:
            save_checkpoint(path, **content)
        except (OSError, RuntimeError) as error:  # torch raises RuntimeError on a full disk
            fail(f"{path} cannot be written ({error}); the one of the last epoch stands; make "
                 "room, then go on: the same command with --resume")  # fmt: skip


def write_run(run, args, device, settings, history):
    """Write history.csv, history.png and run.json."""
    folder = results_dir(run)
    write_csv(pd.DataFrame(history), folder / "history.csv")
    plot_history(pd.DataFrame(history), folder / "history.png")
    gpu = device.type == "cuda"
    content = settings | {
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "weights": weights_digest(load_checkpoint(checkpoint_path(run))["state_dict"]),
        "threads": torch.get_num_threads(),
        "precision": "bfloat16 autocast" if args.amp else "float32",
        "seconds_per_epoch": [row["seconds"] for row in history],
        # ru_maxrss is in KiB on Linux
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "peak_gpu_memory_mb": torch.cuda.max_memory_allocated() >> 20 if gpu else None,
    }
    with replacing(folder / "run.json") as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def print_header(run, args, device, train_set, validation_set):
    print(f"run {run} on {device}: {len(train_set)} training and {len(validation_set)} validation "
          f"records; git {software_versions()['git']}")  # fmt: skip
    print(" ".join(f"{name}={value}" for name, value in sorted(vars(args).items())))
    if checkpoint_path(run).exists() and not args.resume:
        print(f"{checkpoint_path(run)} stands already and is replaced after the first epoch")


def print_epoch(args, history):
    row = history[-1]
    star = "*" if best_epoch(history) == len(history) else " "
    print(f"epoch {row['epoch']:02d}/{args.epochs}  train {row['train_loss']:.4f}  "
          f"val {row['val_loss']:.4f}  val F1 {row['val_f1']:.3f}  AUC {row['val_auc']:.3f} {star} "
          f"{row['seconds']:.0f} s", flush=True)  # fmt: skip


def set_up(args):
    """Return the data sets, the untrained model, its optimizer, and what a checkpoint keeps."""
    labels = load_labels(args.data_dir, args.limit)
    signals = PackedSignals(args.data_dir)
    leads = args.leads or LEADS
    train, validation, _ = split_labels(labels, args.round)
    train_set = ECGDataset(signals, train, leads, args.seconds, args.seed, args.pad)
    validation_set = ECGDataset(signals, validation, leads, args.seconds, pad=args.pad)
    set_seed(args.seed)
    model = ResNet1d(args.arch, len(leads), len(CLASSES))
    settings = {
        "leads": list(leads),
        "classes": list(CLASSES),
        "labels": labels_digest(labels),
        "signals": signals.fingerprint,
        "shortest": min(signals.index[name][1] for name in train["patient_id"]) / SAMPLE_RATE,  # s
        "args": vars(args) | {"data_dir": Path(args.data_dir).resolve().name, "leads": list(leads)},
        "versions": software_versions(),
    }
    return train_set, validation_set, model, settings


def main(args):
    device = distributed.start(args.use_gpu)
    if args.deterministic:
        make_deterministic()
    train_set, validation_set, model, settings = set_up(args)
    model = model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    run = run_name(args.arch, args.data_dir, args.seed, args.round, leads_text(args.leads))
    history = []
    if args.resume:
        history = restore(checkpoint_path(f"{run}.last"), model, optimizer, settings, device)
    network = torch.compile(model) if args.compile else model
    network = distributed.wrap(network)
    if not quiet():
        print_header(run, args, device, train_set, validation_set)

    for epoch in range(len(history) + 1, args.epochs + 1):
        train_set.signals.stop_if_replaced()
        if args.patience and history and len(history) - best_epoch(history) >= args.patience:
            break
        started = time.perf_counter()
        row = {"epoch": epoch}
        row["train_loss"] = train_epoch(network, train_set, optimizer, args, epoch, device)
        row |= validate(model, validation_set, args, device)
        history.append(row | {"seconds": round(time.perf_counter() - started, 1)})
        if not quiet():
            save_epoch(run, model, optimizer, settings, history)
            write_run(run, args, device, settings, history)
            print_epoch(args, history)
    distributed.stop()
    if not quiet():
        print(f"the best epoch is {best_epoch(history)}, kept in {checkpoint_path(run)}; next: "
              f"python predict.py --data-dir {args.data_dir}")  # fmt: skip


if __name__ == "__main__":
    main(parse_args())
