"""One metric to optimize, others that only have to be good enough: `select.maximize=val/accuracy select.subject_to="predict_ms<=1"`."""

from __future__ import annotations

import math
import operator
import re
from dataclasses import dataclass

from mlrun.errors import UserError

COMPARISONS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}
_CONDITION = re.compile(r"\s*([\w./-]+?)\s*(<=|>=|<|>)\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*")


@dataclass(frozen=True)
class Selection:
    """metric: to optimize, None for the usual one; mode: "max", "min" or None; conditions: (metric, comparison, limit)."""

    metric: str | None = None
    mode: str | None = None
    conditions: tuple[tuple[str, str, float], ...] = ()

    @classmethod
    def parse(cls, words: list[str]) -> Selection:
        """From `select.maximize=…`, `select.minimize=…` and `select.subject_to=…` (several conditions apart by commas)."""
        metric = mode = None
        conditions = []
        for word in words:
            key, _, value = word.partition("=")
            value = value.strip().strip("\"'")
            if key in ("select.maximize", "select.minimize"):
                if metric:
                    raise UserError(f"{word}: one metric is optimized; others go into select.subject_to")
                metric, mode = value, key[7:10]
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

    def accepts(self, metrics: dict[str, float]) -> bool:
        """Whether all limits hold; a metric that was not measured holds none."""
        return all(over <= 0 for over in self.violations(metrics))

    def violations(self, metrics: dict[str, float]) -> list[float]:
        """By how much each limit is broken; above 0 where it is. A metric that was not measured breaks it by 1."""
        found = []
        for name, comparison, limit in self.conditions:
            value = metrics.get(name, math.nan)
            over = value - limit if comparison in ("<", "<=") else limit - value
            holds = COMPARISONS[comparison](value, limit)
            found.append(min(over, 0.0) if holds else 1.0 if math.isnan(over) else max(over, 1e-9))
        return found

    def among(self, runs: list) -> list:
        """The runs that are good enough. Raises UserError naming how close they came where there are none."""
        if not self.conditions:
            return runs
        kept = [run for run in runs if self.accepts(run.metrics)]
        if runs and not kept:
            ranges = []
            for name, _, _ in self.conditions:
                values = [run.metrics[name] for run in runs if name in run.metrics]
                ranges.append(f"{name} is {min(values):.4g} to {max(values):.4g}" if values else f"no run has {name}")
            raise UserError(f"select.subject_to: no run is good enough ({'; '.join(ranges)})")
        return kept
