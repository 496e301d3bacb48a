"""One metric to optimize within limits on others: `select.maximize=val/accuracy select.subject_to="predict_ms<=1"`."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlrun.errors import UserError

if TYPE_CHECKING:
    from mlrun.tracking.directions import Direction
    from mlrun.tracking.stored_run import StoredRun

COMPARISONS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}
_CONDITION = re.compile(r"\s*([\w./-]+?)\s*(<=|>=|<|>)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*")


@dataclass(frozen=True)
class Selection:
    """What makes a run the best one."""

    metric: str | None = None  # to optimize; None: the watched one
    mode: Direction | None = None  # of `metric`
    conditions: tuple[tuple[str, str, float], ...] = ()  # (metric, comparison, limit)

    @classmethod
    def parse(cls, words: Sequence[str]) -> Selection:
        """Reads `select.maximize=…`, `select.minimize=…` and `select.subject_to=…` (conditions separated by commas). Raises UserError."""
        metric: str | None = None
        mode: Direction | None = None
        conditions = []
        for word in words:
            key, _, value = word.partition("=")
            value = value.strip().strip("\"'")
            if key in ("select.maximize", "select.minimize"):
                if not value:
                    raise UserError(f"{word}: name the metric, such as {key}=val/loss")
                if metric:
                    raise UserError(f"{word}: only one metric can be optimized; limit others with select.subject_to")
                metric, mode = value, "max" if key == "select.maximize" else "min"
            elif key == "select.subject_to":
                for part in value.split(","):
                    found = _CONDITION.fullmatch(part)
                    if not found:
                        raise UserError(
                            f"select.subject_to={value}: give a metric and its limit, such as predict_ms<=1"
                        )
                    conditions.append((found[1], found[2], float(found[3])))
            else:
                raise UserError(
                    f"{word}: give select.maximize=METRIC, select.minimize=METRIC or select.subject_to='METRIC<=NUMBER'"
                )
        return cls(metric, mode, tuple(conditions))

    def accepts(self, metrics: Mapping[str, float]) -> bool:
        """Whether all conditions hold. The condition on a metric that was not measured does not."""
        return all(violation <= 0 for violation in self.violations(metrics).values())

    def violations(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """By how much each condition is violated: above 0 if it is. A metric that was not measured violates its condition by 1."""
        found = {}
        for name, comparison, limit in self.conditions:
            value = metrics.get(name, math.nan)
            excess = value - limit if comparison in ("<", "<=") else limit - value
            holds = COMPARISONS[comparison](value, limit)
            violation = min(excess, 0.0) if holds else 1.0 if math.isnan(excess) else max(excess, 1e-9)
            found[f"{name}{comparison}{limit:.12g}"] = violation
        return found

    def among(self, runs: list[StoredRun]) -> list[StoredRun]:
        """The runs that meet all conditions. Raises UserError, with the measured ranges, if no run does."""
        if not self.conditions:
            return runs
        kept = [run for run in runs if self.accepts(run.metrics)]
        if runs and not kept:
            ranges = []
            for name, _, _ in self.conditions:
                values = [run.metrics[name] for run in runs if name in run.metrics]
                ranges.append(f"{name} is {min(values):.4g} to {max(values):.4g}" if values else f"no run has {name}")
            raise UserError(f"select.subject_to: no run is within the limits ({'; '.join(ranges)})")
        return kept
