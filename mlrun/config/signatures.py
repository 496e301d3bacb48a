"""The arguments that a `_target_` takes, read from source without importing it.

Types come from annotations, from scikit-learn's `_parameter_constraints`, or from a default that is a number.
What the source does not state stays unchecked: a valid setting that is rejected is worse than a late error.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from mlrun.config.constraints import constraints
from mlrun.config.sources import Definition, Module, NoSuchTarget, Opaque, resolve
from mlrun.config.values import INTEGER, REAL, Choice, Flag, Items, Kind, Mapping, NotText, Null, Text

UNKNOWN = object()  # a default that is not a literal


@dataclass(frozen=True)
class Parameter:
    """An argument.

    Args:
        name: as in the configuration.
        required: whether it has no default.
        default: its default, `UNKNOWN` if that is not a literal.
        kinds: kinds of value that it can have; empty for any.
    """

    name: str
    required: bool
    default: Any = UNKNOWN
    kinds: tuple[Kind, ...] = ()


@dataclass(frozen=True)
class Signature:
    """The arguments of a class or function.

    Args:
        target: its dotted name.
        parameters: in their order.
        accepts_any: whether it takes `**kwargs` of unknown names.
    """

    target: str
    parameters: tuple[Parameter, ...] = ()
    accepts_any: bool = False

    @property
    def by_name(self) -> dict[str, Parameter]:
        """The parameters by name."""
        return {p.name: p for p in self.parameters}


def signature(target: str) -> Signature | None:
    """The arguments of a dotted target; None where its source does not state them.

    Raises:
        NoSuchTarget: there is no such class or function; the message has the nearest name.
    """
    return _signature(target, os.getcwd())


@cache
def _signature(target: str, _cwd: str) -> Signature | None:
    try:
        found = resolve(target)
        if isinstance(found, Module):
            raise NoSuchTarget(f"{target} is a module, not a class or function")
        return replace(_of(found), target=target)
    except (Opaque, RecursionError):
        return None


# Base classes whose __init__ takes no arguments that a configuration can give.
_EMPTY = {"object", "ABC", "Generic", "Protocol", "Module", "LightningModule"}


def _of(found: Definition) -> Signature:
    node = found.node
    if isinstance(node, ast.ClassDef):
        return _of_class(found)
    if isinstance(node, ast.FunctionDef):
        bound = "." in found.name and "staticmethod" not in _decorators(node)
        return _of_function(found.module, node, skip_first=bound)
    raise Opaque(f"{found.name} is neither class nor function")


def _decorators(node: ast.ClassDef | ast.FunctionDef) -> list[str]:
    calls = (d.func if isinstance(d, ast.Call) else d for d in node.decorator_list)
    return [d.attr if isinstance(d, ast.Attribute) else getattr(d, "id", "") for d in calls]


def _class_node(found: Definition) -> ast.ClassDef:
    if not isinstance(found.node, ast.ClassDef):
        raise Opaque(f"{found.name} is not a class")
    return found.node


def _bases(found: Definition) -> Iterator[Definition]:
    """Base classes in order. Raises Opaque at one that cannot be found."""
    for base in _class_node(found).bases:
        base = base.value if isinstance(base, ast.Subscript) else base
        if (base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")) in _EMPTY:
            continue
        try:
            definition = found.module.evaluate(base)
        except NoSuchTarget:
            raise Opaque("a base class is missing") from None
        if not isinstance(definition, Definition) or not isinstance(definition.node, ast.ClassDef):
            raise Opaque("a base is not a class")
        yield definition


def _of_class(found: Definition) -> Signature:
    result = _inherited(found, "__init__") or _inherited(found, "__new__") or Signature(found.name)
    checks = constraints(found)
    if checks is None:
        return result
    # Constraints that a library declares replace what is inferred from defaults.
    return replace(result, parameters=tuple(replace(p, kinds=checks.get(p.name, ())) for p in result.parameters))


def _inherited(found: Definition, method: str) -> Signature | None:
    if method == "__init__" and "dataclass" in _decorators(_class_node(found)):
        return _of_dataclass(found)
    for node in _class_node(found).body:
        if isinstance(node, ast.FunctionDef) and node.name == method and "overload" not in _decorators(node):
            own = _of_function(found.module, node, skip_first=True)
            return _with_base(found, node, own) if own.accepts_any else own
    for base in _bases(found):
        if (inherited := _inherited(base, method)) is not None:
            return inherited
    return None


def _with_base(found: Definition, init: ast.FunctionDef, own: Signature) -> Signature:
    """The signature, with the arguments of the base class in place of `**kwargs` if `super().__init__` receives them.

    `super().__init__(x, y=y, **kwargs)` takes what the base takes except x and y.
    """
    rest_name = init.args.kwarg.arg if init.args.kwarg else None
    calls = [
        node
        for node in ast.walk(init)
        if isinstance(node, ast.Call)
        and any(k.arg is None and getattr(k.value, "id", None) == rest_name for k in node.keywords)
    ]
    if len(calls) != 1 or ast.unparse(calls[0].func) != f"super().{init.name}":
        return own
    if any(isinstance(argument, ast.Starred) for argument in calls[0].args):
        return own
    try:
        base = next((s for b in _bases(found) if (s := _inherited(b, init.name)) is not None), None)
    except Opaque:
        return own
    if base is None:
        return own
    given = {*(p.name for p in base.parameters[: len(calls[0].args)]), *(k.arg for k in calls[0].keywords)}
    rest = tuple(p for p in base.parameters if p.name not in given and p.name not in own.by_name)
    return Signature(own.target, own.parameters + rest, base.accepts_any)


def _of_dataclass(found: Definition) -> Signature:
    parameters: dict[str, Parameter] = {}
    for base in _bases(found):
        if "dataclass" in _decorators(_class_node(base)):
            parameters.update(_of_dataclass(base).by_name)
    for node in _class_node(found).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            if "ClassVar" not in ast.unparse(node.annotation):
                name, default = node.target.id, node.value
                parameters[name] = _parameter(found.module, name, node.annotation, default)
    return Signature(found.name, tuple(parameters.values()))


def _of_function(module: Module, node: ast.FunctionDef, skip_first: bool) -> Signature:
    a = node.args
    positional = [*a.posonlyargs, *a.args]
    defaults = [None] * (len(positional) - len(a.defaults)) + list(a.defaults)
    pairs = [*zip(positional, defaults)][1 if skip_first else 0 :]
    pairs += zip(a.kwonlyargs, a.kw_defaults)
    parameters = tuple(_parameter(module, arg.arg, arg.annotation, default) for arg, default in pairs)
    return Signature(node.name, parameters, a.kwarg is not None)


def _parameter(module: Module, name: str, annotation: ast.expr | None, default: ast.expr | None) -> Parameter:
    value: Any = UNKNOWN
    kinds: tuple[Kind, ...]
    if default is not None:
        try:
            value = ast.literal_eval(default)
        except ValueError:
            pass
    if annotation is not None:
        kinds = _kinds(module, annotation) or ()
        if kinds and value is None:
            kinds = (*kinds, Null())  # many authors write `x: int = None` for an optional argument
    else:
        kinds = (NotText(),) if isinstance(value, (bool, int, float)) else ()
    return Parameter(name, default is None, value, tuple(dict.fromkeys(kinds)))


_PLAIN: dict[str, Kind] = {
    "int": INTEGER,
    "float": REAL,
    "bool": Flag(),
    "str": Text(),
    "None": Null(),
    "dict": Mapping(),
}
_PLAIN |= {"Dict": Mapping(), "Mapping": Mapping(), "Number": REAL, "Path": Text(), "PathLike": Text()}
_LISTS = {"list", "List", "Sequence", "Iterable", "Collection", "set"}
_TUPLES = {"tuple", "Tuple"}
_OBJECTS = {"Tensor", "ndarray", "Callable", "Generator", "Module"}  # in YAML only as a node with a `_target_`


def _kinds(module: Module, annotation: ast.expr, depth: int = 0) -> tuple[Kind, ...] | None:
    """Kinds of value that an annotation permits; () for an object that YAML cannot write; None if they are unknown."""
    if depth > 8:
        return None
    if isinstance(annotation, ast.Constant):
        if annotation.value is None:
            return (Null(),)
        if isinstance(annotation.value, str):
            try:
                return _kinds(module, ast.parse(annotation.value, mode="eval").body, depth + 1)
            except SyntaxError:
                return None
        return None
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return _union(module, [annotation.left, annotation.right], depth)
    if isinstance(annotation, ast.Subscript):
        return _subscript(module, annotation, depth)
    name = annotation.attr if isinstance(annotation, ast.Attribute) else getattr(annotation, "id", "")
    if name in _PLAIN:
        return (_PLAIN[name],)
    if name in _LISTS or name in _TUPLES:
        return (Items(),)
    if name in _OBJECTS:
        return ()
    node = module.get(name) if isinstance(annotation, ast.Name) else None
    if isinstance(node, (ast.Subscript, ast.BinOp)):  # an alias such as `Activation = Literal["relu", "tanh"]`
        return _kinds(module, node, depth + 1)
    return None


def _union(module: Module, members: list[ast.expr], depth: int) -> tuple[Kind, ...] | None:
    kinds: list[Kind] = []
    objects = False
    for member in members:
        one = _kinds(module, member, depth + 1)
        if one is None:
            return None
        objects = objects or not one
        kinds += one
    # of `Module | None` only null is known: a node makes the object
    return None if objects and all(isinstance(kind, Null) for kind in kinds) and depth == 0 else tuple(kinds)


def _subscript(module: Module, annotation: ast.Subscript, depth: int) -> tuple[Kind, ...] | None:
    outer = (
        annotation.value.attr if isinstance(annotation.value, ast.Attribute) else getattr(annotation.value, "id", "")
    )
    inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
    if outer == "Literal":
        try:
            return (Choice(tuple(ast.literal_eval(item) for item in inner)),)
        except ValueError:
            return None
    if outer == "Optional":
        return _union(module, [*inner, ast.Constant(None)], depth)
    if outer == "Union":
        return _union(module, inner, depth)
    if outer in ("Annotated", "Final"):
        return _kinds(module, inner[0], depth + 1)
    if outer in _LISTS:
        return (Items(_kinds(module, inner[0], depth + 1) or ()),)
    if outer in _TUPLES:
        items = [item for item in inner if not (isinstance(item, ast.Constant) and item.value is Ellipsis)]
        each = [_kinds(module, item, depth + 1) for item in items]
        same = each[0] if each and all(kinds == each[0] for kinds in each) else None
        return (Items(same or (), len(items) if len(items) == len(inner) else None),)
    if outer in ("dict", "Dict", "Mapping"):
        return (Mapping(),)
    if outer in ("Callable", "type", "Type"):
        return ()
    return None


__all__ = ["NoSuchTarget", "Parameter", "Signature", "UNKNOWN", "signature"]
