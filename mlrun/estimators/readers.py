"""Readers: what answers a question from passages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Span
from mlrun.errors import ConfigError
from mlrun.predictions.learner import Learner, load_learner


@dataclass
class Answer:
    """text: empty if the passages hold no answer. passage: place of the passage that it comes from, -1 for none. probability: of the answer."""

    text: str
    passage: int
    probability: float


class Reader:
    """An extractive reader: the most probable span of all passages.

    Args:
        learner: a model that answers a question by a span of a text, such as `bert_qa`.
    """

    def __init__(self, learner: Learner):
        self.learner = learner
        span = next(one for one in learner.targets.values() if isinstance(one, Span))
        self._context = span.of
        (self._question,) = (name for name in learner.inputs if name != span.of)

    def answer(self, question: str, passages: Sequence[str]) -> Answer:
        """The answer to a question from some passages."""
        if not passages:
            return Answer("", -1, 0.0)
        columns = {self._question: [question] * len(passages), self._context: list(passages)}
        arrays = {name: np.array(values, dtype=object) for name, values in columns.items()}
        found: Any = self.learner.predict(Examples(arrays, self.learner.inputs))
        shares = np.where([bool(text) for text in found.texts], found.probabilities, -1.0)
        best = int(shares.argmax())
        if shares[best] < 0:
            return Answer("", -1, float(found.probabilities.max()))
        return Answer(found.texts[best], best, float(shares[best]))


def open_reader(source: str | None, policy: str, trust: bool, key: str) -> Reader | None:
    """The reader of a run. Raises ConfigError if its model answers no questions."""
    if source is None:
        return None
    from mlrun.adapt.sources import find_weights
    from mlrun.training.adapting import find_run

    learner = load_learner(find_weights(source, find_run, key).parent, trust)
    if not any(isinstance(one, Span) for one in learner.targets.values()):
        raise ConfigError(
            f"{key}={source}: this model does not answer questions by a span of a text; give a run of bert_qa"
        )
    return Reader(learner)


def load_reader(directory: Path, trust: bool) -> Reader:
    """The reader that was saved there."""
    return Reader(load_learner(directory, trust))
