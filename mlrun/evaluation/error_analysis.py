"""Error analysis: the most confident mistakes, likely label errors, and slices with a high error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mlrun.data.predictions import LabelPredictions, Predictions, SeveralValuesPredictions, ValuePredictions

QUANTILES = 4  # slices of a column of numbers
CATEGORIES = 12  # most frequent values of a column, each a slice
SLICE_ROWS = 5  # fewer rows are not significant
VALUES = (ValuePredictions, SeveralValuesPredictions)  # never exactly right
OUTLYING = 6.0  # robust deviations beyond which a residual indicates a wrong value


def confident_mistakes(predictions: Predictions, truth: Any) -> np.ndarray:
    """Indices of the wrong rows, the worst first: by confidence if predictions have one, else by the size of the mistake. Values are never
    exactly right, so all rows count."""
    size = predictions.mistakes(truth)
    wrong = np.arange(len(size)) if isinstance(predictions, VALUES) else np.flatnonzero(size > 0)
    confidence = predictions.confidence()
    rank = [-size[wrong]] if confidence is None else [-np.asarray(confidence)[wrong], -size[wrong]]
    return wrong[np.lexsort(rank)]


def likely_mislabelled(predictions: Predictions, truth: Any) -> np.ndarray:
    """Indices of rows whose given label is likely wrong, the likeliest first; empty for unsupported kinds of predictions.

    Confident learning (Northcutt, Jiang and Chuang 2021): a row counts as class j if its probability of j reaches the mean that rows
    labelled j have; it is suspect where the likeliest such class is another than its label and likelier, ordered by the margin between the two.
    The probabilities must come from a model that was not trained on these rows. Of values: residuals beyond OUTLYING robust
    deviations (1.4826 times the median absolute one).
    """
    if isinstance(predictions, ValuePredictions):
        residual = truth - predictions.values
        spread = 1.4826 * np.median(np.abs(residual - np.median(residual))) if len(residual) else 0.0
        far = (
            np.abs(residual - np.median(residual)) > OUTLYING * spread if spread > 0 else np.zeros(len(residual), bool)
        )
        return np.flatnonzero(far)[np.argsort(-np.abs(residual[far]), kind="stable")]
    if not isinstance(predictions, LabelPredictions) or predictions.probabilities is None:
        return np.zeros(0, dtype=np.int64)
    shares, rows = predictions.probabilities, np.arange(len(truth))
    usual = np.array(
        [shares[truth == label, label].mean() if (truth == label).any() else np.inf for label in range(shares.shape[1])]
    )
    counted = np.where(shares >= usual, shares, -np.inf)
    best = counted.argmax(axis=1)
    margin = shares[rows, best] - shares[rows, truth]
    suspect = np.flatnonzero(np.isfinite(counted.max(axis=1)) & (best != truth) & (margin > 0))
    return suspect[np.argsort(-margin[suspect], kind="stable")]


def slices(
    predictions: Predictions, truth: Any, columns: Mapping[str, np.ndarray]
) -> list[tuple[str, str, int, float, float]]:
    """(column, values, rows, error, standard errors above the error of all rows), the worst first.

    Numbers are binned at their quartiles, texts by their most frequent values. error: the mean mistake, or RMSE of values.
    """
    of_values = isinstance(predictions, VALUES)
    size = predictions.mistakes(truth)
    wrong = size**2 if of_values else size
    overall, spread = wrong.mean(), wrong.std()
    found: list[tuple[str, str, int, float, float]] = []
    for name, values in columns.items():
        for description, mask in _masks(values):
            count = int(mask.sum())
            if SLICE_ROWS <= count < len(wrong):
                excess = (wrong[mask].mean() - overall) / (spread / np.sqrt(count)) if spread > 0 else 0.0
                rate = np.sqrt(wrong[mask].mean()) if of_values else wrong[mask].mean()
                found.append((name, description, count, float(rate), float(excess)))
    return sorted(found, key=lambda one: -one[4])


def _masks(values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """(name, mask) of the slices of a column."""
    import pandas as pd

    column = pd.Series(values).infer_objects()
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
