"""Measures of attribution maps phi (L, t): agreement, known truth, removal of samples."""

import copy
import itertools
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from dataset import CLASSES, LEADS
from ecg.explanation.attributions import binned, correlation
from utils import InputError

FRACTIONS = (0.01, 0.02, 0.05, 0.10, 0.20)  # of a record's samples, removed or put in
ORDERS = ("top", "random", "lowest")  # of removal: highest phi first, and most negative first
LAYERS = ("output", "stage 4", "stage 3", "stage 2", "stage 1", "stem")  # as they become random
PLACES = ("time", "leads", "both")  # in which a map and the evidence are compared
POINTING_GAME, POINTING_TIME = "pointing game", "pointing game in time"
LEADS_ABOVE = "evidence lead above another"
WINDOW_AGREEMENT, RANK_AGREEMENT = "windows", "ranks of single samples"


class Measure(NamedTuple):
    """What a check measures in one record."""

    name: str
    value: float
    weight: float = 1  # in means over records
    class_name: str = "all"


def agreement_name(kind, what):
    """Name the agreement of two maps, such as 'windows, another seed'."""
    return f"{kind}, {what}"


def curve_name(kind, order, fraction):
    """Name a point of a deletion or insertion curve."""
    return f"{kind} {order} {fraction:.0%}"


def place_name(place):
    """Name how many times as much of a map is in the place of the evidence as of a uniform one."""
    return f"times uniform in {place}"


def compare_maps(a, b, what):
    """Yield how far two maps (L, t) agree.

    Pearson's correlation of the values in windows of VALUE_BIN, of single samples and of the
    leads' shares, and Spearman's of single samples, in which the many values near 0 count most.
    """
    windows = correlation(binned(a), binned(b))
    yield Measure(agreement_name(WINDOW_AGREEMENT, what), windows)
    yield Measure(agreement_name("single samples", what), correlation(a, b))
    ranks = float(spearmanr(a.ravel(), b.ravel()).statistic)
    yield Measure(agreement_name(RANK_AGREEMENT, what), ranks)
    if len(a) > 2:
        leads = correlation(np.abs(a).sum(1), np.abs(b).sum(1))
        yield Measure(agreement_name("leads", what), leads)


def read_evidence(path):
    """Read synthetic.py's evidence.csv; start and stop in samples of the whole record."""
    try:
        table = pd.read_csv(path, dtype={"patient_id": str}, keep_default_na=False)
    except ValueError:  # empty, or not text
        table = pd.DataFrame()
    if list(table.columns) != ["patient_id", "class", "start", "stop", "leads"] or not (
        table[["start", "stop"]].dtypes.map(pd.api.types.is_integer_dtype).all()
        and table["class"].isin(CLASSES).all()
        and set(";".join(table.leads.unique()).split(";")) <= {"all", *LEADS}
    ):
        raise InputError(
            f"{path} is not a table of synthetic.py; make it again: python -m ecg.synthetic"
        )
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
    """Yield how positive phi (L, t) compares with the place of the criterion, mask (L, t)."""
    positive = np.maximum(phi.astype(float), 0)
    total = max(positive.sum(), 1e-30)
    in_time, in_lead = mask.any(0), mask.any(1)
    inside = positive[:, in_time].sum(), positive[in_lead].sum(), positive[mask].sum()
    uniform = in_time.mean(), in_lead.mean(), mask.mean()
    for place, sum_inside, part in zip(PLACES, inside, uniform, strict=True):
        share = sum_inside / total
        yield Measure(f"share in {place}", share)
        yield Measure(f"uniform in {place}", part)
        yield Measure(place_name(place), share / part)
    inside = window_mask(mask)
    lead, window = np.unravel_index(binned(phi).argmax(), inside.shape)
    yield Measure(POINTING_GAME, float(inside[lead, window]))
    yield Measure(POINTING_TIME, float(inside[:, window].any()))
    if not in_lead.all():
        by_lead = positive.sum(1)
        above = by_lead[in_lead][:, None] > by_lead[~in_lead]
        yield Measure(LEADS_ABOVE, above.mean())


def window_mask(mask):
    """Return which windows of VALUE_BIN hold some of a mask (L, t): (L, W)."""
    return binned(mask.astype(int)) > 0


def check_curves(logit_of, x, others, phi, rng):
    """Remove or put in the samples of x (L, t) in three ORDERS; return the logit's course.

    `logit_of` maps (N, L, t) to (N,), `others` (M, L, t) are background records. 'deletion' is how
    far the logit falls below that of x, 'insertion' how far it rises above the mean of the others.
    Areas are means over the part, from 0 to 20 %.
    """
    flat, n = phi.ravel(), phi.size
    ranks = np.argsort(-flat), np.argsort(rng.random(n)), np.argsort(flat)
    full, empty = logit_of(x[None])[0], logit_of(others).mean()
    measures, areas = [], {}
    for order, ranked in zip(ORDERS, ranks, strict=True):
        falls, rises = [], []
        for fraction in FRACTIONS:
            chosen = np.zeros(n, bool)
            chosen[ranked[: round(fraction * n)]] = True
            chosen = torch.from_numpy(chosen.reshape(phi.shape)).to(x.device)
            falls.append(full - logit_of(torch.where(chosen, others, x)).mean())
            rises.append(logit_of(torch.where(chosen, x, others)).mean() - empty)
        for kind, course in (("deletion", falls), ("insertion", rises)):
            for fraction, value in zip(FRACTIONS, course, strict=True):
                measures.append(Measure(curve_name(kind, order, fraction), value))
            area = np.trapezoid([0.0, *course], (0, *FRACTIONS)) / FRACTIONS[-1]
            measures.append(Measure(f"{kind} {order} area", area))
            areas[kind, order] = area
    for kind, order in itertools.product(("deletion", "insertion"), ("random", "lowest")):
        gain = areas[kind, "top"] - areas[kind, order]
        measures.append(Measure(f"{kind} top minus {order} area", gain))
    return measures


def random_layers(network, signals, batch_size, seed):
    """Yield (name, network) with more and more layers re-initialised, from the output on.

    After Adebayo et al. (NeurIPS 2018). The batch norms of a network with new layers take their
    statistics from `signals` (N, L, T), or its activations would be of no sensible size.
    """
    network = copy.deepcopy(network)
    stages = [[]]
    for block in network.stages:
        if block.conv1.stride == (2,):  # which begins a stage
            stages.append([])
        stages[-1].append(block)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = [head for head in (network.fc, network.evidence) if head is not None]
        for name, part in zip(LAYERS, [heads, *stages[::-1], [network.stem]], strict=True):
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
