"""Datasets of rows, and of numeric arrays."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.digest import add_to_digest
from mlrun.data.examples import Examples, is_on_disk
from mlrun.data.features import BOOLEAN, Feature, Label, Labels, Value, Values
from mlrun.data.module import DataModule
from mlrun.data.splits import (
    PARTS,
    TRAIN_DEV,
    SmallClass,
    part_sizes,
    renormalized,
    split_classes,
    split_groups,
    split_rows,
)
from mlrun.errors import DataError

if TYPE_CHECKING:
    import torch

    from mlrun.data.batches import Batches
    from mlrun.data.preprocess.preprocessor import Preprocessor

LISTED_CLASSES = 6  # most classes whose shares the summary lists one by one


@dataclass
class Content:
    """Rows of a file, a bundled set or a generator.

    Args:
        columns, features: name -> column and its feature, inputs first.
        source: origin of the data.
        targets: names of the features that are predicted.
        test_rows: first row of the predefined test part, which is at the end; None if there is none.
        sources: (first row, end, parts) of each source, if sources supply different parts, else None.
        names: of the rows (files); None if rows only have numbers.
    """

    columns: dict[str, Any]
    features: dict[str, Feature]
    source: str
    targets: tuple[str, ...] = ("label",)
    test_rows: int | None = None
    sources: list[tuple[int, int, tuple[str, ...]]] | None = None
    names: list[str] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


class RowData(DataModule):
    """Datasets of rows that fit in memory (or on a memory-mapped disk). A subclass reads them: `read() -> Content`.

    Args:
        problem, name, seed, split, batch_size, num_workers: see `DataModule`.
        resident_limit: largest part in bytes that is held on the device; a larger one goes through a DataLoader
            with `num_workers` processes and pinned memory.
    """

    splits_by_class = True  # stratify by a class target, unless `split.stratify` is false
    unseen_classes = False  # True: the parts have no class in common, and the sizes of `split` are numbers of classes

    def __init__(
        self,
        problem: str,
        name: str,
        seed: int,
        split: Mapping[str, Any] | None = None,
        batch_size: int = 64,
        num_workers: int = 0,
        resident_limit: int = 2**30,
    ):
        super().__init__(problem, name, seed, split, batch_size, num_workers)
        self.resident_limit = resident_limit
        self._content: Content | None = None
        self._rows: dict[str, np.ndarray] | None = None

    def read(self) -> Content:
        """Loads the data. Raises DataError."""
        raise NotImplementedError

    def prepare(self) -> None:
        if self._rows is None:
            self._content = self.read()
            self._rows = self._split()

    @property
    def content(self) -> Content:
        """All rows."""
        self.prepare()
        return self._content

    @property
    def features(self) -> dict[str, Feature]:
        return self.content.features

    @property
    def targets(self) -> tuple[str, ...]:
        return self.content.targets

    def rows(self, part: str) -> np.ndarray:
        """Original row numbers of a part, (rows,) int64."""
        self.prepare()
        if part not in (*PARTS, TRAIN_DEV):
            raise ValueError(f"no part {part!r}: choose one of {', '.join((*PARTS, TRAIN_DEV))}")
        return self._rows.get(part, np.zeros(0, dtype=np.int64))

    def examples(self, part: str) -> Examples:
        return Examples(self.content.columns, self.content.features, self.rows(part))

    @property
    def summary(self) -> list[tuple[str, str]]:
        """The shares of the classes, or the range of the values, among the rows of all parts."""
        target = self.target
        if not isinstance(target, (Label, Labels, Value, Values)):
            return []
        values = np.asarray(self.content.columns[self.targets[0]])[
            np.concatenate([self.rows(part) for part in self.sizes])
        ]
        if isinstance(target, Labels):
            return [("target", f"{name}: {share:.1%}") for name, share in zip(target.classes, values.mean(axis=0))]
        if isinstance(target, (Value, Values)):
            names, columns = ([target.column], values[None]) if isinstance(target, Value) else (target.names, values.T)
            return [("target", f"{name}: {_range(column)}") for name, column in zip(names[:LISTED_CLASSES], columns)]
        shares = np.bincount(values, minlength=len(target.classes)) / max(1, len(values))
        if len(shares) > LISTED_CLASSES:
            text = f"{len(shares)} classes, each {shares.min():.1%} to {shares.max():.1%} of the rows"
        else:
            text = ", ".join(f"{in_list(name)} {share:.1%}" for name, share in zip(target.names, shares))
        if len(shares) == 2:
            text += f" (positive: {in_list(target.names[self.positive])})"
        return [("target", f"{target.column}: {text}")]

    def copies(self, column: str, what: str) -> list[tuple[str, str]]:
        """A line of `summary` if rows of val and test have the same text in a column as a row of train. what: such texts, in words."""
        texts = self.content.columns[column]
        known = {texts[row] for row in self.rows("train")}
        found = []
        for part in ("val", "test"):
            rows = self.rows(part)
            if count := sum(texts[row] in known for row in rows):
                found.append(f"{count:,} of the {len(rows):,} {part} {what}")
        return [("duplicates", f"{' and '.join(found)} are also in train")] if found else []

    @property
    def positive(self) -> int | None:
        target = self.target
        if not isinstance(target, Label) or len(target.classes) != 2:
            return None
        rows = np.concatenate([self.rows(part) for part in self.sizes])
        return target.positive(np.asarray(self.content.columns[self.targets[0]])[rows])

    @property
    def classes(self) -> np.ndarray | None:
        """(all rows,) classes by which the split is stratified; None for a random split, or one of whole classes."""
        by_class = self.splits_by_class and not self.unseen_classes and self.split.get("stratify", True)
        target = self._content.targets[0] if self._content.targets else None
        return (
            self._content.columns[target]
            if by_class and isinstance(self._content.features.get(target), Label)
            else None
        )

    @property
    def groups(self) -> np.ndarray | None:
        """(all rows,) integers: rows of a group are in the same part, such as questions about one text; None: every row for itself."""
        return None

    @property
    def pool(self) -> np.ndarray:
        """(rows,) int64, ascending: what cross-validation divides into folds, the rows of all parts but a test part that comes with the data."""
        own_test = self.content.test_rows is not None or self.content.sources is not None
        return np.sort(np.concatenate([self.rows(part) for part in self.sizes if part != "test" or not own_test]))

    @property
    def draws_val_from_train(self) -> bool:
        sources = self.content.sources
        return sources is None or any({"train", "val"} <= set(parts) for _, _, parts in sources)

    def with_parts(self, parts: Mapping[str, np.ndarray]) -> RowData:
        view = copy.copy(self)
        view._rows = {part: np.zeros(0, dtype=np.int64) for part in PARTS} | {
            part: np.asarray(rows, dtype=np.int64) for part, rows in parts.items()
        }
        return view

    def extend(self, columns: Mapping[str, np.ndarray]) -> None:
        """Appends rows to the part train, such as generated ones. The other parts and `digest` stay those of the data as they were read.

        Args:
            columns: the new rows, in the columns of `content`.

        Raises:
            DataError: the data are too large to be held in memory.
        """
        content, _ = self.content, self.digest  # cached before the rows change
        if any(map(is_on_disk, content.columns.values())):
            raise DataError(
                f"{self.title}: further training rows are held in memory with the others, which are too large for it; "
                "raise dataset.resident_limit, or make the images smaller (dataset.side)"
            )
        joined = {
            name: np.concatenate([column, columns[name].astype(column.dtype)])
            for name, column in content.columns.items()
        }
        self._content = replace(content, columns=joined)
        rows = np.arange(len(content), len(self._content))
        self._rows = {**self._rows, "train": np.append(self._rows["train"], rows)}

    def column(self, name: str) -> np.ndarray:
        for at, feature in self.content.features.items():
            names = list(getattr(feature, "names", ()))
            values = self.content.columns[at]
            if at not in self.targets and name in names and values.ndim == 2:
                if not hasattr(values, "iloc"):
                    return values[:, names.index(name)]
                if dict(feature.columns(at)).get(name) == BOOLEAN:  # beside blanks, 0.0 and 1.0
                    return values[name].map({0: False, 1: True}).to_numpy(dtype=object)
                return values[name].to_numpy(dtype=object)
        return super().column(name)

    def _split(self) -> dict[str, np.ndarray]:
        count, first_test = len(self._content), self._content.test_rows
        classes, groups = self.classes, self.groups
        seed = self.split.get("seed")
        seed = self.seed if seed is None else seed
        unknown = [key for key in self.split if key not in (*PARTS, TRAIN_DEV, "seed", "stratify")]
        if unknown:
            raise DataError(
                f"dataset.split.{unknown[0]}: the parts are {', '.join(PARTS)} and {TRAIN_DEV}; further keys are seed and stratify"
            )

        if self.unseen_classes:
            return self._split_classes(seed)

        def divided(first: int, end: int, sizes: dict[str, int]) -> dict[str, np.ndarray]:
            if groups is not None:
                own = np.unique(groups[first:end], return_inverse=True)[1]
                return {part: first + rows for part, rows in split_groups(own, sizes, seed).items()}
            own = None if classes is None else classes[first:end]
            return split_rows(np.arange(first, end), sizes, seed, own, self.title)

        total, count = count, count if first_test is None else first_test
        split, trains = self._parted()
        result = {part: np.zeros(0, dtype=np.int64) for part in PARTS}
        try:
            if self._content.sources is not None:
                for first, end, parts in self._content.sources:
                    own = renormalized(split, [part for part in parts if part != TRAIN_DEV or trains[1:]])
                    result.update(divided(first, end, part_sizes(own, end - first, self.title, tuple(own))))
                return result
            sizes = part_sizes(
                split, count, self.title, (*trains, "val", "test") if first_test is None else (*trains, "val")
            )
            if not sum(sizes.values()):
                raise DataError(f"{self.title}: dataset.split leaves no rows")
            result.update(divided(0, count, sizes))
            if first_test is not None:  # the predefined test part, complete and in order unless a size is configured
                result["test"] = np.arange(count, total)
                if self.split.get("test") is not None:
                    sizes = part_sizes(self.split, total - count, self.title, ("test",))
                    result.update(divided(count, total, sizes))
        except SmallClass as error:
            label = self._content.features[self._content.targets[0]]
            raise (error.named(label.classes) if isinstance(label, Label) else error) from None
        return result

    def _split_classes(self, seed: int) -> dict[str, np.ndarray]:
        """Part -> rows, no class in two parts. A predefined test part is not kept, because its classes are those of the training rows."""
        classes = self._content.columns[self._content.targets[0]]
        split, trains = self._parted()
        sources = self._content.sources or [(0, len(self._content), (*trains, "val", "test"))]
        result = {part: np.zeros(0, dtype=np.int64) for part in PARTS}
        for first, end, parts in sources:
            own = [part for part in parts if part != TRAIN_DEV or trains[1:]]
            sized = split if self._content.sources is None else renormalized(split, own)
            title = f"{self.title} (of whose classes each is in one part only, dataset.problem={self.problem})"
            sizes = part_sizes(sized, len(np.unique(classes[first:end])), title, own)
            result.update(split_classes(np.arange(first, end), sizes, seed, classes[first:end]))
        seen = {part: set(classes[rows].tolist()) for part, rows in result.items()}
        for part, others in (("val", ("train",)), ("test", ("train", "val"))):
            for other in others:
                if both := seen[part] & seen[other]:
                    name = self._content.features[self._content.targets[0]].describe(min(both))
                    raise DataError(
                        f"{self.title}: class {name} is in both {other} and {part}; with dataset.problem={self.problem} each class is in one part only"
                    )
        return result

    def _parted(self) -> tuple[dict[str, Any], tuple[str, ...]]:
        """(split, parts taken from training rows): `train_dev` is taken out of the rows of train."""
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
    def sizes(self) -> dict[str, int]:
        self.prepare()
        return {part: len(rows) for part, rows in self._rows.items() if part in PARTS or len(rows)}

    @property
    def source(self) -> str:
        return self.content.source

    @cached_property
    def digest(self) -> str:
        """Hash of the raw values, the same for the same data on every machine."""
        digest = hashlib.blake2b(digest_size=8)
        for column in self.content.columns.values():
            add_to_digest(digest, column)
        return digest.hexdigest()

    def loader(
        self,
        part: str,
        preprocessor: Preprocessor,
        device: torch.device | str = "cpu",
        shuffle: bool = False,
        shard: tuple[int, int] = (0, 1),
    ) -> Batches | None:
        """Batches encoded by `preprocessor`. A generator seeded once with the run's seed determines the order, see `batches.Batches`.

        shard: (rank, ranks).
        """
        from mlrun.data.batches import ResidentBatches, WorkerBatches, columns_of

        examples = self.examples(part)
        if not len(examples):
            return None
        encode: Callable[[Examples], dict[str, Any]] = preprocessor.encode
        options: dict[str, Any] = {"shuffle": shuffle, "seed": self.seed, "shard": shard}
        deferred = preprocessor.deferred(examples, shuffle and part == "train", device)
        if deferred is not None:
            encode, finish, is_random = deferred
            options["augment" if is_random else "finish"] = finish
        if len(examples) * _row_bytes(encode(examples.take(slice(0, 1)))) > self.resident_limit:
            read = partial(_read, encode, examples)
            return WorkerBatches(read, len(examples), self.batch_size, device, self.num_workers, **options)
        encoded = encode(examples)
        if shuffle:
            options["lengths"] = sequence_lengths(encoded)
        return ResidentBatches(columns_of(encoded, device), len(examples), self.batch_size, device, **options)


class ArrayData(RowData):
    """Numeric arrays. normalize: "standardize", "unit", "symmetric" or "none", see `preprocess.scaling.Scaling.fit`."""

    def __init__(self, problem: str, name: str, seed: int, normalize: str | None = "standardize", **options: Any):
        super().__init__(problem, name, seed, **options)
        self.preprocessing["normalize"] = normalize


def _read(encode: Callable[[Examples], dict[str, Any]], examples: Examples, rows: np.ndarray) -> dict[str, Any]:
    return encode(examples.take(rows))


def _row_bytes(encoded: Mapping[str, Any]) -> int:
    """Bytes of one encoded row."""
    return sum(getattr(values, "nbytes", 0) for values in encoded.values())


def sequence_lengths(encoded: Mapping[str, Any]) -> torch.Tensor | None:
    """(rows,) lengths of the first sequence column, by which batches are grouped; None if there is none."""
    import torch

    from mlrun.data.sequences import Sequences

    found = next((values for values in encoded.values() if isinstance(values, Sequences)), None)
    return None if found is None else torch.from_numpy(found.lengths())


def _range(values: np.ndarray) -> str:
    """The distribution of numbers, in words."""
    return f"mean {values.mean():.4g}, standard deviation {values.std():.4g}, from {values.min():.4g} to {values.max():.4g}"


def in_list(name: Any) -> str:
    """The name of a class or column in a list that is separated by commas."""
    return f'"{name}"' if "," in str(name) else str(name)
