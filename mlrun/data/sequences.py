"""Rows of token ids of different lengths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Sequences:
    """A column of a batch that is padded on the right to the longest row of the batch.

    Args:
        rows: (length,) integer arrays.
        pad: what rows are filled up with.
        mask: name under which a batch also holds where there are tokens (rows, longest), None where nobody asks.
        previous: name under which a batch also holds every token but the last, what a decoder is fed; the column itself then lacks the
            first, and holds at each position the token that is to be predicted there. None: the column is the tokens.
    """

    def __init__(
        self, rows: Sequence[np.ndarray], pad: int = 0, mask: str | None = None, previous: str | None = None
    ):
        self.rows, self.pad, self.mask, self.previous = list(rows), pad, mask, previous

    def __len__(self) -> int:
        return len(self.rows)

    def padded(self) -> np.ndarray:
        """(rows, longest) int64; at least one column."""
        result = np.full((len(self.rows), max([1, *map(len, self.rows)])), self.pad, dtype=np.int64)
        for row, ids in enumerate(self.rows):
            result[row, : len(ids)] = ids
        return result

    def take(self, rows: np.ndarray) -> Sequences:
        """Some of the rows, in this order."""
        return Sequences([self.rows[int(row)] for row in rows], self.pad, self.mask, self.previous)

    def lengths(self) -> np.ndarray:
        """(rows,) int64."""
        return np.array([len(ids) for ids in self.rows], dtype=np.int64)
