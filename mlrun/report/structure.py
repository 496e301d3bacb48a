"""Figures of structure found in data: decision trees, explained variance, clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mlrun.report.numbers import number
from mlrun.report.style import (  # fmt: skip
    AMBER,
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALETTE,
    bare,
    new_axes,
    new_figure,
    shorten,
    styled,
    text_width,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS = 3000


@styled
def tree_drawing(
    tree: Any,
    feature_names: Sequence[Any] | None = None,
    class_names: Sequence[Any] | None = None,
    max_depth: int = 3,
    title: str = "Decision tree",
) -> Figure:
    """The top of a fitted scikit-learn tree: rule, class (or mean) and rows at each node; the rule holds on the left.

    Not `sklearn.tree.plot_tree`, whose text is illegible at the depth of real trees, and which imports pyplot and takes 0.3 s.

    tree: DecisionTreeClassifier or DecisionTreeRegressor.
    """
    nodes = tree.tree_
    classifies = hasattr(tree, "classes_")
    if class_names is None and classifies:
        class_names = [str(name) for name in tree.classes_]
    names = feature_names if feature_names is not None else [f"feature {i}" for i in range(nodes.n_features)]
    low, high = (0.0, 1.0) if classifies else (nodes.value[:, 0, 0].min(), nodes.value[:, 0, 0].max())

    places: dict[int, tuple[float, int]] = {}  # node -> (x in leaves, depth)
    links: list[tuple[int, int, bool]] = []  # parent, child, whether the rule holds
    next_leaf = 0

    def place(node: int, depth: int) -> float:
        nonlocal next_leaf
        children = [nodes.children_left[node], nodes.children_right[node]]
        if children[0] < 0 or depth == max_depth:
            places[node] = (next_leaf, depth)
            next_leaf += 1
            return next_leaf - 1
        x = float(np.mean([place(child, depth + 1) for child in children]))
        places[node] = (x, depth)
        links.extend((node, child, child == children[0]) for child in children)
        return x

    place(0, 0)
    depth = max(d for _, d in places.values())
    texts = {node: _node_text(nodes, node, names, class_names, cut=d == max_depth) for node, (_, d) in places.items()}
    box_width = max(1.25, text_width([line for text in texts.values() for line in text.split("\n")], 8.5) + 0.02)
    box_height, step_x, step_y = 0.66, box_width + 0.18, 1.12
    shown = f" (first {depth} shown)" if nodes.max_depth > depth else ""
    leaves = f"{nodes.n_leaves:,} leaves" if nodes.n_leaves != 1 else "one leaf"
    width, height = max(5.0, next_leaf * step_x + 0.3), 0.55 + depth * step_y + box_height + 0.2
    figure = new_figure(width, height, f"{title}: {leaves}, depth {nodes.max_depth}{shown}")
    axes = figure.add_axes((0, 0, 1, 1))
    bare(axes)
    axes.set(xlim=(0, width), ylim=(0, height), xticks=[], yticks=[])
    axes.patch.set_visible(False)
    offset = (width - next_leaf * step_x) / 2

    def at(node: int) -> tuple[float, float]:
        x, node_depth = places[node]
        return offset + (x + 0.5) * step_x, height - 0.55 - box_height / 2 - node_depth * step_y

    for parent, child, holds in links:
        (x0, y0), (x1, y1) = at(parent), at(child)
        axes.plot([x0, x1], [y0 - box_height / 2, y1 + box_height / 2], color=GREY, linewidth=1, zorder=1)
        if parent == 0:
            axes.text((x0 + x1) / 2, (y0 + y1) / 2 + 0.06, "yes " if holds else " no", fontsize=9, color=GREY,
                      ha="right" if holds else "left", va="bottom")  # fmt: skip
    for node, text in texts.items():
        x, y = at(node)
        axes.add_patch(FancyBboxPatch(
            (x - box_width / 2 + 0.05, y - box_height / 2 + 0.05), box_width - 0.1, box_height - 0.1,
            boxstyle="round,pad=0.05", facecolor=_node_colour(nodes, node, classifies, low, high),
            edgecolor=GREY, linewidth=0.8, zorder=2,
        ))  # fmt: skip
        axes.text(x, y, text, fontsize=8.5, ha="center", va="center", linespacing=1.25, zorder=3)
    return figure


def _node_text(nodes: Any, node: int, names: Sequence[Any], class_names: Sequence[Any] | None, cut: bool) -> str:
    count = nodes.n_node_samples[node]
    rows = "1 row" if count == 1 else f"{count:,} rows"
    value = nodes.value[node][0]
    if class_names is not None:
        best = int(np.argmax(value))
        prediction = f"{shorten(class_names[best], 16)}  {value[best] / value.sum():.0%}"
    else:
        prediction = f"mean {number(float(value[0]))}"
    if nodes.children_left[node] < 0:
        return f"{prediction}\n{rows}"
    rule = f"{shorten(names[nodes.feature[node]], 20)} ≤ {float(nodes.threshold[node]):.4g}"
    return f"{rule}{' …' if cut else ''}\n{prediction}\n{rows}"


def _node_colour(nodes: Any, node: int, classifies: bool, low: float, high: float) -> tuple[float, ...]:
    """The majority class's colour, paler for mixed nodes; for regression amber, darker for larger means."""
    value = nodes.value[node][0]
    if classifies:
        best = int(np.argmax(value))
        chance = 1 / len(value)
        strength = (value[best] / value.sum() - chance) / max(1 - chance, 1e-12)
        colour = _group_colour(best, len(value))
    else:
        strength, colour = (value[0] - low) / max(high - low, 1e-12), AMBER
    rgb = np.array(matplotlib.colors.to_rgb(colour))
    return tuple(1 - (1 - rgb) * (0.04 + 0.42 * float(strength)))


@styled
def pca_variance(explained_variance_ratio: np.ndarray, title: str = "Explained variance") -> Figure:
    """Explained variance per component, and its cumulative sum with the components needed for 90 % and 95 %."""
    ratio = np.asarray(explained_variance_ratio, dtype=float)
    count = np.arange(1, len(ratio) + 1)
    running = np.cumsum(ratio)
    figure = new_figure(9.4, 4.3, f"{title}: {running[-1]:.1%} in {len(ratio)} components")
    scree, total = new_axes(figure, 0.75, 0.65, 0.3, 0.85, columns=2, gap_x=0.8)
    if len(ratio) <= 60:
        scree.bar(count, ratio, color=BLUE, width=0.8)
    else:
        scree.fill_between(count, ratio, color=BLUE, step="mid", linewidth=0)
    scree.grid(False, axis="x")
    scree.set_title("per component")
    marker = "o" if len(ratio) <= 30 else None
    total.plot(np.append(0, count), np.append(0, running), color=BLUE, marker=marker, markersize=3.5)
    for share, colour in ((0.9, ORANGE), (0.95, GREEN)):
        reached = np.flatnonzero(running >= share - 1e-12)
        if len(reached):
            x = int(count[reached[0]])
            total.plot([0, x, x], [share, share, 0], color=colour, linewidth=1.2, linestyle=(0, (4, 3)),
                       label=f"{share:.0%} with {x} component{'s' * (x > 1)}")  # fmt: skip
    if total.get_legend_handles_labels()[1]:
        total.legend(loc="lower right")
    total.set_title("cumulative")
    total.set_ylim(0, 1.03)
    total.set_xlim(left=0)
    scree.set_xlim(0.3, len(ratio) + 0.7)
    for axes in (scree, total):
        axes.set_xlabel("component" if axes is scree else "number of components")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    return figure


def principal_plane(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First two principal components of x (rows, features): mean (features,), axes (2, features), explained variance ratios (2,)."""
    x = np.asarray(x, dtype=float)
    mean = x.mean(axis=0)
    rows = np.random.default_rng(0).choice(len(x), 5000, replace=False) if len(x) > 5000 else slice(None)
    _, singular, axes = np.linalg.svd(x[rows] - mean, full_matrices=False)
    share = singular**2 / max(float(np.sum(singular**2)), 1e-300)
    if len(axes) < 2:  # one feature: the second axis is empty
        axes = np.vstack([axes, np.zeros_like(axes[:1])])
        share = np.append(share, 0.0)
    sign = np.sign(axes[np.arange(2), np.abs(axes[:2]).argmax(axis=1)])  # SVD does not determine the sign
    return mean, axes[:2] * np.where(sign == 0, 1, sign)[:, None], share[:2]


@styled
def clusters_2d(
    x: np.ndarray,
    labels: np.ndarray,
    centers: np.ndarray | None = None,
    y_true: np.ndarray | None = None,
    class_names: Sequence[Any] | None = None,
) -> Figure:
    """Rows on their first two principal components, coloured by cluster and, in a second panel, by true class if known.

    Numbers of clusters mean nothing, so a cluster has the colour of the class with which it shares the most rows, one class each; further
    clusters have colours of their own.

    x: (rows, features), input of the clusterer; labels: (rows,), -1 for rows in no cluster; centers: (clusters, features).
    """
    x, labels = np.asarray(x, dtype=float), np.asarray(labels)
    mean, plane, share = principal_plane(x)
    rows = np.arange(len(x))
    if len(x) > POINTS:
        rows = np.random.default_rng(0).choice(len(x), POINTS, replace=False)
    points = (x[rows] - mean) @ plane.T
    in_cluster = labels >= 0
    clusters = np.unique(labels[in_cluster])
    colours = {int(cluster): place for place, cluster in enumerate(clusters)}
    count = len(clusters)
    if y_true is not None:
        colours = _matched(labels[in_cluster], np.asarray(y_true)[in_cluster])
        count = max(count, 0 if class_names is None else len(class_names), int(np.max(y_true)) + 1)
    of_clusters = {-1: "noise"} | {value: f"cluster {value}" for value in clusters.tolist()}
    found = "found clusters" if centers is None else "found clusters (circles: their centers)"
    panels = [(found, labels[rows], of_clusters, colours)]
    if y_true is not None:
        present = np.unique(y_true).tolist()
        of_classes = {value: class_names[value] if class_names is not None else value for value in present}
        panels.append(("true classes", np.asarray(y_true)[rows], of_classes, {value: value for value in present}))

    title = f"{len(clusters)} cluster{'s' * (len(clusters) != 1)} on two principal components"
    if y_true is not None:
        title += ", in the colours of the best-matching classes"
    figure = new_figure(6.8 if len(panels) == 1 else 11.9, 4.9, title)
    all_axes = new_axes(figure, 0.75, 0.65, 1.5, 0.85, columns=len(panels), gap_x=1.6)
    size = 4.5 if len(rows) < 1000 else 3
    for axes, (name, groups, names, colour_of) in zip(all_axes, panels):
        for value in np.unique(groups).tolist():
            of_group = points[groups == value]
            label = shorten(names[value], 14)
            colour = GREY if value < 0 else _group_colour(colour_of[value], count)
            axes.plot(of_group[:, 0], of_group[:, 1], linestyle="none", marker="o", markeredgewidth=0, label=label,
                      markersize=size, alpha=0.65, color=colour)  # fmt: skip
        axes.set_title(name)
        axes.set_xlabel(f"first component, {share[0]:.0%} of variance")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), markerscale=1.6, handletextpad=0.2)
    all_axes[0].set_ylabel(f"second component, {share[1]:.0%} of variance")
    if centers is not None:
        middle = (np.asarray(centers, dtype=float) - mean) @ plane.T
        all_axes[0].plot(middle[:, 0], middle[:, 1], linestyle="none", marker="o", markersize=15, alpha=0.9,
                         markerfacecolor="white", markeredgecolor=INK)  # fmt: skip
        for at, (cx, cy) in enumerate(middle):
            all_axes[0].text(cx, cy, str(at), fontsize=9, fontweight="bold", ha="center", va="center_baseline")
    if y_true is not None:
        all_axes[1].set_yticklabels([])
    return figure


def _matched(labels: np.ndarray, y_true: np.ndarray) -> dict[int, int]:
    """Cluster -> class, one each so that most rows agree (the Hungarian method); further clusters get numbers above those of the classes."""
    from scipy.optimize import linear_sum_assignment

    clusters, places = np.unique(labels, return_inverse=True)
    shared = np.zeros((len(clusters), int(y_true.max(initial=-1)) + 1), dtype=np.int64)
    np.add.at(shared, (places.reshape(-1), y_true), 1)
    matched = dict(zip(*(side.tolist() for side in linear_sum_assignment(-shared))))
    unused = iter(range(shared.shape[1], shared.shape[1] + len(clusters)))
    free = [value for value in range(shared.shape[1]) if value not in matched.values()]
    return {
        int(cluster): matched[place] if place in matched else free.pop(0) if free else next(unused)
        for place, cluster in enumerate(clusters)
    }


def _group_colour(index: int, count: int) -> Any:
    if count <= len(PALETTE):
        return PALETTE[int(index) % len(PALETTE)]
    return matplotlib.colormaps["tab20" if count > 10 else "tab10"](int(index) % 20)
