"""Queries: what a trained model can be asked beyond predictions for rows, such as samples, an episode, or the continuation of a prompt.

A task (or a controller) names its queries; `mlrun predict RUN` offers their options.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlrun.data.module import DataModule
    from mlrun.predictions.learner import Learner


class Query(ABC):
    """One thing that a model can be asked. `name` is its main option: `--name`."""

    name: str
    without_input = False  # True: this is what is asked where the command gives neither rows nor an option

    @abstractmethod
    def add_options(self, parser: ArgumentParser) -> None:
        """Declares `--name` and what else it takes."""

    def is_asked(self, arguments: Namespace) -> bool:
        """Whether the command line asks for it."""
        return getattr(arguments, self.name, None) is not None

    @abstractmethod
    def answer(
        self, learner: Learner, cfg: dict[str, Any], arguments: Namespace, open_data: Callable[..., DataModule]
    ) -> int:
        """Prints or writes the answer and returns the exit status.

        Args:
            learner, cfg: a finished run's model and configuration.
            open_data: (cfg, **settings) -> its prepared dataset with some settings replaced.

        Raises:
            UserError: the model cannot answer this.
        """


def make_queries(paths: Mapping[str, str]) -> list[Query]:
    """name -> dotted path of a `Query`, as a task declares them."""
    found = []
    for path in paths.values():
        module, _, name = path.rpartition(".")
        found.append(getattr(import_module(module), name)())
    return found
