"""The choices of every group: YAML files of the package, of ./conf and of --config-dir, read without composing them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from mlrun.config.compose import CONF, user_conf

SAFE_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where it is there: ten times as fast
HIDDEN = ("hydra",)  # Hydra's own group: launchers and sweepers, not methods
# Families of models, in the order in which a course teaches them. Others follow in alphabetical order.
FAMILIES = (
    "linear models",
    "neighbours and naive Bayes",
    "support vector machines",
    "trees and ensembles",
    "clustering and decomposition",
    "anomaly detection",
    "neural networks",
    "convolutional networks",
    "vision transformers",
    "detection and segmentation",
    "similarity learning",
    "text classification",
    "word vectors",
    "language models",
    "translation",
    "pre-trained language models",
    "vision and language",
    "generative models",
    "reinforcement learning",
)
OTHER = "other models"
_MEASURED = re.compile(r"\b(Default run|Measured)\b(?:[:,] )?")
_PUBLISHED = re.compile(r"\b(1[6-9]\d\d|20[0-3]\d)\b|arXiv:")


@dataclass(frozen=True)
class Entry:
    """One choice of a group.

    Args:
        group: `model`, `dataset` ...
        name: below its group, `fashion_mnist/softmax` when nested.
        path: its YAML file.
        own: whether it is the user's, not part of the package.
    """

    group: str
    name: str
    path: Path
    own: bool = False

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
        """The first line of the head."""
        return self.head.partition("\n")[0]

    @property
    def measured(self) -> str:
        """What the head says of measured results, on one line; empty if it says nothing."""
        found = _MEASURED.search(self.head)
        return " ".join(self.head[found.end() :].split()) if found else ""

    @property
    def paper(self) -> str:
        """The publications that the head names below its first line, on one line; empty if it names none."""
        found = _MEASURED.search(self.head)
        lines = self.head[: found.start() if found else None].splitlines()[1:]
        return " ".join(line for line in lines if _PUBLISHED.search(line) and not line.startswith("mlrun "))

    @property
    def family(self) -> str:
        """The family of a model."""
        return str(self.get("family") or OTHER)

    @cached_property
    def _read(self) -> tuple[dict[str, Any], str | None]:
        try:
            body = yaml.load(self.path.read_text(encoding="utf-8"), Loader=SAFE_LOADER)
        except yaml.MarkedYAMLError as error:
            line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
            return {}, f"{self.path} is not valid YAML: {error.problem or error.context}{line}"
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            return {}, f"{self.path} is not valid YAML: {str(error).splitlines()[0]}"
        return (body, None) if isinstance(body, dict) else ({}, None)

    @property
    def body(self) -> dict[str, Any]:
        """The YAML as written, interpolations as text; empty if it is invalid, see `fault`."""
        return self._read[0]

    @property
    def fault(self) -> str | None:
        """Why the file is not valid YAML; None if it is."""
        return self._read[1]

    def get(self, key: str, default: Any = None) -> Any:
        """A top-level value, its own or inherited from the entry of the same group that its defaults list names."""
        if key in self.body:
            return self.body[key]
        for item in self.body.get("defaults") or []:
            if (base := self._base(item)) is not None and (value := base.get(key)) is not None:
                return value
        return default

    @property
    def dataset(self) -> str | None:
        """The dataset that the defaults list of a model or an experiment selects, or that of the entry which it extends."""
        inherited = None
        for item in self.body.get("defaults") or []:
            if isinstance(item, dict):
                for key, choice in item.items():
                    if key.removeprefix("override").strip().lstrip("/").partition("@")[0] == "dataset":
                        return choice
            elif (base := self._base(item)) is not None:
                inherited = base.dataset or inherited
        return inherited

    def _base(self, item: Any) -> Entry | None:
        """The entry of the same group that an item of the defaults list names."""
        if not isinstance(item, str) or item in ("_self_", self.name):
            return None
        return find(self.group, item.lstrip("/").removeprefix(f"{self.group}/"))


def roots(config_dir: str | Path | None = None) -> list[Path]:
    """Directories that contain groups: the package's, then the user's."""
    own = [user_conf(), Path(config_dir) if config_dir else None]
    return [CONF, *dict.fromkeys(path.resolve() for path in own if path is not None and path.is_dir())]


def groups(config_dir: str | Path | None = None) -> list[str]:
    """Names of all groups: directories with YAML files, and the groups in the defaults list of config.yaml."""
    found = {d.name for root in roots(config_dir) for d in root.iterdir() if d.is_dir() and any(d.rglob("*.yaml"))}
    for item in Entry("", "config", CONF / "config.yaml").body.get("defaults") or []:
        found |= {key for key in item if not key.startswith("override")} if isinstance(item, dict) else set()
    return sorted(name for name in found if name not in HIDDEN and not name.startswith((".", "_")))


def entries(group: str, config_dir: str | Path | None = None) -> list[Entry]:
    """All choices of a group, sorted by name. Of two with the same name the packaged one counts, as it does for Hydra."""
    found: dict[str, Entry] = {}
    for root in roots(config_dir):
        for path in sorted((root / group).rglob("*.yaml")):
            name = path.relative_to(root / group).with_suffix("").as_posix()
            found.setdefault(name, Entry(group, name, path, own=root != CONF))
    return [found[name] for name in sorted(found)]


def by_family(models: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Models by family, in teaching order."""
    found: dict[str, list[Entry]] = {}
    for entry in models:
        found.setdefault(entry.family, []).append(entry)

    def place(family: str) -> tuple[int, str]:
        return (FAMILIES.index(family) if family in FAMILIES else len(FAMILIES) + (family == OTHER), family)

    return {family: found[family] for family in sorted(found, key=place)}


def default_dataset() -> str:
    """The dataset of config.yaml, for models that do not select one."""
    return Entry("", "config", CONF / "config.yaml").dataset or ""


def hidden() -> list[str]:
    """The user's files in ./conf that have no effect, because the package has a file of the same name."""
    own = user_conf()
    names = [path.relative_to(own).as_posix() for path in own.rglob("*.yaml")] if own else []
    return sorted(name for name in names if "/" in name and (CONF / name).is_file())


def find(group: str, name: str, config_dir: str | Path | None = None) -> Entry | None:
    """The choice of this name; None if the group does not have it."""
    return next((entry for entry in entries(group, config_dir) if entry.name == name), None)


def suits(problem: str | None, fits: list[str]) -> bool:
    """Whether a model that `fits` these problems fits a dataset's; the file of an `auto` table decides which of two it is."""
    return problem in fits or (problem == "auto" and bool({"classification", "regression"} & set(fits)))


def datasets_for(
    fits: list[str], needs: set[str] | frozenset[str] = frozenset(), config_dir: str | Path | None = None
) -> list[str]:
    """Names of the datasets that a model can learn from.

    Args:
        fits: problems that the model is for.
        needs: names that the dataset's spec must have, such as `image_shape`.
        config_dir: of `--config-dir`.
    """
    suitable = []
    for entry in entries("dataset", config_dir):
        if suits(entry.get("problem"), fits) and set(needs) <= set(entry.get("facts") or []):
            suitable.append(entry.name)
    return suitable
