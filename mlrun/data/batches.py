"""Feeding a network: batches of (x, y) in an order that can be saved, restored and repeated.

Data that fit lie on the device as whole tensors, and a batch is one gather there: no Python per row, no collating.
Larger data go through a DataLoader whose workers gather whole batches.
"""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader, Dataset


class Batches:
    """Order of an epoch: a permutation drawn on the CPU from one generator, so that every device sees the same order.

    rows: how many there are. shard: (rank, ranks) of a distributed run; shuffling, every rank gets equally many rows.
    `state_dict` tells where in which epoch the reader is; after `load_state_dict` the next iteration goes on there.
    augment(x, y, generator) -> (x, y) changes every batch at random; its generator is seeded anew for each batch from the
    epoch's own, so that a resumed run draws the same.
    When shuffling, a last batch of a single row is joined to the one before it: batch norm cannot train on one row.
    """

    def __init__(self, rows, batch_size, shuffle=False, seed=0, shard=(0, 1), augment=None):
        self.rows, self.shuffle, self.shard, self.augment = rows, shuffle, shard, augment
        self.generator = torch.Generator().manual_seed(seed)
        rank, ranks = shard
        mine = -(-rows // ranks) if shuffle else len(range(rank, rows, ranks))
        starts = list(range(0, mine, batch_size))
        if shuffle and batch_size > 1 and len(starts) > 1 and mine - starts[-1] == 1:
            starts.pop()
        self.bounds = list(zip(starts, starts[1:] + [mine]))
        self._epoch = self.generator.get_state()  # of the epoch under way, before its permutation was drawn
        self._served = 0  # batches handed out in it
        self._resume = 0  # batches to leave out of the next epoch

    def __len__(self):
        return len(self.bounds)

    def __iter__(self):
        self._epoch = self.generator.get_state()
        order = self._order()
        self._served, self._resume = self._resume, 0
        if self.augment is not None:
            rank, ranks = self.shard
            first = int(torch.randint(2**60, (), generator=self.generator))
            generator = torch.Generator()
        for x, y in self._read(order, self.bounds[self._served :]):
            if self.augment is not None:
                x, y = self.augment(x, y, generator.manual_seed(first + self._served * ranks + rank))
            self._served += 1
            yield x, y

    def _order(self):
        rank, ranks = self.shard
        if not self.shuffle:
            return torch.arange(rank, self.rows, ranks)
        order = torch.randperm(self.rows, generator=self.generator)
        if ranks > 1:
            order = torch.cat([order, order[: -self.rows % ranks]])[rank::ranks]
        return order

    def _read(self, order, bounds):
        raise NotImplementedError

    def state_dict(self):
        if self._served == len(self):  # the epoch is over: the next one starts from here
            return {"generator": self.generator.get_state(), "served": 0}
        return {"generator": self._epoch, "served": self._served}

    def load_state_dict(self, state):
        self.generator.set_state(state["generator"].cpu())
        self._epoch, self._served, self._resume = self.generator.get_state(), state["served"], state["served"]


class ResidentBatches(Batches):
    """Batches gathered from tensors that lie on the device. x: (rows, ...), y: (rows,); `normalize` maps a batch of x.

    Without shuffling a batch may be a view of the data: do not change it in place.
    """

    def __init__(
        self, x, y, batch_size, device="cpu", shuffle=False, seed=0, shard=(0, 1), normalize=None, augment=None
    ):
        super().__init__(len(y), batch_size, shuffle, seed, shard, augment)
        self.x, self.y, self.normalize = x.to(device), y.to(device), normalize

    def _read(self, order, bounds):
        whole = not self.shuffle and self.shard[1] == 1
        order = order.to(self.y.device)
        for start, end in bounds:
            if whole:
                x, y = self.x[start:end], self.y[start:end]
            else:
                chosen = order[start:end]
                x, y = self.x.index_select(0, chosen), self.y.index_select(0, chosen)
            yield (x if self.normalize is None else self.normalize(x)), y


class UnpairedBatches(Batches):
    """Batches of x (batch, 2, ...), an image of each of two domains, and y (batch, 2). Shuffling, each domain has an order of its own, so that
    no image keeps its partner; the smaller domain begins again until the larger one has been seen.

    domains: two tensors (rows, ...); classes: two tensors (rows,). normalize: maps a batch of images; flip: mirrors images at random.
    """

    def __init__(
        self, domains, classes, normalize, batch_size, device="cpu", shuffle=False, seed=0, shard=(0, 1), flip=False
    ):
        mirror = self._mirrored if flip else None
        super().__init__(max(map(len, domains)), batch_size, shuffle, seed, shard, mirror)
        self.normalize = normalize
        self.domains, self.classes = [x.to(device) for x in domains], [y.to(device) for y in classes]

    def _order(self):
        """(2, rows): of each domain."""
        rank, ranks = self.shard
        orders = []
        for x in self.domains:
            rounds = -(-(self.rows + ranks) // len(x))
            count = -(-self.rows // ranks) * ranks if self.shuffle else self.rows
            each = [
                torch.randperm(len(x), generator=self.generator) if self.shuffle else torch.arange(len(x))
                for _ in range(rounds)
            ]
            orders.append(torch.cat(each)[:count][rank::ranks])
        return torch.stack(orders)

    def _read(self, order, bounds):
        order = order.to(self.domains[0].device)
        for start, end in bounds:
            chosen = order[:, start:end]
            x = [self.normalize(x.index_select(0, rows)) for x, rows in zip(self.domains, chosen)]
            yield torch.stack(x, 1), torch.stack([y.index_select(0, rows) for y, rows in zip(self.classes, chosen)], 1)

    @staticmethod
    def _mirrored(x, y, generator):
        turned = torch.rand(x.shape[:2], generator=generator).to(x.device) < 0.5
        return torch.where(turned[:, :, None, None, None], x.flip(-1), x), y


class WorkerBatches(Batches):
    """Batches read by a DataLoader, for data larger than the device should hold.

    `read(indices)` returns x of those rows as an array (rows, ...) and runs in the workers; y: (rows,) tensor.
    """

    def __init__(
        self,
        read,
        y,
        batch_size,
        device="cpu",
        shuffle=False,
        seed=0,
        shard=(0, 1),
        normalize=None,
        augment=None,
        num_workers=0,
    ):
        super().__init__(len(y), batch_size, shuffle, seed, shard, augment)
        self.device, self.normalize = torch.device(device), normalize
        self.indices = []
        pinned = self.device.type == "cuda"
        # A generator of its own: a DataLoader otherwise draws from torch's global one, and dropout would depend on it.
        self.source = DataLoader(
            _Rows(read, y),
            batch_size=None,
            sampler=_Listed(self.indices),
            num_workers=num_workers,
            pin_memory=pinned,
            persistent_workers=num_workers > 0,
            generator=torch.Generator().manual_seed(seed),
        )

    def _read(self, order, bounds):
        self.indices[:] = [order[start:end].numpy() for start, end in bounds]
        for x, y in self.source:
            x, y = x.to(self.device, non_blocking=True), y.to(self.device, non_blocking=True)
            yield (x if self.normalize is None else self.normalize(x)), y


class _Rows(Dataset):
    def __init__(self, read, y):
        self.read, self.y = read, y

    def __getitem__(self, indices):
        return torch.from_numpy(self.read(indices)), self.y[torch.from_numpy(indices)]


class _Listed:
    """A sampler over a list that is refilled before each epoch."""

    def __init__(self, indices):
        self.indices = indices

    def __iter__(self):
        return iter(self.indices)

    def __len__(self):
        return len(self.indices)
