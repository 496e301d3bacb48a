"""Batches of texts of similar length, so that little of them is padding."""

from __future__ import annotations

import numpy as np
import torch

from mlrun.data.batches import Batches
from mlrun.data.preprocess.tokenizer import PAD

POOL = 50  # batches among which texts are sorted by length


class TextBatches(Batches):
    """x (batch, longest) int64, padded on the right, and y (batch,).

    Shuffling, texts are drawn at random, sorted by length within pools of 50 batches, and the batches put in random order.
    ids: a token array for each text. Without shuffling the order of the texts is kept.
    """

    def __init__(self, ids, y, batch_size, device="cpu", shuffle=False, seed=0, shard=(0, 1)):
        super().__init__(len(y), batch_size, shuffle, seed, shard)
        self.lengths = torch.tensor([len(text) for text in ids])
        self.starts = (self.lengths.cumsum(0) - self.lengths).to(device)
        self.tokens = torch.from_numpy(np.concatenate([*ids, np.zeros(1, np.int32)]).astype(np.int64)).to(device)
        self.y, self.device = y.to(device), device

    def _order(self):
        order = super()._order()
        if not self.shuffle:
            return order
        size = self.bounds[0][1]
        by_length = [pool[self.lengths[pool].argsort(stable=True)] for pool in order.split(POOL * size)]
        order = torch.cat(by_length)
        whole = sum(end - start == size for start, end in self.bounds)
        batches = torch.randperm(whole, generator=self.generator)
        return torch.cat([order[: whole * size].view(whole, size)[batches].flatten(), order[whole * size :]])

    def _read(self, order, bounds):
        for start, end in bounds:
            rows = order[start:end]
            lengths = self.lengths[rows]
            within = torch.arange(max(1, int(lengths.max())), device=self.device)
            rows, lengths = rows.to(self.device), lengths.to(self.device)
            inside = within < lengths[:, None]
            places = torch.where(inside, self.starts[rows, None] + within, 0)
            yield torch.where(inside, self.tokens[places], PAD), self.y[rows]
