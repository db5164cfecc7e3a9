"""The data set as the network sees it: leads, classes, folds, signals, padding, augmentation.

Shapes, here and everywhere: N records, L leads, T samples (15,000 = 30 s at 500 Hz), K classes.
Importing it loads neither torch nor pandas, as each answer waits for imports: what needs them
imports them.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
import weakref
from pathlib import Path

import numpy as np

from utils import InputError, is_safe_name, natural, positive, read_json

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
# the paper's classes: what preprocess.py reads out of diagnoses, what the simulator makes and the
# bundled model knows. A study's own are the columns of its labels.csv: `classes_of`
CLASSES = ("SNR", "AF", "IAVB", "LBBB", "RBBB", "PAC", "PVC", "STD", "STE")
# what tables have beside the classes, and what pandas reads as an empty cell: no name of a class
NOT_A_CLASS = {"patient_id", "fold", "class", "n", "AVG", "all", "mean", "low", "high", "note"}
NOT_A_CLASS |= {"rank", "leads", "classifier", "score", "NA", "N/A", "nan", "NaN", "None", "null"}
SAMPLE_RATE = 500  # Hz, of everything after preprocess.py
SECONDS = 30  # the paper's network sees the last 30 s of a record
UNITS_PER_MV = 1000  # packed samples are int16 microvolts
N_FOLDS = 10
BATCH_SIZE = 32
LONGEST_TMPDIR = 75  # bytes: with 32 more for a socket's own name, 107 is the system's limit

# The paper's augmentation: each of the two is applied to a record with this probability.
AUGMENT_PROBABILITY = 0.31
GAIN_SD = 0.1  # a factor per lead, N(1, 0.1)
MAX_OFFSET_MV = 0.02  # an offset per lead, uniform within +-0.02 mV


def parse_leads(text):
    """Turn 'all' or 'I,aVR,V5' into lead names in LEADS order; reject unknown names."""
    names = LEADS if text == "all" else text.split(",")
    unknown = ", ".join(repr(name) for name in names if name not in LEADS)
    if unknown:
        raise argparse.ArgumentTypeError(
            f"unknown lead {unknown}; choose from {', '.join(LEADS)}, or all"
        )
    return tuple(lead for lead in LEADS if lead in names)


def leads_text(leads):
    """Name a choice of leads (None: all) for a file name: 'all', 'I', 'I-aVR-V5'."""
    return "all" if leads is None or tuple(leads) == LEADS else "-".join(leads)


def add_data_args(parser):
    """Add the flags of all five steps: one meaning, one default."""
    group = parser.add_argument_group("data")
    group.add_argument("--data-dir", default="data/CPSC", help="folder of the data set")
    group.add_argument("--seed", type=natural, default=42, help="random seed")
    group.add_argument("--limit", type=positive, help="use only the first N records")


def add_round_arg(parser):
    """Add the flag of the steps that use the folds."""
    text = "cross-validation round: which folds are for training, validation and test"
    parser.add_argument("--round", type=int, choices=range(N_FOLDS), default=0, help=text)


def add_signal_args(parser, several=False):
    """Add the flags of the steps that feed signals to the network; `several`: --lead-sets too."""
    group = parser.add_argument_group("signals")
    leads = group.add_mutually_exclusive_group()
    leads.add_argument("--leads", type=parse_leads, help="such as I,aVR,V5; without it: all twelve")
    if several:
        text = "several choices of leads, such as all I V5: a model of each, one after another"
        sets = {"nargs": "+", "type": parse_leads, "metavar": "LEADS", "help": text}
        leads.add_argument("--lead-sets", **sets)
    group.add_argument("--batch-size", type=positive, default=BATCH_SIZE, help="records in a batch")
    group.add_argument("--num-workers", type=natural, default=0, help="processes that load data")


def each_lead_set(lead_sets, leads, **others):
    """Yield a command's flags once for each of its --lead-sets, as if given with --leads."""
    for chosen in lead_sets or [leads]:
        yield argparse.Namespace(leads=chosen, **others)


def refuse_paths(names):
    """Raise ValueError if a record's name could be a path: files are named after it."""
    for name in (name for name in names if not is_safe_name(name)):
        raise ValueError(f"the name {name[:40]!r} cannot be a file name")


def classes_of(labels):
    """Return the names of the classes of labels (rows of labels.csv), in their order."""
    return tuple(name for name in labels.columns if name not in ("patient_id", "fold"))


def is_class_name(name):
    """Tell whether a class may have this name, in files and in tables."""
    return is_safe_name(name) and ";" not in name and name not in NOT_A_CLASS


def refuse_classes(names):
    """Raise ValueError if there is no class, or a name that a file or a table cannot have."""
    if not names:
        raise ValueError("there is no class between patient_id and fold")
    for name in names:
        if not is_class_name(name):
            raise ValueError(f"{name[:40]!r} cannot be the name of a class")
        if names.count(name) > 1:
            raise ValueError(f"the class {name} is listed twice")


def read_class(cells):
    """Return a column of labels.csv, text, as 0/1, or as 0, 1 and NaN if some are unknown."""
    import pandas as pd

    if not cells.isin(["0", "1", "0.0", "1.0", ""]).all():
        raise ValueError(f"a cell of the class {cells.name} is neither 0 nor 1 nor empty")
    values = pd.to_numeric(cells.where(cells != ""))
    return values if values.isna().any() else values.astype("int64")


def read_labels(path):
    """Read labels.csv; raises ValueError with what is wrong with it."""
    import pandas as pd

    table = pd.read_csv(path, dtype=str, header=None, keep_default_na=False)
    columns = table.iloc[0].tolist()
    if columns[0] != "patient_id" or columns[-1] != "fold":
        raise ValueError("is not a labels.csv of preprocess.py: patient_id, the classes, fold")
    refuse_classes(columns[1:-1])
    labels = table[1:].set_axis(columns, axis=1).reset_index(drop=True)
    if labels.empty or labels.isna().any(axis=None):
        raise ValueError("has no record" if labels.empty else "has a row with too few cells")
    labels = labels.assign(**{name: read_class(labels[name]) for name in columns[1:-1]})
    if not labels["fold"].isin([str(fold) for fold in range(1, N_FOLDS + 1)]).all():
        raise ValueError(f"a fold is not 1-{N_FOLDS}")
    if not labels["patient_id"].is_unique:
        raise ValueError("a record is listed twice")
    refuse_paths(labels["patient_id"])
    return labels.astype({"fold": "int64"})


def load_labels(data_dir, limit=None):
    """Read labels.csv: patient_id, the classes, fold 1-10; one row per record.

    A class is 1, 0, or NaN where it is not known. Raises InputError if the file is another one or
    damaged; what it says must not lead to the loss of a file that the user has made.
    """
    path = Path(data_dir) / "labels.csv"
    if not path.is_file():
        raise InputError(f"no {path}; make it: python preprocess.py --data-dir {data_dir}")
    try:
        labels = read_labels(path)
    except ValueError as error:  # as pandas' errors are
        remedy = "correct it, or move it elsewhere before you run"
        raise InputError(
            f"{path}: {error}; {remedy} python preprocess.py --data-dir {data_dir}"
        ) from error
    return labels.head(limit) if limit else labels


def labels_digest(labels):
    """Return a short hash of the records, their classes and folds; a checkpoint keeps it."""
    text = labels.to_csv(index=False, lineterminator="\n")
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def round_folds(round_number):
    """Return (train folds, validation fold, test fold) of a round, folds numbered 1-10.

    Round 0 trains on 1-8, validates on 9 and tests on 10; each round moves one fold on, so that
    over the ten rounds every fold is the test fold once and the validation fold once.
    """
    order = [(fold + round_number) % N_FOLDS + 1 for fold in range(N_FOLDS)]
    return order[:-2], order[-2], order[-1]


def split_labels(labels, round_number):
    """Return the rows of labels.csv for training, validation and test, in that order."""
    train, validation, test = round_folds(round_number)
    parts = [labels[labels["fold"].isin(folds)] for folds in (train, [validation], [test])]
    for name, part in zip(("training", "validation", "test"), parts, strict=True):
        if part.empty:
            text = f"the {name} folds of round {round_number} hold no record"
            raise InputError(f"{text}; use more records (a larger --limit, or none)")
    return [part.reset_index(drop=True) for part in parts]


class PackedSignals:
    """The packed signals of a data folder; packed["A0001"] is (12, n) int16 microvolts at 500 Hz.

    preprocess.py writes them: signals.json is the index and names the binary file, in which each
    record is 12 rows of n little-endian samples. It is held open and locked, so that it stays.
    """

    def __init__(self, data_dir):
        index_path = Path(data_dir) / "signals.json"
        self.remedy = f"pack the signals: python preprocess.py --data-dir {data_dir}"
        if not index_path.is_file():
            raise InputError(f"no {index_path}; {self.remedy}")
        try:
            index = json.loads(index_path.read_text())
            self.path = index_path.with_name(Path(index["file"]).name)
            self.fingerprint = index["fingerprint"]  # of the sources and options of the packing
            self.index = {name: (start, n) for name, start, n, _ in index["records"]}
            refuse_paths(self.index)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{index_path} is damaged ({error}); {self.remedy}") from error
        self.open()

    def open(self):
        """Open the binary file; raises InputError if it is gone or not whole."""
        size = sum(n for _, n in self.index.values()) * len(LEADS) * 2
        if not self.path.is_file() or self.path.stat().st_size != size:
            raise InputError(
                f"{self.path} is missing or not of the size signals.json says; {self.remedy}"
            )
        self.file = open(self.path, "rb")
        weakref.finalize(self, self.file.close)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(self.file, fcntl.LOCK_SH)

    def __getstate__(self):
        return {key: value for key, value in vars(self).items() if key != "file"}

    def __setstate__(self, state):
        vars(self).update(state)
        self.open()

    def __contains__(self, patient_id):
        return patient_id in self.index

    def __getitem__(self, patient_id):
        # a map per record, not one of the file: memory stays flat
        start, n = self.index[patient_id]
        return np.memmap(self.file, "<i2", "r", 2 * start, (len(LEADS), n)).view(np.ndarray)

    def stop_if_replaced(self):
        """Raise InputError if the folder was packed anew from other signals meanwhile."""
        index = read_json(self.path.with_name("signals.json"))
        if isinstance(index, dict) and index.get("fingerprint") != self.fingerprint:
            raise InputError(
                f"{self.path.parent} was packed anew meanwhile; start this command again"
            )


def signal_digest(packed):
    """Return a short hash of a record's packed signal (12, n), whatever the record is called."""
    return hashlib.sha256(np.ascontiguousarray(packed, "<i2").tobytes()).hexdigest()[:16]


def to_mv(packed, rows=slice(None), n=None):
    """Return the last n samples (all of them if None) of some rows, float32 in mV: (L, <= n)."""
    return packed[rows, -n if n else None :].astype(np.float32) / np.float32(UNITS_PER_MV)


def pad_signal(signal, n):
    """Cut (L, t) to its last n samples, or put zeros in front of a shorter one: (L, n)."""
    padded = np.zeros((len(signal), n), np.float32)
    kept = signal[:, -n:]
    padded[:, n - kept.shape[1] :] = kept
    return padded


def augment(signal, rng):
    """Apply the paper's random gain and offset per lead to (L, t) mV; the padding comes after."""
    if rng.random() < AUGMENT_PROBABILITY:
        signal = signal * rng.normal(1, GAIN_SD, (len(signal), 1)).astype(np.float32)
    if rng.random() < AUGMENT_PROBABILITY:
        offset = rng.uniform(-MAX_OFFSET_MV, MAX_OFFSET_MV, (len(signal), 1))
        signal = signal + offset.astype(np.float32)
    return signal


def make_batches(n, batch_size, seed, epoch):
    """Split the rows 0 ... n-1 into the shuffled batches of an epoch."""
    order = np.random.default_rng([seed, epoch]).permutation(n).tolist()
    return [order[start : start + batch_size] for start in range(0, n, batch_size)]


def make_loader(items, num_workers, **options):
    """Return a torch DataLoader of a data set.

    Raises InputError if its processes could hand nothing over: they do that through sockets in the
    temporary folder, whose paths have a limit, and beyond it they would wait for ever.
    """
    from torch.utils.data import DataLoader

    folder = tempfile.gettempdir()
    if num_workers and len(os.fsencode(folder)) > LONGEST_TMPDIR:
        raise InputError(
            f"the temporary folder's name is too long for processes that load data ({folder}); "
            "set TMPDIR=/tmp, or give --num-workers 0"
        )
    return DataLoader(items, num_workers=num_workers, **options)


class ECGDataset:
    """Records for a torch DataLoader: item i is x (L, T) float32 in mV and y (K,) float32.

    y is 0, 1, or NaN where a class is not known. Without `labels` all of `signals` are records, and
    there is no class.

    With `augment_seed`, an item's augmentation depends on that seed, `epoch` (set it before each
    pass) and the record's row alone, so that it is the same whatever loads it. With `windows`, of
    a record longer than T a part from anywhere is cut out with `augment_seed`; without it the
    record is whole, for a model that scores windows. With `centred`, each lead's median is taken
    off, so that the offset of the baseline cannot pass for an ST shift.
    """

    def __init__(
        self,
        signals,
        labels=None,
        leads=LEADS,
        seconds=SECONDS,
        augment_seed=None,
        windows=False,
        centred=False,
    ):
        unknown = [lead for lead in leads if lead not in LEADS]
        if unknown:
            text = f"the model's leads {', '.join(unknown)} are none of {', '.join(LEADS)}"
            raise InputError(f"{text}; train it again: python main.py")
        names = list(signals if labels is None else labels["patient_id"])
        missing = [name for name in names if name not in signals]
        if missing:
            text = f"{signals.path} lacks {len(missing)} records of labels.csv (first {missing[0]})"
            raise InputError(f"{text}; run: python preprocess.py --data-dir {signals.path.parent}")
        self.signals, self.patient_ids = signals, names
        self.classes, self.y = (), np.zeros((len(names), 0), np.float32)
        if labels is not None:
            self.classes = classes_of(labels)
            y = labels[list(self.classes)].to_numpy(np.float32, copy=True)
            self.y = y  # (N, K), writable for torch
        self.rows = [LEADS.index(lead) for lead in leads]
        self.n_samples = seconds * SAMPLE_RATE
        self.augment_seed = augment_seed
        self.windows, self.centred = windows, centred
        self.epoch = 0

    def __len__(self):
        return len(self.patient_ids)

    def known(self, rows):
        """Return how many labels of some rows are known, in records: all K of one count 1."""
        return float(np.isfinite(self.y[rows]).sum() / len(self.classes))

    def __getitem__(self, i):
        n = None if self.windows else self.n_samples
        packed = self.signals[self.patient_ids[i]]
        if self.augment_seed is None:
            signal = to_mv(packed, self.rows, n)
        else:
            rng = np.random.default_rng([self.augment_seed, self.epoch, i])
            if self.windows and packed.shape[1] > self.n_samples:
                start = rng.integers(packed.shape[1] - self.n_samples + 1)
                packed = packed[:, start : start + self.n_samples]
            signal = augment(to_mv(packed, self.rows, n), rng)
        if self.centred:
            signal = signal - np.median(signal, axis=1, keepdims=True)
        return pad_signal(signal, max(signal.shape[1], self.n_samples)), self.y[i]

    def loader(self, batch_size, num_workers=0, rows=None):
        """Return a DataLoader over some rows (None: all), in order, to score them.

        Whole records of several lengths go one by one, so scores do not depend on the batch.
        """
        from torch.utils.data import Subset

        items = self if rows is None else Subset(self, rows)
        return make_loader(items, num_workers, batch_size=1 if self.windows else batch_size)
