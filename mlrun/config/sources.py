"""Finds a class or function by its dotted name in Python source, without importing anything.

An invalid command line must be answered in half a second, and the import of torch alone takes longer.
"""

from __future__ import annotations

import ast
import difflib
import gc
import importlib.util
import os
import re
import sys
from dataclasses import dataclass
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path

from mlrun.errors import ConfigError


class NoSuchTarget(ConfigError):
    """There is no object of this dotted name; the message has the first part that is missing, and the nearest name."""


class Opaque(LookupError):
    """The source does not show what the name stands for: it is compiled, or created when the module is imported."""


@dataclass(frozen=True)
class Definition:
    """A class, a function or an assigned expression.

    Args:
        module: the module that contains it; its names are those of this module.
        name: qualified name in the module.
        node: its syntax tree.
    """

    module: Module
    name: str
    node: ast.AST


@dataclass(frozen=True)
class _Import:
    """`import module` or `from module import name`."""

    module: str
    name: str | None = None


_LONG = 8000  # characters from which a file is not parsed as a whole
_STATEMENT = re.compile(r"^(?=[^\s#)\]}\"'])", re.MULTILINE)
_NAMED = re.compile(r"^(?:class|def)\s+(\w+)", re.MULTILINE)


def _split(text: str) -> tuple[str, dict[str, str]]:
    """The top-level statements except definitions, and the text of each definition by name."""
    starts = [match.start() for match in _STATEMENT.finditer(text)] + [len(text)]
    rest, decorators = [text[: starts[0]]], ""
    blocks: dict[str, str] = {}
    for start, end in zip(starts, starts[1:]):
        block = text[start:end]
        if block.startswith("@"):
            decorators += block
        elif (match := _NAMED.match(block)) is not None:
            blocks[match[1]], decorators = decorators + block, ""
        else:
            rest.append(decorators + block)
            decorators = ""
    return "".join(rest), blocks


def _parse(text: str) -> list[ast.stmt]:
    collecting = gc.isenabled()
    gc.disable()  # three times as fast: a tree consists of many objects, none of them garbage
    try:
        return ast.parse(text).body
    finally:
        if collecting:
            gc.enable()


class Module:
    """A module as source: its names, found on demand and parsed once per process.

    Args:
        name: dotted name.
        path: its file; None for a namespace package.
        directories: where its submodules are, if it is a package.
    """

    def __init__(self, name: str, path: Path | None, directories: tuple[Path, ...] = ()):
        self.name, self.path, self.directories = name, path, directories
        self._names: dict[str, ast.AST | _Import | str] = {}  # a string is the text of a definition
        self._stars: list[str] = []
        self._is_read = path is None

    @property
    def names(self) -> dict[str, ast.AST | _Import | str]:
        """Top-level names and what defines them: a syntax tree, its text, or an import."""
        if not self._is_read and self.path is not None:
            if self.path.suffix != ".py":
                raise Opaque(f"{self.name} is compiled")
            self._is_read = True
            self._read(self.path)
        return self._names

    def _read(self, path: Path) -> None:
        """Collects the names. Classes and functions of a long file stay text until somebody looks them up."""
        try:
            text = path.read_text(encoding="utf-8")
            if len(text) > _LONG:
                try:
                    rest, blocks = _split(text)
                    self._collect(_parse(rest))
                    self._names.update(blocks)
                    return
                except SyntaxError:  # a line in a string looked like a definition
                    self._names.clear()
                    self._stars.clear()
            self._collect(_parse(text))
        except (SyntaxError, ValueError, OSError) as error:
            line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
            raise NoSuchTarget(f"{path.name} cannot be read as Python: {error.args[0]}{line}") from None

    def get(self, name: str) -> ast.AST | _Import | None:
        """What defines a top-level name; None if the module does not have it."""
        found = self.names.get(name)
        if isinstance(found, str):
            try:
                found = _parse(found)[-1]
            except SyntaxError:
                raise Opaque(f"{name} cannot be read on its own") from None
            self._names[name] = found
        return found

    def _collect(self, body: list[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                self._names[node.name] = node
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    dotted = alias.name if alias.asname else alias.name.split(".")[0]
                    self._names.setdefault(alias.asname or dotted, _Import(dotted))
            elif isinstance(node, ast.ImportFrom):
                origin = self._origin(node)
                for alias in node.names:
                    if alias.name == "*":
                        self._stars.append(origin)
                    else:
                        self._names.setdefault(alias.asname or alias.name, _Import(origin, alias.name))
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        self._names.setdefault(target.id, node.value)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
                self._names.setdefault(node.target.id, node.value)
            elif isinstance(node, (ast.If, ast.Try, ast.With)):
                self._collect(node.body)
                for handler in getattr(node, "handlers", []):
                    self._collect([n for n in handler.body if getattr(n, "name", None) not in self._names])
                self._collect(getattr(node, "orelse", []))

    def _origin(self, node: ast.ImportFrom) -> str:
        """The dotted name of the module of a `from` import, also a relative one."""
        if not node.level:
            return node.module or ""
        package = self.name.split(".") if self.directories else self.name.split(".")[:-1]
        package = package[: len(package) - (node.level - 1)]
        return ".".join(package + ([node.module] if node.module else []))

    def submodule(self, name: str) -> Module | None:
        """The submodule of this package; None if it does not exist."""
        return _submodule(self, name)

    def known(self) -> list[str]:
        """All public names, of which the nearest is suggested."""
        below = []
        for directory in self.directories:
            try:
                below += [p.stem for p in directory.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()]
            except OSError:
                pass
        return [name for name in {*self.names, *below} if not name.startswith("_")]

    def lookup(self, name: str, visited: frozenset[tuple[str, str]] = frozenset()) -> Definition | Module | None:
        """The object of a top-level name, through any number of re-exports; None if the module does not have it."""
        if (self.name, name) in visited:
            return None
        visited = visited | {(self.name, name)}
        found = self.get(name)
        if isinstance(found, _Import):
            if found.name is None:
                return resolve(found.module)
            origin = _module(found.module, os.getcwd())
            if origin is None:
                raise Opaque(f"{found.module} is not installed")
            return origin.lookup(found.name, visited) or origin.submodule(found.name)
        if found is not None:
            if isinstance(found, (ast.Name, ast.Attribute)):
                return self.evaluate(found)
            return Definition(self, name, found)
        dynamic = "__getattr__" in self.names
        for star in self._stars:
            try:
                origin = _module(star, os.getcwd())
                if origin is not None and (exported := origin.lookup(name, visited)) is not None:
                    return exported
            except Opaque:
                dynamic = True
        # A name that is very near to a known one is a typing error, also where some names are created on demand.
        if dynamic and not difflib.get_close_matches(name, self.known(), 1, 0.75):
            raise Opaque(f"{self.name} creates names on demand")
        return None

    def evaluate(self, expression: ast.expr) -> Definition | Module:
        """The object of `a.b.C`, written in this module."""
        dotted = _dotted(expression)
        if dotted is None:
            raise Opaque("not a plain name")
        head, *rest = dotted.split(".")
        start = self.lookup(head)
        if start is None:
            raise Opaque(f"{head} is not defined in {self.name}")
        return _descend(start, rest)


def _dotted(expression: ast.expr) -> str | None:
    if isinstance(expression, ast.Name):
        return expression.id
    if isinstance(expression, ast.Attribute) and (head := _dotted(expression.value)) is not None:
        return f"{head}.{expression.attr}"
    return None


@cache
def _module(dotted: str, cwd: str) -> Module | None:
    head, _, rest = dotted.partition(".")
    try:
        spec = importlib.util.find_spec(head)
    except (ImportError, ValueError, AttributeError):
        spec = None
    spec = spec or PathFinder.find_spec(head, [cwd])  # a user's own file in the working directory
    if spec is None:
        return None
    if spec.origin in ("built-in", "frozen"):
        raise Opaque(f"{head} is part of the interpreter")
    path = Path(spec.origin) if spec.origin else None
    module: Module | None = Module(head, path, tuple(Path(p) for p in spec.submodule_search_locations or ()))
    for part in rest.split(".") if rest else ():
        module = module.submodule(part) if module is not None else None
    return module


@cache
def _submodule(package: Module, name: str) -> Module | None:
    dotted = f"{package.name}.{name}"
    for directory in package.directories:
        if (directory / name / "__init__.py").is_file():
            return Module(dotted, directory / name / "__init__.py", (directory / name,))
        if (directory / f"{name}.py").is_file():
            return Module(dotted, directory / f"{name}.py")
        for compiled in directory.glob(f"{name}.*"):
            if compiled.suffix in (".so", ".pyd"):
                return Module(dotted, compiled)
        if (directory / name).is_dir():
            return Module(dotted, None, (directory / name,))
    return None


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, 0.6)
    return f" — did you mean '{near[0]}'?" if near else ""


def _descend(start: Definition | Module, parts: list[str]) -> Definition | Module:
    here = start
    for position, part in enumerate(parts):
        if isinstance(here, Definition):
            if not isinstance(here.node, ast.ClassDef):
                raise Opaque(f"{here.name} is not a class")
            method = next((n for n in here.node.body if isinstance(n, ast.FunctionDef) and n.name == part), None)
            if method is None:
                raise Opaque(f"{here.name} may inherit {part}")
            here = Definition(here.module, f"{here.name}.{part}", method)
            continue
        below = here.submodule(part)
        if below is not None and position + 1 < len(parts):
            try:  # the file before the name of the package: torch/__init__.py is long, and torch/optim/ is meant
                return _descend(below, parts[position + 1 :])
            except NoSuchTarget:
                if part not in here.names:
                    raise
        found = here.lookup(part) or below
        if found is None:
            raise NoSuchTarget(f"{here.name} has no '{part}'{_nearest(part, here.known())}")
        here = found
    return here


def resolve(dotted: str) -> Definition | Module:
    """The object of a dotted name.

    Raises:
        NoSuchTarget: it does not exist.
        Opaque: the source does not show whether it exists.
    """
    head, *rest = dotted.split(".")
    top = _module(head, os.getcwd())
    if top is None:
        own = [path.stem for path in Path.cwd().glob("*.py")]
        near = _nearest(
            head, [*own, *sys.stdlib_module_names, "mlrun", "torch", "sklearn", "lightning", "torchmetrics"]
        )
        raise NoSuchTarget(f"there is no module '{head}'{near}")
    return _descend(top, rest)
