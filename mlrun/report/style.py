"""The look that all figures share, and how one is saved.

Figures are built with matplotlib's object API: `pyplot` costs import time, keeps every figure alive in a global list
and may look for a display. Layout is computed from text lengths: matplotlib's layout engines draw everything twice.
"""

from __future__ import annotations

import functools
import warnings

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito's palette: distinguishable with every common kind of colour blindness
BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER, YELLOW = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#F0E442",
)  # fmt: skip
PALETTE = (BLUE, ORANGE, GREEN, AMBER, PURPLE, SKY, YELLOW)
INK, GREY, PALE = "#222222", "#8A8A8A", "#E4E4E4"
SEQUENTIAL, DIVERGING = "Blues", "RdBu"

DPI = 110
CHARACTER = 0.081  # mean width of a character in inches at 10 points

_STYLE = {
    "font.size": 10,
    "font.family": ["DejaVu Sans"],
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$" or "a_b$c"
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.titley": 1.0,  # else every title is placed by measuring all ticks once more
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


def styled(draw):
    """Decorator: `draw` builds its figure in the shared style, whatever matplotlibrc the user has."""

    @functools.wraps(draw)
    def in_style(*args, **kwargs):
        with matplotlib.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return in_style


def new_figure(width: float, height: float, title: str | None = None) -> Figure:
    """An empty figure of that size in inches, with room for its title above 0.45 inches from the top."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    if title:
        figure.text(0.14 / width, 1 - 0.12 / height, title, fontsize=12, fontweight="bold", va="top", ha="left")
    return figure


def new_axes(figure, left, bottom, right, top, rows=1, columns=1, gap_x=0.6, gap_y=0.6):
    """A list of rows x columns axes; margins and gaps in inches."""
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


def bare(axes, *sides):
    """No grid, ticks or frame, but for the named sides of the frame."""
    axes.grid(False)
    axes.tick_params(length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in sides)


def text_width(texts, size: float = 9) -> float:
    """About how many inches the longest of these texts takes."""
    return max((len(str(text)) for text in texts), default=0) * CHARACTER * size / 10


def shorten(text, length: int = 22) -> str:
    """At most `length` characters on one line, cut in the middle: the ends of names tell them apart."""
    text = " ".join(str(text).split())
    if len(text) <= length:
        return text
    tail = (length - 1) // 3
    return text[: length - 1 - tail] + "…" + text[len(text) - tail :]


def save(figure: Figure, path) -> None:
    """Write `figure` as PNG. Light compression: it saves half of the writing time for a few kilobytes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # names in any script; no font has all
        figure.savefig(path, dpi=DPI, format="png", pil_kwargs={"compress_level": 3})
