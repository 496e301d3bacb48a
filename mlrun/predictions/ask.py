"""`mlrun predict RUN --ask "how do I standardize features?"`: passages that answer a question, and an answer where the model has a reader."""

from __future__ import annotations

import sys
import textwrap
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from mlrun.errors import UserError
from mlrun.predictions.query import Query

if TYPE_CHECKING:
    from mlrun.data.module import DataModule
    from mlrun.predictions.learner import Learner

PASSAGES = 3  # that are printed and read, unless --passages says otherwise
WIDTH = 300  # characters of a passage that are printed


class Ask(Query):
    """Prints the answer and its sources. `--ask -` reads questions until the end of the input."""

    name = "ask"

    def add_options(self, parser: ArgumentParser) -> None:
        parser.add_argument("--ask", metavar="TEXT", help="a question about the documents; - reads one per line")
        parser.add_argument(
            "--passages", type=int, default=PASSAGES, help=f"passages that are read and shown (default: {PASSAGES})"
        )

    def answer(
        self, learner: Learner, cfg: dict[str, Any], arguments: Namespace, open_data: Callable[..., DataModule]
    ) -> int:
        if arguments.passages < 1:
            raise UserError(f"--passages {arguments.passages}: give at least 1")
        for question in _questions(arguments.ask):
            _print_answer(learner, question, arguments.passages)
        return 0


def _questions(given: str) -> Iterator[str]:
    if given != "-":
        yield given
        return
    while True:
        if sys.stdin.isatty():
            print("question (empty line or Ctrl-D to end): ", end="", flush=True)
        line = sys.stdin.readline()
        if not line.strip():
            return
        yield line.strip()


def _print_answer(learner: Any, question: str, count: int) -> None:
    passages = learner.best_passages(question, count)
    if not passages:
        print("(no document has a word of this question)")
        return
    if learner.reader is not None:
        answer = learner.reader.answer(question, [text for _, text, _ in passages])
        if answer.passage < 0:
            print("(no answer in these passages)")
        else:
            print(f"{answer.text}  [from {answer.passage + 1}, probability {answer.probability:.2f}]")
    for place, (name, text, score) in enumerate(passages, 1):
        print(f"{place}. {name}  (score {score:.3f})")
        print(textwrap.indent(textwrap.fill(textwrap.shorten(text, WIDTH, placeholder=" ..."), 110), "   "))
