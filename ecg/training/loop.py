"""One epoch of training, and its scores on the validation fold; alone or under torchrun."""

import math

import numpy as np
import torch
from torch.utils.data import DataLoader

from dataset import CLASSES, make_batches, pad_batch
from ecg.evaluation import metrics
from ecg.training import distributed
from utils import Progress, fail, predict_scores, set_seed

SCHEDULES = ("constant", "cosine")
WARM_UP = 50  # steps, or a tenth of them, in which the cosine schedule reaches its top


def schedule_factor(schedule, epochs, n_batches, epoch, batch):
    """Return the learning rate of a step, of its highest; epochs count from 1, batches from 0.

    'cosine' rises linearly and falls along half a cosine to 0 (Loshchilov and Hutter, ICLR 2017).
    """
    if schedule == "constant":
        return 1.0
    step, steps = (epoch - 1) * n_batches + batch, epochs * n_batches
    rise = min(1, (step + 1) / min(WARM_UP, max(1, steps // 10)))
    return rise * 0.5 * (1 + math.cos(math.pi * step / steps))


def train_epoch(
    network,
    dataset,
    optimizer,
    device,
    epoch,
    seed,
    batch_size,
    num_workers,
    amp,
    lr,
    schedule="constant",
    epochs=1,
):
    """Pass once over the records of a data set (ECGDataset); return the mean loss per record.

    `lr` is the highest learning rate of a `schedule` over `epochs`. Stops, naming the records,
    where the loss is not finite.
    """
    # all random numbers of an epoch follow from (seed, epoch): a resumed run is the same run
    set_seed(seed, epoch, distributed.rank())
    dataset.epoch = epoch
    lengths = dataset.lengths() if dataset.pad == "batch" else None
    batches = make_batches(len(dataset), batch_size, seed, epoch, lengths)
    # a process with no record of the last, small batch computes one with weight 0
    shares = [distributed.share(batch) or batch[:1] for batch in batches]
    loader = DataLoader(
        dataset, batch_sampler=shares, num_workers=num_workers, collate_fn=pad_batch
    )
    network.train()
    losses = []
    progress = Progress(
        loader, f"epoch {epoch}", unit="batch", leave=False, disable=distributed.rank() > 0
    )
    for i, (batch, rows, (x, y)) in enumerate(zip(batches, shares, progress, strict=True)):
        for group in optimizer.param_groups:
            group["lr"] = lr * schedule_factor(schedule, epochs, len(batches), epoch, i)
        weight = len(distributed.share(batch)) / len(batch)  # this process's part of the batch
        loss = weight * batch_loss(network, x.to(device), y.to(device), amp)
        if not torch.isfinite(loss):
            names = " ".join(dataset.patient_ids[i] for i in rows)
            fail(
                f"the loss is {loss.item()} in epoch {epoch}; the epochs before it are kept; "
                f"look at the records of the batch ({names}) or lower --lr"
            )
        optimizer.zero_grad()
        (loss * distributed.world_size()).backward()  # which averages over the processes
        optimizer.step()
        losses.append(loss.item() * len(batch))
        progress.set_postfix(loss=f"{loss.item() / weight if weight else 0:.4f}")
    return float(distributed.gather(np.array([[sum(losses)]])).sum()) / len(dataset)


def batch_loss(network, x, y, amp):
    """Return the paper's loss: unweighted binary cross-entropy, mean over records and classes."""
    with torch.autocast(x.device.type, torch.bfloat16, enabled=amp):
        logits = network(x)  # (N, K)
    return torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), y)


def validate(model, dataset, device, batch_size, num_workers, amp):
    """Return loss, macro F1 (at the best thresholds) and macro AUC on the validation fold."""
    distributed.copy_buffers(model)
    rows = distributed.share(list(range(len(dataset))))
    loader = dataset.loader(batch_size, num_workers, rows)
    y_true, y_score = predict_scores(model, loader, device, amp, disable=distributed.rank() > 0)
    y_true, y_score = distributed.gather(y_true), distributed.gather(y_score)
    if not np.isfinite(y_score).all():
        fail(
            "the network gives values that are not finite; the epochs before this one are kept; "
            "lower --lr"
        )
    thresholds = metrics.find_thresholds(y_true, y_score)
    average = (
        metrics.score_table(y_true, y_score, thresholds, CLASSES).set_index("class").loc["AVG"]
    )
    return {
        "val_loss": float(metrics.mean_log_loss(y_true, y_score)),
        "val_f1": float(average["f1"]),
        "val_auc": float(average["auc"]),
    }
