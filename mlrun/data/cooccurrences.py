"""How often words stand together, counted once, and batches of these counts for GloVe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlrun.data.batches import Batch, Batches
from mlrun.data.preprocess.words import Corpus

Bounds = list[tuple[int, int]]


def cooccurrences(corpus: Corpus, size: int, window: int) -> Any:
    """The sum of 1 / distance over all pairs of words at most `window` apart in the same text, in both directions.

    Pennington et al. 2014, section 4.2.

    Returns:
        A sparse symmetric matrix (size, size), float32.
    """
    from scipy.sparse import csr_matrix

    total = csr_matrix((size, size), dtype=np.float32)
    for distance in range(1, window + 1):
        first, second = corpus.tokens[:-distance], corpus.tokens[distance:]
        same = corpus.texts[:-distance] == corpus.texts[distance:]
        first, second = first[same], second[same]
        found = csr_matrix((np.full(len(first), 1 / distance, np.float32), (first, second)), shape=(size, size))
        total = total + found
    return (total + total.T).tocsr()


class CountBatches(Batches):
    """Entries of a co-occurrence matrix: `rows` and `columns` (batch,) int64, `counts` (batch,) float32.

    Args:
        matrix: see `cooccurrences`.
        batch_size: entries of a batch.
        device, shuffle, seed, shard: see `Batches`.
    """

    def __init__(
        self,
        matrix: Any,
        batch_size: int,
        device: torch.device | str = "cpu",
        shuffle: bool = False,
        seed: int = 0,
        shard: tuple[int, int] = (0, 1),
    ):
        entries = matrix.tocoo()
        super().__init__(entries.nnz, batch_size, shuffle, seed, shard)
        self.columns: list[Tensor] = [
            torch.from_numpy(np.ascontiguousarray(column)).to(device)
            for column in (entries.row.astype(np.int32), entries.col.astype(np.int32), entries.data)
        ]

    def _read(self, order: Tensor, bounds: Bounds) -> Iterator[Batch]:
        moved = order.to(self.columns[0].device)
        for start, end in bounds:
            row, column, count = (values[moved[start:end]] for values in self.columns)
            yield Batch(rows=row.long(), columns=column.long(), counts=count)
