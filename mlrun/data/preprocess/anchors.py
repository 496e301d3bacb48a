"""Typical sizes of boxes, found by k-means."""

from __future__ import annotations

import numpy as np

ROUNDS = 100  # most rounds of k-means
FEWEST = 1.0  # pixels: smaller sides are left out


def cluster_sizes(sizes: np.ndarray, count: int) -> np.ndarray:
    """k-means of box sizes with the distance 1 - IoU of boxes around the same center (Redmon and Farhadi 2016, YOLO9000, section 2).

    Starts from quantiles of the area, so that it needs no random numbers.

    Args:
        sizes: (boxes, 2) widths and heights.
        count: number of clusters.

    Returns:
        (at most `count`, 2) mean sizes by area; none for no boxes.
    """
    sizes = np.asarray(sizes, dtype=np.float64)
    sizes = sizes[(sizes >= FEWEST).all(1)]
    if not len(sizes):
        return np.zeros((0, 2))
    order = np.argsort(sizes.prod(1), kind="stable")
    starts = ((np.arange(count) + 0.5) / count * len(sizes)).astype(int)
    means = np.unique(sizes[order[starts]], axis=0)
    nearest = np.full(len(sizes), -1)
    for _ in range(ROUNDS):
        before, nearest = nearest, size_overlap(sizes, means).argmax(1)
        if (before == nearest).all():
            break
        means = np.stack(
            [sizes[nearest == at].mean(0) if (nearest == at).any() else means[at] for at in range(len(means))]
        )
    return means[np.argsort(means.prod(1), kind="stable")]


def size_overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(n, m) intersection over union of boxes of sizes (n, 2) and (m, 2) around the same center."""
    shared = np.minimum(first[:, None], second[None]).prod(2)
    return shared / (first.prod(1)[:, None] + second.prod(1)[None] - shared)
