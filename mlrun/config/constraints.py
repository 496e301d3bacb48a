"""scikit-learn writes what each argument may be in a class attribute `_parameter_constraints`; read it from source.

Example: `"C": [Interval(Real, 0, None, closed="neither")]`. Source: sklearn/utils/_param_validation.py.
Anything that is not understood leaves its argument unchecked.
"""

from __future__ import annotations

import ast
import math

from mlrun.config.sources import Definition, NoSuchTarget, Opaque
from mlrun.config.values import INTEGER, REAL, Choice, Flag, Items, Mapping, Null, Number, Text

_NAME = "_parameter_constraints"
_OTHERS = ("torch", "lightning")  # have no such thing, and long chains of base classes
_NOT_ESTIMATORS = ("Module", "LightningModule", "Optimizer", "LRScheduler", "ABC", "object")
_SEED = (Number(True, 0, 2**32 - 1), Null())
_WORDS = {
    "boolean": (Flag(),),
    "random_state": _SEED,
    "verbose": (Flag(), Number(True, 0)),
    "array-like": (Items(),),
    "sparse matrix": (),
    "cv_object": (Number(True, 2), Items(), Null()),
    "estimator": (),
}
_TYPES = {"Integral": INTEGER, "int": INTEGER, "Real": REAL, "float": REAL, "bool": Flag(), "str": Text()}
_TYPES |= {"dict": Mapping(), "list": Items(), "tuple": Items()}


class _Odd(Exception):
    """A constraint that is not understood."""


def constraints(found: Definition) -> dict[str, tuple] | None:
    """Allowed kinds by argument name for a class; None for a class that declares no constraints.
    An argument whose constraint is not understood has no kinds."""
    if found.module.name.partition(".")[0] in _OTHERS:
        return None
    value, declared = None, False
    for node in found.node.body:
        touched = any(isinstance(n, ast.Name) and n.id == _NAME for n in ast.walk(node)) if _touches(node) else False
        if not touched:
            continue
        try:
            value = _statement(found, node, value)
        except (_Odd, KeyError):
            return {}  # declared, but in a way that is not understood: nothing is checked
        declared = True
    if declared:
        return value
    for base in found.node.bases:
        if (base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")) in _NOT_ESTIMATORS:
            continue
        try:
            there = found.module.evaluate(base)
        except (Opaque, NoSuchTarget):
            continue
        if isinstance(there, Definition) and isinstance(there.node, ast.ClassDef):
            if (inherited := constraints(there)) is not None:
                return inherited
    return None


def _touches(node: ast.stmt) -> bool:
    return isinstance(node, (ast.Assign, ast.AnnAssign, ast.Expr, ast.For, ast.Delete))


def _statement(found: Definition, node: ast.stmt, value: dict | None) -> dict:
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
            raise _Odd from None
        for item in items:
            for inner in node.body:
                if not (isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Call)):
                    raise _Odd
                _call(found, inner.value, value, {node.target.id: item})
        return value
    if isinstance(node, ast.Delete):
        for target in node.targets:
            if not isinstance(target, ast.Subscript):
                raise _Odd
            value.pop(ast.literal_eval(target.slice))
        return value
    raise _Odd


def _call(found: Definition, call: ast.Call, value: dict, scope: dict) -> None:
    """`_parameter_constraints.pop("x")` or `.update({...})`."""
    if not isinstance(call.func, ast.Attribute) or not call.args:
        raise _Odd
    first, owner = call.args[0], call.func.value
    if call.func.attr == "append" and isinstance(owner, ast.Subscript) and isinstance(owner.value, ast.Name):
        key = ast.literal_eval(owner.slice)
        # A further class (`DistanceMetric`) is an object, which YAML cannot write: nothing new.
        value[key] = value[key] if isinstance(first, ast.Name) and first.id not in _TYPES else ()
        return
    if not isinstance(owner, ast.Name):
        raise _Odd
    if call.func.attr == "pop":
        value.pop(scope[first.id] if isinstance(first, ast.Name) else ast.literal_eval(first), None)
    elif call.func.attr == "update":
        value.update(_dictionary(found, first))
    else:
        raise _Odd


def _dictionary(found: Definition, node: ast.expr) -> dict[str, tuple]:
    if isinstance(node, ast.Dict):
        result: dict[str, tuple] = {}
        for key, item in zip(node.keys, node.values):
            if key is None:
                result.update(_dictionary(found, item))
            elif isinstance(key, ast.Constant):
                try:
                    result[key.value] = _alternatives(item)
                except (_Odd, ValueError):
                    result[key.value] = ()
            else:
                raise _Odd
        return result
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return {**_dictionary(found, node.left), **_dictionary(found, node.right)}
    if isinstance(node, ast.Attribute) and node.attr == _NAME:
        try:
            base = found.module.evaluate(node.value)
        except (Opaque, NoSuchTarget):
            raise _Odd from None
        inherited = constraints(base) if isinstance(base, Definition) else None
        if inherited is None:
            raise _Odd
        return inherited
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "copy":
        return _dictionary(found, node.func.value)
    raise _Odd


def _alternatives(node: ast.expr) -> tuple:
    if not isinstance(node, ast.List):
        raise _Odd
    return tuple(dict.fromkeys(kind for item in node.elts for kind in _one(item)))


def _one(node: ast.expr) -> tuple:
    if isinstance(node, ast.Constant):
        if node.value is None:
            return (Null(),)
        if node.value in _WORDS:
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
    raise _Odd


def _bound(node: ast.expr) -> float | None:
    text = ast.unparse(node)
    if text in ("np.inf", "numpy.inf", "math.inf"):
        return math.inf
    if text in ("-np.inf", "-numpy.inf", "-math.inf"):
        return -math.inf
    return ast.literal_eval(node)
