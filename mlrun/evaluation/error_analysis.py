"""The error-analysis sheet: which rows are wrong with the most confidence, which labels look wrong, where errors gather."""

from __future__ import annotations

import numpy as np

QUANTILES = 4  # slices of a column of numbers
CATEGORIES = 12  # most frequent values of a column that are slices of their own
SLICE_ROWS = 5  # a smaller slice says nothing
OUTLYING = 6.0  # robust deviations beyond which a residual looks like a wrong value


def confident_mistakes(outcome) -> np.ndarray:
    """Places of the wrong rows, the most confident (or, of values, the largest) first."""
    if outcome.problem == "regression":
        return np.argsort(-np.abs(outcome.y - outcome.predicted), kind="stable")
    wrong = np.flatnonzero(outcome.y != outcome.predicted)
    if outcome.probabilities is None:
        return wrong
    return wrong[np.argsort(-outcome.probabilities[wrong, outcome.predicted[wrong]], kind="stable")]


def likely_mislabelled(outcome) -> np.ndarray:
    """Places of rows whose given label is likely wrong, the likeliest first.

    Confident learning (Northcutt, Jiang and Chuang 2021): a row counts as class j if its probability of j reaches the mean that rows
    labelled j have; it is suspect where the likeliest such class is another than its label, ordered by the margin between the two.
    The probabilities must come from a model that was not trained on these rows. Of values: residuals beyond OUTLYING robust
    deviations (1.4826 times the median absolute one).
    """
    if outcome.problem == "regression":
        residual = outcome.y - outcome.predicted
        spread = 1.4826 * np.median(np.abs(residual - np.median(residual))) if len(residual) else 0.0
        far = (
            np.abs(residual - np.median(residual)) > OUTLYING * spread if spread > 0 else np.zeros(len(residual), bool)
        )
        return np.flatnonzero(far)[np.argsort(-np.abs(residual[far]), kind="stable")]
    if outcome.probabilities is None:
        return np.zeros(0, dtype=np.int64)
    shares, y, rows = outcome.probabilities, outcome.y, np.arange(len(outcome.y))
    usual = np.array(
        [shares[y == label, label].mean() if (y == label).any() else np.inf for label in range(shares.shape[1])]
    )
    counted = np.where(shares >= usual, shares, -np.inf)
    best = counted.argmax(axis=1)
    suspect = np.flatnonzero(np.isfinite(counted.max(axis=1)) & (best != y))
    margin = shares[rows, best] - shares[rows, y]
    return suspect[np.argsort(-margin[suspect], kind="stable")]


def slices(outcome, columns: dict[str, np.ndarray]) -> list[tuple[str, str, int, float, float]]:
    """(column, values, rows, error, standard errors above the error of all rows), the worst first.

    Numbers are cut at their quartiles, texts into their most frequent values. error: rate, or RMSE of values.
    """
    wrong = (
        (outcome.y != outcome.predicted).astype(float)
        if outcome.problem == "classification"
        else (outcome.y - outcome.predicted) ** 2
    )
    overall, spread, found = wrong.mean(), wrong.std(), []
    for name, values in columns.items():
        for said, mask in _masks(values):
            count = int(mask.sum())
            if SLICE_ROWS <= count < len(wrong):
                excess = (wrong[mask].mean() - overall) / (spread / np.sqrt(count)) if spread > 0 else 0.0
                rate = wrong[mask].mean() if outcome.problem == "classification" else np.sqrt(wrong[mask].mean())
                found.append((name, said, count, float(rate), float(excess)))
    return sorted(found, key=lambda one: -one[4])


def _masks(values):
    """(name, mask) of the slices of a column."""
    import pandas as pd

    column = pd.Series(values)
    missing = column.isna().to_numpy()
    if missing.any():
        yield "missing", missing
    if column.dtype.kind in "iuf" and column.nunique() > CATEGORIES:
        edges = np.unique(np.nanquantile(column.to_numpy(float), np.linspace(0, 1, QUANTILES + 1)))
        for low, high in zip(edges, edges[1:]):
            last = high == edges[-1]
            yield (
                f"{low:.4g} to {high:.4g}",
                ((column >= low) & ((column <= high) if last else (column < high))).to_numpy(),
            )
        return
    for value in column.value_counts().index[:CATEGORIES]:
        yield str(value), (column == value).to_numpy()
