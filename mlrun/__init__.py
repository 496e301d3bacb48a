"""Machine-learning experiments from YAML. In Python: `from mlrun import run, load`, see `mlrun.experiment.notebook`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlrun.experiment.notebook import load as load
    from mlrun.experiment.notebook import run as run

__all__ = ["load", "run"]


def __getattr__(name: str) -> Any:
    """Imports the Python interface on first use: the command line must start without it."""
    if name in __all__:
        from mlrun.experiment import notebook

        return getattr(notebook, name)
    raise AttributeError(f"module 'mlrun' has no attribute {name!r}")
