"""Figures that are composed but not rendered: most tests do not look at them, and rendering takes a sixth of their time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch


@contextmanager
def blank_figures() -> Iterator[None]:
    """Within it matplotlib writes an image of one pixel in the place of every figure."""
    with patch("matplotlib.figure.Figure.savefig", _save_pixel):
        yield


def _save_pixel(figure, path, **_) -> None:
    from PIL import Image

    Image.new("L", (1, 1)).save(path, format="PNG")
