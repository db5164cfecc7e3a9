"""Checks of attribution maps phi (L, t): known truth, removal of samples, random layers.

A check of CHECKS turns one record into rows (class, measure, value, weight); `summarise` turns the
rows of many records into weighted means with bootstrap intervals.
"""

import copy
import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from torch.nn import functional

from dataset import CLASSES, LEADS, SAMPLE_RATE
from ecg.evaluation.metrics import resample_weights
from ecg.explanation.attributions import RELIABLE, VALUE_BIN, Options, binned, correlation, score
from ecg.explanation.maps import Background, Run
from ecg.explanation.values import each_class, make_values, seen_part
from utils import fail

FRACTIONS = (0.01, 0.02, 0.05, 0.10, 0.20)  # of a record's samples, removed or put in
SAMPLES_STEPS = (50, 100, 200, 400, 600)  # of which residual and reliability are compared
RECORDS, SAMPLES, FEW = 40, 100, 4  # defaults of ecg/faithfulness.py
NORM_RECORDS = 32  # background records that set the batch norms of a network with random layers
REPLACEMENTS = 4  # background records whose samples take the place of those removed


def rank_correlation(a, b):
    """Return Spearman's correlation of two maps (L, t), each summed over windows of VALUE_BIN."""
    return float(spearmanr(binned(a).ravel(), binned(b).ravel()).statistic)


def read_evidence(path):
    """Read synthetic.py's evidence.csv; start and stop in samples of the whole record."""
    try:
        table = pd.read_csv(path, dtype={"patient_id": str}, keep_default_na=False)
    except ValueError:  # empty, or not text
        table = pd.DataFrame()
    good = list(table.columns) == ["patient_id", "class", "start", "stop", "leads"]
    if good:
        numbers = table[["start", "stop"]].dtypes.map(pd.api.types.is_integer_dtype).all()
        leads = {lead for text in table["leads"].unique() for lead in text.split(";")}
        good = numbers and set(table["class"]) <= set(CLASSES) and leads <= {"all", *LEADS}
    if not good:
        fail(f"{path} is not a table of synthetic.py; make it again: python -m ecg.synthetic")
    return table


def evidence_mask(rows, leads, n, hidden):
    """Return where the evidence is, (L, n) bool, from the rows of one record and class.

    `hidden` samples of the record lie in front of the n that count.
    """
    mask = np.zeros((len(leads), n), bool)
    for row in rows.itertuples():
        names = LEADS if row.leads == "all" else row.leads.split(";")
        inside = [i for i, lead in enumerate(leads) if lead in names]
        mask[inside, max(0, row.start - hidden) : max(0, row.stop - hidden)] = True
    return mask


def check_evidence(phi, mask):
    """Compare positive phi (L, t) with the place of the criterion (L, t)."""
    positive = np.maximum(phi.astype(float), 0)
    total = max(positive.sum(), 1e-30)
    in_time, in_lead = mask.any(0), mask.any(1)
    shares = {
        "time": (positive[:, in_time].sum() / total, in_time.mean()),
        "leads": (positive[in_lead].sum() / total, in_lead.mean()),
        "both": (positive[mask].sum() / total, mask.mean()),
    }
    rows = []
    for name, (share, uniform) in shares.items():
        rows += [(f"share in {name}", share, 1), (f"uniform in {name}", uniform, 1)]
        rows.append((f"times uniform in {name}", share / uniform, 1))
    best = np.unravel_index(binned(phi).argmax(), binned(phi).shape)
    step = round(VALUE_BIN * SAMPLE_RATE)
    hit = mask[best[0], best[1] * step : (best[1] + 1) * step].any()
    rows.append(("pointing game", float(hit), 1))
    if not in_lead.all():
        by_lead = positive.sum(1)
        above = by_lead[in_lead][:, None] > by_lead[~in_lead]
        rows.append(("evidence lead above another", above.mean(), 1))
    return rows


def check_curves(logit_of, x, others, phi, rng):
    """Remove or put in the samples of x (L, t) in three orders; return the logit's course.

    The orders are 'top', the highest phi first, 'random', and 'lowest', the most negative first.
    `logit_of` maps (N, L, t) to (N,), `others` (M, L, t) are background records. 'deletion' is how
    far the logit falls below that of x, 'insertion' how far it rises above the mean of the others.
    Areas are means over the part, from 0 to 20 %.
    """
    flat, n = phi.ravel(), phi.size
    ranks = {"top": np.argsort(-flat), "random": np.argsort(rng.random(n))}
    ranks["lowest"] = np.argsort(flat)
    full, empty = logit_of(x[None])[0], logit_of(others).mean()
    rows, areas = [], {}
    for order, ranked in ranks.items():
        courses = {"deletion": [0.0], "insertion": [0.0]}
        for fraction in FRACTIONS:
            chosen = np.zeros(n, bool)
            chosen[ranked[: round(fraction * n)]] = True
            chosen = torch.from_numpy(chosen.reshape(phi.shape)).to(x.device)
            courses["deletion"].append(full - logit_of(torch.where(chosen, others, x)).mean())
            courses["insertion"].append(logit_of(torch.where(chosen, x, others)).mean() - empty)
        for kind, course in courses.items():
            parts = zip(FRACTIONS, course[1:], strict=True)
            rows += [(f"{kind} {order} {fraction:.0%}", value, 1) for fraction, value in parts]
            areas[kind, order] = np.trapezoid(course, (0, *FRACTIONS)) / FRACTIONS[-1]
            rows.append((f"{kind} {order} area", areas[kind, order], 1))
    for kind, order in itertools.product(("deletion", "insertion"), ("random", "lowest")):
        gain = areas[kind, "top"] - areas[kind, order]
        rows.append((f"{kind} top minus {order} area", gain, 1))
    return rows


def random_layers(model, signals, batch_size, seed):
    """Yield (name, network) with more and more layers re-initialised, from the output on.

    After Adebayo et al. (NeurIPS 2018). The batch norms of a network with new layers take their
    statistics from `signals` (N, L, T), or its activations would be of no sensible size.
    """
    network = copy.deepcopy(model)
    by_width = itertools.groupby(network.stages, lambda block: block.conv1.out_channels)
    stages = [(f"stage {i}", list(blocks)) for i, (_, blocks) in enumerate(by_width, 1)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, part in [("output", [network.fc]), *stages[::-1], ("stem", [network.stem])]:
            for module in torch.nn.ModuleList(part).modules():
                if hasattr(module, "reset_parameters"):
                    module.reset_parameters()
            measure_statistics(network, signals, batch_size)
            yield name, network


def measure_statistics(network, signals, batch_size):
    """Set the statistics of every batch norm to those of the signals (N, L, T)."""
    for norm in network.modules():
        if isinstance(norm, torch.nn.BatchNorm1d):
            norm.reset_running_stats()
            norm.momentum = None  # the mean over batches
            norm.train()
    with torch.no_grad():
        for part in signals.split(batch_size):
            network(part)
    network.eval()


class Subject(NamedTuple):
    """A record that is checked, with what its values were made from."""

    run: Run
    options: Options
    background: Background
    name: str
    x: np.ndarray  # (L, T) mV
    stored: dict  # its values, of `make_values`, and its length n

    def again(self, model=None, background=None, **changed):
        """Return the arrays of its first class, made again with something changed."""
        model, background = model or self.run.model, background or self.background
        options, classes = self.options._replace(**changed), self.stored["classes"][:1]
        x, n = self.x, int(self.stored["n"])
        if len(model.starts(x.shape[1])) > 1:  # in the same window, wherever this model looks
            x = np.ascontiguousarray(seen_part(x, self.stored))
            n = x.shape[1]
        return make_values(model, options, self.name, x, background, classes, n)


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
    yield CLASSES[k], f"correlation, {what}", correlation(binned(a), binned(b)), 1
    yield CLASSES[k], f"rank correlation, {what}", rank_correlation(a, b), 1


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


def reliability_rows(stored, end=""):
    """Yield how reliable the windows and the leads' shares of each class of a record are."""
    for k, (windows, leads) in zip(stored["classes"], stored["reliability"], strict=True):
        if np.isfinite(windows):
            yield CLASSES[k], f"reliability of windows{end}", windows, 1
            yield CLASSES[k], f"windows reach {RELIABLE}{end}", windows >= RELIABLE, 1
        if np.isfinite(leads):
            yield CLASSES[k], f"reliability of leads{end}", leads, 1


def half_rows(subject, _):
    """Say how reliable the values are, and how many samples they took."""
    yield from reliability_rows(subject.stored)
    for k, samples in zip(subject.stored["classes"], subject.stored["samples"], strict=True):
        yield CLASSES[k], "samples", samples, 1


def sample_rows(subject, _):
    """Say how reliable fewer and more samples are, and what they miss of the logit's change."""
    for samples in SAMPLES_STEPS:
        again = subject.again(samples=samples, reliability=None)
        k, end = again["classes"][0], f" of {samples} samples"
        change = again["logits"][k] - again["base"][k]
        miss = abs(again["phi"].sum(dtype=float) - change)
        yield CLASSES[k], f"|residual|{end}", miss, 1
        yield CLASSES[k], f"|residual| / |change|{end}", miss / abs(change), 1
        yield from reliability_rows(again, end)


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
    """Return check, class, measure, n, mean, low, high (95 % bootstrap) from rows of records.

    `rows` are (check, record, class, measure, value, weight). Class 'all' is over every class;
    records, not rows, are resampled.
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
        found.append((*key, len(sums), mean, low, high))
    return pd.DataFrame(found, columns=[*columns[:1], *columns[2:4], "n", "mean", "low", "high"])
