"""Sums as strings, and sequences to be reversed: generated exercises in reading and writing."""

from __future__ import annotations

import numpy as np

from mlrun.data.datasets.pairs import PairContent, Pairs
from mlrun.errors import DataError


class Arithmetic(Pairs):
    """Sums such as "535+61" -> "596", as in Keras's addition_rnn example.

    rows: different sums; digits: of each number at most, their length drawn evenly; a+b and b+a are the same sum and do not both occur.
    """

    def __init__(self, problem, name, seed, rows=50000, digits=3, data_seed=0, **options):
        super().__init__(problem, name, seed, **options)
        if not 1 <= digits <= 18:
            raise DataError(f"dataset.digits={digits}: from 1 to 18")
        self.count, self.digits, self.data_seed = rows, digits, data_seed

    def read(self):
        possible = 10**self.digits * (10**self.digits + 1) // 2
        if self.count > 0.9 * possible:
            raise DataError(
                f"dataset.rows={self.count}: there are only {possible} sums of {self.digits} digits; use fewer"
            )
        rng, found = np.random.default_rng(self.data_seed), {}
        while len(found) < self.count:
            a, b = rng.integers(10 ** rng.integers(1, self.digits + 1, size=(2, self.count)))
            for one, other in zip(a.tolist(), b.tolist()):
                found.setdefault((min(one, other), max(one, other)), (one, other))
                if len(found) == self.count:
                    break
        sums = list(found.values())
        return PairContent([f"{a}+{b}" for a, b in sums], [str(a + b) for a, b in sums], "generated", {})


class Reverse(Pairs):
    """Rows of numbers -> the same from the last to the first; joeynmt's test task (Kreutzer et al. 2019, arXiv:1907.12484).

    rows: sequences for train, val and test together; symbols: different numbers; max_symbols: of a row, its length drawn evenly from 1.
    """

    def __init__(self, problem, name, seed, rows=52000, symbols=50, max_symbols=25, data_seed=0, **options):
        super().__init__(problem, name, seed, **options)
        self.count, self.symbols, self.longest, self.data_seed = rows, symbols, max_symbols, data_seed

    def read(self):
        rng = np.random.default_rng(self.data_seed)
        lengths = rng.integers(1, self.longest + 1, size=self.count)
        drawn = [[str(symbol) for symbol in rng.integers(self.symbols, size=length)] for length in lengths]
        return PairContent([" ".join(row) for row in drawn], [" ".join(row[::-1]) for row in drawn], "generated", {})
