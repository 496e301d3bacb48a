"""The caption below every figure, which says what it shows: model, dataset, split and number of rows. Pictures also get a title."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from mlrun.report.style import CHARACTER, GREY, shorten

STRIP, LINE, LETTERS = 0.3, 0.16, 8.5  # inches below a figure, and per further line; size of the letters in points
WIDTH = 600  # least width of a picture in pixels
TITLE, CAPTION, MARGIN = 17, 13, 8  # sizes of the letters of a picture, and space around them, in pixels
EXPLAINED = "explanation"  # key of `Image.info`: what rows and columns of a picture are


def explained(picture: Image.Image, text: str) -> Image.Image:
    """The picture, with a text that says what its rows and columns are. `captioned` writes it next to the title."""
    picture.info[EXPLAINED] = text
    return picture


def captioned(figure: Any, name: str, about: str) -> Any:
    """A figure or picture with its caption; films stay as they are.

    Args:
        figure: a matplotlib Figure, a PIL Image, or a film.
        name: of its file, from which a picture takes its title.
        about: "mlp on digits, test split, 359 rows".
    """
    if isinstance(figure, Figure):
        return _below(figure, about)
    if isinstance(figure, Image.Image):
        return _around(figure, _title(name), about)
    return figure


def _title(name: str) -> str:
    """`Samples after epoch 5` of the file name `samples_epoch_0005`."""
    return re.sub(r"_epoch_0*(\d+)$", r" after epoch \1", name).replace("_", " ").capitalize()


def _below(figure: Figure, about: str) -> Figure:
    """Makes room for the caption at the bottom: everything else keeps its size."""
    width, height = figure.get_size_inches()
    room = int((width - 0.28) / (CHARACTER * LETTERS / 10))  # characters
    lines = [shorten(line, room) for line in textwrap.wrap(about, room, break_long_words=False)]
    strip = STRIP + LINE * (len(lines) - 1)
    taller = height + strip
    for axes in figure.axes:
        box = axes.get_position(original=True)
        axes.set_position((box.x0, (box.y0 * height + strip) / taller, box.width, box.height * height / taller))
    for text in figure.texts:
        x, y = text.get_position()
        text.set_position((x, (y * height + strip) / taller))
    figure.set_size_inches(width, taller)
    figure.text(0.14 / width, 0.1 / taller, "\n".join(lines), fontsize=LETTERS, color=GREY, ha="left", va="bottom")
    return figure


def _around(picture: Image.Image, title: str, about: str) -> Image.Image:
    """The picture below its title and above its caption, at least WIDTH wide."""
    explanation, scale = picture.info.get(EXPLAINED, ""), max(1, -(-WIDTH // picture.width))
    if scale > 1:
        picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
    lines = [(title, TITLE, "#222222")] + [(explanation, CAPTION, "#222222")] * bool(explanation)
    top = MARGIN + sum(size + MARGIN for _, size, _ in lines)
    canvas = Image.new("RGB", (picture.width + 2 * MARGIN, top + picture.height + CAPTION + 2 * MARGIN), "white")
    canvas.paste(picture.convert("RGB"), (MARGIN, top))
    draw, y = ImageDraw.Draw(canvas), MARGIN
    for text, size, colour in lines:
        draw.text((MARGIN, y), text, fill=colour, font=ImageFont.load_default(size))
        y += size + MARGIN
    draw.text((MARGIN, top + picture.height + MARGIN // 2), about, fill=GREY, font=ImageFont.load_default(CAPTION))
    return canvas
