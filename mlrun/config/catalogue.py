"""What there is to choose from: the YAML files of every group, read as plain files (packaged, ./conf, --config-dir)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from mlrun.config.compose import CONF, user_conf

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
HIDDEN = ("hydra",)  # Hydra's own group: searchable by Hydra, not a choice of method


@dataclass(frozen=True)
class Entry:
    group: str
    name: str  # below its group, `fashion_mnist/softmax` when nested
    path: Path
    own: bool = False  # the user's, not packaged

    @cached_property
    def head(self) -> str:
        """The leading comment lines, without their `#`."""
        lines = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("#"):
                if not line.startswith("# @package"):
                    lines.append(line.lstrip("#").strip())
            elif line.strip():
                break
        return "\n".join(lines).strip()

    @property
    def summary(self) -> str:
        return self.head.partition("\n")[0]

    @cached_property
    def _read(self) -> tuple[dict[str, Any], str | None]:
        try:
            body = yaml.load(self.path.read_text(encoding="utf-8"), Loader=_LOADER)
        except yaml.MarkedYAMLError as error:
            line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
            return {}, f"{self.path} is not valid YAML: {error.problem or error.context}{line}"
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            return {}, f"{self.path} is not valid YAML: {str(error).splitlines()[0]}"
        return (body, None) if isinstance(body, dict) else ({}, None)

    @property
    def body(self) -> dict[str, Any]:
        """The YAML as written, interpolations as text; empty where it cannot be read, and `fault` says why."""
        return self._read[0]

    @property
    def fault(self) -> str | None:
        return self._read[1]

    def get(self, key: str, default: Any = None) -> Any:
        """A top-level value, its own or that of the entry of the same group which its defaults list builds on."""
        if key in self.body:
            return self.body[key]
        for item in self.body.get("defaults") or []:
            if isinstance(item, str) and item not in ("_self_", self.name):
                base = find(self.group, item.lstrip("/").removeprefix(f"{self.group}/"))
                if base is not None and (value := base.get(key)) is not None:
                    return value
        return default

    @property
    def dataset(self) -> str | None:
        """The dataset that a model or an experiment brings by its defaults list."""
        for item in self.body.get("defaults") or []:
            if isinstance(item, dict):
                for key, choice in item.items():
                    if key.removeprefix("override").strip().lstrip("/").partition("@")[0] == "dataset":
                        return choice
        return None


def roots(config_dir: str | Path | None = None) -> list[Path]:
    """Directories that hold groups; later ones are the user's."""
    own = [user_conf(), Path(config_dir) if config_dir else None]
    return [CONF, *dict.fromkeys(path.resolve() for path in own if path is not None and path.is_dir())]


def groups(config_dir: str | Path | None = None) -> list[str]:
    """Directories with YAML files, and whatever config.yaml chooses from."""
    found = {d.name for root in roots(config_dir) for d in root.iterdir() if d.is_dir() and any(d.rglob("*.yaml"))}
    for item in Entry("", "config", CONF / "config.yaml").body.get("defaults") or []:
        found |= {key for key in item if not key.startswith("override")} if isinstance(item, dict) else set()
    return sorted(name for name in found if name not in HIDDEN and not name.startswith((".", "_")))


def entries(group: str, config_dir: str | Path | None = None) -> list[Entry]:
    """All choices of a group by name. Where a name occurs twice the packaged one counts, as it does for Hydra."""
    found: dict[str, Entry] = {}
    for root in roots(config_dir):
        for path in sorted((root / group).rglob("*.yaml")):
            name = path.relative_to(root / group).with_suffix("").as_posix()
            found.setdefault(name, Entry(group, name, path, own=root != CONF))
    return [found[name] for name in sorted(found)]


def hidden() -> list[str]:
    """The user's files in ./conf that have no effect, because a packaged file of that name comes first."""
    own = user_conf()
    names = [path.relative_to(own).as_posix() for path in own.rglob("*.yaml")] if own else []
    return sorted(name for name in names if "/" in name and (CONF / name).is_file())


def find(group: str, name: str, config_dir: str | Path | None = None) -> Entry | None:
    return next((entry for entry in entries(group, config_dir) if entry.name == name), None)


def suits(problem: str | None, fits: list[str]) -> bool:
    """Whether a dataset's problem is one that a model fits; `auto` is a table, of which only the file tells which of two it is."""
    return problem in fits or (problem == "auto" and bool({"classification", "regression"} & set(fits)))


def datasets_for(fits: list[str], needs: set[str] | frozenset = frozenset(), config_dir=None) -> list[str]:
    """Names of the datasets on which a model works: by problem, and by the facts that it needs."""
    suitable = []
    for entry in entries("dataset", config_dir):
        facts = entry.get("facts") or []
        if suits(entry.get("problem"), fits) and set(needs) <= set(facts):
            suitable.append(entry.name)
    return suitable
