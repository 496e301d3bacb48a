"""Encoder of captions: the tokens that a decoder generates, or that a text encoder reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Caption
from mlrun.data.predictions import Predictions, TextPredictions
from mlrun.data.preprocess.encoder import Encoder
from mlrun.data.preprocess.tokenizer import BOS, EOS, PAD, Tokenizer
from mlrun.data.sequences import Sequences


class CaptionEncoder(Encoder):
    """`labels` (rows, tokens), the caption up to EOS, and `decoder_input_ids`, the caption from BOS on, padded with PAD.

    Of several captions the first one is encoded. Decodes `sequences` (rows, tokens), ids without BOS, and their `scores` (rows,) if present.

    Args:
        tokenizer: {kind, size, min_frequency, lowercase} of `Tokenizer.train`.
        max_length: tokens after which a caption is truncated, without EOS; None: no limit.
    """

    key, further_keys = "labels", ("decoder_input_ids",)
    outputs = frozenset({"sequences"})
    feature: Caption

    def __init__(
        self,
        feature: Caption,
        tokenizer: Mapping[str, Any] | None = None,
        max_length: int | None = None,
        **settings: Any,
    ):
        super().__init__(feature)
        self.settings = {"kind": "words", **(tokenizer or {})}
        self.max_length = max_length
        self.tokenizer: Tokenizer
        self._longest = 0  # tokens of the longest training caption, including EOS

    def fit(self, column: Any) -> None:
        texts = first_captions(column)
        self.tokenizer = Tokenizer.train(texts, **self.settings)
        self._longest = max(len(self.ids(text)) - 1 for text in texts)

    def ids(self, text: str) -> np.ndarray:
        """(tokens,) int32 of a caption from BOS to EOS."""
        return np.concatenate([[BOS], self.tokenizer.encode_array(text)[: self.max_length], [EOS]]).astype(np.int32)

    def encode(self, column: Any, examples: Examples | None = None) -> dict[str, Any]:
        ids = [self.ids(text) for text in first_captions(column)]
        return {self.key: Sequences(ids, PAD, previous="decoder_input_ids")}

    def decode(self, outputs: Mapping[str, Any], examples: Examples | None) -> Predictions:
        texts = []
        for ids in outputs["sequences"]:
            end = np.flatnonzero(np.asarray(ids) == EOS)
            texts.append(self.tokenizer.decode([int(token) for token in ids[: end[0] if len(end) else None]]))
        return TextPredictions(texts, outputs.get("scores"), self.tokenizer.lowercase, self.tokenizer.loses_spaces)

    @property
    def spec(self) -> dict[str, Any]:
        # longest generated caption in tokens, including EOS
        return {"vocab_size": len(self.tokenizer), "max_target_length": self._longest + self._longest // 4}

    @property
    def state(self) -> dict[str, Any]:
        return {"tokenizer": self.tokenizer.state, "max_length": self.max_length, "longest": self._longest}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.tokenizer = Tokenizer.from_state(state["tokenizer"])
        self.max_length, self._longest = state["max_length"], state["longest"]


def first_captions(column: Sequence[Any]) -> list[str]:
    """The first caption of each row, which has one or several."""
    return [one if isinstance(one, str) else one[0] for one in column]
