"""The values that scikit-learn's arguments can have, from the class attribute `_parameter_constraints`, read from source.

Example: `"C": [Interval(Real, 0, None, closed="neither")]`; see sklearn/utils/_param_validation.py. This attribute is
private to scikit-learn: an argument whose constraint this module does not understand stays unchecked.
"""

from __future__ import annotations

import ast
import math
from typing import Any

from mlrun.config.sources import Definition, NoSuchTarget, Opaque
from mlrun.config.values import INTEGER, REAL, Choice, Flag, Items, Kind, Mapping, Null, Number, Text

Constraints = dict[str, tuple[Kind, ...]]  # kinds by name of the argument; () where they are unknown

_NAME = "_parameter_constraints"
_OTHERS = ("torch", "lightning")  # without constraints, and with long chains of base classes
_NOT_ESTIMATORS = ("Module", "LightningModule", "Optimizer", "LRScheduler", "ABC", "object")
_SEED = (Number(True, 0, 2**32 - 1), Null())
_WORDS: Constraints = {
    "boolean": (Flag(),),
    "random_state": _SEED,
    "verbose": (Flag(), Number(True, 0)),
    "array-like": (Items(),),
    "sparse matrix": (),
    "cv_object": (Number(True, 2), Items(), Null()),
    "estimator": (),
}
_TYPES: dict[str, Kind] = {
    "Integral": INTEGER,
    "int": INTEGER,
    "Real": REAL,
    "float": REAL,
    "bool": Flag(),
    "str": Text(),
}
_TYPES |= {"dict": Mapping(), "list": Items(), "tuple": Items()}


class _NotUnderstood(Exception):
    """A constraint in a form that this module does not know."""


def constraints(found: Definition) -> Constraints | None:
    """The kinds that a class permits by name of the argument; None for a class that declares no constraints."""
    if not isinstance(found.node, ast.ClassDef):
        return None
    if found.module.name.partition(".")[0] in _OTHERS:
        return None
    declared: Constraints | None = None
    for node in found.node.body:
        if not _mentions_constraints(node):
            continue
        try:
            declared = _statement(found, node, declared)
        except (_NotUnderstood, KeyError):
            return {}  # nothing is checked
    if declared is not None:
        return declared
    for base in found.node.bases:
        if (base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")) in _NOT_ESTIMATORS:
            continue
        try:
            definition = found.module.evaluate(base)
        except (Opaque, NoSuchTarget):
            continue
        if isinstance(definition, Definition) and (inherited := constraints(definition)) is not None:
            return inherited
    return None


def _mentions_constraints(node: ast.stmt) -> bool:
    if not isinstance(node, (ast.Assign, ast.AnnAssign, ast.Expr, ast.For, ast.Delete)):
        return False
    return any(isinstance(part, ast.Name) and part.id == _NAME for part in ast.walk(node))


def _statement(found: Definition, node: ast.stmt, value: Constraints | None) -> Constraints:
    """The constraints after a statement in the body of the class, `value` before it."""
    if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
        return _dictionary(found, node.value)
    value = dict(value or {})
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        _call(found, node.value, value, {})
        return value
    if isinstance(node, ast.For) and isinstance(node.target, ast.Name):
        try:
            items = ast.literal_eval(node.iter)
        except ValueError:
            raise _NotUnderstood from None
        for item in items:
            for inner in node.body:
                if not (isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Call)):
                    raise _NotUnderstood
                _call(found, inner.value, value, {node.target.id: item})
        return value
    if isinstance(node, ast.Delete):
        for target in node.targets:
            if not isinstance(target, ast.Subscript):
                raise _NotUnderstood
            value.pop(ast.literal_eval(target.slice))
        return value
    raise _NotUnderstood


def _call(found: Definition, call: ast.Call, value: Constraints, scope: dict[str, Any]) -> None:
    """`_parameter_constraints.pop("x")`, `.update({...})` or `["x"].append(...)`; changes `value`."""
    if not isinstance(call.func, ast.Attribute) or not call.args:
        raise _NotUnderstood
    first, owner = call.args[0], call.func.value
    if call.func.attr == "append" and isinstance(owner, ast.Subscript) and isinstance(owner.value, ast.Name):
        key = ast.literal_eval(owner.slice)
        # Another class (`DistanceMetric`) permits an object, which YAML cannot write.
        value[key] = value[key] if isinstance(first, ast.Name) and first.id not in _TYPES else ()
        return
    if not isinstance(owner, ast.Name):
        raise _NotUnderstood
    if call.func.attr == "pop":
        value.pop(scope[first.id] if isinstance(first, ast.Name) else ast.literal_eval(first), None)
    elif call.func.attr == "update":
        value.update(_dictionary(found, first))
    else:
        raise _NotUnderstood


def _dictionary(found: Definition, node: ast.expr) -> Constraints:
    if isinstance(node, ast.Dict):
        result: Constraints = {}
        for key, item in zip(node.keys, node.values):
            if key is None:
                result.update(_dictionary(found, item))
            elif isinstance(key, ast.Constant) and isinstance(key.value, str):
                try:
                    result[key.value] = _alternatives(item)
                except (_NotUnderstood, ValueError):
                    result[key.value] = ()
            else:
                raise _NotUnderstood
        return result
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return {**_dictionary(found, node.left), **_dictionary(found, node.right)}
    if isinstance(node, ast.Attribute) and node.attr == _NAME:
        try:
            base = found.module.evaluate(node.value)
        except (Opaque, NoSuchTarget):
            raise _NotUnderstood from None
        inherited = constraints(base) if isinstance(base, Definition) else None
        if inherited is None:
            raise _NotUnderstood
        return inherited
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "copy":
        return _dictionary(found, node.func.value)
    raise _NotUnderstood


def _alternatives(node: ast.expr) -> tuple[Kind, ...]:
    if not isinstance(node, ast.List):
        raise _NotUnderstood
    return tuple(dict.fromkeys(kind for item in node.elts for kind in _one(item)))


def _one(node: ast.expr) -> tuple[Kind, ...]:
    if isinstance(node, ast.Constant):
        if node.value is None:
            return (Null(),)
        if isinstance(node.value, str) and node.value in _WORDS:
            return _WORDS[node.value]
    if isinstance(node, ast.Name):
        if node.id == "callable":
            return ()
        if node.id in _TYPES:
            return (_TYPES[node.id],)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        name, arguments = node.func.id, node.args
        if name == "StrOptions":
            return (Choice(tuple(sorted(ast.literal_eval(arguments[0])))),)
        if name == "Options":
            return (Choice(tuple(sorted(ast.literal_eval(arguments[1]), key=str))),)
        if name in ("Hidden", "HasMethods"):
            return ()
        if name == "Interval":
            closed = next(ast.literal_eval(k.value) for k in node.keywords if k.arg == "closed")
            low, high = _bound(arguments[1]), _bound(arguments[2])
            kind = getattr(arguments[0], "id", None)
            if kind in ("Integral", "Real", "RealNotInt"):
                return (Number(kind == "Integral", low, high, closed, kind == "RealNotInt"),)
    raise _NotUnderstood


def _bound(node: ast.expr) -> float | None:
    text = ast.unparse(node)
    if text in ("np.inf", "numpy.inf", "math.inf"):
        return math.inf
    if text in ("-np.inf", "-numpy.inf", "-math.inf"):
        return -math.inf
    return ast.literal_eval(node)
