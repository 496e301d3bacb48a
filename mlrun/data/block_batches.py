"""Batches of rows that lie in blocks on disk: blocks are read in random order, and rows are shuffled within a buffer of some blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlrun.data.batches import Batch, Batches, Column, columns_of, gather


class BlockOrder:
    """Which rows of a part lie in which block.

    Args:
        rows: (rows,) row numbers of a part in the file, ascending.
        starts: (blocks + 1,) first row of each block of the file.
        buffer: rows that are shuffled together, about.
    """

    def __init__(self, rows: np.ndarray, starts: np.ndarray, buffer: int):
        self.rows, self.buffer = len(rows), buffer
        ends = np.searchsorted(rows, starts)
        self._bounds = [(int(first), int(end)) for first, end in zip(ends, ends[1:]) if end > first]

    @property
    def blocks(self) -> int:
        """Blocks with rows of the part."""
        return len(self._bounds)

    def segments(self, blocks: Sequence[int] | np.ndarray) -> Iterator[np.ndarray]:
        """The rows (their places in the part) of as many consecutive blocks as fill the buffer, for blocks in this order."""
        waiting, count = [], 0
        for block in blocks:
            first, end = self._bounds[int(block)]
            waiting.append(np.arange(first, end, dtype=np.int64))
            count += end - first
            if count >= self.buffer:
                yield np.concatenate(waiting)
                waiting, count = [], 0
        if waiting:
            yield np.concatenate(waiting)


class BlockBatches(Batches):
    """Batches from a buffer of encoded blocks, while a thread reads and encodes the next buffer.

    Args:
        read: places of rows in the part (n,) -> their encoding, see `Preprocessor.encode`.
        order: of the part's rows.
        batch_size, device, options: see `Batches`.
    """

    def __init__(
        self,
        read: Callable[[np.ndarray], Mapping[str, Any]],
        order: BlockOrder,
        batch_size: int,
        device: torch.device | str = "cpu",
        **options: Any,
    ):
        super().__init__(order.rows, batch_size, **options)
        self.read, self.block_order, self.device = read, order, torch.device(device)

    def _order(self) -> list[tuple[np.ndarray, Tensor]]:
        """(rows in the order of the file, their random order) of each buffer of the epoch."""
        blocks = self.block_order.blocks
        chosen = torch.randperm(blocks, generator=self.generator).numpy() if self.shuffle else np.arange(blocks)
        return [(rows, self._shuffled(len(rows))) for rows in self.block_order.segments(chosen)]

    def _shuffled(self, rows: int) -> Tensor:
        order = torch.randperm(rows, generator=self.generator) if self.shuffle else torch.arange(rows)
        return order.to(torch.int32)  # of all rows of an epoch

    def _read(self, order: list[tuple[np.ndarray, Tensor]], bounds: list[tuple[int, int]]) -> Iterator[Batch]:
        ends = np.cumsum([len(rows) for rows, _ in order])
        segment = int(np.searchsorted(ends, bounds[0][0], side="right")) if bounds else 0
        with ThreadPoolExecutor(1, "blocks") as reader:
            coming: Future[list[Column]] | None = reader.submit(self._columns, order[segment][0]) if bounds else None
            columns: list[Column] = []
            loaded = -1
            for start, end in bounds:
                pieces = []
                while start < end:
                    place = int(np.searchsorted(ends, start, side="right"))
                    if place != loaded:
                        columns = []  # before the next ones come
                        columns, loaded = coming.result(), place
                        more = place + 1 < len(order)
                        coming = reader.submit(self._columns, order[place + 1][0]) if more else None
                    first = int(ends[place]) - len(order[place][0])
                    stop = min(end, int(ends[place]))
                    pieces.append(self._gathered(columns, order[place], start - first, stop - first))
                    start = stop
                yield pieces[0] if len(pieces) == 1 else _joined(pieces)

    def _columns(self, rows: np.ndarray) -> list[Column]:
        return columns_of(self.read(rows), self.device)

    def _gathered(self, columns: list[Column], segment: tuple[np.ndarray, Tensor], start: int, stop: int) -> Batch:
        rows, order = segment
        chosen = order[start:stop].long()
        batch = gather(columns, chosen, chosen.to(self.device))
        batch.rows = torch.from_numpy(rows[chosen.numpy()])
        return batch


def _joined(pieces: list[Batch]) -> Batch:
    batch = Batch((name, torch.cat([piece[name] for piece in pieces])) for name in pieces[0])
    batch.rows = torch.cat([piece.rows for piece in pieces])
    return batch
