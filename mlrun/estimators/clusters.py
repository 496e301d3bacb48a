"""Clustering methods of scikit-learn that cannot assign new rows, with a `predict` that can."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.cluster import DBSCAN as SklearnDBSCAN
from sklearn.cluster import AgglomerativeClustering
from sklearn.neighbors import NearestNeighbors

NOISE = -1  # label of a row that belongs to no cluster


class DBSCAN(ClusterMixin, BaseEstimator):
    """Density-based clusters (Ester et al. 1996). A new row joins the cluster of the nearest core row within `eps`, else it is noise.

    Args:
        eps: radius of a neighbourhood.
        min_samples: rows in the neighbourhood of a core row, itself included.
        metric: distance, as in scikit-learn.
    """

    def __init__(self, eps: float = 0.5, min_samples: int = 5, metric: str = "euclidean"):
        self.eps, self.min_samples, self.metric = eps, min_samples, metric

    def fit(self, x: Any, y: Any = None) -> DBSCAN:
        """x: (rows, features)."""
        found = SklearnDBSCAN(eps=self.eps, min_samples=self.min_samples, metric=self.metric).fit(x)
        core = found.core_sample_indices_
        self.labels_, self.core_labels_ = found.labels_, found.labels_[core]
        self.core_ = NearestNeighbors(n_neighbors=1, metric=self.metric).fit(x[core]) if len(core) else None
        return self

    def predict(self, x: Any) -> np.ndarray:
        """(rows,) cluster indices, NOISE for rows far from every core row."""
        if self.core_ is None:
            return np.full(len(x), NOISE)
        distance, nearest = self.core_.kneighbors(x)
        return np.where(distance[:, 0] <= self.eps, self.core_labels_[nearest[:, 0]], NOISE)


class Hierarchical(ClusterMixin, BaseEstimator):
    """Agglomerative clusters (Ward 1963). A new row joins the cluster of the nearest training row.

    Args:
        n_clusters: where the tree is cut.
        linkage: distance between two clusters: ward (the increase of the squared error), average, complete or single.
    """

    def __init__(self, n_clusters: int = 3, linkage: str = "ward"):
        self.n_clusters, self.linkage = n_clusters, linkage

    def fit(self, x: Any, y: Any = None) -> Hierarchical:
        """x: (rows, features)."""
        found = AgglomerativeClustering(n_clusters=self.n_clusters, linkage=self.linkage, compute_distances=True).fit(x)
        self.labels_ = found.labels_
        self.children_, self.distances_ = found.children_, found.distances_  # merges from the first to the last
        self.rows_ = NearestNeighbors(n_neighbors=1).fit(x)
        return self

    def predict(self, x: Any) -> np.ndarray:
        """(rows,) cluster indices."""
        return self.labels_[self.rows_.kneighbors(x, return_distance=False)[:, 0]]

    @property
    def linkage_matrix(self) -> np.ndarray:
        """(rows - 1, 4) as scipy's: the two clusters of each merge, their distance, and the number of rows below it."""
        leaves = len(self.labels_)
        sizes = np.ones(leaves + len(self.children_))
        for merge, pair in enumerate(self.children_):
            sizes[leaves + merge] = sizes[pair].sum()
        return np.column_stack([self.children_, self.distances_, sizes[leaves:]]).astype(float)
