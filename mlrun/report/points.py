"""Figures of point clouds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlrun.report.style import BLUE, GREY, ORANGE, PALETTE, bare, new_axes, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def point_strip(
    states: Sequence[np.ndarray], data: np.ndarray, captions: Sequence[str], title: str = "From noise to data"
) -> Figure:
    """Point clouds side by side with common axis limits.

    Args:
        states: (points, 2) each.
        data: (rows, 2) real points, drawn behind the last cloud.
        captions: one over each cloud.
        title: of the figure.
    """
    columns = len(states)
    side = min(2.1, 10.5 / columns)
    figure = new_figure(columns * side + 0.3, side + 0.85, f"{title} (grey: data)")
    centre = (data.max(0) + data.min(0)) / 2
    reach = max(
        float((data.max(0) - data.min(0)).max()) / 2 * 1.15, float(np.quantile(np.abs(states[0] - centre), 0.97))
    )
    low, high = centre - reach, centre + reach
    for at, axes in enumerate(new_axes(figure, 0.15, 0.15, 0.15, 0.7, 1, columns, gap_x=0.08)):
        bare(axes, "left", "bottom", "right", "top")
        last = at == columns - 1
        if last:
            axes.plot(*data.T, ".", color=GREY, markersize=1.8, alpha=0.35, markeredgewidth=0)
        axes.plot(
            *np.asarray(states[at]).T, ".", color=ORANGE if last else BLUE, markersize=1.8, alpha=0.6, markeredgewidth=0
        )
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xticks=[], yticks=[])
        axes.set_title(captions[at], fontsize=9)
    return figure


@styled
def labelled_points(
    places: np.ndarray, labels: Sequence[str], groups: Sequence[str], title: str = "Words on two components"
) -> Figure:
    """Points with their names, a colour for each group.

    Args:
        places: (points, 2).
        labels: name of each point.
        groups: group of each point, in order of their first appearance.
        title: of the figure.
    """
    figure = new_figure(9.0, 6.6, title)
    (axes,) = new_axes(figure, 0.15, 0.15, 0.15, 0.5)
    bare(axes, "left", "bottom", "right", "top")
    colours = {group: PALETTE[at % len(PALETTE)] for at, group in enumerate(dict.fromkeys(groups))}
    axes.margins(0.08)
    axes.set(xticks=[], yticks=[])
    for (x, y), label, group in zip(places, labels, groups):
        axes.plot(x, y, ".", color=colours[group], markersize=4)
        axes.annotate(
            label,
            (x, y),
            (2, 2),
            textcoords="offset points",
            fontsize=8,
            color=colours[group],
            fontweight="bold" if label == group else "normal",
        )
    return figure
