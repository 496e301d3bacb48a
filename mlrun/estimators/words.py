"""Vectors of words without learning from their order: one-hot vectors, and latent semantic analysis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from mlrun.data.preprocess.words import WordPreprocessor
from mlrun.data.word_vectors import WordVectors

QUERIES: Mapping[str, str] = {
    "neighbours": "mlrun.predictions.words.Neighbours",
    "analogy": "mlrun.predictions.words.Analogy",
    "vectors": "mlrun.predictions.words.Vectors",
}


class OneHot(TransformerMixin, BaseEstimator):
    """A dimension for each word: all words are equally unlike one another. A text is the mean of its words' vectors."""

    queries: ClassVar[Mapping[str, str]] = QUERIES

    def fit(self, counts: Any, y: Any = None) -> OneHot:
        """counts: sparse (texts, vocabulary)."""
        self.size_ = counts.shape[1]
        return self

    def transform(self, counts: Any) -> np.ndarray:
        """(texts, vocabulary) -> (texts, words)."""
        return _mean(counts, lambda shares: shares.toarray())[:, WordPreprocessor.offset :]

    def word_vectors(self, preprocessor: WordPreprocessor) -> WordVectors:
        """The identity matrix."""
        return WordVectors(preprocessor.words, np.eye(len(preprocessor.words), dtype=np.float32))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "size_")


class TfidfSVD(TransformerMixin, BaseEstimator):
    """Latent semantic analysis: the right singular vectors of the TF-IDF matrix of texts and words, scaled by the singular values.

    Deerwester et al. 1990, "Indexing by latent semantic analysis". A text is the mean of its words' vectors.

    Args:
        n_components: of the vectors; fewer where there are fewer texts or words.
        seed: of the randomized decomposition.
    """

    queries: ClassVar[Mapping[str, str]] = QUERIES

    def __init__(self, seed: int, n_components: int = 100):
        self.seed, self.n_components = seed, n_components

    def fit(self, counts: Any, y: Any = None) -> TfidfSVD:
        """counts: sparse (texts, vocabulary)."""
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfTransformer

        if counts.shape[0] < 3:
            raise ValueError(
                f"{counts.shape[0]} texts are too few for a matrix of texts and words; choose a dataset of many texts"
            )
        weighted = TfidfTransformer(sublinear_tf=True).fit_transform(counts)
        count = min(self.n_components, min(weighted.shape) - 1)
        svd = TruncatedSVD(count, random_state=self.seed).fit(weighted)
        self.components_ = svd.components_
        self.vectors_ = (svd.components_.T * svd.singular_values_).astype(np.float32)
        return self

    def transform(self, counts: Any) -> np.ndarray:
        """(texts, vocabulary) -> (texts, n_components)."""
        return _mean(counts, lambda shares: np.asarray(shares @ self.vectors_))

    def word_vectors(self, preprocessor: WordPreprocessor) -> WordVectors:
        """The scaled singular vectors."""
        return WordVectors(preprocessor.words, self.vectors_[preprocessor.offset :])

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "vectors_")


def _mean(counts: Any, vectors: Any) -> np.ndarray:
    """The means of the vectors of each text's words; zero for a text without words."""
    total = np.maximum(np.asarray(counts.sum(1)), 1)
    return vectors(counts.multiply(1 / total).tocsr()).astype(np.float32)
