"""Batches of named tensors for networks, in an order that can be saved, restored and repeated.

Data that fit are held on the device as whole tensors, and a batch is one gather there: no Python per row, no collating.
Larger data go through a DataLoader whose workers gather whole batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mlrun.data.sequences import Sequences
from mlrun.errors import ConfigError, DataError

POOL = 50  # batches among which rows are sorted by length


class Batch(dict):
    """Name -> tensor (rows, ...), or a list of tensors if sizes differ. Text and images use Hugging Face's names.

    rows: (rows,) indices of the batch's rows in its part of the data; None for batches without rows.
    """

    rows: Tensor | None = None


class Column:
    """A column on the device from which batches are gathered; see `columns_of`."""

    def rows(self, rows: Tensor | slice, on_device: Tensor | slice) -> dict[str, Any]:
        """Entries of a batch for these rows: (rows,) on the CPU, or a slice; `on_device` is the same on the device."""
        raise NotImplementedError


class TensorColumn(Column):
    """values: (rows, ...)."""

    def __init__(self, name: str, values: np.ndarray | Tensor, device: torch.device | str):
        self.name, self.values = name, torch.as_tensor(values).to(device)

    def rows(self, rows: Tensor | slice, on_device: Tensor | slice) -> dict[str, Any]:
        if isinstance(on_device, slice):
            return {self.name: self.values[on_device]}
        return {self.name: self.values.index_select(0, on_device)}


class SequenceColumn(Column):
    """Sequences of different lengths, concatenated on the device; a batch is padded to its longest row."""

    def __init__(self, name: str, sequences: Sequences, device: torch.device | str):
        self.name, self.mask, self.pad, self.previous = name, sequences.mask, sequences.pad, sequences.previous
        # on the CPU, so that the length of a batch is known without waiting for the device
        self.lengths = torch.from_numpy(sequences.lengths())
        tokens = np.concatenate([np.zeros(0, dtype=np.int32), *sequences.rows, np.zeros(1, dtype=np.int32)])
        self.tokens = torch.from_numpy(tokens.astype(np.int64)).to(device)
        self.starts = (self.lengths.cumsum(0) - self.lengths).to(device)
        self.sizes = self.lengths.to(device)

    def rows(self, rows: Tensor | slice, on_device: Tensor | slice) -> dict[str, Any]:
        lengths = self.lengths[rows]
        place = torch.arange(max(1, int(lengths.max())) if len(lengths) else 1, device=self.tokens.device)
        inside = place < self.sizes[on_device][:, None]
        first = self.starts[on_device][:, None]
        ids = torch.where(inside, self.tokens[torch.where(inside, first + place, 0)], self.pad)
        found = {self.name: ids} if self.previous is None else {self.previous: ids[:, :-1], self.name: ids[:, 1:]}
        return found if self.mask is None else {**found, self.mask: inside}


class ListColumn(Column):
    """A separate tensor for each row."""

    def __init__(self, name: str, values: list[Any], device: torch.device | str):
        self.name, self.values = name, [torch.as_tensor(value).to(device) for value in values]

    def rows(self, rows: Tensor | slice, on_device: Tensor | slice) -> dict[str, Any]:
        if isinstance(rows, slice):
            return {self.name: self.values[rows]}
        return {self.name: [self.values[row] for row in rows.tolist()]}


def columns_of(encoded: Mapping[str, Any], device: torch.device | str = "cpu") -> list[Column]:
    """The arrays of `Preprocessor.encode` as columns on the device."""
    kinds: dict[type, Callable[..., Column]] = {Sequences: SequenceColumn, list: ListColumn}
    return [kinds.get(type(values), TensorColumn)(name, values, device) for name, values in encoded.items()]


def whole_batch(encoded: Mapping[str, Any], device: torch.device | str = "cpu") -> Batch:
    """All rows as one batch."""
    return gather(columns_of(encoded, device), slice(None))


def gather(columns: Iterable[Column], rows: Tensor | slice, on_device: Tensor | slice | None = None) -> Batch:
    """A batch of these rows, (rows,) on the CPU; `on_device` is the same on the device of the columns."""
    batch = Batch()
    for column in columns:
        batch.update(column.rows(rows, rows if on_device is None else on_device))
    return batch


class Batches:
    """Base of batch loaders. Draws the order of an epoch on the CPU from one generator, so that it is the same on every device.

    `state_dict` holds the position in the epoch; after `load_state_dict` the next iteration resumes there.
    When shuffling, a last batch of a single row is merged into the previous one, because batch norm cannot train on one row.

    The processes of a distributed run draw the same order and divide each batch among them, so that the same updates are made by any
    number of processes.

    Args:
        rows: number of rows.
        batch_size: rows per batch, over all processes.
        shuffle: permute the rows in every epoch.
        seed: of the generator.
        shard: (rank, ranks) of a distributed run.
        augment: (batch, generator) -> batch, a random change; its generator is reseeded for each batch from that of the
            epoch, so that a resumed run draws the same numbers.
        finish: batch -> batch, the rest of the encoding on the device.
        lengths: (rows,) of the rows; when shuffling, rows are then sorted by length within pools of `POOL` batches, and the batches
            are permuted.

    Raises:
        ConfigError: a training batch cannot be divided evenly among the processes.
    """

    def __init__(
        self,
        rows: int,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        shard: tuple[int, int] = (0, 1),
        augment: Callable[[Batch, torch.Generator], Batch] | None = None,
        finish: Callable[[Batch], Batch] | None = None,
        lengths: Tensor | None = None,
    ):
        self.rows, self.shuffle, self.shard, self.augment, self.finish = rows, shuffle, shard, augment, finish
        self.lengths, self.batch_size = lengths, batch_size
        self.arrangement: Callable[[Tensor, torch.Generator], Tensor] | None = None
        self.generator = torch.Generator().manual_seed(seed)
        rank, ranks = shard
        if shuffle and batch_size % ranks:
            raise ConfigError(
                f"a batch of {batch_size} cannot be divided evenly among {ranks} processes (trainer.devices): "
                f"use a dataset.batch_size that is a multiple of {ranks}"
            )
        starts = list(range(0, rows, batch_size))
        fewest = 2 * ranks if shuffle and batch_size > ranks else ranks  # rows of the last batch
        if len(starts) > 1 and rows - starts[-1] < fewest:
            starts.pop()
        self.batches = list(zip(starts, starts[1:] + [rows]))  # in the order of the epoch
        self.bounds = [  # what this process reads of them
            (start + (end - start) * rank // ranks, start + (end - start) * (rank + 1) // ranks)
            for start, end in self.batches
        ]
        self._epoch = self.generator.get_state()  # of the current epoch, before its permutation was drawn
        self._served = 0  # batches yielded in it
        self._resume = 0  # batches to skip in the next epoch

    def __len__(self) -> int:
        return len(self.bounds)

    def arrange(self, arrangement: Callable[[Tensor, torch.Generator], Tensor]) -> Batches:
        """Rearranges every shuffled epoch, for a task that needs certain rows in the same batch. Returns itself.

        arrangement: (rows in random order, the generator of the epoch) -> the same rows in another order.
        """
        self.arrangement = arrangement
        return self

    def __iter__(self) -> Iterator[Batch]:
        self._epoch = self.generator.get_state()
        order = self._order()
        self._served, self._resume = self._resume, 0
        if self.augment is not None:
            rank, ranks = self.shard
            first = int(torch.randint(2**60, (), generator=self.generator))
            generator = torch.Generator()
        for batch in self._read(order, self.bounds[self._served :]):
            if self.augment is not None:
                batch = self.augment(batch, generator.manual_seed(first + self._served * ranks + rank))
            elif self.finish is not None:
                batch = self.finish(batch)
            self._served += 1
            yield batch

    def _order(self) -> Any:
        """(rows,) in the order of the epoch."""
        if not self.shuffle:
            return torch.arange(self.rows)
        order = torch.randperm(self.rows, generator=self.generator)
        if self.arrangement is not None:
            return self.arrangement(order, self.generator)
        return order if self.lengths is None else self._by_length(order, self.lengths)

    def _by_length(self, order: Tensor, lengths: Tensor) -> Tensor:
        size = min(self.batch_size, self.rows)
        pools = [pool[lengths[pool].argsort(stable=True)] for pool in order.split(POOL * size)]
        order = torch.cat(pools)
        whole = sum(end - start == size for start, end in self.batches)
        batches = torch.randperm(whole, generator=self.generator)
        return torch.cat([order[: whole * size].view(whole, size)[batches].flatten(), order[whole * size :]])

    def _read(self, order: Any, bounds: list[tuple[int, int]]) -> Iterator[Batch]:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """The position in the epoch: plain containers and tensors."""
        if self._served == len(self):  # between epochs: the next one starts from here
            return {"generator": self.generator.get_state(), "served": 0}
        return {"generator": self._epoch, "served": self._served}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resumes at the position of a `state_dict`."""
        self.generator.set_state(state["generator"].cpu())
        self._epoch, self._served, self._resume = self.generator.get_state(), state["served"], state["served"]


class ResidentBatches(Batches):
    """Batches gathered from columns on the device. Without shuffling a batch may be a view of the data: do not modify it in place.

    Args:
        columns: see `columns_of`.
        device: of the columns.
        rows, batch_size, options: see `Batches`.
    """

    def __init__(
        self,
        columns: Iterable[Column],
        rows: int,
        batch_size: int,
        device: torch.device | str = "cpu",
        **options: Any,
    ):
        super().__init__(rows, batch_size, **options)
        self.columns, self.device = list(columns), torch.device(device)

    def _read(self, order: Tensor, bounds: list[tuple[int, int]]) -> Iterator[Batch]:
        moved = order.to(self.device)  # once an epoch
        for start, end in bounds:
            rows = slice(start, end)
            batch = gather(self.columns, order[rows], moved[rows]) if self.shuffle else gather(self.columns, rows, rows)
            batch.rows = order[rows]
            yield batch


class WorkerBatches(Batches):
    """Batches read by a DataLoader, for data larger than the device should hold.

    Args:
        read: indices of rows (rows,) -> their encoding, see `Preprocessor.encode`; runs in the workers.
        device: of the batches.
        num_workers: processes; 0 reads in this one.
        rows, batch_size, seed, options: see `Batches`.
    """

    def __init__(
        self,
        read: Callable[[np.ndarray], dict[str, Any]],
        rows: int,
        batch_size: int,
        device: torch.device | str = "cpu",
        num_workers: int = 0,
        seed: int = 0,
        **options: Any,
    ):
        super().__init__(rows, batch_size, seed=seed, **options)
        self.device = torch.device(device)
        self.indices: list[np.ndarray] = []
        # A separate generator: otherwise a DataLoader draws from torch's global one, which would affect dropout.
        self.source = DataLoader(
            _Rows(read),
            batch_size=None,
            sampler=_Listed(self.indices),
            num_workers=num_workers,
            pin_memory=self.device.type == "cuda",
            persistent_workers=num_workers > 0,
            generator=torch.Generator().manual_seed(seed),
        )

    def _read(self, order: Tensor, bounds: list[tuple[int, int]]) -> Iterator[Batch]:
        self.indices[:] = [order[start:end].numpy() for start, end in bounds]
        for (start, end), read in zip(bounds, self.source):
            if isinstance(read, DataError):  # as a worker met it: a DataLoader would add its traceback to the message
                raise read
            batch = Batch((name, _moved(value, self.device)) for name, value in read.items())
            batch.rows = order[start:end]
            yield batch


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, list):
        return [one.to(device, non_blocking=True) for one in value]
    return value.to(device, non_blocking=True)


class _Rows(Dataset):
    def __init__(self, read: Callable[[np.ndarray], dict[str, Any]]):
        self.read = read

    def __getitem__(self, indices: np.ndarray) -> dict[str, Any] | DataError:
        try:
            return dict(whole_batch(self.read(indices)))
        except DataError as error:
            return error


class _Listed:
    """A sampler over a list that is refilled before each epoch."""

    def __init__(self, indices: list[np.ndarray]):
        self.indices = indices

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)
