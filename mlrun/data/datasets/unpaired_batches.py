"""Batches of unpaired images of two domains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlrun.data.batches import Batch, Batches


class UnpairedBatches(Batches):
    """Batches of `pixel_values_a`, `pixel_values_b`, `labels_a`, `labels_b`, with equally many images of each domain.

    When shuffling, each domain has its own order, so that pairings change; the smaller domain repeats until the epoch of the larger one
    ends.

    Args:
        domains: two arrays (rows, ...).
        labels: two arrays (rows,).
        scale: a function of a batch of raw images on the device.
        batch_size, device: see `ResidentBatches`.
        flip: mirror images at random.
        options: see `Batches`.
    """

    def __init__(
        self,
        domains: Sequence[np.ndarray],
        labels: Sequence[np.ndarray],
        scale: Callable[[Tensor], Tensor],
        batch_size: int,
        device: torch.device | str = "cpu",
        flip: bool = False,
        **options: Any,
    ):
        super().__init__(max(map(len, domains)), batch_size, augment=_mirrored if flip else None, **options)
        self.domains = [torch.as_tensor(x).to(device) for x in domains]
        self.labels = [torch.as_tensor(y).to(device) for y in labels]
        self.scale = scale

    def _order(self) -> Tensor:
        """(2, rows): of each domain."""
        orders = []
        for x in self.domains:
            rounds = -(-(self.rows + 1) // len(x))
            each = [
                torch.randperm(len(x), generator=self.generator) if self.shuffle else torch.arange(len(x))
                for _ in range(rounds)
            ]
            orders.append(torch.cat(each)[: self.rows])
        return torch.stack(orders)

    def _read(self, order: Tensor, bounds: list[tuple[int, int]]) -> Iterator[Batch]:
        order = order.to(self.domains[0].device)
        for start, end in bounds:
            batch = Batch()
            for letter, x, rows in zip("ab", self.domains, order[:, start:end]):
                batch[f"pixel_values_{letter}"] = self.scale(x.index_select(0, rows))
            for letter, y, rows in zip("ab", self.labels, order[:, start:end]):
                batch[f"labels_{letter}"] = y.index_select(0, rows)
            yield batch


def _mirrored(batch: Batch, generator: torch.Generator) -> Batch:
    count = len(batch["pixel_values_a"])
    turned = torch.rand((count, 2), generator=generator) < 0.5
    for name, flipped in zip(("pixel_values_a", "pixel_values_b"), turned.unbind(1)):
        x = batch[name]
        batch[name] = torch.where(flipped.to(x.device)[:, None, None, None], x.flip(-1), x)
    return batch
