"""The checks of explanations, record by record: what each compares a record's values with.

A check of CHECKS turns one record into rows (class, measure, value, weight); `summarise` turns the
rows of many records into weighted means with bootstrap intervals.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from dataset import CLASSES
from ecg.evaluation.metrics import resample_weights
from ecg.explanation.attributions import METHODS, RELIABLE, Options, binned, reliability, score
from ecg.explanation.maps import Background, Run
from ecg.explanation.measures import (
    agreement_rows,
    check_curves,
    check_evidence,
    evidence_mask,
    random_layers,
)
from ecg.explanation.values import each_class, make_values, seen_part

SAMPLES_STEPS = (100, 200, 400, 600)  # of which residual and agreement are compared
RECORDS, SAMPLES, FEW = 40, 100, 4  # defaults of ecg/faithfulness.py
NORM_RECORDS = 32  # background records that set the batch norms of a network with random layers
REPLACEMENTS = 4  # background records whose samples take the place of those removed


class Subject(NamedTuple):
    """A record that is checked, with what its values were made from."""

    run: Run
    options: Options
    background: Background
    name: str
    x: np.ndarray  # (L, T) mV
    stored: dict  # its values, of `make_values`, and its length n

    def again(self, model=None, background=None, classes=1, enough=None, **changed):
        """Return the arrays of its first classes, made again with something changed."""
        other, model = model is not None, model or self.run.model
        background = background or self.background
        options, classes = self.options._replace(**changed), self.stored["classes"][:classes]
        x, n = self.x, int(self.stored["n"])
        if other and len(model.starts(x.shape[1])) > 1:  # in the same window, wherever it looks
            x = np.ascontiguousarray(seen_part(x, self.stored))
            n = x.shape[1]
        return make_values(model, options, self.name, x, background, classes, n, enough)


def evidence_rows(subject, table):
    """Compare with the place of the criterion in the `table` of `read_evidence`."""
    table = table[table["patient_id"] == subject.name]
    for (k, phi), start in zip(each_class(subject.stored), subject.stored["starts"], strict=True):
        own, leads = table[table["class"] == CLASSES[k]], subject.run.checkpoint["leads"]
        mask = evidence_mask(own, leads, phi.shape[1], int(start))
        if mask.any():
            yield from ((CLASSES[k], *row) for row in check_evidence(phi, mask))


def curve_rows(subject, _):
    """Remove and put in samples in the order of their values."""
    run, background = subject.run, subject.background
    others = [i for i, other in enumerate(background.names) if other != subject.name]
    others = background.signals[others[:REPLACEMENTS]]
    for i, (k, phi) in enumerate(each_class(subject.stored)):
        x = torch.from_numpy(seen_part(subject.x, subject.stored, i)).to(others.device)
        padding = subject.stored["phi"].shape[2] - phi.shape[1]

        def logit_of(part, k=k, padding=padding):
            return score(run.model, functional.pad(part, (padding, 0)), len(part))[:, k]

        rng = np.random.default_rng([subject.options.seed, 2])
        ends = others[..., -phi.shape[1] :]
        rows = check_curves(logit_of, x, ends, phi, rng)
        yield from ((CLASSES[k], *row) for row in rows)


def correlation_rows(what, subject, again):
    """Compare the values of the record's first class with those made again."""
    (k, a), (_, b) = next(each_class(subject.stored)), next(each_class(again))
    yield from agreement_rows(CLASSES[k], a, b, what)


def layer_rows(subject, _):
    """Compare with the values of networks with random layers."""
    signals, options = subject.background.signals[:NORM_RECORDS], subject.options
    networks = random_layers(subject.run.model, signals, options.batch_size, options.seed)
    for layer, network in networks:
        again = subject.again(network)
        yield from correlation_rows(f"random from output to {layer}", subject, again)


def seed_rows(subject, background):
    """Compare with the values of the next seed, against the `background` that it draws."""
    again = subject.again(background=background, seed=subject.options.seed + 1)
    yield from correlation_rows("another seed", subject, again)


def training_rows(subject, run):
    """Compare with the values of another training's `run`."""
    yield from correlation_rows("another training", subject, subject.again(run.model))


def reliability_rows(name, pair, end=""):
    """Yield how reliable the windows and the leads' shares are, a `pair` of `reliability`."""
    windows, leads = pair
    if np.isfinite(windows):
        yield name, f"reliability of windows{end}", windows, 1
        yield name, f"windows reach {RELIABLE}{end}", windows >= RELIABLE, 1
    if np.isfinite(leads):
        yield name, f"reliability of leads{end}", leads, 1


def half_rows(subject, _):
    """Say how reliable the values are, and how many samples they took."""
    stored = subject.stored
    for k, pair, samples in zip(
        stored["classes"], stored["reliability"], stored["samples"], strict=True
    ):
        yield from reliability_rows(CLASSES[k], pair)
        yield CLASSES[k], "samples", samples, 1


def sample_rows(subject, _):
    """Say how far two halves agree and what the values miss, of fewer and more samples.

    A path that is drawn goes on from where fewer samples end; another one is gone anew for each.
    """
    rows, needed, most = [], {}, SAMPLES_STEPS[-1]
    drawn, stored = METHODS[subject.options.method].drawn, subject.stored
    padding = max(0, stored["phi"].shape[2] - int(stored["n"]))

    def look(total, k, halves, samples):
        whole = halves.cpu().numpy()
        pair = reliability(binned(whole[..., padding:]))
        if drawn and pair[0] >= RELIABLE:
            needed.setdefault(k, samples)
        if samples in SAMPLES_STEPS and (drawn or samples == total):
            rows.extend(step_rows(k, stored, whole, padding, samples))
            rows.extend(reliability_rows(CLASSES[k], pair, f" of {samples} samples"))

    for total in SAMPLES_STEPS[-1:] if drawn else SAMPLES_STEPS:
        subject.again(classes=None, enough=partial(look, total), samples=total)
    for k in stored["classes"] if drawn else ():
        rows.append((CLASSES[k], f"samples for {RELIABLE}, {most} at most", needed.get(k, most), 1))
    return rows


def step_rows(k, stored, halves, padding, samples):
    """Yield what values of so many samples miss of class k's change, and how their halves agree."""
    change, end = stored["logits"][k] - stored["base"][k], f" of {samples} samples"
    miss = abs(halves.mean(0, dtype=float).sum() - change)
    yield CLASSES[k], f"|residual|{end}", miss, 1
    yield CLASSES[k], f"|residual| / |change|{end}", miss / abs(change), 1
    yield from agreement_rows(CLASSES[k], *halves[..., padding:], f"halves of {samples // 2}")


class Check(NamedTuple):
    """A check of single records; adding one to CHECKS is all that a new one needs."""

    rows: Callable  # (Subject, what else it compares with) -> rows (class, measure, value, weight)
    needs: bool = False  # only if there is something else to compare with
    every: bool = False  # made of every record, not just of a few


CHECKS = {
    "evidence": Check(evidence_rows, needs=True, every=True),
    "curves": Check(curve_rows, every=True),
    "halves": Check(half_rows, every=True),
    "layers": Check(layer_rows),
    "seeds": Check(seed_rows, needs=True),
    "training": Check(training_rows, needs=True),
    "samples": Check(sample_rows),
}


def summarise(rows, seed=42):
    """Return check, class, measure, n, mean, low, high (95 % bootstrap), median of rows of records.

    `rows` are (check, record, class, measure, value, weight). Class 'all' is over every class;
    records, not rows, are resampled, and the median is that of the rows.
    """
    columns = ["check", "record", "class", "measure", "value", "weight"]
    table = pd.DataFrame(rows, columns=columns)
    typed = table[table["class"] != "all"]
    table = pd.concat([table, typed.assign(**{"class": "all"})])
    found = []
    for key, group in table.groupby(["check", "class", "measure"], sort=False):
        group = group.assign(product=group["value"] * group["weight"])
        sums = group.groupby("record")[["product", "weight"]].sum().to_numpy()
        times = resample_weights(len(sums), seed=seed) @ sums
        with np.errstate(invalid="ignore"):
            low, high = np.nanquantile(times[:, 0] / times[:, 1], [0.025, 0.975])
        mean = sums[:, 0].sum() / sums[:, 1].sum()
        found.append((*key, len(sums), mean, low, high, group["value"].median()))
    names = ["check", "class", "measure", "n", "mean", "low", "high", "median"]
    return pd.DataFrame(found, columns=names)
