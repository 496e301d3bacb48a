"""Figures of many small images, composed into one array and drawn at once: separate axes cost 5 ms per image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.report.style import DIVERGING, DPI, INK, bare, new_axes, new_figure, shorten, styled, text_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TINT = 0.06  # background of a grey image, so that its edge is visible


def as_image(values: np.ndarray, image_shape: Sequence[int]) -> np.ndarray:
    """(channels, height, width) or its flattened form -> (height, width) or (height, width, 3), for imshow."""
    image: np.ndarray = np.asarray(values, dtype=float).reshape(image_shape)
    if image.shape[0] == 3:
        return image.transpose(1, 2, 0)
    return image[0] if image.shape[0] == 1 else image.mean(axis=0)


def tile_of(width: int) -> float:
    """The `tile` of `mosaic_figure` with which a pixel of an image of this width is a pixel of the figure."""
    return (width + _gap(width)) / DPI


def _gap(width: int) -> int:
    """Pixels between images of this width."""
    return max(1, round(0.12 * width))


def mosaic_figure(
    images: Sequence[np.ndarray] | np.ndarray,
    captions: Sequence[Any],
    title: str,
    cmap: str | None = "gray_r",
    limits: tuple[float, float] | None = None,
    colour_bar: str | None = None,
    tile: float = 1.15,
    colours: Sequence[str] | None = None,
    columns: int | None = None,
) -> Figure:
    """A grid of images of one size, (height, width) or (height, width, 3), each below a caption of up to two lines.

    Args:
        images, captions, title: the contents.
        cmap, limits: colour map and value range of grey images.
        colour_bar: label of a colour bar; None: no bar.
        tile: smallest width of an image in inches.
        colours: of the captions.
        columns: of the grid; None: as many as fit.
    """
    images = [np.asarray(image) for image in images]
    captions = [str(caption) for caption in captions]
    lines = max((caption.count("\n") + 1 for caption in captions), default=1)
    size = 8.5
    tile = max(tile, min(2.2, text_width([line for c in captions for line in c.split("\n")], size) - 0.05))
    fitting = max(1, min(len(images), int(9.5 / tile), max(4, int(np.ceil(np.sqrt(2 * len(images)))))))
    columns = columns or fitting
    rows = -(-len(images) // columns)
    h, w = images[0].shape[:2]
    # gaps in image pixels; a caption is in the gap above its image
    gap_x = _gap(w)
    scale = tile / (w + gap_x)  # inches per pixel
    caption_room = max(1, round((0.17 * lines + 0.08) / scale))
    canvas = np.full((rows * (h + caption_room), columns * (w + gap_x)) + images[0].shape[2:], np.nan)
    places = []
    for at, image in enumerate(images):
        top = (at // columns) * (h + caption_room) + caption_room
        left = (at % columns) * (w + gap_x)
        canvas[top : top + h, left : left + w] = image
        places.append((left, top))

    right = 1.0 if colour_bar else 0.0
    inner_width, inner_height = canvas.shape[1] * scale, canvas.shape[0] * scale
    width = max(inner_width + 0.3 + right, text_width([title], 13) + 0.4)
    figure = new_figure(width, inner_height + 0.65, title)
    (axes,) = new_axes(figure, 0.15, 0.15, width - 0.15 - inner_width, 0.5)
    bare(axes)
    axes.set(xticks=[], yticks=[])
    if canvas.ndim == 3:
        canvas = np.dstack([np.nan_to_num(canvas, nan=1.0).clip(0, 1), ~np.isnan(canvas[..., 0])])
    low, high = limits if limits else (np.nanmin(canvas), np.nanmax(canvas))
    drawn = axes.imshow(canvas, cmap=cmap, vmin=low, vmax=high, aspect="auto")
    for at, ((left, top), caption) in enumerate(zip(places, captions)):
        colour = colours[at] if colours else INK
        y = top - 0.5 - 0.05 / scale
        axes.text(left - 0.5, y, caption, fontsize=size, va="bottom", linespacing=1.15, color=colour)
    if colour_bar:
        box = axes.get_position()
        bar_axes = figure.add_axes((box.x1 + 0.1 / width, box.y0, 0.14 / width, box.height * 0.9))
        bar = figure.colorbar(drawn, cax=bar_axes)
        bar.outline.set_visible(False)
        bar.ax.grid(False)
        bar.set_label(colour_bar)
    return figure


@styled
def misclassified_images(
    images: np.ndarray,
    y_true: np.ndarray,
    y_pred: np.ndarray,
    class_names: Sequence[Any],
    image_shape: Sequence[int],
    confidence: np.ndarray | None = None,
    limit: int = 24,
    of_rows: int | None = None,
    title: str = "Misclassified",
    order: str | None = None,
) -> Figure | None:
    """The misclassified images of a split, the most confident mistakes first; None if there are none.

    Args:
        images: (rows, ...) raw values of image_shape [channels, height, width].
        y_true, y_pred: (rows,) class indices.
        confidence: (rows,) probability of the predicted class.
        limit: largest number of images.
        of_rows: number of rows of the split, if only mistakes are given.
        order: description of the order of the rows, which is then kept.
    """
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
    wrong = np.flatnonzero(y_true != y_pred)
    if not len(wrong):
        return None
    total = len(wrong)
    if confidence is not None:
        confidence = np.asarray(confidence)
        if order is None:
            wrong, order = wrong[np.argsort(-confidence[wrong], kind="stable")], "most confident first"
    wrong = wrong[:limit]
    shown = [as_image(image, image_shape) for image in np.asarray(images)[wrong]]
    if shown[0].ndim == 3:  # colour images have a common scale from 0 to 1
        low, high = min(map(np.min, shown)), max(map(np.max, shown))
        shown = [(image - low) / max(high - low, 1e-12) for image in shown]
    captions = []
    for row in wrong:
        sure = "" if confidence is None else f" ({confidence[row]:.0%})"
        true, predicted = (shorten(class_names[y[row]], 16) for y in (y_true, y_pred))
        captions.append(f"true {true}\n→ {predicted}{sure}")
    low, high = min(map(np.min, shown)), max(map(np.max, shown))
    limits = (low - TINT * (high - low), high)
    some = f"{total:,}" if len(wrong) == total else f"{len(wrong)} of {total:,}"
    noun = "mistake" if total == 1 else "mistakes"
    return mosaic_figure(
        shown,
        captions,
        f"{title}: {some} {noun} in {of_rows or len(y_true):,}{f', {order}' if order else ''}",
        limits=limits,
    )


@styled
def component_images(
    components: np.ndarray,
    image_shape: Sequence[int],
    explained_variance_ratio: np.ndarray | None = None,
    limit: int = 24,
    title: str = "Principal components",
) -> Figure:
    """Components as images, red negative and blue positive, each on its own scale.

    components: (components, features), features being image_shape [channels, height, width] flattened.
    """
    shown, captions = [], []
    for at, component in enumerate(np.asarray(components)[:limit]):
        image = np.asarray(component, dtype=float).reshape(image_shape).mean(axis=0)
        shown.append(image / (np.abs(image).max() or 1.0))
        ratio = "" if explained_variance_ratio is None else f":  {explained_variance_ratio[at]:.1%}"
        captions.append(f"{at + 1}{ratio}")
    return mosaic_figure(shown, captions, title, cmap=DIVERGING, limits=(-1, 1))


@styled
def augmented_images(
    pixels: np.ndarray, shares: np.ndarray, class_names: Sequence[Any], title: str = "Augmented training images"
) -> Figure:
    """A row per image: the original, then augmented versions, with the class or the weights of two classes.

    pixels: (images, versions, channels, height, width) from 0 to 1; shares: (images, versions, classes), class weights.
    """
    versions = pixels.shape[1]
    shown: list[np.ndarray] = []
    captions: list[str] = []
    for image, share in zip(pixels.reshape(-1, *pixels.shape[2:]), shares.reshape(-1, shares.shape[-1])):
        shown.append(as_image(image, image.shape))
        first, second = np.argsort(-share, kind="stable")[:2] if len(share) > 1 else (0, 0)
        name = shorten(class_names[first], 12) + (", original" if len(captions) % versions == 0 else "")
        mixed = share[first] < 0.995
        captions.append(
            f"{name} {share[first]:.0%}\n{shorten(class_names[second], 12)} {share[second]:.0%}" if mixed else name
        )
    return mosaic_figure(shown, captions, title, limits=(-TINT, 1), columns=versions)


@styled
def image_rows(
    rows: Sequence[np.ndarray], names: Sequence[str], title: str, captions: Sequence[str] | None = None
) -> Figure:
    """Rows of images with their names on the left.

    rows: pixels (images, channels, height, width) from 0 to 1, equally many in each row; captions: of the columns.
    """
    shown = [[as_image(image, image.shape) for image in row] for row in rows]
    count, (height, width) = len(shown[0]), shown[0][0].shape[:2]
    gap = max(1, round(0.08 * width))
    canvas = np.full((len(rows) * (height + gap) - gap, count * (width + gap) - gap) + shown[0][0].shape[2:], np.nan)
    for line, row in enumerate(shown):
        for place, image in enumerate(row):
            top, left = line * (height + gap), place * (width + gap)
            canvas[top : top + height, left : left + width] = image
    scale = min(0.75 / width, 9.0 / canvas.shape[1])  # inches per pixel
    inner_width, inner_height = canvas.shape[1] * scale, canvas.shape[0] * scale
    room, top = text_width(names, 10) + 0.3, 0.75 if captions else 0.5
    figure = new_figure(max(inner_width + room + 0.2, text_width([title], 13) + 0.4), inner_height + top + 0.15, title)
    (axes,) = new_axes(figure, room, 0.15, figure.get_size_inches()[0] - room - inner_width, top)
    bare(axes)
    if canvas.ndim == 3:
        canvas = np.dstack([np.nan_to_num(canvas, nan=1.0).clip(0, 1), ~np.isnan(canvas[..., 0])])
    axes.imshow(canvas, cmap="gray", vmin=0, vmax=1, aspect="auto")
    axes.set(xticks=[place * (width + gap) + (width - 1) / 2 for place in range(count)] if captions else [])
    axes.set(yticks=[line * (height + gap) + (height - 1) / 2 for line in range(len(rows))])
    axes.set_yticklabels(names)
    if captions:
        axes.set_xticklabels(captions)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
    return figure
