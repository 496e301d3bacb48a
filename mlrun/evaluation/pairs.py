"""Pairs of rows with and without the same class, and how well a distance separates them. NumPy only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Pairs(NamedTuple):
    """first, second: (pairs,) row numbers; same: (pairs,) bool, whether both have the same class."""

    first: np.ndarray
    second: np.ndarray
    same: np.ndarray


def draw_pairs(labels: np.ndarray, partners: int = 1, seed: int = 0) -> Pairs:
    """For each row `partners` pairs with another row of its class and as many with a row of another class, all drawn at random.

    With one partner these are the pairs of Keras's example of a Siamese network. A class of one row has no pairs of the same class.

    Args:
        labels: (rows,) class of each row.
        partners: of each kind and row.
        seed: of the draws.
    """
    labels = np.asarray(labels)
    random = np.random.default_rng(seed)
    order = np.argsort(labels, kind="stable")
    _, starts, inverse, counts = np.unique(labels[order], return_index=True, return_inverse=True, return_counts=True)
    place, of_class = np.empty_like(order), np.empty_like(order)
    place[order] = np.arange(len(order))
    of_class[order] = inverse
    start, count = starts[of_class], counts[of_class]  # of each row's class, in `order`
    rows = np.arange(len(labels))
    firsts, seconds, same = [], [], []
    for _ in range(partners):
        some = rows[count > 1]
        # the other rows of the class begin after the row itself and wrap around
        step = 1 + (random.random(len(some)) * (count[some] - 1)).astype(np.int64)
        firsts.append(some)
        seconds.append(order[start[some] + (place[some] - start[some] + step) % count[some]])
        same.append(np.ones(len(some), dtype=bool))
        some = rows[count < len(rows)]
        step = (random.random(len(some)) * (len(rows) - count[some])).astype(np.int64)
        firsts.append(some)
        seconds.append(order[(start[some] + count[some] + step) % len(rows)])
        same.append(np.zeros(len(some), dtype=bool))
    return Pairs(*(np.concatenate(parts) if parts else np.zeros(0, np.int64) for parts in (firsts, seconds, same)))


def best_threshold(distances: np.ndarray, same: np.ndarray) -> float:
    """The distance below which pairs are taken for the same class so that the most of them are right; NaN without both kinds of pairs.

    It lies in the middle between two neighbouring distances; of several that are equally good, the middle one.
    """
    distances, same = np.asarray(distances, dtype=np.float64), np.asarray(same, dtype=bool)
    if not same.any() or same.all():
        return float("nan")
    order = np.argsort(distances, kind="stable")
    sorted_distances, sorted_same = distances[order], same[order]
    # right[k]: pairs that are right if the k smallest distances count as the same class
    right = np.concatenate([[0], np.cumsum(sorted_same)]) + np.concatenate([np.cumsum(~sorted_same[::-1])[::-1], [0]])
    cut = np.concatenate([[True], np.diff(sorted_distances) > 0, [True]])  # equal distances cannot be separated
    best = np.flatnonzero(cut & (right == right[cut].max()))
    k = best[len(best) // 2]
    padded = np.concatenate([[sorted_distances[0] - 1e-6], sorted_distances, [sorted_distances[-1] + 1e-6]])
    return float((padded[k] + padded[k + 1]) / 2)


def pair_accuracy(distances: np.ndarray, same: np.ndarray, threshold: float) -> float:
    """The share of pairs that are on their side of the threshold."""
    return float(np.mean((np.asarray(distances) < threshold) == same)) if len(same) else float("nan")


def error_rates(distances: np.ndarray, same: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(false acceptance, false rejection) rates if the k smallest distinct distances count as the same class, k = 0, 1, 2, ..."""
    distances, same = np.asarray(distances), np.asarray(same, dtype=bool)
    order = np.argsort(distances, kind="stable")
    distances, same = distances[order], same[order]
    last = np.append(np.flatnonzero(np.diff(distances) > 0), len(distances) - 1)
    accepted_wrong, accepted_right = np.cumsum(~same)[last], np.cumsum(same)[last]
    false_acceptance = np.concatenate([[0.0], accepted_wrong / max(1, (~same).sum())])
    false_rejection = 1 - np.concatenate([[0.0], accepted_right / max(1, same.sum())])
    return false_acceptance, false_rejection


def equal_error_rate(distances: np.ndarray, same: np.ndarray) -> float:
    """The error rate at the threshold where as many different pairs are accepted as same ones are rejected, interpolated linearly; NaN
    without both kinds of pairs."""
    same = np.asarray(same, dtype=bool)
    if not same.any() or same.all():
        return float("nan")
    acceptance, rejection = error_rates(distances, same)
    k = int(np.argmax(acceptance >= rejection))  # rejection starts at 1 and ends at 0, so 1 <= k
    gap_before, gap_after = rejection[k - 1] - acceptance[k - 1], acceptance[k] - rejection[k]
    share = gap_before / (gap_before + gap_after)
    return float(acceptance[k - 1] + share * (acceptance[k] - acceptance[k - 1]))
