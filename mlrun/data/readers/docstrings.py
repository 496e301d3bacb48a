"""The documentation in installed packages, read from their sources without importing them.

Docstrings of modules, classes and functions, and texts that a package attaches to compiled functions (`add_docstr`, `add_newdoc`).
"""

from __future__ import annotations

import ast
import gzip
import hashlib
import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

from mlrun.data.readers.files import write_atomically
from mlrun.errors import DataError

FORMAT = 1  # of the stored texts; a new number when this module reads something else from the same sources
TESTS = frozenset({"test", "tests", "_tests", "testing", "conftest.py"})  # names of folders and files that are left out
ATTACHING = frozenset({"add_docstr", "add_newdoc", "_add_docstr"})  # functions that attach a text to an object
SHORTEST = 20  # characters of a text that is kept
_UNDERLINE = re.compile(r"^\s*[-=~]{3,}\s*$")
_GOOGLE = re.compile(
    r"^(Args|Arguments|Parameters|Returns?|Yields?|Raises|Attributes|Examples?|Notes?|Shape|Keyword args|Keyword Arguments|References?"
    r"|Warnings?|See also|Inputs|Outputs):{1,2}\s*$",
    re.IGNORECASE,
)
_NUMPY_PARAMETER = re.compile(r"^(\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::\s*(.*))?$")
_GOOGLE_PARAMETER = re.compile(r"^(\*{0,2}\w+)\s*(?:\(([^)]*)\))?\s*:\s*(.*)$")
_DEFAULT = re.compile(r"[Dd]efaults?(?:\s+(?:is|to|value))*\s*[:=]?\s*[`'\"]*([^\s`,;)]+?)[`'\"]*(?:[.,;)\s]|$)")
_PARAMETERS = ("parameters", "other parameters", "args", "arguments", "keyword args", "keyword arguments")


@dataclass(frozen=True)
class Parameter:
    """A documented parameter; what the text does not say is empty."""

    name: str
    type: str = ""
    description: str = ""
    default: str = ""


@dataclass(frozen=True)
class Docstring:
    """A text with its place: `package`, dotted `module`, and `name` within it (`Series.head`; empty for the module itself).

    body: the whole text without its common indentation. defaults: of the function's arguments, as written in the source.
    """

    package: str
    module: str
    name: str
    body: str
    defaults: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def summary(self) -> str:
        """The first paragraph on one line."""
        return " ".join(self.body.partition("\n\n")[0].split())

    @cached_property
    def sections(self) -> dict[str, str]:
        """Title -> text of the sections in numpy's or Google's style, without their common indentation; a repeated title counts once."""
        lines = self.body.split("\n")
        found: dict[str, str] = {}
        bounds = list(_headings(lines))
        for (title, start, _), (_, _, end) in zip(bounds, [*bounds[1:], ("", 0, len(lines))]):
            found.setdefault(title, inspect.cleandoc("\n" + "\n".join(lines[start:end])).strip())
        return found

    @cached_property
    def parameters(self) -> list[Parameter]:
        """The documented parameters in their order."""
        found = []
        for title, text in self.sections.items():
            if title.lower() in _PARAMETERS:
                found += [self._parameter(*one) for one in _entries(text)]
        return found

    def _parameter(self, name: str, kind: str, description: str) -> Parameter:
        bare = name.lstrip("*")
        written = _DEFAULT.search(kind) or _DEFAULT.search(description)
        default = self.defaults.get(bare, written.group(1) if written else "")
        return Parameter(bare, kind.strip().rstrip("."), description, default)


def _headings(lines: list[str]) -> Iterator[tuple[str, int, int]]:
    """(title, first line of the text, line of the title) of each section."""
    for at, line in enumerate(lines):
        if at + 1 < len(lines) and line.strip() and _UNDERLINE.match(lines[at + 1]):
            yield line.strip(), at + 2, at
        elif google := _GOOGLE.match(line.strip()):
            yield google.group(1), at + 1, at


def _entries(text: str) -> Iterator[tuple[str, str, str]]:
    """(name, type, description) of the entries of a section of parameters."""
    kind = ""
    names: list[str] = []
    description: list[str] = []
    for line in text.split("\n"):
        if line[:1].strip():  # not indented: the next entry
            yield from ((name, kind, " ".join(description)) for name in names)
            google = _GOOGLE_PARAMETER.match(line) if " : " not in line else None
            numpy = _NUMPY_PARAMETER.match(line)
            if google:
                names, kind, description = [google.group(1)], google.group(2) or "", google.group(3).split()
            elif numpy:
                names = [name.strip() for name in numpy.group(1).split(",")]
                kind, description = numpy.group(2) or "", []
            else:
                names = []
        else:
            description += line.split()
    yield from ((name, kind, " ".join(description)) for name in names)


# --- reading ---------------------------------------------------------------------------------------------------------


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Import name -> version of installed packages. Raises DataError for a package that is not installed, or has no sources."""
    distributions: Mapping[str, list[str]] | None = None
    found = {}
    for given in packages:
        name = given
        if not (spec := PathFinder.find_spec(name.replace("-", "_"))) or not spec.submodule_search_locations:
            distributions = packages_distributions() if distributions is None else distributions
            name = next((own for own, names in distributions.items() if given in names and own != given), given)
            spec = PathFinder.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise DataError(f"dataset.packages: {given} is not installed as a package of Python sources")
        try:
            found[name] = version(given)
        except PackageNotFoundError:
            distributions = packages_distributions() if distributions is None else distributions
            named = distributions.get(name)
            found[name] = version(named[0]) if named else ""
    return found


def digest_of(packages: dict[str, str]) -> str:
    """A hash of package names and versions, and of the way in which they are read."""
    return hashlib.blake2b(json.dumps([FORMAT, sorted(packages.items())]).encode(), digest_size=8).hexdigest()


def read_docstrings(packages: dict[str, str]) -> list[Docstring]:
    """The texts of some packages, from the user's cache, or else from their sources (half a minute for the large ones).

    Args:
        packages: import name -> version, see `versions`.

    Raises:
        DataError: there are no texts.
    """
    from pooch import os_cache

    stored = Path(os_cache("mlrun")) / "docstrings" / f"{digest_of(packages)}.jsonl.gz"
    if stored.is_file():
        with gzip.open(stored, "rt", encoding="utf-8") as file:
            return [Docstring(*json.loads(line)) for line in file]
    texts = [text for package in sorted(packages) for text in _package(package)]
    if not texts:
        raise DataError(f"dataset.packages: no documentation in the sources of {', '.join(packages)}")

    def write(path: Path) -> None:
        with gzip.open(path, "wt", encoding="utf-8", compresslevel=3) as file:
            for one in texts:
                file.write(json.dumps([one.package, one.module, one.name, one.body, one.defaults]) + "\n")

    write_atomically(stored, write)
    return texts


def _package(name: str) -> Iterator[Docstring]:
    for location in PathFinder.find_spec(name).submodule_search_locations:
        root = Path(location)
        for path in sorted(root.rglob("*.py")):
            place = path.relative_to(root)
            if TESTS.isdisjoint(place.parts) and not place.name.startswith("test_"):
                module = ".".join([name, *place.with_suffix("").parts]).removesuffix(".__init__")
                yield from _file(path, name, module)


def _file(path: Path, package: str, module: str) -> Iterator[Docstring]:
    source = path.read_bytes()
    if b'"""' not in source and b"'''" not in source:
        return
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):  # a template, or a file for another Python
        return
    for name, text, defaults in _texts(tree, ""):
        body = inspect.cleandoc(text).strip()
        if len(body) >= SHORTEST:
            yield Docstring(package, module, name, body.encode("utf-8", "replace").decode(), defaults)


def _texts(node: Any, name: str) -> Iterator[tuple[str, str, dict[str, str]]]:
    """(name, text, defaults of the arguments) of a module, class or function and of everything defined in it."""
    text = ast.get_docstring(node, clean=False)
    if text is not None:
        yield name, text, _defaults(node) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) else {}
    for inner in node.body:
        if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if not isinstance(
                node, (ast.FunctionDef, ast.AsyncFunctionDef)
            ):  # functions in functions are not documentation
                yield from _texts(inner, f"{name}.{inner.name}".lstrip("."))
        elif isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Call):
            yield from _attached(inner.value)


def _attached(call: ast.Call) -> Iterator[tuple[str, str, dict[str, str]]]:
    function = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if function not in ATTACHING:
        return
    names, texts = [], []
    for argument in call.args:
        constants = [
            part.value for part in ast.walk(argument) if isinstance(part, ast.Constant) and isinstance(part.value, str)
        ]
        long = [one for one in constants if "\n" in one or len(one) > 60]
        texts += long[:1]
        names += [one for one in constants if one not in long]
        if isinstance(argument, ast.Attribute):
            names.append(argument.attr)
    if texts:
        yield names[-1] if names else "", max(texts, key=len), {}


def _defaults(node: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, str]:
    ordered, named = [*node.args.posonlyargs, *node.args.args], node.args.kwonlyargs
    pairs = [*zip(ordered[::-1], node.args.defaults[::-1]), *zip(named, node.args.kw_defaults)]
    return {argument.arg: ast.unparse(default) for argument, default in pairs if default is not None}
