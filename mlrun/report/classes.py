"""Figures of classification: confusion matrix, ROC and precision-recall curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.evaluation.metrics import average_precision, roc_auc, threshold_counts
from mlrun.report.numbers import number
from mlrun.report.style import (  # fmt: skip
    BLUE,
    GREY,
    INK,
    ORANGE,
    SEQUENTIAL,
    bare,
    new_axes,
    new_figure,
    shorten,
    styled,
    text_width,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELLS_WITH_SHARE = 12  # largest number of classes for which a cell shows count and row fraction
CELLS_WITH_COUNT = 25  # the same for the count alone; beyond, only colour


@styled
def confusion_matrix(counts: np.ndarray, class_names: Sequence[Any], title: str = "Confusion matrix") -> Figure:
    """Rows are true classes, columns predicted ones; colour is the fraction of the row.

    counts: (classes, classes) integers; class_names: (classes,)
    """
    counts = np.asarray(counts)
    classes = len(counts)
    names = [shorten(name, 18) for name in class_names]
    total = counts.sum(axis=1, keepdims=True)
    share = counts / np.maximum(total, 1)

    size = 9 if classes <= 30 else 7.5 if classes <= 60 else 6
    label_room = text_width(names, size) + 0.1
    upright = text_width(names, size) < 5.2 / classes
    side = min(6.0, max(3.0, 0.85 * classes)) if classes <= 30 else 9.0
    left, bottom = label_room + 0.45, (0.65 if upright else label_room + 0.45)
    listed = classes > CELLS_WITH_SHARE
    pairs_room = 2 * text_width(names) + 1.5 if listed else 0
    width, height = max(left + side + 0.3 + pairs_room, 4.2), bottom + side + 0.7
    figure = new_figure(width, height, title)
    accuracy = counts.trace() / max(1, counts.sum())
    figure.text(
        0.14 / width, 1 - 0.38 / height, f"accuracy {number(accuracy)} on {counts.sum():,} rows",
        va="top", color=GREY, fontsize=9,
    )  # fmt: skip
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    bare(axes, "top", "bottom", "left", "right")
    counted = classes <= CELLS_WITH_COUNT
    # without numbers in the cells, the square root keeps rare confusions visible
    axes.imshow(share if counted else np.sqrt(share), cmap=SEQUENTIAL, vmin=0, vmax=1)
    every = -(-classes // 30)  # rotated text is slow to draw, and columns have the order of the rows
    axes.set_xticks(range(0, classes, every), names[::every], fontsize=max(size, 7.5), rotation=0 if upright else 90)
    axes.set_yticks(range(classes), names, fontsize=size)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")

    if counted:
        cell = side / classes * 72  # points
        digits = max(3, len(str(counts.max())))
        font = max(5.5, min(11, 1.2 * cell / digits))
        for i, j in zip(*np.nonzero(counts)):  # no zeros, so that mistakes stand out
            colour = "white" if share[i, j] > 0.55 else INK
            text = f"{counts[i, j]}"
            if classes <= CELLS_WITH_SHARE:
                text += f"\n{share[i, j]:.0%}" if share[i, j] >= 0.005 else "\n<1%"
            axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=font, linespacing=1.1)
    if listed:
        _worst_pairs(figure, counts, names, left + side + 0.35, bottom + side)
    return figure


def _worst_pairs(figure: Figure, counts: np.ndarray, names: Sequence[str], left: float, top: float) -> None:
    width, height = figure.get_size_inches()
    mistakes = counts.copy()
    np.fill_diagonal(mistakes, 0)
    worst = [np.unravel_index(at, counts.shape) for at in np.argsort(-mistakes, axis=None, kind="stable")[:15]]
    lines = [f"{mistakes[i, j]}  {names[i]} → {names[j]}" for i, j in worst if mistakes[i, j]]
    text = "\n".join(lines) if lines else "none"
    figure.text(left / width, top / height, "Most frequent confusions", va="top", fontweight="bold", fontsize=10)
    figure.text(left / width, (top - 0.28) / height, text, va="top", fontsize=9, linespacing=1.6)


@styled
def roc_and_pr(
    y_true: np.ndarray, score: np.ndarray, class_names: Sequence[Any] = ("0", "1"), title: str = "Two classes"
) -> Figure:
    """ROC curve with its area, and precision over recall with average precision.

    y_true: (rows,) 0 or 1; score: (rows,), higher means class 1, the positive one.
    """
    true_positives, false_positives = threshold_counts(y_true, score)
    positives, negatives = true_positives[-1], false_positives[-1]
    figure = new_figure(9.4, 4.7, f"{title}: {shorten(class_names[1], 40)} against {shorten(class_names[0], 40)}")
    roc, pr = new_axes(figure, 0.75, 0.65, 0.3, 0.65, columns=2, gap_x=0.9)
    share = positives / max(1, positives + negatives)

    roc.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=(0, (4, 3)), label="chance")
    pr.plot([0, 1], [share, share], color=GREY, linewidth=1, linestyle=(0, (4, 3)), label=f"chance {number(share, 3)}")
    if positives and negatives:
        x, y = np.append(0, false_positives / negatives), np.append(0, true_positives / positives)
        turns = (np.diff(x, 2) != 0) | (np.diff(y, 2) != 0)  # drop points on straight lines
        corner = np.concatenate([[True], turns, [True]])
        roc.plot(x[corner], y[corner], color=BLUE, label=f"ROC, AUC {number(roc_auc(y_true, score))}")
        precision = true_positives / (true_positives + false_positives)
        recall = true_positives / positives
        pr.step(np.append(0, recall), np.append(precision[:1], precision), where="pre", color=ORANGE,
                label=f"precision-recall, AP {number(average_precision(y_true, score))}")  # fmt: skip
    for axes in (roc, pr):
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
    roc.set(xlabel="false positive rate", ylabel="true positive rate")
    pr.set(xlabel="recall", ylabel="precision")
    roc.legend(loc="lower right")
    pr.legend(loc="lower left")
    return figure


@styled
def score_histogram(
    scores: np.ndarray, positive: np.ndarray, names: Sequence[str], title: str = "Anomaly scores"
) -> Figure:
    """The distribution of a score in two groups, each with an area of 1, and the threshold 0.

    scores: (rows,); positive: (rows,) bool, the second group; names: of the two groups.
    """
    figure = new_figure(7.4, 4.2, title)
    (axes,) = new_axes(figure, 0.8, 0.65, 0.3, 0.9)
    bins = np.histogram_bin_edges(scores, 40).tolist()
    for rows, name, colour in ((~positive, names[0], BLUE), (positive, names[1], ORANGE)):
        if rows.any():
            axes.hist(
                scores[rows], bins, density=True, color=colour, alpha=0.6, label=f"{name}, {int(rows.sum()):,} rows"
            )
    axes.axvline(0, color=GREY, linewidth=1.2, linestyle=(0, (4, 3)), label="threshold")
    axes.set(xlabel="anomaly score (higher: more anomalous)", ylabel="density")
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3)
    return figure
