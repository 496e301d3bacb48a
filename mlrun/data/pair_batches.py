"""Batches of sequence pairs of different lengths: no Python per row, little padding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from mlrun.data.batches import Batch, Column, ResidentBatches, gather


class PairBatches(ResidentBatches):
    """Batches of pairs of similar lengths.

    When shuffling, `bucket` batches' worth of shuffled rows are sorted by length and cut into batches, which are then shuffled again.
    Without shuffling all rows are sorted; `rows` of a batch holds their indices.

    Args:
        columns: see `columns_of`.
        sources, targets: (rows,) lengths.
        batch_size, device: see `ResidentBatches`.
        bucket: batches per sorting pool; 1 or None: rows are not sorted when shuffling.
        places: (rows,) indices of the rows in their part of the data, if some rows of the part are left out.
        options: see `Batches`.
    """

    def __init__(
        self,
        columns: Iterable[Column],
        sources: Tensor,
        targets: Tensor,
        batch_size: int,
        bucket: int | None = None,
        device: torch.device | str = "cpu",
        places: Tensor | None = None,
        **options: Any,
    ):
        super().__init__(columns, len(sources), batch_size, device, **options)
        self.bucket, self.places = bucket, places
        self.size = targets * (int(sources.max()) + 1) + sources  # by target first: its steps cost more
        self.order = torch.argsort(self.size, stable=True)

    def _order(self) -> Tensor:
        if not self.shuffle:
            return self.order
        order = super()._order()
        if not self.bucket or self.bucket == 1:
            return order
        whole = len(order) // self.batch_size * self.batch_size  # the rows of a smaller last batch stay unsorted
        pools = [pool[torch.argsort(self.size[pool])] for pool in order[:whole].split(self.bucket * self.batch_size)]
        if not pools:
            return order
        batches = torch.cat(pools).view(-1, self.batch_size)
        batches = batches[torch.randperm(len(batches), generator=self.generator)]
        return torch.cat([batches.flatten(), order[whole:]])

    def _read(self, order: Tensor, bounds: list[tuple[int, int]]) -> Iterator[Batch]:
        moved = order.to(self.device)  # once an epoch
        for start, end in bounds:
            rows = order[start:end]
            batch = gather(self.columns, rows, moved[start:end])
            batch.rows = rows if self.places is None else self.places[rows]
            yield batch
