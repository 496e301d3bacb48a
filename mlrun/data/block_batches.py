"""Batches of rows that lie in blocks on disk: blocks are read in random order, and rows are shuffled within a buffer of some blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
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

    def segments(self, blocks: Sequence[int] | np.ndarray) -> Iterator[Segment]:
        """As many consecutive blocks as fill the buffer, for blocks in this order."""
        waiting: list[tuple[int, int]] = []
        for block in blocks:
            waiting.append(self._bounds[int(block)])
            if sum(end - first for first, end in waiting) >= self.buffer:
                yield Segment(waiting)
                waiting = []
        if waiting:
            yield Segment(waiting)


@dataclass
class Segment:
    """Rows that are in memory together.

    Args:
        bounds: (first, end) places in the part, of each block.
        seed: of their order; None: that of the file.
    """

    bounds: list[tuple[int, int]]
    seed: int | None = None

    def __len__(self) -> int:
        return sum(end - first for first, end in self.bounds)

    @property
    def rows(self) -> np.ndarray:
        """(rows,) places in the part, in the order of the file."""
        return np.concatenate([np.arange(first, end) for first, end in self.bounds])

    @property
    def order(self) -> Tensor:
        """(rows,) the order in which they are used: indices of `rows`."""
        if self.seed is None:
            return torch.arange(len(self))
        return torch.randperm(len(self), generator=torch.Generator().manual_seed(self.seed))


@dataclass
class _Loaded:
    """A segment that was read."""

    columns: list[Column]
    rows: Tensor
    order: Tensor


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

    def _order(self) -> list[Segment]:
        """The buffers of the epoch. Their orders are drawn when they are read: those of all rows would take 8 bytes a row."""
        if not self.shuffle:
            return list(self.block_order.segments(range(self.block_order.blocks)))
        blocks = torch.randperm(self.block_order.blocks, generator=self.generator)
        segments = list(self.block_order.segments(blocks.numpy()))
        seeds = torch.randint(2**60, (len(segments),), generator=self.generator)
        for segment, seed in zip(segments, seeds.tolist()):
            segment.seed = seed
        return segments

    def _read(self, order: list[Segment], bounds: list[tuple[int, int]]) -> Iterator[Batch]:
        ends = np.cumsum([len(segment) for segment in order])
        with ThreadPoolExecutor(1, "blocks") as reader:
            coming: Future[_Loaded] | None = None
            loaded: _Loaded | None = None
            place = -1  # of what is loaded
            for start, end in bounds:
                pieces = []
                while start < end:
                    wanted = int(np.searchsorted(ends, start, side="right"))
                    if wanted != place:
                        loaded = None  # before the next one comes
                        coming = coming or reader.submit(self._load, order[wanted])
                        loaded, place = coming.result(), wanted
                        more = wanted + 1 < len(order)
                        coming = reader.submit(self._load, order[wanted + 1]) if more else None
                    first, stop = int(ends[place]) - len(order[place]), min(end, int(ends[place]))
                    pieces.append(self._gathered(loaded, start - first, stop - first))
                    start = stop
                yield pieces[0] if len(pieces) == 1 else _joined(pieces)

    def _load(self, segment: Segment) -> _Loaded:
        # block by block: what encoding takes beside its result is that of a block
        blocks = [self.read(np.arange(first, end)) for first, end in segment.bounds]
        encoded = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
        return _Loaded(columns_of(encoded, self.device), torch.from_numpy(segment.rows), segment.order)

    def _gathered(self, loaded: _Loaded, start: int, stop: int) -> Batch:
        chosen = loaded.order[start:stop]
        batch = gather(loaded.columns, chosen, chosen.to(self.device))
        batch.rows = loaded.rows[chosen]
        return batch


def _joined(pieces: list[Batch]) -> Batch:
    batch = Batch((name, torch.cat([piece[name] for piece in pieces])) for name in pieces[0])
    batch.rows = torch.cat([piece.rows for piece in pieces])
    return batch
