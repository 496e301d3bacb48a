"""Curves over epochs: each metric with its training and validation values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.ticker import FuncFormatter, MaxNLocator

from mlrun.evaluation.selection import select
from mlrun.report.numbers import number
from mlrun.report.style import BLUE, GREEN, GREY, INK, ORANGE, new_axes, new_figure, styled, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STEPS = "train/steps"  # environment steps so far
BOLD = 1.12  # width of bold letters relative to others
COLOURS = {"train": BLUE, "val": ORANGE, "": GREEN}


@styled
def learning_curves(
    history: Mapping[str, Sequence[tuple[int, float]]],
    monitor: str | None = None,
    mode: str | None = None,
    best_epoch: int | None = None,
    title: str = "Learning curves",
) -> Figure:
    """One panel per metric with train and val; the best epoch by `monitor` is marked in each.

    history: name -> [(epoch, value), ...]; "train/loss" and "val/loss" share the panel "loss".
    Test metrics and a constant learning rate are left out.
    mode: "min" or "max" of `monitor`; best_epoch: None: determined from `history` if `mode` is given, else not marked.
    Metrics of agents, whose history has "train/steps", are drawn against environment steps, which compare across methods.
    """
    steps = {float(epoch): float(count) for epoch, count in history.get(STEPS, ())}
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for name, values in history.items():
        split, _, metric = name.rpartition("/")
        points = [(float(x), float(y)) for x, y in values if math.isfinite(y)]
        constant = metric.startswith("lr") and len({y for _, y in points}) == 1
        if name == STEPS:
            continue
        if split != "test" and points and not constant:
            panels.setdefault(metric if split in COLOURS else name, {})[split if split in COLOURS else ""] = points
    monitored = monitor.rpartition("/")[2] if monitor else None
    # loss first, then the monitored metric, then the rest in order; learning rates last
    names = sorted(panels, key=lambda name: (name != "loss", name != monitored, name.startswith("lr")))[:9]

    columns = 2 if len(names) in (2, 4) else max(1, min(len(names), 3))
    rows = max(1, math.ceil(len(names) / columns))
    figure = new_figure(max(6.0, 0.4 + 4.0 * columns), 0.75 + 2.95 * rows, title)
    if not names:
        figure.text(0.5, 0.5, "no epoch was finished", ha="center", color=GREY)
        return figure
    if best_epoch is None and mode is not None and history.get(monitor):
        finite = {name: [(x, y) for x, y in points if math.isfinite(y)] for name, points in history.items()}
        best_epoch = select(finite, monitor, mode).epoch

    all_axes = new_axes(figure, 0.75, 0.6, 0.25, 0.85, rows, columns, gap_x=0.75, gap_y=0.95)
    for axes in all_axes[len(names) :]:
        axes.set_visible(False)
    room = all_axes[0].get_position().width * figure.get_size_inches()[0]
    for axes, name in zip(all_axes, names):
        _panel(axes, name, panels[name], best_epoch, f"val/{name}" == monitor or name == monitor, steps, room)
    return figure


def _panel(
    axes: Axes,
    name: str,
    curves: Mapping[str, list[tuple[float, float]]],
    best_epoch: int | None,
    monitored: bool,
    steps: Mapping[float, float],
    room: float,
) -> None:
    """Draws the curves of a metric. room: inches for the title."""
    for split, points in sorted(curves.items()):
        x, y = zip(*((steps.get(at, at), value) for at, value in points))
        marker = "o" if len(x) <= 15 else None  # a single epoch would be an invisible line
        axes.plot(x, y, color=COLOURS[split], label=split or None, marker=marker, markersize=4)
    values = [y for points in curves.values() for _, y in points]
    falls = all(
        points[-1][1] <= points[0][1] for points in curves.values()
    )  # an accuracy that rises is not read as a power
    if falls and min(values) > 0 and max(values) > 100 * min(values):
        axes.set_yscale("log")
        axes.set_ylabel("log scale", color=GREY)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.minorticks_off()
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_xlabel("environment steps" if steps else "epoch")
    if steps:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    epochs = {steps.get(x, x) for points in curves.values() for x, _ in points}
    if len(epochs) == 1:
        axes.set_xlim(min(epochs) - 1, max(epochs) + 1)
    title = name
    if best_epoch is not None:
        at = steps.get(float(best_epoch), best_epoch)
        axes.axvline(at, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        best = dict(curves.get("val", ())).get(float(best_epoch))
        if best is not None:
            axes.plot([at], [best], "o", markersize=9, markerfacecolor="none", markeredgecolor=INK, zorder=4)
            title = f"{name}: val {number(best)} at epoch {best_epoch:g}"
    size = 11.0
    wanted = text_width([title], size) * (BOLD if monitored else 1.0)
    axes.set_title(title, fontweight="bold" if monitored else "normal", fontsize=min(size, size * room / wanted))
    if len(curves) > 1:
        axes.legend(loc="best")
