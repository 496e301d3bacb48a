"""Metrics of the resemblance between samples of a generative model and data: NumPy arrays in, plain floats out.

Points are compared directly, images by the features of a classifier (`mlrun.experiment.reference_classifier`): (rows, features) everywhere.
"""

from __future__ import annotations

import numpy as np

COVERED = 0.1  # smallest fraction of the samples in a covered mode, relative to a uniform distribution over modes
CHUNK = 256  # samples per block of the nearest-neighbour search


def modes(samples: np.ndarray, centers: np.ndarray, deviation: float, within: float = 3.0) -> dict[str, float]:
    """For a mixture of equally likely Gaussians: the number of `modes` covered, and `good`, the fraction of high-quality samples.

    As in Srivastava et al. 2017 (VEEGAN), a sample is of high quality if it is close to a center; but one such sample does not cover a mode.

    Args:
        samples: (rows, features).
        centers: (modes, features).
        deviation: standard deviation of the Gaussians.
        within: number of deviations that counts as close.
    """
    distance = np.sqrt(squared_distances(samples, centers))
    close = distance.min(axis=1) <= within * deviation
    counts = np.bincount(distance.argmin(axis=1)[close], minlength=len(centers))
    return {
        "modes": float((counts >= max(1.0, COVERED * len(samples) / len(centers))).sum()),
        "good": float(close.mean()),
    }


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances (rows of x, rows of y), never negative. x, y: (rows, ...)."""
    x, y = (np.asarray(values, dtype=np.float64).reshape(len(values), -1) for values in (x, y))
    return np.maximum((x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * x @ y.T, 0)


def mmd(x: np.ndarray, y: np.ndarray, permutations: int = 0, seed: int = 0) -> dict[str, float]:
    """Squared maximum mean discrepancy `mmd`, unbiased (Gretton et al. 2012, lemma 6).

    The kernel is the mean of five Gaussians whose widths are 1/4, 1/2, 1, 2 and 4 times the median distance of all rows. NaN for fewer
    than two rows.

    Args:
        x, y: the samples, (rows, ...) each.
        permutations: of a test that both come from one distribution; 0: no test. Its p-value `mmd_p` is the fraction of random splits of
            all rows, including the given one, whose discrepancy is at least as large. Below 0.05 the samples differ at the 5 % level.
        seed: of the permutations.
    """
    n, m = len(x), len(y)
    if n < 2 or m < 2:
        return {"mmd": float("nan")}
    both = np.concatenate([np.asarray(values, dtype=np.float64).reshape(len(values), -1) for values in (x, y)])
    squared = squared_distances(both, both)
    median = np.median(squared[np.triu_indices(n + m, 1)]) or 1.0
    kernel = np.zeros_like(squared)
    for power in (-2, -1, 0, 1, 2):
        kernel += np.exp(-squared / (2 * median * 4.0**power))
    kernel /= 5
    np.fill_diagonal(kernel, 0)
    first = np.zeros((1 + permutations, n + m))  # a row per split: 1 for the rows of the first sample
    first[0, :n] = 1
    random = np.random.default_rng(seed)
    for row in range(1, 1 + permutations):
        first[row, random.permutation(n + m)[:n]] = 1
    within_first = np.einsum("pi,pi->p", first @ kernel, first)
    within_second = np.einsum("pi,pi->p", (1 - first) @ kernel, 1 - first)
    across = np.einsum("pi,pi->p", first @ kernel, 1 - first)
    values = within_first / (n * (n - 1)) + within_second / (m * (m - 1)) - 2 * across / (n * m)
    level = {"mmd_p": float((values >= values[0] - 1e-12).mean())} if permutations else {}
    return {"mmd": float(values[0]), **level}


def neighbourhoods(real: np.ndarray, samples: np.ndarray, neighbours: int = 5) -> dict[str, float]:
    """`precision` and `recall` (Kynkäänniemi et al. 2019), `density` and `coverage` (Naeem et al. 2020).

    The ball of a row reaches to its k-th nearest neighbour in its own set. precision: fraction of samples in a ball of a real row; recall:
    fraction of real rows in a ball of a sample; density: mean number of balls of real rows that contain a sample, divided by k; coverage:
    fraction of balls of real rows that contain a sample. NaN for fewer than two rows.

    Args:
        real, samples: (rows, features) each.
        neighbours: k.
    """
    neighbours = min(neighbours, len(real) - 1, len(samples) - 1)
    if neighbours < 1:
        return dict.fromkeys(("precision", "recall", "density", "coverage"), float("nan"))

    def radii(x: np.ndarray) -> np.ndarray:
        return np.partition(squared_distances(x, x), neighbours, axis=1)[:, neighbours]  # the nearest is the row itself

    across = squared_distances(real, samples)
    inside = across <= radii(real)[:, None]
    return {
        "precision": float(inside.any(axis=0).mean()),
        "recall": float((across <= radii(samples)[None]).any(axis=1).mean()),
        "density": float(inside.sum() / (neighbours * len(samples))),
        "coverage": float(inside.any(axis=1).mean()),
    }


def frechet(x: np.ndarray, y: np.ndarray) -> float:
    """Squared Fréchet distance of Gaussians with the means and covariances of x and y, (rows, features) each (Heusel et al. 2017).

    |m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)). It depends on the number of rows: compare only distances of equally many rows. NaN if
    a value is not finite, or for fewer than two rows.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if min(len(x), len(y)) < 2 or not (np.isfinite(x).all() and np.isfinite(y).all()):
        return float("nan")
    covariances = [np.atleast_2d(np.cov(values, rowvar=False)) for values in (x, y)]
    values, vectors = np.linalg.eigh(covariances[0])
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    product = np.linalg.eigvalsh(root @ covariances[1] @ root)  # similar to C_x C_y, and symmetric
    return float(
        ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(sum(covariances)) - 2 * np.sqrt(np.maximum(product, 0)).sum()
    )


def diversity(samples: np.ndarray, classes: np.ndarray, real: np.ndarray, real_classes: np.ndarray) -> float:
    """Mean distance of two samples of a class, divided by that of two real rows of the class, averaged over classes. 0: one image per class.

    Args:
        samples, real: (rows, features) each.
        classes, real_classes: (rows,) each.
    """
    ratios = []
    for label in np.unique(real_classes):
        mine, theirs = (mean_distance(x[np.asarray(y) == label]) for x, y in ((samples, classes), (real, real_classes)))
        if np.isfinite(mine) and theirs > 0:
            ratios.append(mine / theirs)
    return float(np.mean(ratios)) if ratios else float("nan")


def mean_distance(x: np.ndarray) -> float:
    """Mean distance of two distinct rows of x, (rows, features); NaN for fewer than two."""
    if len(x) < 2:
        return float("nan")
    difference = np.sqrt(squared_distances(x, x))
    np.fill_diagonal(difference, 0)  # removes rounding errors
    return float(difference.sum() / (len(x) * (len(x) - 1)))


def nearest(samples: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance and row of each sample's nearest training row, (samples,) each. samples, train: (rows, features)."""
    distances, rows = [], []
    for start in range(0, len(samples), CHUNK):
        squared = squared_distances(samples[start : start + CHUNK], train)
        rows.append(squared.argmin(axis=1))
        distances.append(np.sqrt(squared.min(axis=1)))
    return np.concatenate(distances), np.concatenate(rows)


def memorization(samples: np.ndarray, train: np.ndarray, fresh: np.ndarray) -> float:
    """Median distance of samples to their nearest training row, divided by that of fresh real rows: about 1 for fresh data, about 0 for
    copies. All are (rows, features)."""
    return float(np.median(nearest(samples, train)[0]) / max(np.median(nearest(fresh, train)[0]), 1e-12))


def pca_error(train: np.ndarray, test: np.ndarray, components: int) -> float:
    """Mean squared error per value of `test` (rows, ...) reconstructed from principal components of `train` (rows, ...)."""
    train, test = (np.asarray(values, dtype=np.float64).reshape(len(values), -1) for values in (train, test))
    mean = train.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov(train, rowvar=False))
    largest = vectors[:, ::-1][:, :components]
    restored = (test - mean) @ largest @ largest.T + mean
    return float(((test - restored) ** 2).mean())
