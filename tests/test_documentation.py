"""The documentation: pages that follow from the YAML files, links, and the commands that it shows."""

from __future__ import annotations

import importlib.util
import re
import shlex

import pytest

from mlrun.commands import verbs
from mlrun.config import catalogue
from mlrun.config.explain import explain
from tests.conftest import REPOSITORY

_SPEC = importlib.util.spec_from_file_location("generate", REPOSITORY / "docs" / "generate.py")
generate = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(generate)
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
PLACEHOLDER = re.compile(
    r"\b(RUN|DIR|FILE|NAME|FOLDER|SWEEP_DIR|GROUP|COMMAND|OVERRIDES|METRIC|EXPERIMENT|MODEL|SHELL|VALUE|KEY)\b|\.\.\.|…"
)
VALIDATED = ("README.md", "quickstart.md", "howto.md")  # pages whose commands are composed and validated completely


def commands(page):
    """Overrides and arguments of each command that begins a line, without its comment."""
    for line in page.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        found = re.match(r"^(?:\$ | {4})?(mlrun\b.*)$", line)
        text = re.sub(r"\s+#.*$", "", found[1]) if found else ""
        if found and "mlrun: " not in text and "|" not in text and "`" not in text:
            yield text


def words(command):
    return shlex.split(command)[1:]


def test_generated_pages_are_up_to_date():
    for name, page in (("course.md", generate.course()), ("reference.md", generate.reference())):
        written = (REPOSITORY / "docs" / name).read_text(encoding="utf-8")
        assert written == page, f"docs/{name} is out of date: run python docs/generate.py"


def test_every_model_and_preset_is_in_the_course_map():
    page = generate.course()
    for group in ("model", "experiment"):
        for entry in generate.packaged(group):
            assert f"mlrun {group}={entry.name}`" in page


def test_the_quick_start_shows_the_number_of_models():
    page = (REPOSITORY / "docs" / "quickstart.md").read_text(encoding="utf-8")
    assert f"`mlrun list model` shows all {len(generate.packaged('model'))})" in page


def test_models_have_a_source():
    for entry in generate.packaged("model"):
        assert entry.paper or entry.name in ("baseline", "one_hot"), entry.path
        assert "MEASURED" not in entry.head, entry.path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor:
            heads = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in heads}, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_name_choices_that_exist(page):
    groups = catalogue.groups()
    for command in commands(page):
        for word in words(command):
            group, _, names = word.partition("=")
            if group in groups and names and not PLACEHOLDER.search(names):
                if "model=rf" in command:  # shows what is answered
                    continue
                known = {entry.name for entry in catalogue.entries(group)} | {
                    "mine",
                    "houses",
                    "small",
                    "best",
                    "date_span",
                }
                assert set(names.split(",")) <= known, command
        first = words(command)[0] if words(command) else ""
        assert "=" in first or first.startswith("-") or not first or first in (*verbs(), "RUN"), command


@pytest.mark.parametrize("name", VALIDATED)
def test_commands_of_the_first_pages_are_valid(name, workplace):
    own = ("mine", "houses", "small", "dataset.path=", "dataset.id=", "init_from")
    page = next(page for page in PAGES if page.name == name)
    checked = 0
    for command in commands(page):
        arguments = [word for word in words(command) if not word.startswith("-")]
        wrong_on_purpose = "lrr" in command or "model=rf" in command
        if arguments and "=" in arguments[0] and not any(one in command for one in own) and not wrong_on_purpose:
            assert explain(arguments) == [], command
            checked += 1
    assert checked >= 2


def test_the_readme_is_short():
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= 110
