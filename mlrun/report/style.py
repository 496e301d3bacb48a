"""The common style of all figures, and saving.

Figures are built with matplotlib's object API: `pyplot` costs import time, keeps every figure alive in a global list
and may look for a display. Layout is computed from text lengths: matplotlib's layout engines draw everything twice.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

P = ParamSpec("P")
R = TypeVar("R")

# Okabe and Ito's palette: distinguishable with every common kind of colour blindness
BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER, YELLOW = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#F0E442",
)  # fmt: skip
PALETTE = (BLUE, ORANGE, GREEN, AMBER, PURPLE, SKY, YELLOW)
INK, GREY, PALE = "#222222", "#8A8A8A", "#E4E4E4"
SEQUENTIAL, DIVERGING = "Blues", "RdBu"

DPI = 110
CHARACTER = 0.081  # mean width of a character in inches at 10 points

_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "font.family": ["DejaVu Sans"],
    "text.color": INK,
    "text.parse_math": False,  # class names may contain "$" and "_"
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.titley": 1.0,  # otherwise placing each title measures all ticks again
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": False,
    "axes.formatter.useoffset": False,
    "grid.color": PALE,
    "grid.linewidth": 0.8,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "image.interpolation": "nearest",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Decorator: `draw` builds its figure in the common style, independent of the user's matplotlibrc."""

    @functools.wraps(draw)
    def in_style(*args: P.args, **kwargs: P.kwargs) -> R:
        with matplotlib.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return in_style


def new_figure(width: float, height: float, title: str | None = None) -> Figure:
    """An empty figure of this size in inches, whose title takes the top 0.45 inches."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    if title:
        figure.text(0.14 / width, 1 - 0.12 / height, title, fontsize=12, fontweight="bold", va="top", ha="left")
    return figure


def new_axes(
    figure: Figure,
    left: float,
    bottom: float,
    right: float,
    top: float,
    rows: int = 1,
    columns: int = 1,
    gap_x: float = 0.6,
    gap_y: float = 0.6,
) -> list[Axes]:
    """A grid of rows x columns axes, row by row; margins and gaps in inches."""
    width, height = figure.get_size_inches()
    w = (width - left - right - gap_x * (columns - 1)) / columns
    h = (height - bottom - top - gap_y * (rows - 1)) / rows
    return [
        figure.add_axes(
            (
                (left + column * (w + gap_x)) / width,
                (bottom + (rows - 1 - row) * (h + gap_y)) / height,
                w / width,
                h / height,
            )
        )
        for row in range(rows)
        for column in range(columns)
    ]


def bare(axes: Axes, *sides: str) -> None:
    """Removes grid, ticks and frame, except the named sides of the frame."""
    axes.grid(False)
    axes.tick_params(length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in sides)


def text_width(texts: Iterable[Any], size: float = 9) -> float:
    """Approximate width in inches of the longest of these texts."""
    return max((len(str(text)) for text in texts), default=0) * CHARACTER * size / 10


def shorten(text: Any, length: int = 22) -> str:
    """At most `length` characters on one line, cut in the middle because names often differ at their ends."""
    text = " ".join(str(text).split())
    if len(text) <= length:
        return text
    tail = (length - 1) // 3
    return text[: length - 1 - tail] + "…" + text[len(text) - tail :]


def save(figure: Figure, path: str | Path) -> None:
    """Writes `figure` as PNG. Light compression halves the time for a few additional kilobytes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # no font covers all scripts
        figure.savefig(path, dpi=DPI, format="png", pil_kwargs={"compress_level": 3})
