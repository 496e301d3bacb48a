"""The interface of all kinds of predictions."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

import numpy as np

P = TypeVar("P", bound="Predictions")


@dataclass
class Predictions(ABC):
    """Base of all kinds. Fields listed in `shared` are the same for all rows; every other field has one entry per row, or is None.

    A new kind needs the fields and `row`; the other methods have row-wise defaults.
    """

    kind: ClassVar[str]
    shared: ClassVar[tuple[str, ...]] = ()

    @property
    def is_nested(self) -> bool:
        """Whether a row holds lists or dicts, which do not fit in table cells."""
        return len(self) > 0 and any(isinstance(value, (list, dict)) for value in self.row(0).values())

    def __len__(self) -> int:
        return next(len(getattr(self, name)) for name in self._by_row() if getattr(self, name) is not None)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self.row(row) for row in range(len(self)))

    @abstractmethod
    def row(self, row: int) -> dict[str, Any]:
        """One prediction as JSON types."""

    def columns(self) -> dict[str, Any]:
        """Name -> (rows,) values of a table column; nested values become JSON text."""
        rows = list(self)
        return {
            name: [
                json.dumps(row[name], ensure_ascii=False) if isinstance(row[name], (dict, list)) else row[name]
                for row in rows
            ]
            for name in (rows[0] if rows else ())
        }

    def answers(self) -> Any:
        """(rows,) response of a service: one value per row, or a dict if a row has several."""
        return [next(iter(row.values())) if len(row) == 1 else row for row in self]

    def mistakes(self, truth: Any) -> np.ndarray:
        """(rows,) float: the error of each prediction, 0 if it is correct. truth: the column of the target."""
        raise NotImplementedError(f"{type(self).__name__} cannot be compared with a ground truth")

    def confidence(self) -> np.ndarray | None:
        """(rows,) confidence of each prediction from 0 to 1; None if the model has none."""
        return None

    def take(self: P, rows: np.ndarray) -> P:
        """A subset of the rows, in this order."""
        return self._with(
            lambda values: [values[int(row)] for row in rows] if isinstance(values, list) else values[rows]
        )

    def concatenate(self: P, others: Sequence[P]) -> P:
        """These rows followed by those of others of the same kind."""
        if not others:
            return self
        parts = [self, *others]
        joined = {
            name: _concatenate([getattr(part, name) for part in parts])
            for name in self._by_row()
            if getattr(self, name) is not None
        }
        return type(self)(**{f.name: joined.get(f.name, getattr(self, f.name)) for f in fields(self)})

    def _by_row(self) -> list[str]:
        return [f.name for f in fields(self) if f.name not in self.shared]

    def _with(self: P, change: Callable[[Any], Any]) -> P:
        changed = {name: change(getattr(self, name)) for name in self._by_row() if getattr(self, name) is not None}
        return type(self)(**{f.name: changed.get(f.name, getattr(self, f.name)) for f in fields(self)})


def _concatenate(parts: list[Any]) -> Any:
    if isinstance(parts[0], list):
        return [value for part in parts for value in part]
    return np.concatenate(parts)
