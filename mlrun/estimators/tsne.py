"""t-SNE with a `transform`: scikit-learn's embeds only the rows that it is fitted to."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.manifold import TSNE as SklearnTSNE
from sklearn.neighbors import NearestNeighbors

NEIGHBOURS = 5


class TSNE(TransformerMixin, BaseEstimator):
    """Two-dimensional embedding that keeps neighbours together (van der Maaten and Hinton 2008).

    A new row is placed at the mean of its NEIGHBOURS nearest training rows, weighted by the inverse distance. That suffices for a
    figure; it does not continue the optimization.

    Args:
        perplexity: effective number of neighbours, smaller than the number of rows.
        random_state: seed.
    """

    def __init__(self, perplexity: float = 30.0, random_state: int | None = None):
        self.perplexity, self.random_state = perplexity, random_state

    def fit(self, x: Any, y: Any = None) -> TSNE:
        """x: (rows, features)."""
        x = np.asarray(x)
        perplexity = min(self.perplexity, max(1.0, (len(x) - 1) / 3))
        init = "pca" if min(x.shape) >= 2 else "random"
        self.embedding_ = SklearnTSNE(perplexity=perplexity, init=init, random_state=self.random_state).fit_transform(x)
        self.rows_ = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(x))).fit(x)
        return self

    def transform(self, x: Any) -> np.ndarray:
        """(rows, 2)."""
        distance, nearest = self.rows_.kneighbors(np.asarray(x))
        weight = 1 / np.maximum(distance, 1e-12)
        weight /= weight.sum(axis=1, keepdims=True)
        return (weight[:, :, None] * self.embedding_[nearest]).sum(axis=1)
