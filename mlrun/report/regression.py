"""Figure of regression: predictions against true values, and residuals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.evaluation.metrics import regression
from mlrun.report.numbers import number
from mlrun.report.style import BLUE, GREY, ORANGE, PALE, new_axes, new_figure, shorten, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS = 4000  # more points overlap; a seeded sample suffices


@styled
def predicted_against_true(
    y_true: np.ndarray, y_pred: np.ndarray, target: str = "target", title: str = "Predicted against true"
) -> Figure:
    """Left: predictions over true values with the identity line. Right: residuals over predictions.

    y_true, y_pred: (rows,)
    """
    y_true, y_pred = np.asarray(y_true, dtype=float).ravel(), np.asarray(y_pred, dtype=float).ravel()
    measured = regression(y_true, y_pred)
    figure = new_figure(9.8, 4.8, title)
    width, height = figure.get_size_inches()
    summary = f"RMSE {number(measured['rmse'])},  MAE {number(measured['mae'])},  R² {number(measured['r2'])}"
    summary += f"  on {len(y_true):,} rows"
    figure.text(0.14 / width, 1 - 0.38 / height, summary, va="top", color=GREY, fontsize=9)
    left, right = new_axes(figure, 0.85, 0.65, 1.2, 0.8, columns=2, gap_x=0.95)

    rmse = measured["rmse"]
    if len(y_true) > POINTS:
        sample = np.random.default_rng(0).choice(len(y_true), POINTS, replace=False)
        y_true, y_pred = y_true[sample], y_pred[sample]
    look: dict[str, Any] = {"linestyle": "none", "marker": "o", "markeredgewidth": 0, "color": BLUE}
    look |= {"markersize": 5, "alpha": 0.5} if len(y_true) < 1000 else {"markersize": 3, "alpha": 0.3}
    finite = np.concatenate([y_true, y_pred])
    finite = finite[np.isfinite(finite)]
    low, high = (finite.min(), finite.max()) if len(finite) else (0, 1)
    margin = 0.04 * (high - low) or 1
    name = shorten(target, 30)

    left.plot([low - margin, high + margin], [low - margin, high + margin], color=GREY, linewidth=1.2)
    left.plot(y_true, y_pred, **look)
    left.set(xlabel=f"true {name}", ylabel=f"predicted {name}",
             xlim=(low - margin, high + margin), ylim=(low - margin, high + margin))  # fmt: skip

    residual = y_true - y_pred
    right.axhspan(-rmse, rmse, color=PALE, alpha=0.6, linewidth=0, zorder=0)
    right.axhline(0, color=GREY, linewidth=1.2)
    right.plot(y_pred, residual, **look)
    right.set(xlabel=f"predicted {name}", ylabel="residual: true − predicted")
    box = right.get_position()
    spread = figure.add_axes((box.x1 + 0.1 / width, box.y0, 0.85 / width, box.height), sharey=right)
    residual = residual[np.isfinite(residual)]
    counts, edges = np.histogram(residual, bins=30 if len(residual) > 200 else 15)
    spread.stairs(counts, edges, orientation="horizontal", fill=True, color=ORANGE, alpha=0.75)
    spread.set_title("band: ± RMSE", fontsize=9, color=GREY)
    spread.axis("off")
    return figure
