"""`mlrun predict RUN --tag "a sentence"`: the tags of its words, in colours on a terminal."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.preprocess.tags import OUTSIDE
from mlrun.data.preprocess.word_pattern import WORD
from mlrun.predictions.query import Query

if TYPE_CHECKING:
    from mlrun.data.module import DataModule
    from mlrun.predictions.learner import Learner

COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "red")


class Tag(Query):
    """Prints a text with its tags: as `word/TAG` in a pipe, as coloured words with the class behind them on a terminal."""

    name = "tag"

    def add_options(self, parser: ArgumentParser) -> None:
        parser.add_argument("--tag", metavar="TEXT", help="a text whose words are tagged; punctuation is split off")

    def answer(
        self, learner: Learner, cfg: dict[str, Any], arguments: Namespace, open_data: Callable[..., DataModule]
    ) -> int:
        ((name, _),) = learner.inputs.items()
        words = WORD.findall(arguments.tag)
        texts = np.array([" ".join(words)], dtype=object)
        predictions: Any = learner.predict(Examples({name: texts}, learner.inputs))
        tags = [predictions.classes[tag] for tag in predictions.tags[0]]
        if sys.stdout.isatty():
            _print_coloured(words, tags, predictions.classes)
        else:
            print(" ".join(word if tag == OUTSIDE else f"{word}/{tag}" for word, tag in zip(words, tags)))
        return 0


def _print_coloured(words: list[str], tags: list[str], classes: list[str]) -> None:
    from rich.console import Console
    from rich.text import Text

    kinds = sorted({tag.partition("-")[2] or tag for tag in classes if tag != OUTSIDE})
    colour = {kind: COLOURS[at % len(COLOURS)] for at, kind in enumerate(kinds)}
    line = Text()
    for at, (word, tag) in enumerate(zip(words, tags)):
        kind = tag.partition("-")[2] or tag
        line.append(word, style="" if tag == OUTSIDE else f"bold {colour[kind]}")
        following = tags[at + 1] if at + 1 < len(tags) else OUTSIDE
        if tag != OUTSIDE and following != f"I-{kind}":
            line.append(f" {kind}", style=f"dim {colour[kind]}")
        line.append(" ")
    Console().print(line)
