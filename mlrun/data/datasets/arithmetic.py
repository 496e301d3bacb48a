"""Sums as strings, and reversal of sequences: generated sequence-to-sequence exercises."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlrun.data.datasets.pairs import PairContent, Pairs, pair_content
from mlrun.errors import DataError


class Arithmetic(Pairs):
    """Sums such as "535+61" -> "596", as in Keras's addition_rnn example.

    Args:
        problem, name, seed, options: see `Pairs`.
        rows: number of distinct sums; a+b and b+a count as the same sum and do not both occur.
        digits: largest number of digits of a summand; the number of digits is uniform.
        data_seed: seed of the generator.
    """

    def __init__(
        self,
        problem: str,
        name: str,
        seed: int,
        rows: int = 50000,
        digits: int = 3,
        data_seed: int = 0,
        **options: Any,
    ):
        super().__init__(problem, name, seed, **options)
        if not 1 <= digits <= 18:
            raise DataError(f"dataset.digits={digits}: from 1 to 18")
        self.count, self.digits, self.data_seed = rows, digits, data_seed

    def read(self) -> PairContent:
        possible = 10**self.digits * (10**self.digits + 1) // 2
        if self.count > 0.9 * possible:
            raise DataError(
                f"dataset.rows={self.count}: there are only {possible} sums of {self.digits} digits; use fewer"
            )
        rng = np.random.default_rng(self.data_seed)
        found: dict[tuple[int, int], tuple[int, int]] = {}
        while len(found) < self.count:
            a, b = rng.integers(10 ** rng.integers(1, self.digits + 1, size=(2, self.count)))
            for one, other in zip(a.tolist(), b.tolist()):
                found.setdefault((min(one, other), max(one, other)), (one, other))
                if len(found) == self.count:
                    break
        sums = list(found.values())
        return pair_content([f"{a}+{b}" for a, b in sums], [str(a + b) for a, b in sums], "generated")


class Reverse(Pairs):
    """Sequences of numbers -> the reversed sequences; joeynmt's test task (Kreutzer et al. 2019, arXiv:1907.12484).

    Args:
        problem, name, seed, options: see `Pairs`.
        rows: sequences of train, val and test together.
        symbols: number of distinct numbers.
        max_symbols: longest sequence; the length is uniform from 1.
        data_seed: seed of the generator.
    """

    def __init__(
        self,
        problem: str,
        name: str,
        seed: int,
        rows: int = 52000,
        symbols: int = 50,
        max_symbols: int = 25,
        data_seed: int = 0,
        **options: Any,
    ):
        super().__init__(problem, name, seed, **options)
        self.count, self.symbols, self.longest, self.data_seed = rows, symbols, max_symbols, data_seed

    def read(self) -> PairContent:
        rng = np.random.default_rng(self.data_seed)
        lengths = rng.integers(1, self.longest + 1, size=self.count)
        drawn = [[str(symbol) for symbol in rng.integers(self.symbols, size=length)] for length in lengths]
        return pair_content([" ".join(row) for row in drawn], [" ".join(row[::-1]) for row in drawn], "generated")
