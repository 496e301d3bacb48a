"""Rows of token ids of different lengths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Sequences:
    """A column whose batches are padded on the right to the longest row of the batch.

    Args:
        rows: (length,) integer arrays.
        pad: padding id.
        mask: name of an additional tensor (rows, longest), true where there are tokens; None: no mask.
        previous: name of an additional tensor with every token but the last, the decoder's input; the column itself then lacks the
            first token, and holds at each position the token to predict. None: the column holds all tokens.
    """

    def __init__(self, rows: Sequence[np.ndarray], pad: int = 0, mask: str | None = None, previous: str | None = None):
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
        """A subset of the rows, in this order."""
        return Sequences([self.rows[int(row)] for row in rows], self.pad, self.mask, self.previous)

    def lengths(self) -> np.ndarray:
        """(rows,) int64."""
        return np.array([len(ids) for ids in self.rows], dtype=np.int64)
