"""Figure of images with questions and answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlrun.report.images import as_image
from mlrun.report.style import GREEN, INK, ORANGE, bare, new_figure, shorten, styled, text_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Answered = tuple[str, str, str, bool]  # question, answer, right answer, whether they are equal

COLUMNS, SIDE, LINE, SIZE = (
    2,
    1.5,
    0.155,
    8,
)  # of the grid; height of an image and of a line in inches; letters in points
LONGEST = 60  # characters of a line


@styled
def answered_images(images: Sequence[np.ndarray], answered: Sequence[Sequence[Answered]]) -> Figure:
    """Each image with its questions below each other, and under each the answer, green if it is right; else the right one in brackets.

    Args:
        images: (channels, height, width) uint8, of any size.
        answered: for each image its questions.
    """
    lines = [[_lines(one) for one in several] for several in answered]
    texts = [text for several in lines for pair in several for text, _ in pair]
    room = text_width(texts, SIZE) + 0.1
    most = max((len(several) for several in lines), default=1)
    tall, wide = max(SIDE, 2 * LINE * most) + 0.2, SIDE + 0.12 + room + 0.2
    columns = min(COLUMNS, max(1, len(images)))
    rows = -(-len(images) // columns)
    width, height = columns * wide + 0.15, rows * tall + 0.5
    figure = new_figure(width, height, "Questions and answers")
    for at, (image, several) in enumerate(zip(images, lines)):
        left, top = 0.15 + at % columns * wide, height - 0.45 - at // columns * tall
        axes = figure.add_axes((left / width, (top - SIDE) / height, SIDE / width, SIDE / height))
        bare(axes)
        axes.set(xticks=[], yticks=[])
        axes.imshow(as_image(image, image.shape) / 255, cmap="gray", vmin=0, vmax=1)
        y = top
        for pair in several:
            for text, colour in pair:
                figure.text((left + SIDE + 0.12) / width, y / height, text, fontsize=SIZE, color=colour, va="top")
                y -= LINE
    return figure


def _lines(one: Answered) -> tuple[tuple[str, str], tuple[str, str]]:
    """(text, colour) of the question and of the answer."""
    question, answer, expected, right = one
    said = answer or "(nothing)"
    below = said if right else f"{said} (right: {expected})"
    return (shorten(question, LONGEST), INK), (f"   {shorten(below, LONGEST)}", GREEN if right else ORANGE)
