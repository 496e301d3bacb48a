"""Whether larger or smaller values of a metric are better, as declared by the runs that measured it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from mlrun.errors import UserError

if TYPE_CHECKING:
    from mlrun.tracking.stored_run import StoredRun

Direction = Literal["max", "min"]

DIRECTIONS = "mlrun.directions"  # tag: JSON object, metric without its part -> "max" or "min"
KIND = (
    "mlrun.kind"  # tag of runs that are not experiments, such as the parent of a sweep; tables of runs leave them out
)
REJECTED = "mlrun.rejected"  # tag of a run that never began, because its data or configuration were refused
MONITOR, MODE = "monitor", "mode"  # tags: the watched metric and its direction
PARTS = ("train", "val", "best_val", "test", "cv", "fold")  # prefixes that say on which rows a metric was measured
# costs and deviations, which the recipe itself measures, and the loss, which training minimizes
WALL = "wall/"  # prefix of the durations of a run's phases in seconds; sorts behind test/, train/ and val/
EARLIER_WALL = "seconds/"  # the prefix in version 0.1
MINIMIZED, MINIMIZED_PREFIXES = {"predict_ms", "parameters", "loss"}, (WALL, EARLIER_WALL, "cv_std/")


def without_part(metric: str) -> str:
    """The metric's own name: "accuracy" for "test/accuracy"."""
    part, _, name = metric.partition("/")
    return name if part in PARTS and name else metric


def as_tag(directions: Mapping[str, str]) -> dict[str, str]:
    """The tag by which a run declares the directions of its metrics. directions: metric, without its part -> direction."""
    return {DIRECTIONS: json.dumps(dict(directions), sort_keys=True)}


def directions(run: StoredRun) -> dict[str, Direction]:
    """The directions that a run declares: metric, without its part -> direction.

    Runs from before metrics declared their direction tell that of the watched metric only.
    """
    monitor = without_part(run.tags.get(MONITOR, ""))
    watched = {monitor: run.tags.get(MODE)} if monitor else {}
    try:
        declared = {**watched, **_read(run.tags.get(DIRECTIONS, "{}"))}
    except (ValueError, TypeError) as error:
        raise UserError(f"run {run.run_id}: its tag {DIRECTIONS} cannot be read: {error}") from None
    return {metric: direction for metric, direction in declared.items() if direction in ("max", "min")}


@lru_cache  # thousands of runs declare the same
def _read(tag: str) -> dict[str, Any]:
    return json.loads(tag)


def direction_of(metric: str, runs: Iterable[StoredRun]) -> Direction:
    """The direction of a metric.

    Args:
        metric: as it was recorded, such as "test/accuracy". All parts of a metric share its direction.
        runs: the runs that are compared.

    Raises:
        UserError: no run declares a direction for this metric, or two runs declare different ones.
    """
    name = without_part(metric)
    if name in MINIMIZED or metric.startswith(MINIMIZED_PREFIXES):
        return "min"
    runs = list(runs)
    measured = [run for run in runs if metric in run.metrics]
    declared = _declared(name, measured) or _declared(name, runs)
    if len(declared) == 1:
        return declared.pop()
    problem = "runs declare both directions for it" if declared else "no run declares a direction for it"
    raise UserError(
        f"{metric}: {problem}; state whether larger or smaller values are better: "
        f"select.maximize={metric} or select.minimize={metric}"
    )


def _declared(name: str, runs: Iterable[StoredRun]) -> set[Direction]:
    return {direction for run in runs for metric, direction in directions(run).items() if metric == name}
