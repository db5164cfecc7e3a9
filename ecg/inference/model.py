"""A trained model: its network, what it was trained with and on, and what it says of a signal.

from ecg.inference.model import Model
model = Model.load("models/general.pth")
model.probabilities(signal, sample_rate=500)  # signal (12, n) in mV; one number a class
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from dataset import LEADS, ECGDataset, signal_digest
from ecg.inference.checkpoint import read_checkpoint, save_checkpoint, weights_digest
from ecg.inference.provenance import Provenance, Start
from ecg.inference.settings import Settings, check_fields
from ecg.io.packing import pack_signal
from resnet import ResNet1d
from utils import InputError, Progress, network_name


class OtherWeights(ValueError):
    """The weights in a file are not those of the network that it names."""


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network in eval mode, with all that is needed to use it and to trust it.

    Raises ValueError with the names of fields that are missing or of the wrong kind.
    """

    network: ResNet1d
    settings: Settings
    thresholds: dict[str, float]  # class -> the probability from which it is a finding
    threshold_rule: str
    provenance: Provenance
    training_records: dict[str, str]  # name -> digest of the signals trained or chosen on
    epoch: int
    weights: str  # digest of the weights in the file
    scored_on: str | None = None  # how well it does on patients, in a sentence
    path: Path = Path("model.pth")

    def __post_init__(self):
        kinds = {"thresholds": dict, "threshold_rule": str, "training_records": dict, "epoch": int}
        check_fields(self, **kinds, scored_on=str | None)
        values = self.thresholds.values()
        # every probability reaches a threshold of 0
        known = all(isinstance(value, float) and 0 < value <= 1 for value in values)
        if self.epoch < 0:
            raise ValueError("epoch")
        if not known or set(self.thresholds) != set(self.classes):
            raise ValueError("thresholds")
        if not all(isinstance(digest, str) for digest in self.training_records.values()):
            raise ValueError("training_records")
        started = bool(self.flags.others.get("init"))
        known = self.provenance.n_records is not None
        if self.provenance.start != self.settings.start:
            raise ValueError("provenance: its start is not that of the settings")
        if known and started != (self.settings.start is not None):
            raise ValueError("provenance: --init and the start do not agree")

    @property
    def leads(self):
        """Names of the leads that the network sees."""
        return self.settings.leads

    @property
    def classes(self):
        """Names of the classes, in the order of the logits."""
        return self.settings.classes

    @property
    def window(self):
        """Samples of a window, or None where the network sees the end of a record alone."""
        return self.settings.window

    @property
    def flags(self):
        """The flags of the training."""
        return self.settings.flags

    @property
    def name(self):
        """The file's name without its ending."""
        return self.path.stem

    @property
    def device(self):
        """Where the network computes."""
        return next(self.network.parameters()).device

    @cached_property
    def limits(self):
        """The thresholds as an array (K,)."""
        return np.array([self.thresholds[name] for name in self.classes])

    @classmethod
    def read(cls, path, device="cpu"):
        """Read a model file; raises FileNotFoundError, or ValueError with what is wrong with it."""
        content = read_checkpoint(path, device)
        state_dict = content["state_dict"]
        if not all(isinstance(value, torch.Tensor) for value in state_dict.values()):
            raise ValueError("is damaged (state_dict)")
        try:
            settings = Settings.from_dict(content)
            if "provenance" in content:
                provenance = Provenance.from_dict(content["provenance"])
            else:
                provenance = Provenance.unknown(settings.flags.data_dir, settings.start)
            names = ("thresholds", "threshold_rule", "training_records", "epoch", "scored_on")
            own = {name: content.get(name) for name in names}
            if not settings.fits(state_dict):
                name = network_name(settings.flags.arch, settings.flags.width)
                raise OtherWeights(f"holds other weights than those of resnet.py's {name}")
            network, digest = settings.build_network(), weights_digest(state_dict)
            model = cls(
                network, settings, provenance=provenance, weights=digest, path=Path(path), **own
            )
        except OtherWeights:
            raise
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise ValueError(f"is damaged ({error})") from None
        network.load_state_dict(state_dict)
        if not all(torch.isfinite(weights).all() for weights in network.state_dict().values()):
            raise ValueError("holds weights that are not finite")
        network.to(device).eval().requires_grad_(False)
        return model

    @classmethod
    def load(cls, path, device="cpu", leads=None):
        """Read a model; InputError if that fails, or if its leads are not `leads`."""
        try:
            model = cls.read(path, device)
        except FileNotFoundError:
            raise InputError(
                f"no model {path}: no such file; check the name, or train it: python main.py"
            ) from None
        except ValueError as error:
            raise InputError(f"{path} {error}; train it again: python main.py") from error
        if leads is not None and tuple(leads) != model.leads:
            has, wanted = ",".join(model.leads), ",".join(leads)
            raise InputError(
                f"{path} was trained on leads {has}, not {wanted}; leave --leads out, or train "
                f"that choice: python main.py --leads {wanted}"
            )
        return model

    def to_dict(self):
        """Return all but the weights as a checkpoint keeps it."""
        names = ("thresholds", "threshold_rule", "training_records", "epoch", "scored_on")
        own = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return self.settings.to_dict() | own | {"provenance": self.provenance.to_dict()}

    def save(self, path, half=False, **others):
        """Write the model, and `others` (plain values) beside it; `half`: weights in float16."""
        weights = self.network.state_dict()
        if half:
            weights = {n: w.half() if w.is_floating_point() else w for n, w in weights.items()}
        save_checkpoint(path, {"state_dict": weights} | self.to_dict() | others)

    def describe(self):
        """Say in a sentence what the model is, its training records and its scores, if known."""
        flags, n = self.flags, len(self.leads)
        seen = "windows of" if self.window else "the last"
        text = f"model {self.path.name}: {network_name(flags.arch, flags.width)}, {n} lead"
        text += f"{'s' * (n > 1)}, {seen} {flags.seconds} s; trained on {self.provenance}"
        return text + (f"; {self.scored_on}" if self.scored_on else "")

    def has_seen(self, packed):
        """Tell whether the model was trained or chosen on a packed signal (12, n)."""
        return signal_digest(packed) in self.seen_digests

    @cached_property
    def seen_digests(self):
        """The digests of the signals that the model was trained or chosen on."""
        return frozenset(self.training_records.values())

    def run_on(self, data_dir):
        """Name the model's run on a data folder: its own name, or '<model>_on_<folder>'."""
        folder = Path(data_dir).resolve().name
        here = folder == Path(self.flags.data_dir).name
        return self.name if here else f"{self.name}_on_{folder}"

    def as_start(self):
        """Return what a training keeps that starts from this model's weights."""
        return Start(self.path.name, self.weights, self.provenance)

    def give_weights(self, network, leads, classes):
        """Copy the weights into a network of the same shape that sees `leads` of this model's.

        Of the first convolution the columns of `leads` are taken; where the classes are others,
        the last layer stays as it is. Raises InputError if a lead is lacking.
        """
        lacking = [lead for lead in leads if lead not in self.leads]
        if lacking:
            has = ",".join(self.leads)
            raise InputError(
                f"--init {self.path} has no lead {', '.join(lacking)}; choose --leads from {has}"
            )
        weights = self.network.state_dict()
        columns = [self.leads.index(lead) for lead in leads]
        weights["stem.0.weight"] = weights["stem.0.weight"][:, columns]
        own = network.state_dict()
        if self.classes != tuple(classes):
            heads = ("fc.", "evidence.")
            weights = {name: w for name, w in weights.items() if not name.startswith(heads)}
        network.load_state_dict(own | {name: w for name, w in weights.items() if name in own})

    def dataset(self, signals, labels=None):
        """Return records of `labels` (rows of labels.csv; None: all) as this model scores them."""
        settings = self.leads, self.flags.seconds, None, self.window is not None
        return ECGDataset(signals, labels, *settings, self.settings.centred)

    def network_input(self, packed):
        """Return what the network is given of a packed record (12, n): (L, T) in mV."""
        return self.dataset({"": packed})[0][0]

    def packed_probabilities(self, packed):
        """Return the probabilities (K,) of a packed record (12, n)."""
        x = torch.from_numpy(self.network_input(packed))[None].to(self.device)
        with torch.inference_mode():
            return torch.sigmoid(self.network.record_logits(x)[0]).cpu().numpy()

    def window_probabilities(self, packed, batch_size=32):
        """Return the probabilities (W, K) of each window of a packed record (12, n)."""
        x, n = torch.from_numpy(self.network_input(packed)).to(self.device), self.window
        parts = [x[:, start : start + n] for start in self.network.window_starts(x.shape[1])]
        scores = []
        with torch.inference_mode():
            for i in range(0, len(parts), batch_size):
                scores.append(torch.sigmoid(self.network(torch.stack(parts[i : i + batch_size]))))
        return torch.cat(scores).cpu().numpy()

    def probabilities(self, signal, sample_rate):
        """Return the probabilities (K,) of a signal (12, n) in mV, its leads as in LEADS.

        It is brought to 500 Hz and whole microvolts, as every record is; NaN counts as 0 mV.
        """
        signal = np.asarray(signal, float)
        if signal.ndim != 2 or len(signal) != len(LEADS):
            raise ValueError(f"the signal is {signal.shape}, not (12, n) in the order {LEADS}")
        return self.packed_probabilities(pack_signal(signal, sample_rate)[0])

    def findings(self, y_score, limits=None):
        """Return which classes of probabilities (..., K) are findings: those at their threshold.

        `limits` (K,) are other thresholds than the model's, of which one may be 0 or NaN.

        The normal class and the others exclude each other: the one whose logit is further above
        that of its threshold remains.
        """
        limits = self.limits if limits is None else limits
        found = y_score >= limits
        if self.settings.normal is None or len(self.classes) == 1:
            return found
        margins = logit(y_score) - logit(limits)
        normal = np.array([name == self.settings.normal for name in self.classes])
        kept = margins[..., normal] > margins[..., ~normal].max(-1, keepdims=True)  # (..., 1)
        both = found[..., normal] & found[..., ~normal].any(-1, keepdims=True)
        return found & ~(both & (normal != kept))

    def score(self, dataset, batch_size=32, num_workers=0, amp=False):
        """Return the probabilities (N, K) of a data set; InputError if one is not finite."""
        loader = dataset.loader(batch_size, num_workers)
        y_score = predict_scores(self.network, loader, self.device, amp)[1]
        return self.refuse_unfinite(y_score, dataset.patient_ids)

    def score_signals(self, signals, batch_size=32, amp=False):
        """Return the probabilities (N, K) of packed signals {name: (12, n)}, as `score` does.

        Without a loader, which takes longer for each record than anything but the network.
        """
        records, size = list(self.dataset(signals)), 1 if self.window else batch_size
        batches = [
            [torch.from_numpy(np.stack(part)) for part in zip(*records[i : i + size], strict=True)]
            for i in range(0, len(records), size)
        ]
        y_score = predict_scores(self.network, batches, self.device, amp, quiet=True)[1]
        return self.refuse_unfinite(y_score, list(signals))

    def refuse_unfinite(self, y_score, names):
        """Return the probabilities (N, K) of records; InputError if one is not finite."""
        bad = np.flatnonzero(~np.isfinite(y_score).all(1))
        if len(bad):
            raise InputError(
                f"{self.path} gives values that are not finite for {len(bad)} records (first "
                f"{names[bad[0]]}); train it again: python main.py"
            )
        return y_score


def logit(p):
    """Return the logit of probabilities, finite at 0 and 1."""
    p = np.clip(p, 1e-4, 1 - 1e-4)
    return np.log(p / (1 - p))


def predict_scores(network, loader, device, amp=False, quiet=False):
    """Return y_true and y_score, both (N, K), of every record of the loader.

    y_score are probabilities, NaN where a logit is not finite. `quiet`: without progress.
    """
    was_training = network.training
    network.eval()
    y_true, y_score = [], []
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=amp):
        for x, y in Progress(loader, "scoring", unit="batch", leave=False, disable=quiet):
            logits = getattr(network, "record_logits", network)(x.to(device))  # (N, K)
            scores = torch.sigmoid(logits.float())
            scores[~torch.isfinite(logits)] = np.nan  # non-finite logits count as missing
            y_score.append(scores.cpu().numpy())
            y_true.append(y.numpy())
    network.train(was_training)
    return np.concatenate(y_true), np.concatenate(y_score)
