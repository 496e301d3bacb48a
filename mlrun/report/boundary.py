"""Figure of decision regions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.report.structure import principal_plane
from mlrun.report.style import INK, PALETTE, new_axes, new_figure, shorten, styled, text_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS = 140  # of the grid along each axis
SHOWN = 600  # rows


@styled
def decision_regions(
    predict: Callable[[np.ndarray], np.ndarray],
    rows: np.ndarray,
    truth: np.ndarray,
    class_names: Sequence[Any],
    feature_names: Sequence[Any] | None = None,
) -> Figure:
    """The predicted class in the plane of two features, or of two principal components, with the rows and their true classes.

    A point of the plane of components has the mean in all other directions.

    Args:
        predict: (rows, features) -> (rows,) class indices.
        rows: (rows, features), at least two features.
        truth: (rows,) class indices.
        class_names: of all classes, at most as many as there are colours.
        feature_names: of the features.
    """
    from matplotlib.colors import ListedColormap

    rows = np.asarray(rows, dtype=float)
    mean, deviation = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-12)
    if rows.shape[1] == 2:
        names = list(feature_names) if feature_names is not None else ["first feature", "second feature"]
        labels, title = [shorten(name, 40) for name in names], "Decision regions"
        plane, mean, deviation = np.eye(2), np.zeros(2), np.ones(2)
    else:
        _, plane, share = principal_plane((rows - mean) / deviation)
        labels = [f"{which} component, {part:.0%} of variance" for which, part in zip(("first", "second"), share)]
        title = "Decision regions on two principal components of the scaled features"
    points = ((rows - mean) / deviation) @ plane.T
    low, high = points.min(axis=0), points.max(axis=0)
    low, high = low - 0.08 * (high - low), high + 0.08 * (high - low)
    x, y = (np.linspace(low[at], high[at], POINTS) for at in (0, 1))
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    regions = np.asarray(predict(grid @ plane * deviation + mean)).reshape(POINTS, POINTS)

    legend = text_width([shorten(name, 18) for name in class_names]) + 0.6
    figure = new_figure(max(6.4, 5.4 + legend), 5.0, title)
    (axes,) = new_axes(figure, 0.85, 0.65, legend + 0.1, 0.55)
    colours = PALETTE[: len(class_names)]
    shades = ListedColormap([*colours])
    axes.pcolormesh(
        x, y, regions, cmap=shades, vmin=-0.5, vmax=len(colours) - 0.5, alpha=0.25, shading="nearest", rasterized=True
    )
    shown = np.random.default_rng(0).permutation(len(points))[:SHOWN]
    for one, (name, colour) in enumerate(zip(class_names, colours)):
        own = points[shown][np.asarray(truth)[shown] == one]
        axes.plot(own[:, 0], own[:, 1], "o", color=colour, markersize=5, markeredgecolor=INK, markeredgewidth=0.4,
                  label=shorten(name, 18))  # fmt: skip
    axes.grid(False)
    axes.set(xlabel=labels[0], ylabel=labels[1], xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), title="true class", alignment="left")
    return figure
