"""The shape of the package: imports in one direction, complete annotations, and a page that shows what is tested."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from mlrun.config.sources import resolve
from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "mlrun"
FILES = sorted(PACKAGE.rglob("*.py"))
CALLED = ("__init__", "__call__", "__iter__", "__len__", "__getitem__")


def test_imports_go_in_one_direction(monkeypatch, capsys):
    from importlinter.cli import lint_imports

    monkeypatch.chdir(REPOSITORY)
    assert lint_imports(no_logo=True) == 0, capsys.readouterr().out


def test_only_the_command_and_the_errors_are_at_the_top():
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py", "cli.py", "errors.py"}


def public_functions(tree: ast.Module):
    """(name, node) of the public functions and methods of a module."""
    bodies = [(tree.body, "")]
    while bodies:
        body, prefix = bodies.pop()
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                bodies.append((node.body, f"{node.name}."))
            elif isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name in CALLED):
                yield prefix + node.name, node


def test_public_functions_are_annotated():
    bare = []
    for path in FILES:
        for name, node in public_functions(ast.parse(path.read_text(encoding="utf-8"))):
            given = node.args
            arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
            missing = [
                one.arg for one in arguments if one and one.annotation is None and one.arg not in ("self", "cls")
            ]
            if missing or (node.returns is None and not name.endswith("__init__")):
                bare.append(f"{path.relative_to(REPOSITORY)}: {name}({', '.join(missing)})")
    assert not bare, "\n".join(bare)


def test_names_in_text_exist():
    """Of modules that are imported when they are needed: whoever moves one may not see them."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and re.fullmatch(r"mlrun(\.\w+){2,}", str(node.value)):
                assert resolve(node.value) is not None, f"{path.relative_to(REPOSITORY)}, line {node.lineno}"


def test_the_page_on_extending_shows_the_tested_files():
    page = (REPOSITORY / "docs" / "extending.md").read_text(encoding="utf-8")
    for path in sorted((Path(__file__).parent / "extension" / "date_span").rglob("*")):
        if path.suffix in (".py", ".yaml"):
            assert path.read_text(encoding="utf-8").strip() in page, path.name
