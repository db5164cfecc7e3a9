"""Butterworth filters of second order that run forwards and backwards, which moves no wave.

They give what scipy.signal.sosfiltfilt gives of scipy.signal.butter's sections, within the rounding
of single precision (a thousandth of a packed sample's unit), but block by block as products of
matrices, not sample by sample. So an answer does without scipy.signal, whose import takes half a
second.

A filter is the sum of its poles p with residues r: of an impulse it gives first its gain, then
sum(r p^(i - 1)) in sample i. So within a block the output is a triangular matrix times the input,
and of all that lies before the block one complex number for each pole has to be known.
"""

import numpy as np

from dataset import SAMPLE_RATE

BLOCK = 64  # samples
PROTOTYPE = np.exp(3j * np.pi / 4)  # the upper pole of two at a frequency of 1


class ZeroPhase:
    """A Butterworth filter for signals (L, n) at 500 Hz: `low` and `high` are its borders in Hz.

    It lets through what is above `low` (None: all) and below `high` (None: all).
    """

    def __init__(self, low, high):
        poles, n_high = analog_poles(*(hz and warped(hz) for hz in (low, high)))
        # the bilinear transform; zeros at a frequency of 0 and at the highest
        p = (1 + poles) / (1 - poles)
        all_poles = np.concatenate([p, p.conj()])
        zeros = np.repeat([1, -1], [n_high, len(all_poles) - n_high])
        at = 1 if low is None else -1 if high is None else np.exp(2j * centre(low, high))
        gain = abs(np.prod(at - all_poles) / np.prod(at - zeros))
        residues = [
            gain * np.prod(pole - zeros) / np.prod((pole - all_poles)[all_poles != pole])
            for pole in p
        ]
        self.keeps_constant = not n_high
        self.edge = 3 * (len(all_poles) + 1)  # samples added at an end, as scipy adds them
        powers = p[:, None] ** np.arange(BLOCK)  # (P, BLOCK)
        response = np.r_[gain, 2 * (residues @ powers[:, :-1]).real]
        lags = np.arange(BLOCK) - np.arange(BLOCK)[:, None]
        within = np.where(lags >= 0, response[lags], 0)  # (BLOCK, BLOCK), input by output
        into = powers[:, ::-1].T  # (BLOCK, P)
        self.of_input = np.hstack([within, into.real, into.imag]).astype(np.float32)
        out = 2 * np.array(residues)[:, None] * powers
        self.of_past = np.vstack([out.real, -out.imag]).astype(np.float32)  # (2 P, BLOCK)
        self.step = p**BLOCK

    def __call__(self, signal):
        """Return the filtered signal (L, n), float32."""
        edge = min(self.edge, signal.shape[1] - 1)
        first, last = signal[:, :1], signal[:, -1:]
        before = 2.0 * first - signal[:, edge:0:-1]  # turned about the end
        after = 2.0 * last - signal[:, -2 : -edge - 2 : -1]
        wide = np.concatenate([before, signal, after], axis=1)
        wide = self.forwards(self.forwards(wide)[:, ::-1])[:, ::-1]
        return wide[:, edge : edge + signal.shape[1]]

    def forwards(self, signal):
        """Return (L, n) filtered as if its first sample had always been there."""
        first = signal[:, :1]
        n_leads, n = signal.shape
        blocks = np.zeros((n_leads, -(-n // BLOCK) * BLOCK), np.float32)
        np.subtract(signal, first, out=blocks[:, :n])
        made = blocks.reshape(-1, BLOCK) @ self.of_input
        past = made[:, BLOCK:].reshape(n_leads, -1, 2, len(self.step))
        past = past[:, :, 0] + 1j * past[:, :, 1]  # (L, blocks, P), of each block alone
        far = 1
        while far < past.shape[1]:  # of all blocks so far, twice as many each time
            past[:, far:] += self.step**far * past[:, :-far]
            far *= 2
        past = np.concatenate([np.zeros_like(past[:, :1]), past[:, :-1]], axis=1)
        past = np.concatenate([past.real, past.imag], axis=2).reshape(len(made), -1)
        found = (made[:, :BLOCK] + past @ self.of_past).reshape(n_leads, -1)[:, :n]
        return found + first if self.keeps_constant else found


def warped(hz):
    """Return the frequency that the bilinear transform turns into one in Hz, of half its rate."""
    return np.tan(np.pi * hz / SAMPLE_RATE)


def centre(low, high):
    """Return half the angle on the unit circle at which a filter between two Hz gives all."""
    return np.arctan(np.sqrt(warped(low) * warped(high)))


def analog_poles(low, high):
    """Return the upper poles of the analog filter, and the number of its zeros at 0."""
    if low is None:
        return np.array([high * PROTOTYPE]), 0
    if high is None:
        return np.array([low * PROTOTYPE]), 2
    half = (high - low) / 2 * PROTOTYPE
    root = np.sqrt(half**2 - low * high)
    poles = np.array([half + root, half - root])
    return np.where(poles.imag > 0, poles, poles.conj()), 2
