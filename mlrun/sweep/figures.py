"""Figures of sweeps and leaderboards."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import FuncFormatter

from mlrun.report.captions import captioned
from mlrun.report.style import BLUE, GREY, ORANGE, PALETTE, new_axes, new_figure, shorten, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mlrun.sweep.leaderboard import Board, Curve

PANELS = 6  # settings shown at most


@styled
def sweep_figure(jobs: Sequence[tuple[str, float]], settings: Sequence[Mapping[str, str]], command: str) -> Figure:
    """A panel per varied setting: a dot per job, a bar at the mean of each value.

    Args:
        jobs: (name of the watched metric, its value, which must be finite) of each job.
        settings: of each job: override -> value as text.
        command: of the sweep, the caption.
    """
    monitors = Counter(monitor for monitor, _ in jobs)
    monitor = max(monitors, key=monitors.__getitem__)
    pairs = [(chosen, value) for (watched, value), chosen in zip(jobs, settings) if watched == monitor]
    keys = list(dict.fromkeys(key for chosen, _ in pairs for key in chosen))
    keys = [key for key in keys if len({chosen.get(key) for chosen, _ in pairs}) > 1][:PANELS]
    columns = max(1, min(3, len(keys)))
    count = max(1, math.ceil(len(keys) / columns))
    figure = new_figure(max(6.0, 0.4 + 3.6 * columns), 0.9 + 2.9 * count, f"{monitor or 'value'} of {len(pairs)} jobs")
    all_axes = new_axes(figure, 0.85, 0.85, 0.25, 0.7, count, columns, gap_x=0.75, gap_y=1.0)
    for axes in all_axes[::columns]:
        axes.set_ylabel(monitor or "value")
    if not keys:
        values = [value for _, value in pairs]
        all_axes[0].plot(range(1, len(values) + 1), values, "o", color=BLUE, markersize=4)
        all_axes[0].set_xlabel("job")
        return captioned(figure, "sweep", command)
    for axes in all_axes[len(keys) :]:
        axes.set_visible(False)
    for axes, key in zip(all_axes, keys):
        _panel(axes, key, [(chosen.get(key, ""), value) for chosen, value in pairs])
    return captioned(figure, "sweep", command)


def _panel(axes: Axes, key: str, points: list[tuple[str, float]]) -> None:
    groups: dict[str, list[float]] = {}
    for text, value in points:
        groups.setdefault(text, []).append(value)
    numbers = {text: place for text in groups if (place := _number(text)) is not None}
    numeric = len(numbers) == len(groups) and key != "seed"
    order = sorted(groups, key=numbers.__getitem__) if numeric else list(groups)
    places: Sequence[float]
    if numeric:
        places = [numbers[text] for text in order]
        if min(places) > 0 and max(places) >= 20 * min(places):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        places = range(len(order))
        many = len(order) > 5 or max(map(len, order)) > 10
        axes.set_xticks(
            places, [shorten(text, 14) for text in order], rotation=30 if many else 0, ha="right" if many else "center"
        )
        axes.set_xlim(-0.6, len(order) - 0.4)
    for place, text in zip(places, order):
        label = "job" if text == order[0] else None
        axes.plot([place] * len(groups[text]), groups[text], "o", color=BLUE, markersize=4, alpha=0.7, label=label)
    means = [sum(groups[text]) / len(groups[text]) for text in order]
    if any(len(values) > 1 for values in groups.values()):
        line = "-" if numeric else "none"
        look: dict[str, Any] = {
            "marker": "_",
            "markersize": 16,
            "markeredgewidth": 2,
            "linewidth": 1,
            "linestyle": line,
        }
        axes.plot(places, means, color=ORANGE, label="mean", **look)
        axes.legend(loc="best")
    axes.set_xlabel(f"{key} (log scale)" if axes.get_xscale() == "log" else key, color=GREY)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


@styled
def leaderboard_figure(board: Board, shown: int = 30) -> Figure:
    """Means with one standard deviation to each side, and a dot per seed. The best group is on top.

    Args:
        shown: how many groups.
    """
    from mlrun.report.style import text_width

    rows = [row for row in board.rows if row.n][:shown]
    names = [shorten(" ".join(row.keys.get(key, "") for key in board.shown), 48) for row in rows]
    left = text_width(names) + 0.4
    figure = new_figure(
        left + 5.4, 1.4 + 0.3 * len(rows), f"{board.dataset}: {board.metric}" if board.dataset else board.metric
    )
    (axes,) = new_axes(figure, left, 0.6, 0.3, 0.6)
    for place, row in enumerate(rows):
        axes.errorbar(row.mean, place, xerr=row.std, fmt="s", color=BLUE, markersize=5, capsize=3, zorder=3)
        axes.plot(row.values, [place] * row.n, "o", color=ORANGE, markersize=3, alpha=0.7)
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(f"{board.metric}: mean, standard deviation (bars) and single seeds (dots)")
    return figure


@styled
def curves_figure(curves: Sequence[Curve], metric: str, axis: str) -> Figure:
    """A line per group, the mean over its seeds, within a band of one standard deviation to each side.

    Args:
        metric: label of the vertical axis.
        axis: label of the horizontal axis.
    """
    names = [f"{shorten(curve.name, 48)} ({curve.n})" for curve in curves]
    figure = new_figure(7.2, 3.4 + 0.24 * len(curves), f"{metric}, mean and standard deviation over seeds")
    (axes,) = new_axes(figure, 0.8, 0.75, 0.3, 0.5 + 0.24 * len(curves))
    for color, curve, name in zip(itertools.cycle(PALETTE), curves, names):
        alone: dict[str, Any] = {"marker": "o", "markersize": 4} if len(curve.at) == 1 else {}
        axes.plot(curve.at, curve.mean, color=color, label=name, **alone)
        axes.fill_between(curve.at, curve.mean - curve.std, curve.mean + curve.std, color=color, alpha=0.2, linewidth=0)
    axes.set_xlabel(axis)
    axes.set_ylabel(metric)
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=1)
    return figure
