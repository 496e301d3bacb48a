"""Figures of detectors, segmentation and landmarks: images with predictions, precision and recall, transposed convolutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.report.images import mosaic_figure, tile_of
from mlrun.report.numbers import number
from mlrun.report.style import DIVERGING, GREY, PALETTE, new_axes, new_figure, shorten, styled, text_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

SHOWN = 9  # images in a figure
CURVES = 10  # most classes with a curve of their own


@styled
def picture_grid(pictures: Sequence[Image], captions: Sequence[str], title: str, columns: int = 3) -> Figure:
    """Pictures side by side, pixel for pixel; smaller ones are at the upper left of cells of one size."""
    width, height = (max(picture.size[side] for picture in pictures) for side in (0, 1))
    shown = np.ones((len(pictures), height, width, 3))
    for cell, picture in zip(shown, pictures):
        cell[: picture.height, : picture.width] = np.asarray(picture, dtype=np.float64) / 255
    columns = min(columns, len(shown))
    return mosaic_figure(shown, captions, title, cmap=None, limits=(0, 1), tile=tile_of(width), columns=columns)


@styled
def with_legend(figure: Figure, colours: Mapping[str, str], most: int = 30) -> Figure:
    """The figure with a legend of classes to its right, for up to `most` of them; everything else keeps its size. colours: class -> colour."""
    from matplotlib.patches import Patch

    shown = dict(list(colours.items())[:most])
    names = [shorten(name) for name in shown]
    width, height = figure.get_size_inches()
    wider = width + text_width(names) + 0.55
    for axes in figure.axes:
        box = axes.get_position(original=True)
        axes.set_position((box.x0 * width / wider, box.y0, box.width * width / wider, box.height))
    for text in figure.texts:
        x, y = text.get_position()
        text.set_position((x * width / wider, y))
    figure.set_size_inches(wider, height)
    patches = [Patch(color=colour, label=name) for name, colour in zip(names, shown.values())]
    figure.legend(handles=patches, loc="upper left", bbox_to_anchor=(width / wider, 1 - 0.5 / height), handlelength=1.0)
    return figure


@styled
def precision_recall(precision: np.ndarray, recalls: np.ndarray, class_names: Sequence[Any], title: str) -> Figure:
    """Precision over recall of each class, for up to CURVES classes, and their mean.

    precision: (recalls, classes), NaN for classes without objects; recalls: (recalls,).
    """
    known = [at for at in range(len(class_names)) if not np.isnan(precision[:, at]).any()]
    names = [f"{shorten(class_names[at])}, AP {number(float(precision[:, at].mean()))}" for at in known]
    room = text_width(names) + 0.8
    figure = new_figure(4.9 + room, 4.6, title)
    (axes,) = new_axes(figure, 0.75, 0.6, room, 0.65)
    if len(known) <= CURVES:
        for place, (at, name) in enumerate(zip(known, names)):
            style = "-" if place < len(PALETTE) else "--"
            axes.plot(recalls, precision[:, at], style, color=PALETTE[place % len(PALETTE)], linewidth=1.3, label=name)
    mean = precision[:, known].mean(1)
    axes.plot(recalls, mean, color=GREY, linewidth=2.5, label=f"mean, AP {number(float(mean.mean()))}")
    axes.set(xlim=(0, 1.01), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


@styled
def one_pixel(before: np.ndarray, results: Sequence[np.ndarray], captions: Sequence[str], title: str) -> Figure:
    """What transposed convolutions make of a single pixel. before: (height, width); results: (height, width) each, larger."""
    side = results[0].shape
    rows, columns = (np.arange(most) * have // most for have, most in zip(before.shape, side))
    tiles = [before[np.ix_(rows, columns)], *results]
    tiles = [tile / (np.abs(tile).max() or 1.0) for tile in tiles]
    return mosaic_figure(tiles, ["input: one pixel", *captions], title, cmap=DIVERGING, limits=(-1, 1), tile=1.7)
