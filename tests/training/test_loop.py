"""The loss, where labels are unknown."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from dataset import ECGDataset
from ecg.training.loop import batch_loss

NAN = np.nan
Y = np.array([[1, 0, NAN], [NAN, 1, NAN], [0, 0, 1], [1, NAN, 0], [NAN, NAN, NAN]], np.float32)


def loss_of(logits, y):
    """Return the loss of logits (N, K), and its gradient."""
    logits = torch.tensor(logits, dtype=torch.float32, requires_grad=True)
    loss = batch_loss(nn.Identity(), logits, torch.from_numpy(y), amp=False)
    loss.backward()
    return loss.item(), logits.grad.numpy()


def test_unknown_labels_are_left_out_of_the_loss():
    logits = np.random.default_rng(0).normal(0, 2, Y.shape)
    loss, gradient = loss_of(logits, Y)
    p, known = 1 / (1 + np.exp(-logits)), np.isfinite(Y)
    expected = [
        -np.log(p[i, k] if Y[i, k] else 1 - p[i, k]) for i, k in np.argwhere(known).tolist()
    ]
    assert loss == pytest.approx(np.mean(expected), rel=1e-6)
    assert (gradient[~known] == 0).all()
    np.testing.assert_allclose(gradient[known], (p - Y)[known] / known.sum(), rtol=1e-5)
    assert loss_of(logits[4:], Y[4:])[0] == 0  # nothing is known, and nothing is learnt
    assert (loss_of(logits[4:], Y[4:])[1] == 0).all()


def test_the_loss_of_known_labels_is_torchs_to_the_last_bit():
    logits = torch.randn(40, 9, generator=torch.Generator().manual_seed(1))
    y = (logits + 1 > 0).float()
    expected = nn.functional.binary_cross_entropy_with_logits(logits, y)
    assert torch.equal(batch_loss(nn.Identity(), logits, y, amp=False), expected)


class Places(nn.Module):
    """Takes the first row of what it is given for logits, all for places."""

    def forward(self, x, with_evidence=False):
        return (x[:, :, 0], x) if with_evidence else x[:, :, 0]


def test_beside_synthetic_records_labels_count_of_the_real_ones_and_places_of_the_others():
    entropy = nn.functional.binary_cross_entropy_with_logits
    x = torch.randn(10, 3, 7, generator=torch.Generator().manual_seed(2))
    y, shares = (x[:8, :, 0] > 0.3).float(), torch.rand(2, 3, 7)
    found = batch_loss(Places(), x, y, shares)
    assert found == pytest.approx((entropy(x[:8, :, 0], y) + entropy(x[8:], shares)).item())
    y[0, 0] = NAN
    assert batch_loss(Places(), x, y, shares) > 0


def test_the_weighted_losses_of_two_processes_add_up_to_that_of_the_batch():
    labels = pd.DataFrame(Y, columns=list("abc"))
    labels.insert(0, "patient_id", list("vwxyz"))
    items = ECGDataset(dict.fromkeys("vwxyz"), labels)
    logits, rows = np.random.default_rng(2).normal(0, 2, Y.shape), list(range(5))
    total = 0
    for share in (rows[::2], rows[1::2]):
        total += items.known(share) / items.known(rows) * loss_of(logits[share], Y[share])[0]
    assert total == pytest.approx(loss_of(logits, Y)[0], rel=1e-6)
