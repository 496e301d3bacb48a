"""What every kind of data offers, and what tables and images in memory share."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from mlrun.data.preprocess.transform import Scaling
from mlrun.data.spec import Spec
from mlrun.data.splits import PARTS, TRAIN_DEV, SmallClass, part_sizes, split_rows
from mlrun.errors import DataError

FLOAT_LIMIT = 64 * 2**20  # bytes of float32 up to which a part is kept normalized


class Arrays(NamedTuple):
    """One part of the data for an estimator.

    x: (rows, features) ndarray or DataFrame; y: (rows,) int64 class indices or float64; rows: original row numbers.
    """

    x: Any
    y: np.ndarray
    rows: np.ndarray


class DataModule:
    """Data of one run. `prepare` loads, checks and splits; everything else calls it when needed.

    problem: "classification", "regression", ...; name: as in the configuration, for messages; seed: of split and order;
    split: sizes of "train", "val", "test" as `split.part_sizes` reads them, and optionally `seed` and `stratify`.
    A kind of data overrides what it can offer.
    """

    transform = None  # raw x -> float32 for a network; `transform.state` is plain
    preprocessor = None  # unfitted scikit-learn transformer in front of every estimator, or None
    source = ""  # where the data come from: a path, an address, a library
    digest = ""  # hash of the raw data
    inputs = None  # what a stored model is asked with, as plain containers; see `ArrayData.inputs`
    columns = None  # of a table whose columns differ in type: (name, "number" or "category") each, in order

    def __init__(self, problem, name, seed, split=None, batch_size=64, num_workers=0):
        if not isinstance(batch_size, int) or batch_size < 1:
            raise DataError(f"dataset.batch_size={batch_size}: give a whole number of at least 1")
        self.problem, self.name, self.seed = problem, name, seed
        self.title = name  # what messages call the data; a file's path where there is one
        self.split = dict(split or {"train": 0.6, "val": 0.2, "test": 0.2})
        self.batch_size, self.num_workers = batch_size, num_workers

    def prepare(self):
        """Load, check and split. Idempotent. Raises DataError."""

    @property
    def positions(self):
        """Inputs of a batch through which every weight goes once: its rows, or the tokens of its texts. Tells large steps from small ones."""
        return self.batch_size

    @property
    def spec(self):
        raise NotImplementedError

    @property
    def sizes(self):
        """Part -> number of rows."""
        raise NotImplementedError

    def arrays(self, part):
        """The part as `Arrays` of raw values."""
        raise DataError(f"dataset {self.name} has no table of features: it cannot be used with scikit-learn estimators")

    def example(self, part):
        """Some raw inputs, (rows, ...) or a DataFrame: what the finished model can be asked."""
        return self.arrays(part).x[:5]

    def with_parts(self, parts):
        """The same data with other parts: name -> original row numbers; what is fitted to the training rows is fitted anew."""
        raise DataError(f"dataset {self.name} has no rows that could be divided in another way")

    def column(self, name):
        """A column of a table by its name, (all rows,), also one that was left out of the features."""
        raise DataError(f"dataset {self.name} has no column {name!r}")

    def labelled(self, dataset):
        """The configuration `dataset` of these data, or of data with the same inputs, for a classifier of them; None without classes."""
        return dataset if self.problem == "classification" else None

    def loader(self, part, device="cpu", shuffle=False, shard=(0, 1)):
        """Batches of (x, y) on the device, ready for a network; None when the part is empty."""
        raise DataError(f"dataset {self.name} cannot be used with this kind of network")


@dataclass
class Content:
    """What a file or a bundled set holds.

    x: (rows, features), (rows, channels, height, width) or a DataFrame. y: (rows,) int64 class indices or float64.
    labels: original values of the classes. test_rows: first row of the set's own test part at the end, or None.
    sources: [(first row, end, parts)] where the rows come from several places that each make other parts, or None.
    value_range: largest value of a pixel. names: of the rows (files), None where a row has its number only.
    """

    x: Any
    y: np.ndarray
    source: str
    labels: list = field(default_factory=list)
    class_names: list = field(default_factory=list)
    feature_names: list = field(default_factory=list)
    target: str = "target"
    test_rows: Any = None
    sources: Any = None
    value_range: float = 255
    names: list | None = None


class Chosen:
    """Some rows of an array on the disk, of which only slices are ever in memory."""

    def __init__(self, x, rows):
        self.x, self.rows = x, rows
        self.shape = (len(rows), *x.shape[1:])
        self.ndim, self.size = x.ndim, int(np.prod(self.shape))

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, part):
        return self.x[self.rows[part]]


class ArrayData(DataModule):
    """Data that fit in memory. A subclass reads them: `read() -> Content`.

    normalize: "standardize", "unit" or "none", see `transform.Scaling`.
    resident_limit: bytes of a part up to which it lies on the device as a whole; a larger one goes through a DataLoader
    with `num_workers` processes and pinned memory.
    """

    def __init__(
        self,
        problem,
        name,
        seed,
        split=None,
        batch_size=64,
        num_workers=0,
        normalize="standardize",
        resident_limit=2**30,
    ):
        super().__init__(problem, name, seed, split, batch_size, num_workers)
        self.normalize, self.resident_limit = normalize, resident_limit
        self._content, self._rows = None, None

    def read(self):
        raise NotImplementedError

    def prepare(self):
        if self._rows is None:
            self._content = self.read()
            self._rows = self._split()

    @property
    def content(self):
        self.prepare()
        return self._content

    def rows(self, part):
        """Original row numbers of a part, (rows,) int64."""
        self.prepare()
        if part not in (*PARTS, TRAIN_DEV):
            raise ValueError(f"no part {part!r}: choose one of {', '.join((*PARTS, TRAIN_DEV))}")
        return self._rows.get(part, np.zeros(0, dtype=np.int64))

    @property
    def inputs(self):
        """kind: "table" (columns: (name, kind)), "array" (names, shape, value_range of images) or "text"."""
        x = self.content.x
        if self.columns is not None:
            return {"kind": "table", "columns": [list(column) for column in self.columns], **self.reading}
        if x.ndim == 1:
            return {"kind": "text"}
        return {
            "kind": "array",
            "names": [str(name) for name in self.content.feature_names],
            "shape": list(x.shape[1:]),
            "value_range": self.content.value_range,
        }

    @property
    def reading(self):
        """How files like this one are read: encoding, separator, decimal."""
        return {}

    def with_parts(self, parts):
        view = copy.copy(self)
        view._rows = {part: np.zeros(0, dtype=np.int64) for part in PARTS} | {
            part: np.asarray(rows, dtype=np.int64) for part, rows in parts.items()
        }
        for name in [
            name
            for name in vars(view)
            if name != "digest" and isinstance(getattr(type(view), name, None), cached_property)
        ]:
            del view.__dict__[name]
        return view

    def column(self, name):
        names = self.content.feature_names
        if name not in names or getattr(self.content.x, "ndim", 0) != 2:
            return super().column(name)
        at = list(names).index(name)
        return (
            self.content.x[:, at]
            if isinstance(self.content.x, np.ndarray)
            else self.content.x[name].to_numpy(dtype=object)
        )

    def _split(self):
        y, first_test = self._content.y, self._content.test_rows
        seed = self.split.get("seed")
        seed = self.seed if seed is None else seed
        unknown = [key for key in self.split if key not in (*PARTS, TRAIN_DEV, "seed", "stratify")]
        if unknown:
            raise DataError(
                f"dataset.split.{unknown[0]}: the parts are {', '.join(PARTS)} and {TRAIN_DEV}; further keys are seed and stratify"
            )
        by_class = self.problem == "classification" and self.split.get("stratify", True)
        count = len(y) if first_test is None else first_test
        split, trains = self._parted()
        result = {part: np.zeros(0, dtype=np.int64) for part in PARTS}
        try:
            if self._content.sources is not None:
                for first, end, parts in self._content.sources:
                    own = _renormalized(split, [part for part in parts if part != TRAIN_DEV or trains[1:]])
                    sizes = part_sizes(own, end - first, self.title, tuple(own))
                    result.update(
                        split_rows(np.arange(first, end), sizes, seed, y[first:end] if by_class else None, self.title)
                    )
                return result
            sizes = part_sizes(
                split, count, self.title, (*trains, "val", "test") if first_test is None else (*trains, "val")
            )
            if not sum(sizes.values()):
                raise DataError(f"{self.title}: dataset.split leaves no rows")
            result.update(split_rows(np.arange(count), sizes, seed, y[:count] if by_class else None, self.title))
            if first_test is not None:  # the set's own test files, whole and in their order unless a size is asked for
                result["test"] = np.arange(count, len(y))
                if self.split.get("test") is not None:
                    sizes = part_sizes(self.split, len(y) - count, self.title, ("test",))
                    result.update(split_rows(result["test"], sizes, seed, y[count:] if by_class else None, self.title))
        except SmallClass as error:
            raise error.named(self._content.labels) from None
        return result

    def _parted(self):
        """(split, parts that come from training rows): `train_dev` is taken out of the share of train."""
        share, train = self.split.get(TRAIN_DEV), self.split.get("train")
        if not share:
            return {part: value for part, value in self.split.items() if part != TRAIN_DEV}, ("train",)
        if train is not None and not (
            isinstance(share, (int, float)) and isinstance(train, (int, float)) and 0 < share < train
        ):
            raise DataError(f"dataset.split.{TRAIN_DEV}={share}: it is taken out of train={train}, so it must be less")
        rest = None if train is None else round(train - share, 12)
        return {**self.split, "train": rest}, ("train", TRAIN_DEV)

    @property
    def sizes(self):
        self.prepare()
        return {part: len(rows) for part, rows in self._rows.items() if part in PARTS or len(rows)}

    @property
    def source(self):
        return self.content.source

    @cached_property
    def digest(self):
        """Hash of the raw values, the same for the same data on every machine."""
        digest = hashlib.blake2b(digest_size=8)
        for array in (self.content.x, self.content.y):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    @property
    def facts(self):
        """What a network may ask for by name."""
        shape = self.input_shape
        facts = {
            "input_shape": shape,
            "num_outputs": len(self.content.labels) if self.problem == "classification" else 1,
        }
        if self.problem == "classification":
            facts["num_classes"] = len(self.content.labels)
        return {**facts, "image_shape": shape} if self.content.x.ndim == 4 else facts

    @cached_property
    def spec(self):
        content, facts = self.content, self.facts
        return Spec(
            self.problem,
            facts,
            content.labels,
            content.class_names or [str(label) for label in content.labels],
            content.feature_names,
            content.target,
        )

    @property
    def input_shape(self):
        """Of one row as the network is fed."""
        return list(self.content.x.shape[1:])

    def take(self, rows):
        """Raw x of these rows, images as images."""
        return self.content.x[rows]

    def arrays(self, part):
        rows = self.rows(part)
        x = self.take(rows)
        return Arrays(x.reshape(len(x), int(np.prod(x.shape[1:]))) if x.ndim > 2 else x, self.content.y[rows], rows)

    @cached_property
    def transform(self):
        rows = self.rows("train")
        if not len(rows):
            raise DataError(f"{self.title}: no training rows to take the normalization from (dataset.split.train)")
        x = Chosen(self.content.x, rows) if isinstance(self.content.x, np.memmap) else self.take(rows)
        return self.fit_transform(x, *self._target_moments(rows))

    def fit_transform(self, x, target_mean, target_std):
        return Scaling.fit(x, self.normalize, self.content.value_range, target_mean, target_std)

    def _target_moments(self, rows):
        if self.problem != "regression":
            return 0.0, 1.0
        y = self.content.y[rows]
        return float(y.mean()), float(y.std()) or 1.0

    def _read_batch(self, rows, transform, indices):
        x = self.take(rows[indices])
        return x if transform is None else transform(x)

    def loader(self, part, device="cpu", shuffle=False, shard=(0, 1)):
        """Batches of x (batch, *input_shape) float32 and y (batch,) int64, or float32 standardized for regression.

        The order comes from a generator seeded once with the run's seed: see `loader.Batches`. shard: (rank, ranks).
        """
        import torch

        from mlrun.data.batches import ResidentBatches, WorkerBatches

        rows = self.rows(part)
        if not len(rows):
            return None
        y = self.content.y[rows]
        if self.problem == "regression":
            y = ((y - self.transform.target_mean) / self.transform.target_std).astype(np.float32)
        y = torch.from_numpy(y)
        common = dict(batch_size=self.batch_size, device=device, shuffle=shuffle, seed=self.seed, shard=shard)
        normalize, augment = self.on_batches(part, shuffle, device)
        raw = normalize is not None or augment is not None
        common.update(normalize=normalize, augment=augment)
        size = self.content.x[:1].nbytes if raw else 4 * int(np.prod(self.input_shape))
        if len(rows) * size > self.resident_limit:
            read = partial(self._read_batch, rows, None if raw else self.transform)
            return WorkerBatches(read, y, num_workers=self.num_workers, **common)
        x = self.take(rows)
        return ResidentBatches(torch.from_numpy(x if raw else self.transform(x)), y, **common)

    def on_batches(self, part, shuffle, device):
        """(normalize, augment): what is done to each batch of raw values; (None, None) where the part is kept normalized."""
        x = self.content.x
        large = 4 * len(self.rows(part)) * int(np.prod(self.input_shape)) > FLOAT_LIMIT
        as_bytes = isinstance(x, np.ndarray) and x.dtype == np.uint8 and large
        return (self.transform.on_device(device) if as_bytes else None), None


def _renormalized(split, parts):
    """The sizes of some parts, as shares of what is there if they are fractions; a single part is all of it."""
    given = {part: split.get(part) for part in parts}
    if len(parts) == 1:
        return {parts[0]: None if given[parts[0]] != 0 else 0}
    fractions = [value for value in given.values() if isinstance(value, float) and value <= 1]
    if len(fractions) < len(given) or not sum(fractions):
        return given
    return {part: value / sum(fractions) for part, value in given.items()}
