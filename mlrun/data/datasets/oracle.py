"""Sequences from a known distribution: a recurrent network with random weights, which gives the exact likelihood of any sequence (Yu et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from mlrun.data.datasets.text_pairs import check_problem, texts_column
from mlrun.data.features import Text
from mlrun.data.row_data import Content, RowData
from mlrun.errors import DataError

ROWS = 1000  # sequences that are drawn or scored at once


class Oracle:
    """An LSTM over `vocabulary` symbols whose weights are standard normal.

    Args:
        vocabulary: number of symbols.
        width: of embedding and state.
        seed: of the weights.
    """

    def __init__(self, vocabulary: int, width: int = 32, seed: int = 0):
        random = np.random.default_rng(seed)
        draw: Callable[..., np.ndarray] = lambda *shape: random.standard_normal(shape, dtype=np.float32)
        self.width, self.vocabulary = width, vocabulary
        self.embedding, self.start = draw(vocabulary, width), draw(width)
        self.into, self.again, self.bias = draw(width, 4 * width), draw(width, 4 * width), draw(4 * width)
        self.out, self.out_bias = draw(width, vocabulary), draw(vocabulary)

    def _step(
        self, x: np.ndarray, state: tuple[np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """(rows, width) input -> log-probabilities (rows, vocabulary) of the next symbol, and the new state."""
        hidden, cell = state
        i, f, o, g = np.split(x @ self.into + hidden @ self.again + self.bias, 4, axis=1)
        cell = _sigmoid(f) * cell + _sigmoid(i) * np.tanh(g)
        hidden = _sigmoid(o) * np.tanh(cell)
        scores = hidden @ self.out + self.out_bias
        scores -= scores.max(1, keepdims=True)
        return scores - np.log(np.exp(scores).sum(1, keepdims=True)), (hidden, cell)

    def _begin(self, rows: int) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        zero = np.zeros((rows, self.width), dtype=np.float32)
        return np.tile(self.start, (rows, 1)), (zero, zero)

    def draw(self, rows: int, length: int, random: np.random.Generator) -> np.ndarray:
        """(rows, length) symbols, int64."""
        parts = []
        for first in range(0, rows, ROWS):
            count = min(ROWS, rows - first)
            x, state = self._begin(count)
            made = np.zeros((count, length), dtype=np.int64)
            for place in range(length):
                shares, state = self._step(x, state)
                # the largest of the scores with Gumbel noise is a sample
                made[:, place] = (shares + random.gumbel(size=shares.shape).astype(np.float32)).argmax(1)
                x = self.embedding[made[:, place]]
            parts.append(made)
        return np.concatenate(parts)

    def nll(self, symbols: np.ndarray) -> np.ndarray:
        """(rows,) negative log-likelihood per symbol of sequences (rows, length)."""
        found = np.zeros(len(symbols))
        for first in range(0, len(symbols), ROWS):
            rows = symbols[first : first + ROWS]
            x, state = self._begin(len(rows))
            for place in range(rows.shape[1]):
                shares, state = self._step(x, state)
                found[first : first + ROWS] -= shares[np.arange(len(rows)), rows[:, place]]
                x = self.embedding[rows[:, place]]
        return found / symbols.shape[1]


class OracleSequences(RowData):
    """Sequences drawn from an `Oracle`, as texts of numbers from 0.

    Args:
        problem, name, seed, options: see `RowData`.
        rows: number of sequences.
        vocabulary: of the oracle.
        length: of a sequence.
        width, oracle_seed: see `Oracle`.
    """

    preprocessor: ClassVar[str] = "mlrun.data.preprocess.symbols.SymbolPreprocessor"

    def __init__(
        self,
        problem: str,
        name: str,
        seed: int,
        rows: int = 10000,
        vocabulary: int = 5000,
        length: int = 20,
        width: int = 32,
        oracle_seed: int = 0,
        **options: Any,
    ):
        super().__init__(problem, name, seed, **options)
        check_problem(problem, name, "oracle_generation")
        if vocabulary < 2 or length < 2:
            raise DataError(f"dataset: vocabulary={vocabulary} and length={length} must be at least 2")
        self.count, self.length, self.oracle_seed = rows, length, oracle_seed
        self.oracle = Oracle(vocabulary, width, oracle_seed)

    def read(self) -> Content:
        symbols = self.oracle.draw(self.count, self.length, np.random.default_rng(self.oracle_seed + 1))
        texts = texts_column([" ".join(map(str, row)) for row in symbols.tolist()])
        return Content({"sequence": texts}, {"sequence": Text()}, "generated", ())

    @property
    def spec(self) -> dict[str, Any]:
        return {"vocab_size": self.oracle.vocabulary + 1, "length": self.length}


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
