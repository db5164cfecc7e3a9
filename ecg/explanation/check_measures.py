"""Measures of attribution maps phi (L, t): agreement, known truth, removal of samples."""

import copy
import itertools

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from dataset import CLASSES, LEADS, SAMPLE_RATE
from ecg.explanation.attributions import VALUE_BIN, binned, correlation
from utils import fail

FRACTIONS = (0.01, 0.02, 0.05, 0.10, 0.20)  # of a record's samples, removed or put in


def agreement_rows(name, a, b, what):
    """Yield how far two maps (L, t) of the class called `name` agree.

    Pearson's correlation of the values in windows of VALUE_BIN, of single samples and of the
    leads' shares, and Spearman's of single samples, in which the many values near 0 count most.
    """
    yield name, f"windows, {what}", correlation(binned(a), binned(b)), 1
    yield name, f"single samples, {what}", correlation(a, b), 1
    ranks = float(spearmanr(a.ravel(), b.ravel()).statistic)
    yield name, f"ranks of single samples, {what}", ranks, 1
    if len(a) > 2:
        yield name, f"leads, {what}", correlation(*(np.abs(phi).sum(1) for phi in (a, b))), 1


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
