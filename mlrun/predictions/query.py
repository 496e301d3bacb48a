"""Queries: what a trained model answers besides predictions of rows, such as samples, an episode, or the continuation of a prompt.

A task (or a controller) names its queries, and `mlrun predict RUN` offers their options.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.errors import UserError

if TYPE_CHECKING:
    from mlrun.data.module import DataModule
    from mlrun.data.rows import Piece
    from mlrun.predictions.learner import Learner

LARGEST_SEED = 2**32 - 1


class Query(ABC):
    """One kind of query. `name` is its main option: `--name`."""

    name: str
    without_input = False  # True: the default query if the command line gives neither an input nor an option

    @property
    def title(self) -> str:
        """Heading of its options in the help of the command."""
        return f"--{self.name}"

    @abstractmethod
    def add_options(self, parser: ArgumentParser) -> None:
        """Declares `--name` and further options."""

    def is_asked(self, arguments: Namespace) -> bool:
        """Whether the command line requests this query."""
        return getattr(arguments, self.name, None) is not None

    @abstractmethod
    def answer(
        self, learner: Learner, cfg: dict[str, Any], arguments: Namespace, open_data: Callable[..., DataModule]
    ) -> int:
        """Prints or writes the answer and returns the exit status.

        Args:
            learner, cfg: model and configuration of a finished run.
            arguments: the parsed command line.
            open_data: (cfg, **settings) -> the run's prepared dataset, with some settings replaced.

        Raises:
            UserError: the model cannot answer the query.
        """


def seed(text: str) -> int:
    """A seed on the command line, as argparse takes a type."""
    try:
        if 0 <= int(text) <= LARGEST_SEED:
            return int(text)
    except ValueError:
        pass
    raise ArgumentTypeError(f"{text}: must be a whole number from 0 to {LARGEST_SEED}")


@contextmanager
def writing(option: str, path: Path) -> Iterator[None]:
    """Within it a file is written, whose folder is made. Raises UserError where that is not possible. option: that names the file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UserError(f"{option} {path}: cannot be written ({error.strerror or error})") from None


def check_usable(source: str, piece: Piece) -> None:
    """Raises UserError for the first of the rows that cannot be used. source: the file or folder that they were read from."""
    for one in piece.rejected:
        raise UserError(
            f"{source}: {one.reason}" if str(one.place) == source else f"{source}: {one.place}: {one.reason}"
        )


def mention_unknown(encoder: Any, texts: Sequence[str]) -> None:
    """Says on stderr which texts have words that training did not have: the answers to them mean little. encoder: with `ids` of a text."""
    from mlrun.data.preprocess.tokenizer import UNK

    for text in texts:
        if UNK in encoder.ids(text):
            print(f'mlrun: "{text}" has words that the model has never read', file=sys.stderr)


def make_queries(paths: Mapping[str, str]) -> list[Query]:
    """Creates the queries that a task declares. paths: name -> dotted path of a `Query`."""
    found = []
    for path in paths.values():
        module, _, name = path.rpartition(".")
        found.append(getattr(import_module(module), name)())
    return found
