"""Finds a class or function by its dotted name in Python source, without importing anything: an import of torch costs
more than the whole answer to a wrong command line may take."""

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
    """The dotted name leads nowhere; the message says where it ends and what is near."""


class Opaque(LookupError):
    """The source does not tell (compiled, built at import, odd): nothing can be said about the name."""


@dataclass(frozen=True)
class Definition:
    """A class, function or assigned expression and the module in whose names it is written."""

    module: Module
    name: str
    node: ast.AST


_LONG = 8000  # characters from which a file is not parsed as a whole
_STATEMENT = re.compile(r"^(?=[^\s#)\]}\"'])", re.MULTILINE)
_NAMED = re.compile(r"^(?:class|def)\s+(\w+)", re.MULTILINE)


def _split(text: str) -> tuple[str, dict[str, str]]:
    """The top-level statements but definitions, and the text of each definition by name."""
    starts = [match.start() for match in _STATEMENT.finditer(text)] + [len(text)]
    rest, blocks, decorators = [text[: starts[0]]], {}, ""
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
    gc.disable()  # a tree is many objects and no garbage: parsing is three times as fast
    try:
        return ast.parse(text).body
    finally:
        if collecting:
            gc.enable()


class Module:
    """A module as source: its names, found on demand and parsed once per process."""

    def __init__(self, name: str, path: Path | None, directories: tuple[Path, ...] = ()):
        self.name, self.path, self.directories = name, path, directories
        self._names: dict[str, ast.AST | tuple] | None = None
        self._stars: list[str] = []

    @property
    def names(self) -> dict:
        """Top-level names: a definition node, or ("module", dotted) or ("from", dotted module, name) for imports."""
        if self._names is None:
            self._names = {}
            if self.path is not None:
                if self.path.suffix != ".py":
                    raise Opaque(f"{self.name} is compiled")
                self._read()
        return self._names

    def _read(self) -> None:
        """Collects the names. Classes and functions of a long file are kept as text until they are asked for."""
        try:
            text = self.path.read_text(encoding="utf-8")
            if len(text) > _LONG:
                try:
                    rest, blocks = _split(text)
                    self._collect(_parse(rest))
                    self._names.update(blocks)
                    return
                except SyntaxError:  # a line in a string looked like a definition
                    self._names, self._stars = {}, []
            self._collect(_parse(text))
        except (SyntaxError, ValueError, OSError) as error:
            line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
            raise NoSuchTarget(f"{self.path.name} cannot be read as Python: {error.args[0]}{line}") from None

    def get(self, name: str) -> ast.AST | tuple | None:
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
                    self._names.setdefault(alias.asname or dotted, ("module", dotted))
            elif isinstance(node, ast.ImportFrom):
                origin = self._origin(node)
                for alias in node.names:
                    if alias.name == "*":
                        self._stars.append(origin)
                    else:
                        self._names.setdefault(alias.asname or alias.name, ("from", origin, alias.name))
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
        if not node.level:
            return node.module
        package = self.name.split(".") if self.directories else self.name.split(".")[:-1]
        package = package[: len(package) - (node.level - 1)]
        return ".".join(package + ([node.module] if node.module else []))

    def submodule(self, name: str) -> Module | None:
        return _submodule(self, name)

    def known(self) -> list[str]:
        """All names that one could have meant here."""
        below = []
        for directory in self.directories:
            try:
                below += [p.stem for p in directory.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()]
            except OSError:
                pass
        return [name for name in {*self.names, *below} if not name.startswith("_")]

    def lookup(self, name: str, visited: frozenset = frozenset()) -> Definition | Module | None:
        """The object that `name` stands for, through any number of re-exports; None where there is none."""
        if (self.name, name) in visited:
            return None
        visited = visited | {(self.name, name)}
        found = self.get(name)
        if isinstance(found, tuple):
            if found[0] == "module":
                return resolve(found[1])
            origin = _module(found[1], os.getcwd())
            if origin is None:
                raise Opaque(f"{found[1]} is not installed")
            return origin.lookup(found[2], visited) or origin.submodule(found[2])
        if found is not None:
            if isinstance(found, (ast.Name, ast.Attribute)):
                return self.evaluate(found)
            return Definition(self, name, found)
        silent = "__getattr__" in self.names
        for star in self._stars:
            try:
                origin = _module(star, os.getcwd())
                if origin is not None and (there := origin.lookup(name, visited)) is not None:
                    return there
            except Opaque:
                silent = True
        # A name very near to a known one is a slip, also where the module makes some names on demand.
        if silent and not difflib.get_close_matches(name, self.known(), 1, 0.75):
            raise Opaque(f"{self.name} makes its names on demand")
        return None

    def evaluate(self, expression: ast.expr) -> Definition | Module:
        """What `a.b.C`, written in this module, stands for."""
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
    spec = spec or PathFinder.find_spec(head, [cwd])  # a user's own file beside the configuration
    if spec is None:
        return None
    if spec.origin in ("built-in", "frozen"):
        raise Opaque(f"{head} is part of the interpreter")
    path = Path(spec.origin) if spec.origin else None
    module = Module(head, path, tuple(Path(p) for p in spec.submodule_search_locations or ()))
    for part in rest.split(".") if rest else ():
        module = module.submodule(part)
        if module is None:
            return None
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
            try:  # the file before the name: torch/__init__.py is long, and torch/optim/ is what is meant
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
    """The object of a dotted name. Raises NoSuchTarget where it certainly does not exist, Opaque where source is silent."""
    head, *rest = dotted.split(".")
    top = _module(head, os.getcwd())
    if top is None:
        own = [path.stem for path in Path.cwd().glob("*.py")]
        near = _nearest(
            head, [*own, *sys.stdlib_module_names, "mlrun", "torch", "sklearn", "lightning", "torchmetrics"]
        )
        raise NoSuchTarget(f"there is no module '{head}'{near}")
    return _descend(top, rest)
