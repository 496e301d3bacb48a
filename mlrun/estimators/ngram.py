"""N-gram language models: counts of token sequences, smoothed so that unseen sequences have a probability."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np


class NGram:
    """P(token | the order - 1 tokens before it) from counts.

    Args:
        vocab_size: tokens of the vocabulary.
        order: tokens of the longest sequences that are counted.
        smoothing: "kneser_ney": interpolated, absolute discount (Kneser and Ney 1995; Chen and Goodman 1999, section 2.7);
            "witten_bell": interpolated, the weight of lower orders grows with a context's number of different successors (Witten and Bell
            1991); "add_k": (count + k) / (count of the context + k * vocab_size), no lower orders (Laplace; k below 1: Lidstone), so that all
            tokens are equally probable after a context that never occurred.
        k: of add_k.
        sample_length: tokens of a continuation.
        sample_seed: of the generator, reset for each prompt.

    Raises:
        ValueError: a setting is out of its range.
    """

    def __init__(
        self,
        vocab_size: int,
        order: int = 5,
        smoothing: Literal["kneser_ney", "witten_bell", "add_k"] = "kneser_ney",
        k: float = 0.1,
        sample_length: int = 200,
        sample_seed: int = 0,
    ):
        if not isinstance(order, int) or order < 1:
            raise ValueError(f"order={order}: give a whole number of at least 1")
        if smoothing not in ("kneser_ney", "witten_bell", "add_k"):
            raise ValueError(f"smoothing={smoothing}: choose kneser_ney, witten_bell or add_k")
        if not k > 0:
            raise ValueError(f"k={k} must be positive: otherwise unseen sequences have probability 0")
        self.vocab_size, self.order, self.smoothing, self.k = vocab_size, order, smoothing, k
        self.sample_length, self.sample_seed = sample_length, sample_seed

    # An n-gram of length n is numbered by its place in `keys[n]`, the sorted keys number(first n - 1 tokens) * vocab_size + last token.

    def fit(self, tokens: np.ndarray, y: Any = None) -> NGram:
        """Counts the sequences of one text. tokens: (tokens,) ids, not fewer than the order. Raises ValueError for fewer."""
        tokens = np.asarray(tokens, dtype=np.int64)
        if len(tokens) < self.order:
            raise ValueError(f"{len(tokens)} tokens are fewer than order={self.order}")
        V = self.vocab_size
        # by the length of the sequences; nothing at 0
        self.keys: list[Any] = [None]
        counts: list[Any] = [None]
        firsts: list[Any] = [None]
        numbers: list[Any] = [None]
        number = np.zeros(len(tokens) + 1, dtype=np.int64)  # of the empty sequence that ends before each token
        for n in range(1, self.order + 1):
            keys, first, number, count = np.unique(
                number[:-1] * V + tokens[n - 1 :], return_index=True, return_inverse=True, return_counts=True
            )
            self.keys.append(keys)
            counts.append(count)
            firsts.append(first)
            numbers.append(number)
        # Occurrences in the text for the highest order; below, for Kneser-Ney, the number of different contexts of a sequence.
        self.counts = [None, *counts[1:]]
        if self.smoothing == "kneser_ney":
            for n in range(1, self.order):
                suffix = numbers[n][firsts[n + 1] + 1]
                self.counts[n] = np.bincount(suffix, minlength=len(self.keys[n]))
        self.totals = [None] + [
            np.bincount(self.keys[n] // V, self.counts[n], self._number(n - 1)) for n in range(1, self.order + 1)
        ]
        self.followers = [None] + [
            np.bincount(self.keys[n] // V, self.counts[n] > 0, self._number(n - 1)) for n in range(1, self.order + 1)
        ]
        self.discounts = [None] + [_discount(self.counts[n]) for n in range(1, self.order + 1)]
        return self

    def _number(self, n: int) -> int:
        return 1 if n == 0 else len(self.keys[n])

    @property
    def parameters(self) -> int:
        """Stored counts."""
        return sum(len(keys) for keys in self.keys[1:])

    def log_probabilities(self, tokens: np.ndarray) -> np.ndarray:
        """(tokens - 1,) natural logarithms of P(tokens[t] | previous tokens), t from 1. The first contexts are shorter."""
        tokens, V = np.asarray(tokens, dtype=np.int64), self.vocab_size
        probability = np.full(len(tokens), 1 / V)
        context = np.zeros(len(tokens), dtype=np.int64)  # number of the preceding n - 1 tokens, -1: unseen
        for n in range(1, self.order + 1):
            number = _find(self.keys[n], np.where(context >= 0, context * V + tokens, -1))
            known = context >= 0
            count = np.where(number >= 0, self.counts[n][number], 0)
            probability[known] = self._mix(n, context[known], count[known], probability[known])
            if self.smoothing == "add_k":
                probability[n - 1 :][~known[n - 1 :]] = 1 / V
            context = np.append(-1, number[:-1])
        return np.log(probability[1:])

    def _mix(self, n: int, context: np.ndarray, count: np.ndarray, lower: np.ndarray) -> np.ndarray:
        """P of order n from the count of the sequence, and from P of order n - 1 where the smoothing interpolates."""
        total, followers = self.totals[n][context], self.followers[n][context]
        if self.smoothing == "add_k":
            return (count + self.k) / (total + self.k * self.vocab_size)
        if self.smoothing == "witten_bell":
            kept, share = count, followers / np.maximum(total + followers, 1)
            total = total + followers
        else:
            kept, share = np.maximum(count - self.discounts[n], 0), self.discounts[n] * followers / np.maximum(total, 1)
        return np.where(total > 0, kept / np.maximum(total, 1) + share * lower, lower)

    def distribution(self, context: Sequence[int]) -> np.ndarray:
        """(vocab_size,) probabilities of the token after `context`."""
        V, result = self.vocab_size, np.full(self.vocab_size, 1 / self.vocab_size)
        context = list(context)[-(self.order - 1) :] if self.order > 1 else []
        for n in range(1, len(context) + 2):
            number = self._look_up(context[len(context) - (n - 1) :])
            if number < 0:
                return np.full(V, 1 / V) if self.smoothing == "add_k" else result
            start, end = np.searchsorted(self.keys[n], [number * V, (number + 1) * V])
            count = np.zeros(V)
            count[self.keys[n][start:end] - number * V] = self.counts[n][start:end]
            result = self._mix(n, np.full(V, number), count, result)
        return result

    def _look_up(self, sequence: Sequence[int]) -> int:
        """The number of a sequence, -1 if unseen."""
        number = 0
        for n, token in enumerate(sequence, 1):
            number = int(_find(self.keys[n], np.array([number * self.vocab_size + token]))[0])
            if number < 0:
                return -1
        return number

    def predict(self, prompts: Iterable[Sequence[int]]) -> list[list[int]]:
        """The continuation of each prompt."""
        return [self.continuation(prompt) for prompt in prompts]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "keys")

    def continuation(self, prompt: Sequence[int]) -> list[int]:
        """`sample_length` tokens sampled after the prompt, deterministically. The special ids 0 to 3 are excluded."""
        rng, tokens = np.random.default_rng(self.sample_seed), [int(token) for token in prompt]
        for _ in range(self.sample_length):
            probability = self.distribution(tokens)
            probability[:4] = 0
            tokens.append(int(rng.choice(self.vocab_size, p=probability / probability.sum())))
        return tokens[len(prompt) :]


def _find(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Index of each wanted key in the sorted keys, -1 if absent."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, place, -1)


def _discount(counts: np.ndarray) -> float:
    """D = n1 / (n1 + 2 n2), n1 and n2 the sequences counted once and twice (Ney, Essen and Kneser 1994); 0.5 if there are none."""
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return once / (once + 2 * twice) if once and twice else 0.5
