"""Examples: rows of named raw values, held by column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mlrun.data.features import Feature


class Examples:
    """Rows of named columns. A column is read on access, so rows of an array on disk stay there until then.

    `examples["image"]` is the column of these rows, `examples.take(rows)` some of the rows, `examples[i]` one example as a dict.

    Args:
        columns: name -> all rows: an array, a DataFrame or a list, see `Feature`.
        features: name -> feature of the column.
        index: (rows,) indices of these rows in the columns, None for all.
    """

    def __init__(self, columns: Mapping[str, Any], features: Mapping[str, Feature], index: np.ndarray | None = None):
        self.columns, self.features, self.index = dict(columns), dict(features), index
        sizes = {name: len(column) for name, column in self.columns.items()}
        if index is None and len(set(sizes.values())) > 1:
            raise ValueError(f"columns of different length: {sizes}")
        self._rows = len(index) if index is not None else next(iter(sizes.values()), 0)

    def __len__(self) -> int:
        return self._rows

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def __getitem__(self, key: str | int) -> Any:
        if isinstance(key, str):
            return self.columns[key] if self.index is None else take_rows(self.columns[key], self.index)
        row = key if self.index is None else int(self.index[key])
        return {name: one(column, row) for name, column in self.columns.items()}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[row] for row in range(len(self)))

    def take(self, rows: np.ndarray | slice) -> Examples:
        """A subset of these rows, by their indices among these."""
        if isinstance(rows, slice):
            rows = np.arange(len(self))[rows]
        rows = np.asarray(rows)
        return Examples(self.columns, self.features, rows if self.index is None else self.index[rows])

    def only(self, names: Sequence[str]) -> Examples:
        """The same rows with some of the columns."""
        return Examples({n: self.columns[n] for n in names}, {n: self.features[n] for n in names}, self.index)

    def describe(self, row: int) -> dict[str, Any]:
        """One example as JSON types, in readable form."""
        return {name: self.features[name].describe(value) for name, value in self[row].items()}


class OnDisk:
    """Rows of an array on disk; only slices and conversions are loaded into memory.

    array: a memory map, or another array with `is_on_disk` that reads on access.
    """

    def __init__(self, array: Any, rows: np.ndarray):
        self.array, self.rows = array, rows
        self.dtype, self.shape = array.dtype, (len(rows), *array.shape[1:])
        self.ndim, self.size = array.ndim, int(np.prod(self.shape))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: Any) -> np.ndarray:
        return self.array[self.rows[part]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.array[self.rows], dtype=dtype)


def is_on_disk(column: Any) -> bool:
    """Whether a column is read from disk on access."""
    return getattr(column, "is_on_disk", isinstance(column, np.memmap))


def take_rows(column: Any, rows: np.ndarray) -> Any:
    """Rows of a column; those of a column on disk stay there."""
    if is_on_disk(column):
        return OnDisk(column, rows)
    if hasattr(column, "iloc"):
        return column.iloc[rows]
    return [column[int(row)] for row in rows] if isinstance(column, list) else column[rows]


def one(column: Any, row: int) -> Any:
    """One value of a column."""
    return column.iloc[row] if hasattr(column, "iloc") else column[row]
