"""Figures of the inputs that a model uses: permutation importance, importances, coefficients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.report.images import mosaic_figure
from mlrun.report.numbers import number
from mlrun.report.style import (  # fmt: skip
    BLUE,
    DIVERGING,
    GREY,
    INK,
    ORANGE,
    bare,
    new_axes,
    new_figure,
    shorten,
    styled,
    text_width,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 20  # features with the largest values
PANELS = 4  # largest number of classes with separate bars; more are shown as a table of colours


def permutation_importance(
    predict: Callable[[Any], Any],
    x: Any,
    y: np.ndarray,
    score: Callable[[np.ndarray, Any], float],
    repeats: int = 3,
    seed: int = 0,
    max_rows: int = 1000,
    groups: Sequence[Any] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The decrease of `score` when a feature's values are shuffled between rows (Breiman 2001, section 10).

    Args:
        predict: function of rows of `x`.
        x: array (rows, features) or DataFrame.
        y: (rows,).
        score: function of (y, prediction), larger is better.
        repeats, seed: of the permutations.
        max_rows: size of the sample of rows.
        groups: lists of column indices shuffled together (patches of an image); None: each column separately.

    Returns:
        Mean and standard deviation over repeats, each (groups,).
    """
    random = np.random.default_rng(seed)
    frame = hasattr(x, "iloc")
    if len(x) > max_rows:
        rows = np.sort(random.choice(len(x), max_rows, replace=False))
        x, y = (x.iloc[rows] if frame else x[rows]), np.asarray(y)[rows]
    groups = [[column] for column in range(x.shape[1])] if groups is None else groups
    baseline = score(y, predict(x))
    fall = np.empty((len(groups), repeats))
    for i, columns in enumerate(groups):
        for repeat in range(repeats):
            order = random.permutation(len(x))
            shuffled = x.copy()
            if frame:
                for column in columns:  # one by one to keep their dtypes
                    shuffled.isetitem(column, x.iloc[order, column].array)
            else:
                shuffled[:, columns] = x[order][:, columns]
            fall[i, repeat] = baseline - score(y, predict(shuffled))
    return fall.mean(axis=1), fall.std(axis=1)


def patches(image_shape: Sequence[int], count: int = 8) -> tuple[list[np.ndarray], tuple[int, int]]:
    """Column indices of about count x count square patches of flattened images, all channels together.

    image_shape: [channels, height, width]. Returns (groups, (rows, columns) of the grid of patches).
    """
    channels, height, width = image_shape
    side = max(1, -(-max(height, width) // count))
    position = np.arange(channels * height * width).reshape(channels, height, width)
    tops, lefts = range(0, height, side), range(0, width, side)
    groups = [position[:, t : t + side, s : s + side].ravel() for t in tops for s in lefts]
    return groups, (len(tops), len(lefts))


@styled
def feature_importance(
    importance: np.ndarray,
    feature_names: Sequence[Any] | None = None,
    std: np.ndarray | None = None,
    image_shape: Sequence[int] | None = None,
    label: str = "importance",
    title: str = "Feature importance",
) -> Figure:
    """The 20 largest as bars; for images a heat map.

    importance, std: (features,); image_shape: [channels, height, width] of the flattened features, or
    [1, rows, columns] for a grid of patches.
    """
    importance = np.asarray(importance, dtype=float)
    if image_shape is not None:
        grid = importance.reshape(image_shape).sum(axis=0)
        figure = new_figure(5.4, 5.0, title)
        (axes,) = new_axes(figure, 0.3, 0.3, 1.1, 0.6)
        bare(axes)
        axes.set(xticks=[], yticks=[])
        drawn = axes.imshow(grid, cmap="viridis", vmin=min(0.0, np.nanmin(grid)))
        _colour_bar(figure, axes, drawn, label)
        return figure
    names = [f"feature {i}" for i in range(len(importance))] if feature_names is None else feature_names
    largest = np.argsort(-importance, kind="stable")[:SHOWN]
    used = int(np.count_nonzero(importance))
    largest = largest[: max(1, used)] if used < SHOWN and not (importance < 0).any() else largest
    label = label if std is None else f"{label} (lines: standard deviation)"
    figure, axes = _bars(importance[largest], [names[i] for i in largest], title, label,
                         None if std is None else np.asarray(std)[largest])  # fmt: skip
    _note(figure, len(largest), len(importance), rest=0 if len(largest) < SHOWN else None)
    return figure


@styled
def coefficients(
    coefficient: np.ndarray,
    feature_names: Sequence[Any] | None = None,
    class_names: Sequence[Any] | None = None,
    image_shape: Sequence[int] | None = None,
    title: str = "Coefficients",
) -> Figure:
    """Signed bars per class (or the single output), the largest 20 by magnitude; for images a heat map per class.

    coefficient: (features,) or (outputs, features); class_names: (outputs,), or two names for one row.
    """
    coefficient = np.atleast_2d(np.asarray(coefficient, dtype=float))
    outputs, features = coefficient.shape
    names = [f"feature {i}" for i in range(features)] if feature_names is None else feature_names
    if class_names is not None and outputs == 1 and len(class_names) == 2:
        class_names, title = [class_names[1]], f"{title} towards {shorten(class_names[1], 30)}"
    class_names = [f"output {i}" for i in range(outputs)] if class_names is None else class_names

    if image_shape is not None:
        maps = coefficient.reshape(outputs, *image_shape).sum(axis=1)
        limit = np.abs(maps).max() or 1.0
        return mosaic_figure(maps[:40], [shorten(name, 16) for name in class_names], title, cmap=DIVERGING,
                             limits=(-limit, limit), colour_bar="weight")  # fmt: skip

    largest = np.argsort(-np.abs(coefficient).max(axis=0), kind="stable")[:SHOWN]
    labels = [names[i] for i in largest]
    if outputs == 1:
        figure, _ = _bars(coefficient[0, largest], labels, title, "coefficient")
    elif outputs <= PANELS:
        figure, _ = _bars(coefficient[:, largest], labels, title, "coefficient", panel_names=class_names)
    else:
        figure = _table(coefficient[:, largest].T, labels, class_names, title)
    _note(figure, len(largest), features)
    return figure


def _bars(
    values: np.ndarray,
    names: Sequence[Any],
    title: str,
    label: str,
    std: np.ndarray | None = None,
    panel_names: Sequence[Any] | None = None,
) -> tuple[Figure, Axes]:
    """Horizontal bars from top to bottom; (panels, bars) values give panels side by side. Returns figure and first axes."""
    values = np.atleast_2d(values)
    names = [shorten(name, 30) for name in names]
    left = text_width(names) + 0.35
    panel = 5.2 if len(values) == 1 else 2.4
    top = 0.65 if panel_names is None else 0.9
    figure = new_figure(left + panel * len(values) + 0.3 * len(values), top + 0.75 + 0.27 * len(names), title)
    all_axes = new_axes(figure, left, 0.65, 0.3, top, columns=len(values), gap_x=0.3)
    extent = np.abs(values).max() * 1.05 or 1.0
    for i, (axes, row) in enumerate(zip(all_axes, values)):
        colours = [BLUE if value >= 0 else ORANGE for value in row]
        error: dict[str, Any] = {}
        if std is not None:
            error = {"xerr": std, "error_kw": {"ecolor": INK, "elinewidth": 1, "capsize": 2.5}}
        axes.barh(range(len(row)), row, height=0.7, color=colours, **error)
        axes.set_ylim(len(row) - 0.4, -0.6)
        axes.set_yticks(range(len(row)), names if i == 0 else [])
        axes.tick_params(axis="y", length=0)
        axes.grid(False, axis="y")
        axes.set_xlabel(label)
        axes.locator_params(axis="x", nbins=7 if len(values) == 1 else 4)
        if (row < 0).any() or len(values) > 1:
            axes.axvline(0, color=GREY, linewidth=1)
            axes.spines["left"].set_visible(False)
        if len(values) > 1:
            axes.set_xlim(-extent, extent)  # one scale for all classes
            axes.set_title(shorten(panel_names[i], 24))
    return figure, all_axes[0]


def _table(values: np.ndarray, row_names: Sequence[Any], column_names: Sequence[Any], title: str) -> Figure:
    """Colours of (features, classes) on one scale around zero."""
    row_names, column_names = [shorten(n, 30) for n in row_names], [shorten(n, 16) for n in column_names]
    left, below = text_width(row_names) + 0.35, text_width(column_names) + 0.3
    width = min(7.0, max(3.0, 0.45 * len(column_names)))
    figure = new_figure(left + width + 1.1, 0.65 + below + 0.27 * len(row_names), title)
    (axes,) = new_axes(figure, left, below, 1.1, 0.65)
    bare(axes)
    limit = np.abs(values).max() or 1.0
    drawn = axes.imshow(values, cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto")
    axes.set_yticks(range(len(row_names)), row_names)
    axes.set_xticks(range(len(column_names)), column_names, rotation=90)
    _colour_bar(figure, axes, drawn, "coefficient")
    return figure


def _colour_bar(figure: Figure, axes: Axes, drawn: Any, label: str) -> None:
    box, width = axes.get_position(), figure.get_size_inches()[0]
    bar = figure.colorbar(drawn, cax=figure.add_axes((box.x1 + 0.15 / width, box.y0, 0.15 / width, box.height)))
    bar.outline.set_visible(False)
    bar.ax.grid(False)
    bar.set_label(label)


def _note(figure: Figure, shown: int, features: int, rest: float | None = None) -> None:
    """Says how many of the features are shown. rest: the value of all others, if it is one."""
    if features > shown:
        width, height = figure.get_size_inches()
        note = f"the largest {shown} of {number(features)} features"
        note += "" if rest is None else f"; the others: {number(rest)}"
        figure.text(0.14 / width, 1 - 0.36 / height, note, va="top", fontsize=9, color=GREY)
