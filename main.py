"""Train the 1-D ResNet and keep the epoch with the best macro F1 on the validation fold.

Reads   data/CPSC/labels.csv and the packed signals beside it (from preprocess.py)
Writes  models/<run>.last.pth         after each epoch: what --resume starts from
        models/<run>.pth              at the end: weights of the best epoch, thresholds, leads,
                                      classes, arguments, versions, digests of the records used
        results/<run>/history.csv     one row per epoch; history.png is its figure
        results/<run>/run.json        arguments, versions, hardware, times
<run> is resnet34_CPSC_all_42: network, data folder, leads, seed, and _r3 for round 3.

    python main.py --data-dir data/CPSC --leads all --use-gpu

With --init it starts from a model's weights, network, seconds and windows, with defaults for 50 to
1,000 records. With the model's leads it keeps the mean of the weights before and after
(--no-average: those after). A head for the place of each criterion is kept alive by synthetic
records beside the real ones (--no-evidence: it is dropped). With --fresh it trains on synthetic
records that it makes meanwhile, each seen once, and uses the data folder for validation only:

    python main.py --data-dir data/mine --init models/general.pth
    python main.py --data-dir data/general --fresh 2000 --seconds 10 --schedule cosine

With --schedule cosine it keeps the last epoch: before it, the learning rate is still high.
"""

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from dataset import (
    BATCH_SIZE,
    CLASSES,
    LEADS,
    SAMPLE_RATE,
    ECGDataset,
    PackedSignals,
    add_data_args,
    add_signal_args,
    each_lead_set,
    labels_digest,
    leads_text,
    load_labels,
    signal_digest,
    split_labels,
)
from ecg.evaluation import metrics
from ecg.inference.checkpoint import weights_digest
from ecg.inference.device import set_seed
from ecg.inference.flags import add_model_args
from ecg.inference.model import Model, predict_scores
from ecg.inference.provenance import Provenance
from ecg.inference.settings import Settings, TrainingFlags
from ecg.io.sources import is_synthetic
from ecg.plot.scores import plot_history
from ecg.running.command import make_parser, run_main
from ecg.training import distributed
from ecg.training.flags import add_training_args
from ecg.training.loop import BESIDE, train_epoch, validate
from ecg.training.synthetic_stream import FreshRecords
from ecg.training.training import Epoch, Loading, Schedule, Training, lock, writing
from utils import (
    InputError,
    checkpoint_path,
    network_name,
    peak_memory_mb,
    results_dir,
    run_name,
    software_versions,
    write_csv,
    write_json,
)

# what suits 50 to 1,000 records and trained weights (benchmarks/transfer.py)
INIT_DEFAULTS = {"epochs": None, "lr": 1e-3, "batch_size": 16, "schedule": "cosine"}
INIT_RECORDS, INIT_EPOCHS = 2600, (6, 30)  # in all epochs; and the fewest and most epochs


def parse_args(argv=None):
    parser = make_parser(__doc__)
    add_data_args(parser)
    add_signal_args(parser, several=True)
    add_model_args(parser)
    add_training_args(parser)
    args = parser.parse_args(argv)
    if args.evidence and not (args.fresh or args.init):
        parser.error("--evidence needs --fresh: only the simulator knows where a criterion is")
    if args.average and not args.init:
        parser.error("--average needs --init, whose weights are the other half")
    if not args.init:
        return args
    settings = Model.load(args.init).settings
    trained = settings.flags
    own = {name: getattr(trained, name) for name in ("arch", "width", "seconds", "windows")}
    own |= {"centred": settings.centred, "normal": settings.normal}
    parser.set_defaults(**INIT_DEFAULTS, **own)
    args = parser.parse_args(argv)
    if (args.arch, args.width) != (trained.arch, trained.width):
        network = network_name(trained.arch, trained.width)
        parser.error(f"--init {args.init} is a {network}; leave out --arch and --width")
    return args


class Data(NamedTuple):
    """What a training reads."""

    labels: pd.DataFrame
    train: ECGDataset | FreshRecords
    validation: ECGDataset
    shortest: float  # s, of the shortest training record
    evidence: bool  # whether the place of each criterion is taught
    synthetic: FreshRecords | None = None  # beside real records, if so


def teaches_evidence(args, start, classes):
    """Tell whether the network gets a head for the place of each criterion."""
    inherited = start is not None and start.settings.evidence and start.classes == classes
    if args.evidence and not (args.fresh or inherited):
        raise InputError(
            f"--init {args.init} has no evidence head for these classes; leave --evidence out"
        )
    return inherited if args.evidence is None else args.evidence


def load_data(args, start):
    """Return the Data of a training that begins with the model `start`, if any."""
    labels, signals = load_labels(args.data_dir, args.limit), PackedSignals(args.data_dir)
    train, validation, _ = split_labels(labels, args.round)
    shape = {"leads": args.leads or LEADS, "seconds": args.seconds, "windows": args.windows}
    validation_set = ECGDataset(signals, validation, **shape, centred=args.centred)
    if not (validation_set.y == 1).any():
        raise InputError(
            f"no record of the validation fold of round {args.round} has a class, so no epoch and "
            "no threshold can be chosen; use another --round, or more records"
        )
    classes = validation_set.classes
    evidence = teaches_evidence(args, start, classes)
    made = args.seed, shape["leads"], args.seconds, classes, args.centred, evidence
    if args.fresh:
        if others := [name for name in classes if name not in CLASSES]:
            raise InputError(f"--fresh makes no record of {', '.join(others)}; leave it out")
        train_set = FreshRecords(args.fresh, *made)
        return Data(labels, train_set, validation_set, args.seconds, evidence)
    train_set = ECGDataset(signals, train, **shape, augment_seed=args.seed, centred=args.centred)
    shortest = min(signals.index[name][1] for name in train["patient_id"]) / SAMPLE_RATE
    n_batches = -(-len(train_set) // args.batch_size)
    n = n_batches * max(1, args.batch_size // BESIDE)
    synthetic = FreshRecords(n, *made) if evidence else None
    return Data(labels, train_set, validation_set, shortest, evidence, synthetic)


def set_up(args, device):
    """Return the two data sets, and the training before its first epoch."""
    start = Model.load(args.init) if args.init else None
    data = load_data(args, start)
    if args.epochs is None:
        args.epochs = int(np.clip(round(INIT_RECORDS / len(data.train)), *INIT_EPOCHS))
    set_seed(args.seed)
    leads, classes = args.leads or LEADS, data.validation.classes
    normal = args.normal if args.normal in classes else None
    if args.normal and not normal and not (start and start.settings.normal == args.normal):
        raise InputError(f"--normal {args.normal}: choose one of {', '.join(classes)}")
    same = start is not None and (start.classes, start.leads) == (classes, tuple(leads))
    if args.average and not same:
        raise InputError(f"--average: --init {args.init} has other classes or leads; leave it out")
    if start and args.average is None:
        args.average = same and not args.fresh
    folder = Path(args.data_dir).resolve().name
    flags = vars(args) | {"data_dir": folder, "leads": list(leads)}
    settings = Settings(
        leads=tuple(leads),
        classes=classes,
        labels=labels_digest(data.labels),
        signals=data.validation.signals.fingerprint,
        shortest=data.shortest,
        window=args.seconds * SAMPLE_RATE if args.windows else None,
        flags=TrainingFlags.from_dict(flags),
        versions=software_versions(),
        start=start and start.as_start(),
        centred=args.centred,
        evidence=data.evidence,
        normal=normal,
    )
    network = settings.build_network()
    if start:
        start.give_weights(network, leads, classes)
    first = {name: value.clone() for name, value in network.state_dict().items()}
    network.to(device)
    method = network_name(args.arch, args.width, args.init)
    return (
        data.train,
        data.validation,
        Training(
            run=run_name(method, args.data_dir, args.seed, args.round, leads_text(args.leads)),
            settings=settings,
            schedule=Schedule(args.schedule, args.lr, args.epochs, args.patience),
            loading=Loading(args.batch_size, args.num_workers, args.amp),
            network=network,
            optimizer=torch.optim.Adam(network.parameters(), lr=args.lr),
            first=first if args.average else None,
            synthetic=data.synthetic,
        ),
    )


def is_worker():
    """Tell whether another process writes the files and prints."""
    return distributed.rank() > 0


def train(training, train_set, validation_set):
    """Train all epochs that are left."""
    network = distributed.wrap(training.network)
    while not training.has_ended():
        validation_set.signals.stop_if_replaced()
        started = time.perf_counter()
        loss = train_epoch(training, network, train_set)
        scores = validate(training.network, validation_set, training.loading)
        seconds = round(time.perf_counter() - started, 1)
        training.add(Epoch(len(training.history) + 1, loss, *scores, seconds))
        if not is_worker():
            with writing(training.run):
                training.save()
                if not checkpoint_path(training.run).exists():  # else an older model's stays
                    write_history(training)
            print_epoch(training)


def provenance(training, train_set, data_dir):
    """Return where a trained model's weights come from."""
    fresh, patients = isinstance(train_set, FreshRecords), not is_synthetic(data_dir)
    return Provenance(
        data=Path(data_dir).resolve().name,
        n_records=len(train_set) * (training.best_epoch if fresh else 1),
        synthetic=fresh or not patients,
        has_patients=patients,
        start=training.settings.start,
    )


def choose_thresholds(y_true, y_score, prevalence, start=None):
    """Return the thresholds (K,) that a model keeps, and their rule in words.

    `start` are those of the model that it started from (K,), if its classes were the same.
    """
    if prevalence is None:
        drawn = {} if start is None else {"start": start}
        rule = metrics.rule_in_words("steady", "0.5" if start is None else "those of --init")
        return metrics.find_thresholds(y_true, y_score, "steady", **drawn), rule
    thresholds = metrics.prevalence_thresholds(y_true, y_score, prevalence)
    return thresholds, f"best F1 at a prevalence of {100 * prevalence:g} %, halfway to 0.5"


def make_model(training, train_set, validation_set, args):
    """Return the trained model: the best weights, with thresholds from the validation fold."""
    network, weights = training.network, training.model_weights()
    network.load_state_dict(weights)
    loader = validation_set.loader(BATCH_SIZE, training.loading.num_workers)
    device = next(network.parameters()).device
    scores = predict_scores(network, loader, device)
    start = Model.load(args.init) if args.init else None
    same = start is not None and start.classes == training.settings.classes
    limits = start.limits if same else None
    thresholds, rule = choose_thresholds(*scores, args.prevalence, limits)
    packed, used = validation_set.signals, list(validation_set.patient_ids)
    used += [] if isinstance(train_set, FreshRecords) else train_set.patient_ids
    return Model(
        network=network.eval(),
        settings=training.settings,
        thresholds=dict(zip(training.settings.classes, thresholds.tolist(), strict=True)),
        threshold_rule=rule,
        provenance=provenance(training, train_set, args.data_dir),
        training_records={name: signal_digest(packed[name]) for name in used},
        epoch=training.best_epoch,
        weights=weights_digest(weights),
        path=checkpoint_path(training.run),
    )


def publish(training, model):
    """Write the model and the run's tables; run.json is last: it says that the others are whole."""
    history = [row._asdict() for row in training.history]
    model.save(model.path, best_f1=training.best_f1, history=history)
    write_history(training)
    gpu, loading = model.device.type == "cuda", training.loading
    content = training.settings.to_dict() | {
        "trained_on": str(model.provenance),
        "device": torch.cuda.get_device_name() if gpu else model.device.type,
        "weights": model.weights,
        "threads": torch.get_num_threads(),
        "precision": "bfloat16 autocast" if loading.amp else "float32",
        "seconds_per_epoch": [row.seconds for row in training.history],
        "peak_memory_mb": peak_memory_mb(),
        "peak_gpu_memory_mb": torch.cuda.max_memory_allocated() >> 20 if gpu else None,
    }
    write_json(results_dir(training.run) / "run.json", content)


def write_history(training):
    table, folder = pd.DataFrame(training.history), results_dir(training.run)
    write_csv(table, folder / "history.csv")
    plot_history(table, folder / "history.png", training.best_epoch)


def print_header(args, training, train_set, validation_set):
    run, path = training.run, checkpoint_path(training.run)
    print(
        f"run {run} on {next(training.network.parameters()).device}: {len(train_set)} training "
        f"and {len(validation_set)} validation records; git {training.settings.versions['git']}"
    )
    for note in metrics.threshold_notes(validation_set.y, validation_set.classes):
        print(f"note: {note}")
    print(" ".join(f"{name}={value}" for name, value in sorted(vars(args).items())))
    if path.exists() and not args.resume:
        print(f"{path} exists; it is replaced at the end of this training")


def print_epoch(training):
    row = training.history[-1]
    f1, auc = metrics.in_words(row.val_f1), metrics.in_words(row.val_auc)
    star = "*" if training.best_epoch == row.epoch else " "
    print(
        f"epoch {row.epoch:02d}/{training.schedule.epochs}  train {row.train_loss:.4f}  "
        f"val {row.val_loss:.4f}  val F1 {f1}  AUC {auc} {star} "
        f"{row.seconds:.0f} s",
        flush=True,
    )


def train_run(args, device):
    """Train the model of some flags, and publish it."""
    train_set, validation_set, training = set_up(args, device)
    with lock(training.run):
        if not is_worker():
            print_header(args, training, train_set, validation_set)
        training.resume(args.resume, device)
        train(training, train_set, validation_set)
        if is_worker():
            return
        if not training.is_published():
            with writing(training.run):
                publish(training, make_model(training, train_set, validation_set, args))
    path = checkpoint_path(training.run)
    print(f"epoch {training.best_epoch} is kept in {path}; next:")
    limit = f" --limit {args.limit}" if args.limit else ""
    print(
        f"python predict.py --data-dir {args.data_dir} --model-path {path} --round {args.round}"
        f"{limit}"
    )


def main(args):
    device = distributed.start(args.device)
    for own in each_lead_set(**vars(args)):
        train_run(own, device)
    distributed.stop()


if __name__ == "__main__":
    run_main(main, parse_args)
