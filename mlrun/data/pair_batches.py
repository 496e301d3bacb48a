"""Feeding pairs of sequences of different lengths: no Python per sample, little padding."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mlrun.data.batches import Batches
from mlrun.data.preprocess.tokenizer import PAD


class Ragged:
    """Sequences of different lengths, one after the other on the device. sequences: a list of (length,) int32 arrays."""

    def __init__(self, sequences: list[np.ndarray], device="cpu"):
        # on the CPU: the longest of a batch is asked for without waiting
        self.lengths = torch.tensor([len(ids) for ids in sequences])
        self.tokens = torch.from_numpy(np.concatenate([np.zeros(0, dtype=np.int32), *sequences])).to(device)
        self.ends = self.lengths.cumsum(0).to(device)
        self.sizes = self.lengths.to(device)

    def __len__(self):
        return len(self.lengths)

    def rows(self, indices: Tensor) -> Tensor:
        """indices: (rows,) on the CPU -> (rows, longest of them) int64, padded on the right."""
        place = torch.arange(int(self.lengths[indices].max()), device=self.tokens.device)
        indices = indices.to(self.tokens.device)
        sizes = self.sizes[indices, None]
        within = place < sizes
        start = self.ends[indices, None] - sizes
        return torch.where(within, self.tokens[torch.where(within, start + place, 0)], PAD).long()


class PairBatches(Batches):
    """Batches (source, target) of similar lengths. source, target: lists of (length,) int32 arrays.

    bucket: when shuffling, so many batches' worth of shuffled rows are sorted by length, then cut into batches; the batches are
    shuffled again. Without shuffling all rows are sorted, and `order` says which is which.
    """

    def __init__(self, source, target, batch_size, bucket=None, device="cpu", shuffle=False, seed=0, shard=(0, 1)):
        super().__init__(len(source), batch_size, shuffle, seed, shard)
        self.source, self.target, self.bucket, self.batch_size = (
            Ragged(source, device),
            Ragged(target, device),
            bucket,
            batch_size,
        )
        size = int(self.source.lengths.max()) + 1
        self.size = self.target.lengths * size + self.source.lengths  # by target first: its steps cost more
        self.order = torch.argsort(self.size, stable=True)

    def _order(self):
        if not self.shuffle:
            rank, ranks = self.shard
            return self.order[rank::ranks]
        order = super()._order()
        if not self.bucket or self.bucket == 1:
            return order
        whole = len(order) // self.batch_size * self.batch_size  # what is left over for the last batch stays unsorted
        pools = [pool[torch.argsort(self.size[pool])] for pool in order[:whole].split(self.bucket * self.batch_size)]
        if not pools:
            return order
        batches = torch.cat(pools).view(-1, self.batch_size)
        batches = batches[torch.randperm(len(batches), generator=self.generator)]
        return torch.cat([batches.flatten(), order[whole:]])

    def _read(self, order, bounds):
        for start, end in bounds:
            chosen = order[start:end]
            yield self.source.rows(chosen), self.target.rows(chosen)
