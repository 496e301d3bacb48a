"""`mlrun predict RUN --fill "the [MASK] of the array"`: the most probable tokens for each gap."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlrun.data.preprocess.wordpiece import MASK
from mlrun.errors import UserError
from mlrun.predictions.query import Query

if TYPE_CHECKING:
    from mlrun.data.module import DataModule
    from mlrun.predictions.learner import Learner

CHOICES = 5


class Fill(Query):
    """Prints the most probable tokens for each [MASK] of a text, with their probabilities."""

    name = "fill"

    def add_options(self, parser: ArgumentParser) -> None:
        parser.add_argument("--fill", metavar="TEXT", help=f"a text with one or several {MASK}, which are predicted")
        parser.add_argument("--choices", type=int, default=CHOICES, help=f"tokens for each gap (default: {CHOICES})")

    def answer(
        self, learner: Learner, cfg: dict[str, Any], arguments: Namespace, open_data: Callable[..., DataModule]
    ) -> int:
        if MASK not in arguments.fill:
            raise UserError(f"--fill: the text has no {MASK}; write it where a word is to be predicted")
        if arguments.choices < 1:
            raise UserError(f"--choices {arguments.choices}: give at least 1")
        for number, choices in enumerate(gaps(learner, arguments.fill, arguments.choices), 1):
            print(f"{MASK} {number}: {', '.join(f'{token} {share:.3f}' for token, share in choices)}")
        return 0


def gaps(learner: Learner, text: str, choices: int) -> list[list[tuple[str, float]]]:
    """[(token, probability)] by decreasing probability, for each [MASK] of a text. Raises UserError if one lies beyond the longest text."""
    import torch

    preprocessor: Any = learner.preprocessor
    tokenizer, network = preprocessor.tokenizer, learner.task.network
    pieces = tokenizer.encode_masked(text)
    ids, segments = preprocessor.join([pieces])
    if (ids == tokenizer.mask).sum() < text.count(MASK):
        raise UserError(f"--fill: the text has {len(pieces)} tokens, and the model reads {preprocessor.max_length}")
    with torch.inference_mode():
        given = torch.from_numpy(ids).long()[None]
        vectors = network.encoder(given, None, torch.from_numpy(segments).long()[None])[0]
        shares = network.token_scores(vectors[given[0] == tokenizer.mask]).softmax(-1)
        best, places = shares.topk(min(choices, shares.shape[1]))
    return [
        [(tokenizer.vocabulary[place], share) for place, share in zip(row, values)]
        for row, values in zip(places.tolist(), best.tolist())
    ]
