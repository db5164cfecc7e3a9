"""The checks of explanations, record by record: what each compares a record's values with.

A check of RECORD_CHECKS turns a record into Measures; `summarise` turns those of many records into
weighted means with bootstrap intervals.
"""

import itertools
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from ecg.evaluation.metrics import resample_weights
from ecg.explanation.attributions import RELIABLE, batch_logits, binned, reliability
from ecg.explanation.check_measures import (
    Measure,
    check_curves,
    compare_maps,
    evidence_mask,
    random_layers,
)
from ecg.explanation.equal_beats import check_equal_beats
from ecg.explanation.explanation import Explainer, Explanation, Record
from ecg.explanation.methods import EVIDENCE, METHODS, lacks_head
from ecg.explanation.null_map import check_against_null
from ecg.explanation.run import Run
from ecg.processing.detection import find_peaks

SAMPLES_STEPS = (100, 200, 400, 600)  # of which residual and agreement are compared
NORM_RECORDS = 32  # background records that set the batch norms of a network with random layers
REPLACEMENTS = 4  # background records whose samples take the place of those removed
ANOTHER_SEED, ANOTHER_TRAINING = "another seed", "another training"
THE_HEAD = "positive values and the evidence head"


def random_name(layer):
    """Name the network that is random from its output to a layer."""
    return f"random from output to {layer}"


def missed_name(samples):
    """Name the part of the logit's change that values of so many samples miss."""
    return f"|residual| / |change| of {samples} samples"


class Subject(NamedTuple):
    """A record that is checked, with what its values were made from."""

    run: Run
    explainer: Explainer
    record: Record
    explanation: Explanation

    def recompute(self, network=None, background=None, classes=1, stop_when=None, **changed):
        """Return the Explanation of its first classes, made again with something changed."""
        explainer, record = self.explainer, self.record
        explainer = Explainer(
            network or explainer.network,
            explainer.options._replace(**changed),
            background or explainer.background,
        )
        if network is not None and len(network.window_starts(record.x.shape[1])) > 1:
            # in the same window, wherever the other network looks
            first = self.explanation.classes[0]
            x = np.ascontiguousarray(self.explanation.part_of(record.x, first))
            record = record._replace(x=x, n=x.shape[1])
        return explainer.explain(record, self.explanation.classes[:classes], stop_when)

    def of_class(self, k, measures):
        """Yield Measures as those of class k."""
        for measure in measures:
            yield measure._replace(class_name=self.run.model.classes[k])


def evidence_measures(subject, table):
    """Compare with the place of the criterion in the `table` of `read_evidence`."""
    table = table[table.patient_id == subject.record.name]
    for explained in subject.explanation:
        name, n = subject.run.model.classes[explained.k], explained.values.shape[1]
        evidence = table[table["class"] == name]
        mask = evidence_mask(evidence, subject.run.model.leads, n, explained.start)
        if mask.any():
            x = subject.explanation.part_of(subject.record.x, explained.k)
            rng = np.random.default_rng([subject.explainer.options.seed, 3])
            yield from subject.of_class(
                explained.k, check_against_null(explained.values, x, mask, rng)
            )


def beat_measures(subject, _):
    """Compare a record's equal beats with each other."""
    packed = subject.run.data.signals[subject.record.name]
    peaks = find_peaks(packed)
    for explained in subject.explanation:
        part = slice(explained.start, explained.stop)
        inside = peaks[(peaks >= part.start) & (peaks < part.stop)] - part.start
        measures = check_equal_beats(explained.values, packed[:, part], inside)
        yield from subject.of_class(explained.k, measures)


def head_measures(subject, _):
    """Compare with the map of the network's evidence head, if it has one."""
    network, method = subject.explainer.network, subject.explainer.options.method
    if method != EVIDENCE and not lacks_head(EVIDENCE, network):
        other = subject.recompute(classes=None, method=EVIDENCE)
        for a in subject.explanation:
            measures = compare_maps(np.maximum(a.values, 0), other.of(a.k).values, THE_HEAD)
            yield from subject.of_class(a.k, measures)


def curve_measures(subject, _):
    """Remove and put in samples in the order of their values."""
    background, explanation = subject.explainer.background, subject.explanation
    options, network = subject.explainer.options, subject.explainer.network
    others = background.signals[background.without(subject.record.name, REPLACEMENTS)]
    for explained in explanation:
        k, phi = explained.k, explained.values
        x = torch.from_numpy(explanation.part_of(subject.record.x, k)).to(others.device)

        def logit_of(part, k=k):
            padded = functional.pad(part, (explanation.padding, 0))
            return batch_logits(network, padded, len(part))[:, k]

        rng = np.random.default_rng([options.seed, 2])
        ends = others[..., -phi.shape[1] :]
        yield from subject.of_class(k, check_curves(logit_of, x, ends, phi, rng))


def compare_first(what, subject, other):
    """Compare the values of the record's first class with those of another Explanation."""
    a, b = next(iter(subject.explanation)), next(iter(other))
    return subject.of_class(a.k, compare_maps(a.values, b.values, what))


def layer_measures(subject, _):
    """Compare with the values of networks with random layers."""
    explainer = subject.explainer
    signals, options = explainer.background.signals[:NORM_RECORDS], explainer.options
    networks = random_layers(explainer.network, signals, options.batch_size, options.seed)
    for layer, network in networks:
        yield from compare_first(random_name(layer), subject, subject.recompute(network))


def seed_measures(subject, background):
    """Compare with the values of the next seed, against the `background` that it draws."""
    seed = subject.explainer.options.seed + 1
    other = subject.recompute(background=background, seed=seed)
    return compare_first(ANOTHER_SEED, subject, other)


def training_measures(subject, run):
    """Compare with the values of another training's `run`."""
    return compare_first(ANOTHER_TRAINING, subject, subject.recompute(run.model.network))


def reliability_measures(pair, end=""):
    """Yield how reliable the windows and the leads' shares are, a `pair` of `reliability`."""
    windows, leads = pair
    if np.isfinite(windows):
        yield Measure(f"reliability of windows{end}", windows)
        yield Measure(f"windows reach {RELIABLE}{end}", windows >= RELIABLE)
    if np.isfinite(leads):
        yield Measure(f"reliability of leads{end}", leads)


def half_measures(subject, _):
    """Say how reliable the values are, and how many samples they took."""
    for explained in subject.explanation:
        taken = Measure("samples", explained.samples)
        measures = itertools.chain(reliability_measures(explained.reliability), [taken])
        yield from subject.of_class(explained.k, measures)


def sample_measures(subject, _):
    """Say how far two halves agree and what the values miss, of fewer and more samples.

    A path that is drawn continues the one of fewer samples; another one is taken anew for each.
    """
    explanation, method = subject.explanation, METHODS[subject.explainer.options.method]
    if not method.adds_up:
        return []
    drawn = method.stops
    measures, needed, most = [], {}, SAMPLES_STEPS[-1]

    def look(total, k, halves, samples):  # never stops the drawing
        halves = halves.cpu().numpy()
        pair = reliability(binned(halves[..., explanation.padding :]))
        if drawn and pair[0] >= RELIABLE:
            needed.setdefault(k, samples)
        if samples in SAMPLES_STEPS and (drawn or samples == total):
            measures.extend(subject.of_class(k, step_measures(explanation, k, halves, samples)))
            end = f" of {samples} samples"
            measures.extend(subject.of_class(k, reliability_measures(pair, end)))

    for total in SAMPLES_STEPS[-1:] if drawn else SAMPLES_STEPS:
        subject.recompute(classes=None, stop_when=partial(look, total), samples=total)
    for k in explanation.classes if drawn else ():
        name = f"samples for {RELIABLE}, {most} at most"
        measures.extend(subject.of_class(k, [Measure(name, needed.get(k, most))]))
    return measures


def step_measures(explanation, k, halves, samples):
    """Yield what values of so many samples miss of class k's change, and how their halves agree."""
    change = explanation.logits[k] - explanation.base[k]
    missed = abs(halves.mean(0, dtype=float).sum() - change)
    yield Measure(f"|residual| of {samples} samples", missed)
    yield Measure(missed_name(samples), missed / abs(change))
    yield from compare_maps(*halves[..., explanation.padding :], f"halves of {samples // 2}")


class Check(NamedTuple):
    """A check of single records; adding one to RECORD_CHECKS is all that a new one needs."""

    measure: Callable  # (Subject, what else it compares with) -> Measures
    needs: bool = False  # only if there is something else to compare with
    every: bool = False  # made of every record, not just of a few
    drawn: bool = False  # only of a method that draws


RECORD_CHECKS = {
    "evidence": Check(evidence_measures, needs=True, every=True),
    "equal": Check(beat_measures, every=True),
    "curves": Check(curve_measures, every=True),
    "halves": Check(half_measures, every=True, drawn=True),
    "head": Check(head_measures, every=True),
    "layers": Check(layer_measures),
    "seeds": Check(seed_measures, needs=True, drawn=True),
    "training": Check(training_measures, needs=True),
    "samples": Check(sample_measures),
}


class Row(NamedTuple):
    """A Measure of a record, as a check keeps it."""

    check: str
    record: str
    class_name: str
    measure: str
    value: float
    weight: float


class Mean(NamedTuple):
    """A measure over records: a row of faithfulness.csv."""

    n: int  # records
    mean: float
    low: float  # of the 95 % bootstrap interval
    high: float
    median: float  # of the rows


def summarise(rows, seed=42):
    """Return {(check, class, measure): Mean} of Rows, in their order, class 'all' last.

    Class 'all' is over every class; records, not rows, are resampled.
    """
    table = pd.DataFrame(rows, columns=Row._fields)
    typed = table[table.class_name != "all"]
    table = pd.concat([table, typed.assign(class_name="all")])
    means = {}
    for key, group in table.groupby(["check", "class_name", "measure"], sort=False):
        group = group.assign(product=group.value * group.weight)
        sums = group.groupby("record")[["product", "weight"]].sum().to_numpy()
        times = resample_weights(len(sums), seed=seed) @ sums
        with np.errstate(invalid="ignore"):
            low, high = np.nanquantile(times[:, 0] / times[:, 1], [0.025, 0.975])
        mean = sums[:, 0].sum() / sums[:, 1].sum()
        means[key] = Mean(len(sums), mean, low, high, group.value.median())
    return means


def summary_table(means):
    """Return what `summarise` returns as a table: check, class, measure, n, mean, low ..."""
    rows = [(*key, *mean) for key, mean in means.items()]
    return pd.DataFrame(rows, columns=["check", "class", "measure", *Mean._fields])
