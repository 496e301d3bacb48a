"""Where the decoder of an encoder-decoder looked in the source while it generated some texts: attention.png."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from mlrun.data.module import DataModule
from mlrun.data.predictions import TextPredictions
from mlrun.data.preprocess.tokenizer import PAD
from mlrun.report.view import View

if TYPE_CHECKING:
    from mlrun.predictions.learner import Evaluation, Learner
    from mlrun.report.translation import AttentionMap

TEXTS = 4
LOOKED_AT, LETTERS = 200, 60  # sources among which they are chosen, and their length at most


class Attention(View):
    """Of a network whose forward pass gives its attention to the source (`with_attention`)."""

    def draw(self, learner: Learner, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        from mlrun.report.translation import attention_maps

        if not isinstance(evaluation.predictions, TextPredictions):
            return
        maps = look(learner, various(list(evaluation.examples[data.inputs[0]]), TEXTS))
        if maps:
            yield "attention", attention_maps(maps)


@torch.inference_mode()
def look(learner: Learner, texts: Sequence[str]) -> list[AttentionMap]:
    """The attention of texts, the mean over layers and heads; empty where the network has none."""
    from mlrun.tasks.translation import beginning

    task, maps = learner.task, []
    preprocessor: Any = learner.preprocessor  # a `PairPreprocessor`
    for text in texts:
        ids = preprocessor.source_ids(text)
        source = torch.as_tensor(ids, dtype=torch.long, device=task.device)[None]
        tokens = task.generate(source).tokens
        tokens = tokens[:, : (tokens != PAD).sum()]
        _, weights = task.network(source, torch.cat([beginning(source), tokens[:, :-1]], 1), with_attention=True)
        if weights is None:
            return []
        names = [
            [tokenizer.vocabulary[token] for token in row]
            for tokenizer, row in ((preprocessor.source, ids), (preprocessor.target, tokens[0].tolist()))
        ]
        maps.append((*names, weights[0].mean(0).float().cpu().numpy()))
    return maps


def various(texts: Sequence[str], count: int) -> list[str]:
    """Some texts of different length, none of them long."""
    # a set would have another order each time
    short = sorted(dict.fromkeys(text for text in texts[:LOOKED_AT] if len(text) <= LETTERS), key=len)
    return short[len(short) // (2 * count) :: max(1, len(short) // count)][:count]
