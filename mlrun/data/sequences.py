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
    """

    def __init__(self, rows: Sequence[np.ndarray], pad: int = 0, mask: str | None = None):
        self.rows, self.pad, self.mask = list(rows), pad, mask

    def __len__(self) -> int:
        return len(self.rows)

    def padded(self) -> np.ndarray:
        """(rows, longest) int64; at least one column."""
        result = np.full((len(self.rows), max([1, *map(len, self.rows)])), self.pad, dtype=np.int64)
        for row, ids in enumerate(self.rows):
            result[row, : len(ids)] = ids
        return result

    def lengths(self) -> np.ndarray:
        """(rows,) int64."""
        return np.array([len(ids) for ids in self.rows], dtype=np.int64)
