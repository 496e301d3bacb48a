"""Figure of a hierarchical clustering."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib
import numpy as np

from mlrun.report.style import GREY, PALETTE, new_axes, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAVES = 30  # the last merges; what is below them is one leaf with the number of its rows


@styled
def dendrogram_figure(linkage: np.ndarray, clusters: int, kind: str) -> Figure:
    """The last merges, coloured below the cut that leaves `clusters` clusters.

    Args:
        linkage: (rows - 1, 4) as scipy's.
        clusters: number of clusters at the cut.
        kind: of distance, for the label.
    """
    from scipy.cluster.hierarchy import dendrogram, set_link_color_palette

    rows = len(linkage) + 1
    cut = 0.0
    if 1 < clusters < rows:  # between the last merge that is kept and the first that is undone
        cut = float((linkage[-clusters, 2] + linkage[1 - clusters, 2]) / 2)
    figure = new_figure(9.0, 4.6, f"Dendrogram: {rows:,} training rows, cut into {clusters} clusters")
    (axes,) = new_axes(figure, 0.85, 0.75, 0.3, 0.55)
    set_link_color_palette([matplotlib.colors.to_hex(colour) for colour in PALETTE])
    try:
        dendrogram(linkage, p=LEAVES, truncate_mode="lastp", color_threshold=cut, above_threshold_color=GREY, ax=axes)
    finally:
        set_link_color_palette(None)
    if cut:
        axes.axhline(cut, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
    axes.grid(False, axis="x")
    axes.tick_params(axis="x", labelsize=7.5)
    axes.set(xlabel="row, or (number of rows) of a smaller tree", ylabel=f"distance of the merge ({kind})")
    return figure
