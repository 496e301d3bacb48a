"""Figures of compared pairs and of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.evaluation.metrics import roc_auc
from mlrun.evaluation.pairs import equal_error_rate, error_rates
from mlrun.report.images import TINT, as_image, mosaic_figure
from mlrun.report.numbers import number
from mlrun.report.style import BLUE, GREY, INK, ORANGE, PALETTE, new_axes, new_figure, shorten, styled, text_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 50
SHOWN_PAIRS = 24
NAME = 34  # characters of a class's name in the legend
THUMBNAIL = 22  # height in points of the image of a class


@styled
def distance_histogram(distances: np.ndarray, same: np.ndarray, threshold: float) -> Figure:
    """Histograms of the distances (pairs,) of pairs of the same class and of different classes, with the threshold."""
    figure = new_figure(6.4, 4.2, f"Distances of {len(distances):,} pairs")
    (axes,) = new_axes(figure, 0.75, 0.6, 0.3, 0.65)
    edges = np.linspace(float(distances.min()), float(distances.max()) or 1.0, BINS + 1)
    for kind, colour, name in ((same, BLUE, "same class"), (~same, ORANGE, "different classes")):
        axes.hist(distances[kind], edges.tolist(), color=colour, alpha=0.6, label=f"{name} ({int(kind.sum()):,})")
    if np.isfinite(threshold):
        axes.axvline(threshold, color=INK, linewidth=1, linestyle=(0, (4, 3)), label=f"threshold {number(threshold)}")
    axes.set(xlabel="distance", ylabel="pairs")
    axes.legend(loc="upper right")
    return figure


@styled
def pair_roc(distances: np.ndarray, same: np.ndarray) -> Figure:
    """ROC of "the same class if the distance is below a threshold", with the equal error rate."""
    acceptance, rejection = error_rates(distances, same)
    error = equal_error_rate(distances, same)
    figure = new_figure(5.6, 5.0, "ROC curve of pairs: same class or not")
    (axes,) = new_axes(figure, 0.75, 0.6, 0.3, 0.65)
    axes.plot([0, 1], [1, 0], color=GREY, linewidth=1, linestyle=(0, (1, 2)), label="equal errors")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=(0, (4, 3)), label="chance")
    axes.plot(acceptance, 1 - rejection, color=BLUE, label=f"ROC, AUC {number(roc_auc(same, -distances))}")
    axes.plot([error], [1 - error], "o", color=ORANGE, label=f"equal error rate {number(error)}")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set(xlabel="false accept rate", ylabel="true accept rate")
    axes.legend(loc="lower right")
    return figure


@styled
def worst_pairs(
    images: Sequence[np.ndarray],
    others: Sequence[np.ndarray],
    distances: np.ndarray,
    same: np.ndarray,
    threshold: float,
) -> Figure:
    """Pairs of images (channels, height, width), side by side, the worst mistakes first, then the narrowest right decisions.

    Args:
        images, others: of the pairs.
        distances, same: (pairs,), see `worst_first`.
        threshold: below which a pair counts as the same class.
    """
    shown, captions, colours = [], [], []
    for one, other, distance, alike in zip(images, others, distances, same):
        first, second = (as_image(image, image.shape) for image in (one, other))
        gap = np.full((first.shape[0], max(1, first.shape[1] // 10), *first.shape[2:]), np.nan)
        shown.append(np.concatenate([first, gap, second], axis=1))
        wrong = (distance < threshold) != alike
        captions.append(f"{'same' if alike else 'different'} class\ndistance {number(float(distance), 3)}")
        colours.append(ORANGE if wrong else INK)
    low, high = (float(limit(list(map(limit, shown)))) for limit in (np.nanmin, np.nanmax))
    if shown[0].ndim == 3:
        shown, low, high = [(image - low) / max(high - low, 1e-12) for image in shown], 0.0, 1.0
    mistakes = colours.count(ORANGE)
    all_wrong = mistakes == len(shown)
    title = f"The {mistakes} worst mistakes" if all_wrong else f"{mistakes} mistakes, then the narrowest decisions"
    limits = (low - TINT * (high - low), high)
    title += f" (threshold {number(threshold, 3)})"
    return mosaic_figure(shown, captions, title, limits=limits, tile=1.5, colours=colours)


def worst_first(distances: np.ndarray, same: np.ndarray, threshold: float, count: int = SHOWN_PAIRS) -> np.ndarray:
    """Places of pairs by how far they are on the wrong side of the threshold; those on the right side follow, the nearest first."""
    excess = np.where(same, distances - threshold, threshold - distances)
    return np.argsort(-excess, kind="stable")[:count]


@styled
def vector_map(
    vectors: np.ndarray, labels: np.ndarray, class_names: Sequence[Any], images: np.ndarray | None = None
) -> Figure:
    """Vectors of a few classes on their two principal components.

    Args:
        vectors: (rows, size).
        labels: (rows,) class indices, of at most as many classes as there are colours.
        class_names: of all classes.
        images: (rows, channels, height, width), one of which is drawn at the middle of its class.
    """
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    plain = vectors.shape[1] == 2  # shown as they are
    centred = vectors - vectors.mean(0)
    _, scale, components = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    flat = centred @ components[:2].T
    if flat.shape[1] < 2:
        flat = np.concatenate([flat, np.zeros_like(flat)], axis=1)
    flat = np.asarray(vectors, dtype=float) if plain else flat
    share = float((scale[:2] ** 2).sum() / max((scale**2).sum(), 1e-12))
    classes = np.unique(labels)
    names = [shorten(class_names[one], NAME) for one in classes]
    room = text_width(names) + 0.6
    where = "in two dimensions" if plain else f"on two principal components ({share:.0%} of variance)"
    title = f"Vectors of {_some(len(classes), len(class_names))} classes {where}"
    width = max(5.6 + room, text_width([title], 13) + 0.4)
    figure = new_figure(width, 5.2, title)
    (axes,) = new_axes(figure, 0.8, 0.55, width - 5.6, 0.65)
    for one, name, colour in zip(classes, names, PALETTE):
        own = flat[labels == one]
        axes.plot(*own.T, "o", color=colour, markersize=4, alpha=0.7, markeredgewidth=0,
                  label=name)  # fmt: skip
        if images is not None:
            middle = own.mean(0)
            nearest = np.flatnonzero(labels == one)[((own - middle) ** 2).sum(1).argmin()]
            picture = np.asarray(as_image(images[nearest], images[nearest].shape), dtype=float)
            picture = (picture - picture.min()) / max(float(np.ptp(picture)), 1e-12)
            drawn = OffsetImage(picture, zoom=THUMBNAIL / picture.shape[0], cmap="gray_r")
            box = AnnotationBbox(drawn, tuple(middle), pad=0.1, bboxprops={"edgecolor": colour, "linewidth": 1.5})
            axes.add_artist(box)
    axes.set(
        xlabel="first dimension" if plain else "first component",
        ylabel="second dimension" if plain else "second component",
    )
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _some(shown: int, total: int) -> str:
    return f"{shown}" if shown == total else f"{shown} of {total:,}"
