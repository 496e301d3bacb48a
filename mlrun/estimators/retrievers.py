"""What scores passages against queries: words (BM25), vectors of an encoder, or both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mlrun.data.preprocess.word_pattern import WORD
from mlrun.errors import DataError

Encode = Callable[[list[str]], np.ndarray]  # texts -> (texts, width) vectors
VECTORS = "vectors.npy"
ROWS = 256  # queries that are scored at once


class Retriever(Protocol):
    """Scores of passages."""

    def index(self, passages: Sequence[str]) -> None:
        """Reads all passages; called before `scores`."""

    def scores(self, queries: Sequence[str]) -> np.ndarray:
        """(queries, passages) float32; larger is better, -inf for a passage that is not found."""

    def save(self, directory: Path) -> None:
        """Writes what `index` computed and is costly to compute again."""

    def load(self, directory: Path, passages: Sequence[str]) -> None:
        """Restores the index of the same passages."""


class BM25:
    """Okapi BM25 by the library bm25s, in Lucene's form (Robertson and Zaragoza 2009; Kamphuis et al. 2020).

    Words are lower-case runs of letters and digits, without English stop words, and without their ending "s" where `stem` is true. A passage
    without any word of the query is not found.

    Args:
        k1: how fast repeated words saturate.
        b: how much the length of a passage counts.
        stem: whether singular and plural are the same word.
    """

    def __init__(self, k1: float = 1.5, b: float = 0.75, stem: bool = True):
        self.k1, self.b, self.stem = k1, b, stem

    def words(self, text: str) -> list[str]:
        """The words of a text that count."""
        from bm25s.stopwords import STOPWORDS_EN

        found = [word for word in WORD.findall(text.lower()) if word[0].isalnum() and word not in STOPWORDS_EN]
        return [singular(word) for word in found] if self.stem else found

    def index(self, passages: Sequence[str]) -> None:
        import bm25s

        words = [self.words(text) for text in passages]
        if not any(words):
            raise DataError("the documents hold no words: BM25 reads letters and digits, without English stop words")
        self._model = bm25s.BM25(method="lucene", k1=self.k1, b=self.b)
        self._count = len(passages)
        self._model.index(words, show_progress=False)

    def scores(self, queries: Sequence[str]) -> np.ndarray:
        found = np.full((len(queries), self._count), -np.inf, dtype=np.float32)
        for row, query in enumerate(queries):
            known = [word for word in self.words(query) if word in self._model.vocab_dict]
            if known:
                scores = self._model.get_scores(known)
                found[row] = np.where(
                    scores > 0, scores, -np.inf
                )  # in Lucene's form every word that occurs adds something
        return found

    def save(self, directory: Path) -> None:
        """Nothing: the index is made in seconds."""

    def load(self, directory: Path, passages: Sequence[str]) -> None:
        self.index(passages)


class Dense:
    """The cosine of the vectors of query and passage.

    Args:
        encode: texts -> vectors.
    """

    def __init__(self, encode: Encode):
        self.encode = encode

    def index(self, passages: Sequence[str]) -> None:
        self._vectors = unit(self.encode(list(passages)))

    def scores(self, queries: Sequence[str]) -> np.ndarray:
        return unit(self.encode(list(queries))) @ self._vectors.T

    def save(self, directory: Path) -> None:
        np.save(directory / VECTORS, self._vectors.astype(np.float16))

    def load(self, directory: Path, passages: Sequence[str]) -> None:
        self._vectors = np.load(directory / VECTORS).astype(np.float32)


class Fusion:
    """Reciprocal rank fusion: the sum over the retrievers that find a passage of 1 / (constant + place) (Cormack, Clarke and Büttcher 2009).

    Args:
        retrievers: whose rankings are joined.
        constant: 60 in the paper.
    """

    def __init__(self, retrievers: Sequence[Retriever], constant: float = 60.0):
        self.retrievers, self.constant = list(retrievers), constant

    def index(self, passages: Sequence[str]) -> None:
        for one in self.retrievers:
            one.index(passages)

    def scores(self, queries: Sequence[str]) -> np.ndarray:
        found: Any = 0
        for one in self.retrievers:
            scores = one.scores(queries)
            order = np.argsort(-scores, axis=1, kind="stable")
            places = np.empty_like(order)
            np.put_along_axis(places, order, np.arange(order.shape[1])[None, :], axis=1)
            found = found + np.where(np.isfinite(scores), 1 / (self.constant + 1 + places), 0).astype(np.float32)
        return np.where(found > 0, found, -np.inf)

    def save(self, directory: Path) -> None:
        for one in self.retrievers:
            one.save(directory)

    def load(self, directory: Path, passages: Sequence[str]) -> None:
        for one in self.retrievers:
            one.load(directory, passages)


def singular(word: str) -> str:
    """The word without the ending of an English plural: the "S" stemmer (Harman 1991)."""
    if word.endswith("ies") and len(word) > 4 and not word.endswith(("eies", "aies")):
        return word[:-3] + "y"
    if word.endswith("es") and len(word) > 3 and not word.endswith(("aes", "ees", "oes")):
        return word[:-1]
    if word.endswith("s") and len(word) > 3 and not word.endswith(("us", "ss")):
        return word[:-1]
    return word


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1, float32."""
    vectors = np.asarray(vectors, dtype=np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
