"""Queries of models of images and texts: which images fit a text, and which of some texts fits an image?"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.errors import UserError
from mlrun.predictions.query import Query, mention_unknown
from mlrun.predictions.similarity import add_search_options, check_search_options, vectors_of

if TYPE_CHECKING:
    from mlrun.data.module import DataModule
    from mlrun.predictions.learner import Learner


class Search(Query):
    """`--search "a seven left of a two" --among FOLDER`: the images that fit a text best."""

    name = "search"

    def add_options(self, parser: ArgumentParser) -> None:
        parser.add_argument("--search", metavar="TEXT", help="a text whose images are listed")
        add_search_options(parser)

    def answer(
        self, learner: Learner, cfg: dict[str, Any], arguments: Namespace, open_data: Callable[..., DataModule]
    ) -> int:
        check_search_options(arguments, self.title)
        if not arguments.search.strip():
            raise UserError("--search: give a text")
        mention_unknown(_captions(learner), [arguments.search])
        names, vectors = vectors_of(learner, arguments.among, arguments)
        (text,) = learner.task.encode_texts([arguments.search])
        similarity = vectors @ text
        for place in np.argsort(-similarity, kind="stable")[: arguments.count]:
            print(f"{similarity[place]:.4f}  {names[place]}")
        return 0


class Classes(Query):
    """`photo.jpg --classes "a cat,a dog"`: the probability of each text."""

    name = "classes"

    def add_options(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--classes", metavar="TEXTS", help="texts, separated by commas, among which that of the image is chosen"
        )

    def answer(
        self, learner: Learner, cfg: dict[str, Any], arguments: Namespace, open_data: Callable[..., DataModule]
    ) -> int:
        import torch

        texts = [text.strip() for text in arguments.classes.split(",") if text.strip()]
        if len(texts) < 2:
            raise UserError(f'--classes "{arguments.classes}": give at least two texts, separated by commas')
        if arguments.input is None:
            raise UserError("--classes: give an image or a folder of images")
        mention_unknown(_captions(learner), texts)
        names, vectors = vectors_of(learner, arguments.input, arguments)
        task = learner.task
        with torch.inference_mode():
            both = (torch.as_tensor(part, device=task.device) for part in (vectors, task.encode_texts(texts)))
            shares = task.network.scores(*both).softmax(1).cpu().numpy()
        for name, row in zip(names, shares):
            listed = ", ".join(f"{texts[place]} {row[place]:.3f}" for place in np.argsort(-row, kind="stable"))
            print(f"{name}  {listed}")
        return 0


def _captions(learner: Learner) -> Any:
    """The encoder of the training captions."""
    preprocessor: Any = learner.preprocessor
    return preprocessor.encoders[next(iter(preprocessor.targets))]
