"""Boxes, masks and points drawn into images, pixel by pixel."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.report.style import PALETTE

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 300  # pixels of the longer side: smaller images are enlarged to about it, and larger ones reduced for figures
FONT, SMALL_FONT = 14, 9  # size of captions, and of those in reduced images, where there are many
TRUE = "#FFFFFF"  # outline of true boxes and points
COLOURS = (*PALETTE, "#5E3C99", "#6B3E0A", "#7FC31C", "#99000D")  # violet, brown, lime and dark red after the palette


def colour_of(place: int) -> str:
    """The colour of a class; those of the first eleven differ clearly."""
    if place < len(COLOURS):
        return COLOURS[place]
    red, green, blue = colorsys.hsv_to_rgb((place * 0.381966) % 1, 0.75, 0.85)
    return f"#{int(255 * red):02X}{int(255 * green):02X}{int(255 * blue):02X}"


def canvas(image: np.ndarray, reduced: bool = False) -> tuple[Image, float]:
    """An image to draw into.

    Args:
        image: (channels, height, width) uint8.
        reduced: whether a large image is reduced, as for a figure: lines drawn at its own size would vanish there.

    Returns:
        An RGB picture, and how many of its pixels are one of the image. Small images are enlarged by a whole number.
    """
    from PIL import Image

    pixels = _colours(image).astype(np.uint8)
    longer = max(pixels.shape[:2])
    factor = SIDE / longer if reduced and longer > SIDE else max(1, round(SIDE / longer))
    height, width = (max(1, round(factor * side)) for side in pixels.shape[:2])
    return _resized(Image.fromarray(pixels), (width, height)), factor


def _resized(picture: Image, size: tuple[int, int]) -> Image:
    from PIL.Image import Resampling

    return picture.resize(size, Resampling.NEAREST if size >= picture.size else Resampling.BOX)


def _colours(image: np.ndarray) -> np.ndarray:
    """(channels, height, width) -> (height, width, 3)."""
    pixels = np.asarray(image)
    return pixels.transpose(1, 2, 0) if len(pixels) == 3 else np.repeat(pixels[0][..., None], 3, axis=2)


def drawn_objects(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray,
    classes: Sequence[Any],
    truth: Mapping[str, np.ndarray] | None = None,
    reduced: bool = False,
) -> Image:
    """An image (channels, height, width) with predicted boxes in the colour of their class, and true boxes in dashed white lines."""
    from PIL import ImageDraw

    picture, factor = canvas(image, reduced)
    draw = ImageDraw.Draw(picture)
    for box in () if truth is None else truth["boxes"]:
        _dashed(draw, [factor * float(side) for side in box])
    for box, label, score in sorted(zip(boxes, labels, scores), key=lambda one: float(one[2])):
        left, top, right, bottom = (factor * float(side) for side in box)
        if right < left or bottom < top:
            continue
        colour = colour_of(int(label))
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=2)
        text = f"{classes[int(label)]} {float(score):.2f}"
        _caption(draw, picture, (left, top), text, colour, FONT if factor >= 1 else SMALL_FONT)
    return picture


def drawn_mask(image: np.ndarray, mask: np.ndarray, classes: Sequence[Any], reduced: bool = False) -> Image:
    """An image (channels, height, width) tinted by the class of each pixel (height, width); the first class stays as it is."""
    from PIL import Image

    picture, _ = canvas(image, reduced)
    palette = np.array([_rgb(colour_of(place - 1)) for place in range(len(classes))], dtype=np.float64)
    known = np.where(mask < len(classes), mask, 0)
    tint = palette[known]
    share = 0.6 * (known > 0)[..., None]
    mixed = ((1 - share) * _colours(image) + share * tint).round().clip(0, 255).astype(np.uint8)
    return _resized(Image.fromarray(mixed), picture.size)


def drawn_points(
    image: np.ndarray, points: np.ndarray, truth: np.ndarray | None = None, reduced: bool = False
) -> Image:
    """An image (channels, height, width) with predicted points (points, 2) as discs, and true ones as white crosses joined to them."""
    from PIL import ImageDraw

    picture, factor = canvas(image, reduced)
    draw = ImageDraw.Draw(picture)
    radius = max(2, min(picture.size) // 90)
    for place, (x, y) in enumerate(factor * np.asarray(points, dtype=np.float64)):
        if truth is not None and not np.isnan(truth[place]).any():
            true_x, true_y = factor * np.asarray(truth[place], dtype=np.float64)
            draw.line((x, y, true_x, true_y), fill=TRUE, width=1)
            draw.line((true_x - radius, true_y, true_x + radius, true_y), fill=TRUE, width=1)
            draw.line((true_x, true_y - radius, true_x, true_y + radius), fill=TRUE, width=1)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour_of(place))
    return picture


def _dashed(draw: Any, box: Sequence[float], dash: int = 6) -> None:
    left, top, right, bottom = box
    for x in np.arange(left, right, 2 * dash):
        for y in (top, bottom - 1):
            draw.line((x, y, min(x + dash, right), y), fill=TRUE, width=2)
    for y in np.arange(top, bottom, 2 * dash):
        for x in (left, right - 1):
            draw.line((x, y, x, min(y + dash, bottom)), fill=TRUE, width=2)


def _caption(draw: Any, picture: Image, corner: tuple[float, float], text: str, colour: str, size: int) -> None:
    from PIL import ImageFont

    font = ImageFont.load_default(size)
    width, height = draw.textbbox((0, 0), text, font=font)[2:]
    x = min(max(0, corner[0]), picture.width - width - 4)
    y = max(0, corner[1] - height - 4)
    draw.rectangle((x, y, x + width + 4, y + height + 3), fill=colour)
    draw.text((x + 2, y + 1), text, fill="white", font=font)


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
