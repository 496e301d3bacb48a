"""`mlrun predict RUN --question TEXT --context TEXT`: the answer to a question from a text."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Span
from mlrun.errors import UserError
from mlrun.predictions.query import Query

if TYPE_CHECKING:
    from mlrun.data.module import DataModule
    from mlrun.predictions.learner import Learner


class Question(Query):
    """Prints the answer and its probability."""

    name = "question"

    def add_options(self, parser: ArgumentParser) -> None:
        parser.add_argument("--question", metavar="TEXT", help="a question that the text of --context answers")
        parser.add_argument("--context", metavar="TEXT", help="the text, or a file that holds it")

    def answer(
        self, learner: Learner, cfg: dict[str, Any], arguments: Namespace, open_data: Callable[..., DataModule]
    ) -> int:
        if not arguments.context:
            raise UserError("--question: give the text that holds the answer, --context TEXT or FILE")
        span = next(one for one in learner.targets.values() if isinstance(one, Span))
        asked = {name: arguments.question for name in learner.inputs} | {span.of: text_of(arguments.context)}
        columns = {name: np.array([text], dtype=object) for name, text in asked.items()}
        found: Any = learner.predict(Examples(columns, learner.inputs))
        print(f"{found.texts[0] or '(no answer in this text)'}  [probability {found.probabilities[0]:.2f}]")
        return 0


def text_of(given: str) -> str:
    """The content of the file of this name, or else the given text itself. Raises UserError for a file that is not UTF-8."""
    path = Path(given)
    try:
        is_file = path.is_file()
    except OSError:  # a text too long for a name
        is_file = False
    if not is_file:
        return given
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--context {given}: cannot be read ({error})") from None
