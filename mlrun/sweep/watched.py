"""Reads from source which metric a model watches, and whether larger values are better.

A search needs the direction before its first trial, and importing a task would import torch into the process of the sweep.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mlrun.config.sources import Definition, Module, Opaque, resolve
from mlrun.errors import ConfigError

if TYPE_CHECKING:
    from mlrun.tracking.directions import Direction

ROLES = {"classification": "classifier", "regression": "regressor", "language_modeling": "language_model"}  # by problem
BETTER: dict[str, Direction] = {"LARGER": "max", "SMALLER": "min"}  # members of mlrun.evaluation.evaluator.Better
CONTROLLER = "mlrun.estimators.controller.MONITOR"  # what every controller watches


def watched(model: Mapping[str, Any], dataset: Mapping[str, Any]) -> tuple[str, Direction] | None:
    """(metric without its part, direction) of a composed configuration; None if the source does not show them."""
    task, role = model.get("_target_"), _role(model, dataset.get("problem"))
    owner = _class(task or role)
    metric = model.get("monitor") or (owner and _monitor(owner, model, dataset))
    if "controller" in model:
        metric = metric or _text(_expression(CONTROLLER))
    if not metric:
        return None
    declared = _metrics(owner) if owner else {}
    for evaluator in _evaluators(model, role):
        declared |= _metrics(evaluator)
    return (metric, declared[metric]) if metric in declared else None


def _role(model: Mapping[str, Any], problem: str | None) -> str | None:
    """Dotted name of the role that an estimator takes for a problem. Networks watch what the role of their problem watches."""
    wanted = ROLES.get(problem or "")
    if not model.get("_target_"):
        wanted = next((name for name in (wanted, "clusterer", "decomposer", "detector") if name in model), None)
    if wanted is None:
        return None
    return "mlrun.estimators.roles." + "".join(part.capitalize() for part in wanted.split("_"))


def _monitor(owner: Definition, model: Mapping[str, Any], dataset: Mapping[str, Any]) -> str | None:
    """The attribute `monitor`. A constructor may set it to one of several metrics, or to the value of an argument."""
    for found in _lineage(owner):
        for statement in ast.walk(found.node):
            for target, value in _assignments(statement):
                if not (isinstance(target, ast.Attribute) and target.attr == "monitor"):
                    continue
                if isinstance(value, ast.Name):  # an argument, which the model's YAML or the dataset gives
                    given = model.get(value.id) or dataset.get(value.id)
                    return given if isinstance(given, str) else None
                role = _class(_role(model, dataset.get("problem")))
                usual = _text(_attribute(role, "monitor")) if role else None
                choices = [_text(node) for node in ast.walk(value)] if value else []
                return usual if usual in choices else None
        value = _own_attribute(found, "monitor")
        if value is not None:
            return _text(value)
    return None


def _evaluators(model: Mapping[str, Any], role: str | None) -> Iterator[Definition]:
    """The classes of a model's evaluators: those of its YAML, else those of its role."""
    entries = model.get("evaluators")
    if entries is None and (owner := _class(role)) is not None:
        found = _attribute(owner, "evaluators")
        entries = [_text(element) for element in getattr(found, "elts", ())]
    for entry in entries or ():
        name = entry.get("_target_") if isinstance(entry, Mapping) else entry
        for dotted in [name] if name and "." in name else _names_in(f"mlrun.evaluation.{name}"):
            if (definition := _class(dotted)) is not None:
                yield definition


def _names_in(dotted: str) -> list[str]:
    """The dotted names of what a module defines or imports."""
    with suppress(ConfigError, Opaque):
        module = resolve(dotted)
        return [f"{dotted}.{name}" for name in module.names] if isinstance(module, Module) else []
    return []


def _metrics(owner: Definition) -> dict[str, Direction]:
    """The attribute `metrics` of a task or an evaluator."""
    found = _attribute(owner, "metrics")
    keys = getattr(found, "keys", ())
    pairs = zip(keys, getattr(found, "values", ())) if isinstance(found, ast.Dict) else ()
    return {
        metric: BETTER[value.attr]
        for key, value in pairs
        if (metric := _text(key)) and isinstance(value, ast.Attribute) and value.attr in BETTER
    }


def _class(dotted: str | None) -> Definition | None:
    with suppress(ConfigError, Opaque):
        found = resolve(dotted) if dotted else None
        if isinstance(found, Definition) and isinstance(found.node, ast.ClassDef):
            return found
    return None


def _expression(dotted: str) -> ast.AST | None:
    with suppress(ConfigError, Opaque):
        found = resolve(dotted)
        return found.node if isinstance(found, Definition) else None
    return None


def _lineage(found: Definition) -> Iterator[Definition]:
    """A class, then its bases, as far as their source is known."""
    yield found
    for base in getattr(found.node, "bases", ()):
        with suppress(ConfigError, Opaque):
            definition = found.module.evaluate(base)
            if isinstance(definition, Definition) and isinstance(definition.node, ast.ClassDef):
                yield from _lineage(definition)


def _attribute(owner: Definition, name: str) -> ast.expr | None:
    """The value of a class attribute, which may be inherited."""
    return next((value for one in _lineage(owner) if (value := _own_attribute(one, name)) is not None), None)


def _own_attribute(owner: Definition, name: str) -> ast.expr | None:
    for statement in getattr(owner.node, "body", ()):
        for target, value in _assignments(statement):
            if isinstance(target, ast.Name) and target.id == name:
                return value
    return None


def _assignments(statement: ast.AST) -> list[tuple[ast.expr, ast.expr | None]]:
    """(target, value) pairs of `a = 1`, `a: int = 1` and `a, b = 1, 2`; empty for other statements."""
    if isinstance(statement, ast.AnnAssign):
        return [(statement.target, statement.value)]
    if not isinstance(statement, ast.Assign):
        return []
    target, value = statement.targets[0], statement.value
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        return list(zip(target.elts, value.elts))
    return [(target, value)]


def _text(node: ast.AST | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
