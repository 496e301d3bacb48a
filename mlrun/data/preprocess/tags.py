"""Preprocessor of texts whose words have a tag each, for BERT: the first piece of a word carries its tag."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Tags, Text
from mlrun.data.predictions import Predictions, TagsPredictions
from mlrun.data.preprocess.pieces import PiecePreprocessor
from mlrun.data.preprocess.preprocessor import decode_general
from mlrun.data.preprocess.text import IGNORED, as_texts
from mlrun.data.sequences import Sequences
from mlrun.errors import ConfigError

OUTSIDE = "O"  # the tag of a word that belongs to nothing


class TagPreprocessor(PiecePreprocessor):
    """[CLS], the pieces of the words of a text, [SEP]; words are what white space separates.

    A batch holds `input_ids`, `attention_mask`, `token_type_ids` and `labels` (batch, tokens): the tag of a word at its first piece, IGNORED
    elsewhere. Words beyond `max_length` are not read, and decoded as OUTSIDE (or the first class, where there is no such tag). Decodes `tag_scores`
    (rows, tokens, classes).

    Args:
        inputs, targets: one text and its tags.
        options: see `PiecePreprocessor`.
    """

    def __init__(self, inputs: Mapping[str, Feature], targets: Mapping[str, Feature], **options: Any):
        if [type(one) for one in inputs.values()] != [Text] or [type(one) for one in targets.values()] != [Tags]:
            raise ConfigError(
                f"model: reads one text and gives each word a tag, and this dataset has {', '.join([*inputs, *targets])}"
            )
        super().__init__(inputs, targets, **options)
        (self._text,), (self._tags,) = self.inputs, self.targets
        self.classes: list[str] = targets[self._tags].classes  # type: ignore[attr-defined]

    def pieces(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """(tokens,) ids, and (words read,) the place of the first piece of each word."""
        parts = self.tokenizer.encode_words(text.split())
        starts = 1 + np.cumsum([0, *(len(part) for part in parts)])
        room = self.max_length - 1
        ids = np.concatenate([[self.tokenizer.cls], *parts])[:room]
        return np.append(ids, self.tokenizer.sep).astype(np.int32), starts[:-1][starts[:-1] < room]

    def encode_inputs(self, examples: Examples) -> dict[str, Any]:
        read = [self.pieces(text) for text in as_texts(examples[self._text])]
        rows = [ids for ids, _ in read]
        encoded = self.sequences(rows, [np.zeros(len(ids), dtype=np.int32) for ids in rows])
        if self._tags in examples:
            labels = []
            for (ids, places), tags in zip(read, examples[self._tags]):
                row = np.full(len(ids), IGNORED, dtype=np.int32)
                row[places] = tags[: len(places)]
                labels.append(row)
            encoded["labels"] = Sequences(labels, IGNORED)
        return encoded

    def decode(self, outputs: Mapping[str, Any], examples: Examples | None = None) -> Predictions:
        if "tag_scores" not in outputs:
            return decode_general(outputs)
        best = np.asarray(outputs["tag_scores"]).argmax(-1)
        otherwise = self.classes.index(OUTSIDE) if OUTSIDE in self.classes else 0
        words, tags = [], []
        for row, text in enumerate(as_texts(examples[self._text])):
            words.append(text.split())
            found = np.full(len(words[-1]), otherwise, dtype=np.int64)
            _, places = self.pieces(text)
            found[: len(places)] = best[row, places]
            tags.append(found)
        return TagsPredictions(self.classes, words, tags)

    @property
    def spec(self) -> dict[str, Any]:
        return {**super().spec, "num_outputs": len(self.classes)}
