"""Metrics of predictions: one function per problem, NumPy arrays in, a dict of plain floats out.

Estimators and networks use the same functions, so their numbers are comparable; the definitions are those of
scikit-learn. The metrics of networks are written here in NumPy, because importing `sklearn.metrics` takes about a second.
A metric that is undefined for the data (ROC AUC with one class present) is NaN, never missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from mlrun.data.predictions.texts import is_one_of

SILHOUETTE_ROWS = 3000  # beyond this the silhouette, which compares all pairs of rows, uses a seeded sample


def classification(
    y_true: np.ndarray,
    y_pred: np.ndarray,
    probabilities: np.ndarray | None = None,
    num_classes: int | None = None,
    positive: int = 1,
) -> dict[str, float]:
    """Accuracy and macro F1; with `probabilities` log loss, and ROC AUC and average precision if there are two classes.

    Macro F1 is the mean over the classes that occur in `y_true` or `y_pred`.

    Args:
        y_true, y_pred: (rows,) class indices 0..num_classes-1.
        probabilities: (rows, num_classes), rows sum to 1.
        num_classes: None: as many as occur.
        positive: the positive one of two classes.
    """
    y_true, y_pred = np.asarray(y_true, dtype=np.int64), np.asarray(y_pred, dtype=np.int64)
    counts = confusion(y_true, y_pred, num_classes or _num_classes(y_true, y_pred, probabilities))
    hits, true, predicted = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    occurs = (true + predicted) > 0
    measured = {
        "accuracy": float(hits.sum() / counts.sum()) if counts.sum() else float("nan"),
        "f1_macro": float(np.mean(2 * hits[occurs] / (true + predicted)[occurs])) if occurs.any() else float("nan"),
    }
    if probabilities is not None:
        probabilities = np.asarray(probabilities)
        measured["log_loss"] = log_loss(y_true, probabilities)
        if probabilities.shape[1] == 2:
            measured["roc_auc"] = roc_auc(y_true, probabilities[:, 1])
            measured["average_precision"] = average_precision(y_true == positive, probabilities[:, positive])
    return measured


def recalls(y_true: np.ndarray, y_pred: np.ndarray, num_classes: int) -> list[float]:
    """The fraction of each class's rows that are predicted as that class; NaN for a class without rows. (rows,) class indices."""
    counts = confusion(y_true, y_pred, num_classes)
    true = counts.sum(axis=1)
    return np.where(true > 0, counts.diagonal() / np.maximum(true, 1), np.nan).tolist()


def regression(y_true: np.ndarray, y_pred: np.ndarray) -> dict[str, float]:
    """Root mean squared error, mean absolute error (in the target's unit) and R^2.

    y_true, y_pred: (rows,) or (rows, outputs).
    """
    y_true = np.asarray(y_true, dtype=np.float64)
    y_true = y_true.reshape(len(y_true), -1)
    y_pred = np.asarray(y_pred, dtype=np.float64).reshape(y_true.shape)
    if not len(y_true):
        return {"rmse": float("nan"), "mae": float("nan"), "r2": float("nan")}
    error = y_true - y_pred
    residual = np.sum(error**2, axis=0)
    total = np.sum((y_true - y_true.mean(axis=0)) ** 2, axis=0)
    # a constant target has no variance to explain: 1 if predicted exactly, else 0, as in scikit-learn
    r2 = np.where(total > 0, 1 - residual / np.where(total > 0, total, 1), np.where(residual == 0, 1.0, 0.0))
    return {
        "rmse": float(np.mean(np.sqrt(np.mean(error**2, axis=0)))),
        "mae": float(np.mean(np.abs(error))),
        "r2": float(np.mean(r2)) if len(y_true) > 1 else float("nan"),
    }


def language_modeling(loss: float, tokens_per_character: float) -> dict[str, float]:
    """Perplexity exp(loss) and bits per character of the text, from the mean loss per token in nats."""
    with np.errstate(over="ignore"):
        return {
            "loss": loss,
            "perplexity": float(np.exp(loss)),
            "bits_per_character": float(loss / np.log(2) * tokens_per_character),
        }


def clustering(
    x: np.ndarray, labels: np.ndarray, y_true: np.ndarray | None = None, inertia: float | None = None
) -> dict[str, float]:
    """Inertia (as given), silhouette, and the adjusted Rand index if true classes are known.

    x: (rows, features), input of the clusterer; labels: (rows,) cluster indices; y_true: (rows,) class indices.
    """
    from sklearn.metrics import adjusted_rand_score, silhouette_score

    x, labels = np.asarray(x), np.asarray(labels)
    measured = {} if inertia is None else {"inertia": float(inertia)}
    sample = SILHOUETTE_ROWS if len(x) > SILHOUETTE_ROWS else None
    try:
        measured["silhouette"] = float(silhouette_score(x, labels, sample_size=sample, random_state=0))
    except ValueError:  # a single cluster, or each row a separate one
        measured["silhouette"] = float("nan")
    if y_true is not None:
        measured["ari"] = float(adjusted_rand_score(y_true, labels))
    return measured


def decomposition(x: np.ndarray, reconstruction: np.ndarray) -> dict[str, float]:
    """Fraction of these rows' variance that the reconstruction keeps, and its mean squared error.

    On its training rows the fraction of a PCA is the sum of scikit-learn's `explained_variance_ratio_`. x, reconstruction: (rows, features).
    """
    x, reconstruction = np.asarray(x, dtype=np.float64), np.asarray(reconstruction, dtype=np.float64)
    error, variance = float(np.mean((x - reconstruction) ** 2)), float(np.mean((x - x.mean(axis=0)) ** 2))
    return {"explained_variance": 1 - error / variance if variance > 0 else float("nan"), "reconstruction_error": error}


def confusion(y_true: np.ndarray, y_pred: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts (num_classes, num_classes): row = true class, column = predicted class."""
    y_true, y_pred = np.asarray(y_true, dtype=np.int64), np.asarray(y_pred, dtype=np.int64)
    counts = np.bincount(y_true * num_classes + y_pred, minlength=num_classes * num_classes)
    return counts.reshape(num_classes, num_classes)


def log_loss(y_true: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean negative log-likelihood in nats. Probabilities are clipped at the machine epsilon of their dtype."""
    probabilities = np.asarray(probabilities)
    y_true = np.asarray(y_true, dtype=np.int64)
    if not len(y_true):
        return float("nan")
    eps = np.finfo(probabilities.dtype).eps
    likelihood = np.clip(probabilities[np.arange(len(y_true)), y_true], eps, 1 - eps)
    return float(-np.mean(np.log(likelihood.astype(np.float64))))


def roc_auc(y_true: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve: P(score of a positive > score of a negative), ties count half (Mann-Whitney U).

    y_true: (rows,) 0 or 1; score: (rows,), higher means class 1. NaN if only one class is present.
    """
    y_true, score = np.asarray(y_true) == 1, np.asarray(score)
    positives, negatives = int(y_true.sum()), int((~y_true).sum())
    if not positives or not negatives:
        return float("nan")
    _, inverse, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = np.cumsum(count) - (count - 1) / 2  # tied scores share their mean rank
    return float((rank[inverse][y_true].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def threshold_counts(y_true: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True and false positives if the k highest distinct scores are classified as positive, k = 1, 2, ..."""
    y_true, score = np.asarray(y_true) == 1, np.asarray(score)
    order = np.argsort(-score, kind="stable")
    y_true, score = y_true[order], score[order]
    last_of_its_value = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
    true_positives = np.cumsum(y_true)[last_of_its_value]
    return true_positives, 1 + last_of_its_value - true_positives


def average_precision(y_true: np.ndarray, score: np.ndarray) -> float:
    """Precision averaged over recall, as a step function: sum of (R_n - R_{n-1}) P_n. NaN without positives."""
    if not np.any(np.asarray(y_true) == 1):
        return float("nan")
    true_positives, false_positives = threshold_counts(y_true, score)
    precision = true_positives / (true_positives + false_positives)
    recall = true_positives / true_positives[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def found_within(ahead: np.ndarray, tied: np.ndarray, right: np.ndarray | int, rank: int) -> np.ndarray:
    """(searches,) probability that a right candidate is among the first `rank`, if candidates of equal scores are ordered at random. So a model that
    scores all candidates alike does not find everything, but as much as chance.

    Args:
        ahead: (searches,) candidates with a higher score than the best right one.
        tied: (searches,) wrong candidates with its score.
        right: (searches,) right candidates with that score, at least 1.
    """
    missed = np.ones(len(ahead))
    for place in range(rank):  # place of the tied ones that is still within the rank
        share = np.maximum(tied - place, 0) / np.maximum(tied + right - place, 1)
        missed *= np.where(place < rank - ahead, share, 1.0)
    return 1 - missed


def _num_classes(y_true: np.ndarray, y_pred: np.ndarray, probabilities: np.ndarray | None) -> int:
    if probabilities is not None:
        return np.shape(probabilities)[1]
    return int(max(np.max(y_true, initial=0), np.max(y_pred, initial=0))) + 1


def translation(
    generated: Sequence[str], references: Sequence[Sequence[str]], bleu: bool = True, by_word: bool = False
) -> dict[str, float]:
    """Fraction of generated texts (rows,) that equal one of their references (by_word: see `is_one_of`), and BLEU from 0 to 100."""
    same = sum(is_one_of(text, expected, by_word) for text, expected in zip(generated, references))
    metrics = {"exact_match": same / max(1, len(generated))}
    if bleu:
        metrics["bleu"] = corpus_bleu(generated, references)
    return metrics


def corpus_bleu(generated: Sequence[str], references: Sequence[Sequence[str]], lowercase: bool = False) -> float:
    """BLEU of a corpus by sacrebleu: its tokenizer "13a", four-grams, exponential smoothing (Post 2018, arXiv:1804.08771).

    references: one or several for each text; their number may differ.
    """
    from sacrebleu.metrics import BLEU

    longest = max(map(len, references), default=0)
    streams = [[expected[at] if at < len(expected) else None for expected in references] for at in range(longest)]
    return BLEU(lowercase=lowercase).corpus_score(list(generated), streams).score


def clipped_precision(generated: Sequence[str], references: Sequence[Sequence[str]], n: int) -> tuple[int, int]:
    """Clipped n-gram matches and total number of n-grams (Papineni et al. 2002, section 2.1).

    An n-gram matches at most as often as it occurs in any single reference. generated: words; references: lists of words.
    """

    def ngrams(words: Sequence[str]) -> Counter[tuple[str, ...]]:
        return Counter(zip(*(words[at:] for at in range(n))))

    found = ngrams(generated)
    most: Counter[tuple[str, ...]] = Counter()
    for reference in references:
        most |= ngrams(reference)
    return (found & most).total(), found.total()
