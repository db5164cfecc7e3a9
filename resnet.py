"""The paper's network: a 1-D ResNet that turns an ECG (N, L, T) into class logits (N, K).

Residual blocks after He et al. (2016), in one dimension, with kernel 7, dropout between the two
convolutions, and average and max pooling side by side before the linear layer.
"""

import torch
from torch import nn

from utils import BLOCKS, WIDTH

WIDTHS = (64, 128, 256, 512)  # channels per stage in the paper
KERNEL = 7
DROPOUT = 0.2
FRAME = 32  # samples from one feature to the next: 64 ms


class BasicBlock1d(nn.Module):
    """Two convolutions and a shortcut; a strided or widening block projects its shortcut."""

    def __init__(self, n_in, n_out, stride):
        super().__init__()
        padding = KERNEL // 2
        self.conv1 = nn.Conv1d(n_in, n_out, KERNEL, stride, padding, bias=False)
        self.bn1 = nn.BatchNorm1d(n_out)
        self.conv2 = nn.Conv1d(n_out, n_out, KERNEL, 1, padding, bias=False)
        self.bn2 = nn.BatchNorm1d(n_out)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(DROPOUT)
        self.shortcut = nn.Identity()
        if stride != 1 or n_in != n_out:
            projection = nn.Conv1d(n_in, n_out, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm1d(n_out))

    def forward(self, x):
        """Map (N, n_in, T) to (N, n_out, ceil(T / stride))."""
        y = self.dropout(self.relu(self.bn1(self.conv1(x))))
        y = self.bn2(self.conv2(y))
        return self.relu(y + self.shortcut(x))


class ResNet1d(nn.Module):
    """Stem, four stages of basic blocks, pooled features, a linear layer; returns logits.

    With `evidence`, a second head says of each frame of 64 ms whether a class shows there.
    `normal` is the place of the class that means 'none of the others anywhere'.
    """

    def __init__(
        self, arch, n_leads, n_classes, width=WIDTH, window=None, evidence=False, normal=None
    ):
        super().__init__()
        self.window, self.normal = window, normal  # window: samples
        widths = [channels * width // WIDTH for channels in WIDTHS]
        self.stem = nn.Sequential(
            nn.Conv1d(n_leads, widths[0], 15, 2, 7, bias=False),
            nn.BatchNorm1d(widths[0]),
            nn.ReLU(),
            nn.MaxPool1d(3, 2, 1),
        )
        stages, n_in = [], widths[0]
        for stage, (n_blocks, n_out) in enumerate(zip(BLOCKS[arch], widths, strict=True)):
            for block in range(n_blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                stages.append(BasicBlock1d(n_in, n_out, stride))
                n_in = n_out
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(2 * n_in, n_classes)
        self.evidence = nn.Conv1d(n_in, n_classes, 1) if evidence else None

    def forward(self, x, with_evidence=False):
        """Map signals in mV (N, L, T) to logits (N, K), and those of each frame (N, K, T / 32)."""
        x = self.stages(self.stem(x))  # (N, 8 widths, T / 32)
        average, peak = x.mean(-1), x.amax(-1)  # (N, 8 widths) each
        logits = self.fc(torch.cat([average, peak], dim=1))
        return (logits, self.evidence(x)) if with_evidence else logits

    def window_starts(self, n):
        """Return where the windows of a record of n samples begin; the last ends with it."""
        if self.window is None or n <= self.window:
            return [0]
        return [*range(0, n - self.window, self.window // 2), n - self.window]

    def record_logits(self, x):
        """Map records in mV (N, L, T) to their logits (N, K): the largest over the windows.

        Of the normal class it is the smallest: one window with a finding contradicts it.
        """
        starts = self.window_starts(x.shape[-1])
        if len(starts) == 1:
            return self(x)
        parts = [x[..., start : start + self.window] for start in starts]
        logits = self(torch.cat(parts)).reshape(len(parts), len(x), -1)  # (windows, N, K)
        largest = logits.amax(0)
        if self.normal is not None:
            largest[:, self.normal] = logits[..., self.normal].amin(0)
        return largest


def frame_shares(spans, n_samples):
    """Return the share of each frame of n samples that some spans (start, stop) cover, (T / 32,).

    Frame f is centred on sample 32 f, as the strides of the network place it.
    """
    n_frames = -(-n_samples // FRAME)
    covered = torch.zeros(n_frames * FRAME)
    for start, stop in spans:
        covered[start + FRAME // 2 : stop + FRAME // 2] = 1
    return covered.reshape(n_frames, FRAME).mean(1)
