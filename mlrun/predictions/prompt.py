"""`mlrun predict RUN --prompt TEXT`: a language model continues a text."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.errors import UserError
from mlrun.predictions.query import Query

if TYPE_CHECKING:
    from mlrun.data.module import DataModule
    from mlrun.predictions.learner import Learner


class Prompt(Query):
    """Prints the prompt and its continuation."""

    name = "prompt"

    def add_options(self, parser: ArgumentParser) -> None:
        parser.add_argument("--prompt", metavar="TEXT", help="a text that a language model continues")
        parser.add_argument(
            "--length", type=int, help="tokens of the continuation (default: the model's sample_length)"
        )

    def answer(
        self, learner: Learner, cfg: dict[str, Any], arguments: Namespace, open_data: Callable[..., DataModule]
    ) -> int:
        if arguments.length is not None:
            if arguments.length < 1:
                raise UserError(f"--length {arguments.length}: give at least 1")
            model: Any = getattr(learner, "task", None) or getattr(learner, "estimator", None)
            model.sample_length = arguments.length
        (name,) = learner.inputs
        prompts = np.array([arguments.prompt], dtype=object)
        continuation = learner.predict(Examples({name: prompts}, learner.inputs)).answers()[0]
        tokenizer: Any = getattr(learner.preprocessor, "tokenizer", None)
        apart = getattr(tokenizer, "kind", None) == "words" and arguments.prompt.strip() == arguments.prompt != ""
        print(f"{arguments.prompt}{' ' * apart}{continuation}")
        return 0
