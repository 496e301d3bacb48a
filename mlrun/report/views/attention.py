"""Attention of the decoder to the source while generating some texts: attention.png."""

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
CANDIDATES, LETTERS = 200, 60  # sources to select from, and their largest length


class Attention(View):
    """Of a network whose forward pass returns its attention to the source (`with_attention`)."""

    def draw(self, learner: Learner, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        from mlrun.report.translation import attention_maps

        if not isinstance(evaluation.predictions, TextPredictions):
            return
        maps = look(learner, various(list(evaluation.examples[data.inputs[0]]), TEXTS))
        if maps:
            yield "attention", attention_maps(maps)


@torch.inference_mode()
def look(learner: Learner, texts: Sequence[str]) -> list[AttentionMap]:
    """Attention maps of texts, averaged over layers and heads; empty if the network has none."""
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
    """Short texts of various lengths."""
    # unlike a set, a dict has a reproducible order
    short = sorted(dict.fromkeys(text for text in texts[:CANDIDATES] if len(text) <= LETTERS), key=len)
    return short[len(short) // (2 * count) :: max(1, len(short) // count)][:count]
