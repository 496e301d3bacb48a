"""Feeding a language model: windows of a stream of tokens, and the same windows one token later."""

from __future__ import annotations

import numpy as np
import torch

from mlrun.data.batches import Batches


class RandomWindows(Batches):
    """`steps` batches an epoch of windows that begin anywhere: x and y (batch, context) int64, y[t] = x[t + 1].

    tokens: (tokens,) as a tensor on the device, or as an array that is read where it is needed (a mapped file).
    """

    def __init__(self, tokens, context, batch_size, steps, device="cpu", seed=0, shard=(0, 1)):
        super().__init__(steps * batch_size * shard[1], batch_size, shuffle=True, seed=seed, shard=shard)
        self.tokens, self.context, self.device = tokens, context, device

    def _order(self):
        rank, ranks = self.shard
        return torch.randint(len(self.tokens) - self.context, (self.rows,), generator=self.generator)[rank::ranks]

    def _read(self, order, bounds):
        within = torch.arange(self.context + 1)
        for start, end in bounds:
            window = _gather(self.tokens, order[start:end, None] + within, self.device)
            yield window[:, :-1], window[:, 1:]


class ConsecutiveWindows(Batches):
    """The stream cut into `rows` rows that are read side by side, window after window, so that a state can be carried along a row.

    x, y: (rows, at most context) int64. When shuffling, every epoch begins a little further on, and windows fall differently.
    steps: windows of an epoch, None for all. A stream too short for so many rows has fewer.
    """

    def __init__(self, tokens, context, rows, device="cpu", shuffle=False, seed=0, shard=(0, 1), steps=None):
        rank, ranks = shard
        wanted = rows * ranks if shuffle else rows
        self.height = max(1, min(wanted, (len(tokens) - 1) // context))
        slack = min(context, (len(tokens) - 1) // 2) if shuffle else 0
        self.length = (len(tokens) - 1 - slack) // self.height  # predicted tokens of a row
        super().__init__(self.length, context, False, seed, (0, 1))
        self.bounds = self.bounds if steps is None else self.bounds[:steps]
        self.tokens, self.context, self.device, self.slack = tokens, context, device, slack
        self.first = torch.arange(self.height)[rank::ranks, None] * self.length

    def _order(self):
        return int(torch.randint(self.slack + 1, (), generator=self.generator)) if self.slack else 0

    def _read(self, order, bounds):
        for start, end in bounds:
            window = _gather(self.tokens, order + self.first + torch.arange(start, end + 1), self.device)
            yield window[:, :-1], window[:, 1:]


def _gather(tokens, places, device) -> torch.Tensor:
    """tokens[places] as int64 on the device."""
    if isinstance(tokens, torch.Tensor):
        return tokens[places.to(tokens.device, non_blocking=True)].long()
    return torch.from_numpy(np.asarray(tokens[places.numpy()], dtype=np.int64)).to(device)
