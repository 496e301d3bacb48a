"""Batches for language models: windows of a stream of tokens, and the same windows shifted by one token.

A batch holds `input_ids` and `labels` (rows, context) int64, with labels[:, t] = the token after input_ids[:, t].
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from mlrun.data.batches import Batch, Batches

Bounds = list[tuple[int, int]]


class RandomWindows(Batches):
    """`steps` batches per epoch of windows at random positions.

    tokens: (tokens,) as a tensor on the device, or as an array that is read on demand (a memory-mapped file).
    """

    def __init__(
        self,
        tokens: Tensor | np.ndarray,
        context: int,
        batch_size: int,
        steps: int,
        device: torch.device | str = "cpu",
        seed: int = 0,
        shard: tuple[int, int] = (0, 1),
    ):
        super().__init__(steps * batch_size, batch_size, shuffle=True, seed=seed, shard=shard)
        self.tokens, self.context, self.device = tokens, context, device

    def _order(self) -> Tensor:
        return torch.randint(len(self.tokens) - self.context, (self.rows,), generator=self.generator)

    def _read(self, order: Tensor, bounds: Bounds) -> Iterator[Batch]:
        within = torch.arange(self.context + 1)
        for start, end in bounds:
            yield _shifted(_gather(self.tokens, order[start:end, None] + within, self.device))


class ConsecutiveWindows(Batches):
    """The stream divided into `rows` rows that are read in parallel, window by window, so that a recurrent state can be carried along a row.

    A window has at most `context` tokens. When shuffling, each epoch starts at a random offset, which shifts the windows.
    The processes of a distributed run divide the rows among them.
    steps: windows of an epoch, which then begins anywhere in the rows; None for all. A stream too short for that many rows has fewer.
    """

    def __init__(
        self,
        tokens: Tensor | np.ndarray,
        context: int,
        rows: int,
        device: torch.device | str = "cpu",
        shuffle: bool = False,
        seed: int = 0,
        shard: tuple[int, int] = (0, 1),
        steps: int | None = None,
    ):
        rank, ranks = shard
        self.height = max(ranks, min(rows, (len(tokens) - 1) // context))
        slack = min(context, (len(tokens) - 1) // 2) if shuffle else 0
        self.length = (len(tokens) - 1 - slack) // self.height  # predicted tokens of a row
        super().__init__(self.length, context, False, seed, (0, 1))
        if steps is not None and steps < len(self.bounds):
            self.bounds = self.bounds[:steps]
            slack += self.length - steps * context  # otherwise the ends of the rows would never be read
        self.tokens, self.context, self.device, self.slack = tokens, context, device, slack
        mine = torch.arange(self.height * rank // ranks, self.height * (rank + 1) // ranks)
        self.first = mine[:, None] * self.length

    def _order(self) -> int:
        return int(torch.randint(self.slack + 1, (), generator=self.generator)) if self.slack else 0

    def _read(self, order: int, bounds: Bounds) -> Iterator[Batch]:
        for start, end in bounds:
            yield _shifted(_gather(self.tokens, order + self.first + torch.arange(start, end + 1), self.device))


def _shifted(windows: Tensor) -> Batch:
    return Batch(input_ids=windows[:, :-1], labels=windows[:, 1:])


def _gather(tokens: Tensor | np.ndarray, places: Tensor, device: torch.device | str) -> Tensor:
    """tokens[places] as int64 on the device."""
    if isinstance(tokens, torch.Tensor):
        return tokens[places.to(tokens.device, non_blocking=True)].long()
    return torch.from_numpy(np.asarray(tokens[places.numpy()], dtype=np.int64)).to(device)
