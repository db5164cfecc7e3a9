"""The explanation of one record: how it is made, kept in values/<patient_id>.npz and read.

It depends on the record's name, the seed and the other options alone (to the last bit on one
machine with one --batch-size).

    explainer = Explainer(model.network, Options(method="ig"))
    explanation = explainer.explain(Record("A0001", model.network_input(packed), packed.shape[1]))
    explanation.of(explanation.predicted).values  # (L, t)
"""

import dataclasses
import zipfile
import zlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from ecg.explanation.attributions import (
    Options,
    batch_logits,
    binned,
    half_agreement,
    reliability,
)
from ecg.explanation.methods import METHODS
from utils import replacing


class Record(NamedTuple):
    """A record as the network sees it."""

    name: str  # seeds what is drawn
    x: np.ndarray  # (L, T) float32 mV; zeros in front of a record shorter than the window
    n: int  # samples of the whole record: fewer than T (padding), or more (its end was cut out)
    labels: tuple[int, ...] = ()  # numbers of its classes


class Background(NamedTuple):
    """What records are compared with: B records of the training folds, and one more.

    The one more takes the place of a record that is among the others itself (another data set's).
    """

    names: list
    signals: torch.Tensor  # (B + 1, L, T), padded, on the network's device
    logits: np.ndarray  # (B + 1, K)

    def without(self, name, at_most):
        """Return the places of `at_most` records, the one called `name` left out."""
        return [i for i, other in enumerate(self.names) if other != name][:at_most]


class ClassExplanation(NamedTuple):
    """Why one logit of a record is what it is."""

    k: int  # number of the class
    values: np.ndarray  # (L, t), without padding: how much each sample moved the logit
    start: int  # sample of the record that the values begin with
    logit: float
    change: float  # of the logit from its base, which the values explain; NaN if they do not add up
    residual: float  # sum of the values less the change
    reliability: np.ndarray  # (2,), of the windows and the leads' shares; NaN if nothing is drawn
    samples: int  # gradients
    trust: np.ndarray  # (L, W), 0 to 1: how far the value of each window of 40 ms can be trusted
    method: str = Options().method  # a name in METHODS
    difference: float = np.nan  # relative L2, of a library's values from ours

    @property
    def stop(self):
        """The sample of the record behind the last that has values."""
        return self.start + self.values.shape[1]

    @property
    def probability(self):
        """The class's probability."""
        return 1 / (1 + np.exp(-self.logit))

    @property
    def explained_share(self):
        """How much of the change of the logit the values explain: 1 if all of it, at least 0."""
        return max(0.0, 1 - abs(self.residual) / max(abs(self.change), 1e-9))


@dataclass(frozen=True, eq=False)
class Explanation:
    """The values of k classes of a record; a file of values/ holds these fields as arrays."""

    phi: np.ndarray  # (k, L, T) float32, the values, with padding
    halves: np.ndarray  # (2, k, L, W), of the two halves of the samples: sums over windows of 40 ms
    reliability: np.ndarray  # (k, 2), of the windows and the leads' shares; NaN if nothing is drawn
    samples: np.ndarray  # (k,), gradients
    classes: np.ndarray  # (k,), numbers of the explained classes
    starts: np.ndarray  # (k,), samples of the record that phi begins with, without padding
    logits: np.ndarray  # (K,)
    base: np.ndarray  # (K,) logits that phi starts from: the background's mean, or those of zeros
    n: int  # samples of the whole record
    method: str  # a name in METHODS
    difference: np.ndarray  # (k,), relative L2 of a library's values from ours, else NaN
    peaks: np.ndarray | None = None  # (B,) samples of the R peaks in the whole record

    @property
    def predicted(self):
        """The number of the class with the highest logit."""
        return int(self.logits.argmax())

    @property
    def padding(self):
        """How many samples of phi lie in front of the record."""
        return max(0, self.phi.shape[2] - self.n)

    def __iter__(self):
        """Yield the ClassExplanation of each explained class."""
        return map(self.of, self.classes.tolist())

    def of(self, k):
        """Return the ClassExplanation of class k."""
        i = self.classes.tolist().index(k)
        phi, change = self.phi[i], self.logits[k] - self.base[k]
        trust = half_agreement(self.halves[:, i])  # 1 where nothing is drawn
        if METHODS[self.method].drawn:
            # where a map as a whole is not reliable, the halves of windows agree by chance
            trust = trust * np.clip(self.reliability[i, 0], 0, 1)
        return ClassExplanation(
            k=k,
            values=phi[:, self.padding :],
            start=int(self.starts[i]),
            logit=self.logits[k],
            change=change,
            residual=phi.sum(dtype=float) - change,
            reliability=self.reliability[i],
            samples=int(self.samples[i]),
            trust=trust,
            method=self.method,
            difference=float(self.difference[i]),
        )

    def part_of(self, x, k):
        """Return the part (L, t) of x, the record as the network sees it, that class k is of.

        Without padding.
        """
        first = self.of(k).start + x.shape[1] - self.n
        return x[:, first : first + min(self.phi.shape[2], self.n)]

    def with_peaks(self, peaks):
        """Return the explanation with the R peaks (B,) of the record."""
        return dataclasses.replace(self, peaks=peaks)

    def save(self, path):
        """Write the fields as arrays, atomically."""
        with replacing(path) as temporary:
            np.savez(temporary, **{k: v for k, v in vars(self).items() if v is not None})

    @classmethod
    def load(cls, path):
        """Read a stored explanation; None if it has to be made (again)."""
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
                names = [each.name for each in dataclasses.fields(cls) if each.name in stored]
                arrays = {name: stored[name] for name in names}
            return cls(**arrays | {"n": int(arrays["n"]), "method": str(arrays["method"])})
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
            return None


def record_seed(patient_id, seed):
    """Return the record's own seed, from its name and --seed."""
    return zlib.crc32(f"{seed} {patient_id}".encode())


@dataclass(frozen=True, eq=False)
class Explainer:
    """What explains records: a network in eval mode without gradients, and how it does so."""

    network: torch.nn.Module
    options: Options
    background: Background | None = None  # not needed by a method that starts from zeros

    def explain(self, record, classes=None, stop_when=None):
        """Return the Explanation of a Record, for the class with the highest logit or `classes`.

        With a network that scores windows, each class is explained in the window that gives the
        record's logit: the highest, and of the normal class the lowest. `stop_when`, called with a
        class, halves (2, L, T) and the number of samples in them, ends the drawing where it returns
        True; without it, the options' reliability does. Raises ValueError if the method needs a
        head that the network does not have.
        """
        network, n = self.network, record.n
        x = torch.from_numpy(record.x).to(next(network.parameters()).device)
        places = network.window_starts(x.shape[1])
        size = x.shape[1] - places[-1]
        windows = torch.stack([x[:, place : place + size] for place in places])
        by_window = batch_logits(network, windows, 1)  # (windows, K)
        logits, best = by_window.max(0), by_window.argmax(0)
        if network.normal is not None:  # the window that speaks most against it decides
            logits[network.normal] = by_window[:, network.normal].min()
            best[network.normal] = by_window[:, network.normal].argmin()
        classes = [int(logits.argmax())] if classes is None else [int(k) for k in classes]
        padding, hidden = max(0, x.shape[1] - n), max(0, n - x.shape[1])
        signals, base = self.reference(record.name, windows[:1])

        def cut(halves):
            return binned(halves[..., padding:].cpu().numpy())

        def is_reliable(_, halves, samples):
            return reliability(cut(halves))[0] >= self.options.reliability

        options = self.options._replace(seed=record_seed(record.name, self.options.seed))
        stop_when = stop_when or (is_reliable if options.reliability else None)
        parts, method = {k: windows[best[k]] for k in classes}, METHODS[options.method]
        made = list(method.attribute(network, parts, signals, options, stop_when).values())
        halves = np.stack([cut(each.halves) for each in made], 1)
        known = np.full((len(made), 2), np.nan)
        if method.drawn:
            known = np.array([reliability(halves[:, i]) for i in range(len(made))])
        return Explanation(
            phi=np.stack([each.phi.cpu().numpy() for each in made]),
            halves=halves,
            reliability=known,
            samples=np.array([each.samples for each in made]),
            classes=np.array(classes),
            starts=np.array([hidden + places[best[k]] for k in classes]),
            logits=logits,
            base=base if method.adds_up else np.full_like(base, np.nan),
            n=n,
            method=options.method,
            difference=np.array([each.difference for each in made]),
        )

    def reference(self, name, x):
        """Return what a record like x (1, L, T) is compared with: signals (B, L, T), logits (K,).

        The logits are the mean of those of the signals.
        """
        if not METHODS[self.options.method].background:
            return torch.zeros_like(x), batch_logits(self.network, torch.zeros_like(x), 1)[0]
        rows = self.background.without(name, self.options.background)
        return self.background.signals[rows], self.background.logits[rows].mean(0)
