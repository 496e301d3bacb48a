"""Arrangements of the rows of an epoch: which rows meet in a batch, see `Batches.arrange`."""

from __future__ import annotations

import torch
from torch import Tensor


class ByClass:
    """Rows of the same class come in groups, so that a batch has several rows of each of its classes (Hermans et al. 2017, section 2).

    The rows of each class are divided into groups in the order in which they come; the groups are shuffled. What does not fill a group is
    a smaller one at the end; these are in random order, too, so that classes with few rows meet others in every epoch. Every row occurs once.

    Args:
        labels: (rows,) class of each row.
        size: rows of a group.
    """

    def __init__(self, labels: Tensor, size: int):
        self.labels, self.size = labels, size

    def __call__(self, order: Tensor, generator: torch.Generator) -> Tensor:
        labels = self.labels[order]
        by_class = labels.argsort(stable=True)
        counts = labels.bincount()
        starts = counts.cumsum(0) - counts
        ordered = labels[by_class]
        place = torch.arange(len(order)) - starts[ordered]  # of each row among those of its class
        whole = place < counts[ordered] // self.size * self.size
        groups = by_class[whole].view(-1, self.size)
        groups = groups[torch.randperm(len(groups), generator=generator)]
        rest = by_class[~whole]
        # the smaller groups in the order of their first rows, which is random
        is_first = torch.cat([labels.new_ones(1, dtype=torch.bool), labels[rest].diff() != 0])[: len(rest)]
        rest = rest[rest[is_first][is_first.cumsum(0) - 1].argsort(stable=True)]
        return order[torch.cat([groups.flatten(), rest])]
