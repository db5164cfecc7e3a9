"""One epoch of training, and its scores on the validation fold; alone or under torchrun."""

from itertools import repeat

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from dataset import make_batches, make_loader
from ecg.evaluation import metrics
from ecg.inference.device import set_seed
from ecg.inference.model import predict_scores
from ecg.training import distributed
from utils import InputError, Progress

EVIDENCE_WEIGHT = 1.0  # of the evidence head's loss beside that of the classes
BESIDE = 8  # real records to each synthetic one that keeps the evidence head alive


def train_epoch(training, network, dataset):
    """Pass once over the records of a data set; return the mean loss per known label.

    `training` gives the optimizer, schedule, loading, seed and the number of the epoch; `network`
    is its network as it is to be run: wrapped where there are several processes. Stops, naming
    the records, where the loss is not finite.
    """
    epoch, loading = len(training.history) + 1, training.loading
    # all random numbers of an epoch follow from (seed, epoch): a resumed run is the same run
    set_seed(training.seed, epoch, distributed.rank())
    dataset.epoch = epoch
    batches = make_batches(len(dataset), loading.batch_size, training.seed, epoch)
    # a process with no record of the last, small batch computes one with weight 0
    shares = [distributed.share(batch) or batch[:1] for batch in batches]
    loader = make_loader(dataset, loading.num_workers, batch_sampler=shares)
    device = next(network.parameters()).device
    network.train()
    losses = []
    hidden = distributed.rank() > 0
    progress = Progress(loader, f"epoch {epoch}", unit="batch", leave=False, disable=hidden)
    beside = synthetic_beside(training, epoch, len(batches))
    steps = zip(batches, shares, progress, beside, strict=True)
    for i, (batch, rows, parts, synthetic) in enumerate(steps):
        for group in training.optimizer.param_groups:
            group["lr"] = training.schedule.rate(epoch, i, len(batches))
        known = dataset.known(batch)  # the batch's size, where no label is unknown
        weight = dataset.known(distributed.share(batch)) / (known or 1)  # this process's part
        if synthetic is not None:
            parts = torch.cat([parts[0], synthetic[0]]), parts[1], synthetic[2]
        loss = weight * batch_loss(network, *(part.to(device) for part in parts), amp=loading.amp)
        if not torch.isfinite(loss):
            names = " ".join(dataset.patient_ids[row] for row in rows)
            raise InputError(
                f"the loss is {loss.item()} in epoch {epoch}; the epochs before it are kept; "
                f"look at the records of the batch ({names}) or lower --lr"
            )
        training.optimizer.zero_grad()
        (loss * distributed.world_size()).backward()  # which averages over the processes
        training.optimizer.step()
        losses.append(loss.item() * known)
        progress.set_postfix(loss=f"{loss.item() / weight if weight else 0:.4f}")
    total = float(distributed.gather(np.array([[sum(losses)]])).sum())
    return total / dataset.known(range(len(dataset)))


def synthetic_beside(training, epoch, n_batches):
    """Return, for each batch of real records, the synthetic ones beside it (x, y, shares), or None.

    No real record says where a criterion is, so that these alone keep the evidence head alive.
    """
    if training.synthetic is None:
        return repeat(None, n_batches)
    training.synthetic.epoch = epoch
    size = training.synthetic.n // n_batches
    rows = [list(range(i * size, (i + 1) * size)) for i in range(n_batches)]
    shares = [distributed.share(batch) or batch[:1] for batch in rows]
    return make_loader(training.synthetic, training.loading.num_workers, batch_sampler=shares)


def batch_loss(network, x, y, shares=None, amp=False):
    """Return the paper's loss: unweighted binary cross-entropy, mean over records and classes.

    A label that is NaN is unknown: it is left out of the mean, which is 0 if none is known. With
    `shares` (S, K, frames), the cross-entropy of the evidence head against them is added. They are
    of the last S of the records x, the labels y (N, K) of the first N.
    """
    with torch.autocast(x.device.type, torch.bfloat16, enabled=amp):
        if shares is None:
            logits, places = network(x), None  # (N, K)
        else:
            logits, places = network(x, with_evidence=True)
            logits, places = logits[: len(y)], places[-len(shares) :]
    loss = 0 if places is None else EVIDENCE_WEIGHT * cross_entropy(places.float(), shares)
    known = torch.isfinite(y)
    if known.all():
        return loss + cross_entropy(logits.float(), y)
    losses = cross_entropy(logits.float(), y.nan_to_num(), reduction="none")
    return loss + losses[known].sum() / max(1, int(known.sum()))


def validate(network, dataset, loading):
    """Return loss, macro F1 (at the best thresholds) and macro AUC on the validation fold."""
    distributed.copy_buffers(network)
    rows = distributed.share(list(range(len(dataset))))
    loader = dataset.loader(loading.batch_size, loading.num_workers, rows)
    device, hidden = next(network.parameters()).device, distributed.rank() > 0
    y_true, y_score = predict_scores(network, loader, device, loading.amp, hidden)
    y_true, y_score = distributed.gather(y_true), distributed.gather(y_score)
    if not np.isfinite(y_score).all():
        raise InputError(
            "the network gives values that are not finite; the epochs before this one are kept; "
            "lower --lr"
        )
    thresholds = metrics.find_thresholds(y_true, y_score)
    table = metrics.score_table(y_true, y_score, thresholds, dataset.classes)
    average = table.iloc[-1]
    return float(metrics.mean_log_loss(y_true, y_score)), float(average.f1), float(average.auc)
