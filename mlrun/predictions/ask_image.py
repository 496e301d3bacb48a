"""`mlrun predict RUN --ask "how many digits?" scene.png`: answers to questions about images."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Image, Questions
from mlrun.data.predictions.texts import answers_in, questions_in
from mlrun.data.rows import read_rows
from mlrun.errors import UserError
from mlrun.predictions.query import Query, check_usable, mention_unknown

if TYPE_CHECKING:
    from mlrun.data.module import DataModule
    from mlrun.predictions.learner import Learner


class AskImage(Query):
    """Prints the answer to a question; of several questions or images a line for each, with image and question."""

    name = "ask"

    def add_options(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--ask", metavar="TEXT", help="one or several questions about the image, or the images of a folder"
        )

    def answer(
        self, learner: Learner, cfg: dict[str, Any], arguments: Namespace, open_data: Callable[..., DataModule]
    ) -> int:
        if arguments.input is None:
            raise UserError("--ask: give an image or a folder of images")
        (question,) = (name for name, feature in learner.inputs.items() if isinstance(feature, Questions))
        images = {name: feature for name, feature in learner.inputs.items() if isinstance(feature, Image)}
        if not arguments.ask.strip(" ?"):
            raise UserError("--ask: give a question")
        asked = questions_in(arguments.ask)
        preprocessor: Any = learner.preprocessor
        mention_unknown(preprocessor.encoders[question], asked)
        lines: list[tuple[str, str, str]] = []
        for read in read_rows(arguments.input, images, "images"):
            piece = read()
            check_usable(arguments.input, piece)
            texts = np.array([" ".join(asked)] * len(piece.examples), dtype=object)
            columns = {**piece.examples.columns, question: texts}
            predictions: Any = learner.predict(Examples(columns, learner.inputs))
            for place, text in zip(piece.places, predictions.texts):
                lines += [(str(place), one, answer) for one, answer in zip(asked, answers_in(text))]
        for line in lines:
            print("  ".join(line) if len(lines) > 1 else line[-1])
        return 0
