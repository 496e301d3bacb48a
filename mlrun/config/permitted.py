"""Which code a stored description may name without the user's consent: the files of a run may come from somebody else.

A name is imported only if it is below a permitted package, and what it leads to must be a class that this package defines: a path such as
`torch.nn.functional.torch.load` leads out of its package.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

PACKAGES = (
    "mlrun.data", "mlrun.estimators", "mlrun.evaluation", "mlrun.generation", "mlrun.networks", "mlrun.predictions", "mlrun.report.views",
    "mlrun.tasks", "mlrun.training", "sklearn", "torch.nn", "torch.optim", "transformers",
)  # fmt: skip
REFUSED = ("mlrun.data.readers",)  # a stored recipe could make them read any file
FUNCTIONS = (
    "mlrun.training.schedules",
    "mlrun.data.datasets.huggingface",
)  # modules whose functions are permitted, too
LISTS = ("evaluators", "figures")  # lists of classes' names, which need no `_target_`
_NAME = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)+")


def unknown_code(node: Any) -> list[str]:
    """The names in a stored configuration or recipe that are not permitted without consent, in the order of their occurrence."""
    return [name for name in dict.fromkeys(map(str, _names(node))) if not _is_permitted(name)]


def _names(node: Any) -> Iterator[Any]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "_target_":
                yield from () if value is None else (value,)
            elif (
                key == "id" and isinstance(value, str) and ":" in value
            ):  # gymnasium imports the module before the colon
                yield value
            elif key in LISTS and isinstance(value, list):
                yield from (entry for entry in value if isinstance(entry, str) and "." in entry)
            yield from _names(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _names(value)


def _is_permitted(name: str) -> bool:
    if not _NAME.fullmatch(name) or not _is_below(name, PACKAGES) or _is_below(name, REFUSED):
        return False
    found = _located(name)
    module = getattr(found, "__module__", None)
    if not isinstance(module, str) or _is_below(module, REFUSED):
        return False
    return _is_below(module, PACKAGES if isinstance(found, type) else FUNCTIONS)


def _located(name: str) -> Any:
    """What a dotted name leads to; None if there is nothing. Imports modules of the permitted packages only."""
    parts = name.split(".")
    found: Any = None
    for end in range(len(parts) - 1, 0, -1):
        try:
            found = import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:]:
            found = getattr(found, part, None)
        return found
    return None


def _is_below(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)
