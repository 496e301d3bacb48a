"""Preprocessor of text pairs for an encoder-decoder: the source, and the target shifted by one token."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Feature, restore_all
from mlrun.data.predictions import Predictions, TextPredictions
from mlrun.data.preprocess.preprocessor import Preprocessor, decode_general
from mlrun.data.preprocess.text import as_texts
from mlrun.data.preprocess.tokenizer import BOS, EOS, PAD, Tokenizer
from mlrun.data.sequences import Sequences
from mlrun.errors import DataError

CHARACTERS = {"kind": "characters"}
# the word tokenizer splits "t-shirt", which BLEU counts as one word; a dash between blanks is much rarer
_HYPHEN = re.compile(r"(?<=\w) - (?=\w)")


class PairPreprocessor(Preprocessor):
    """Source and target as token ids; the vocabularies come from the training pairs.

    A batch holds `input_ids` and `attention_mask` (batch, sources), the source with EOS at its end, and `decoder_input_ids` and `labels`
    (batch, targets), the target from BOS on and the target up to EOS. All are padded with PAD. Decodes `sequences` (rows, tokens), ids of
    the target's tokens without BOS, and their `scores` (rows,) if present.

    Args:
        inputs, targets: one text each.
        source_tokenizer, target_tokenizer: {kind, size, min_frequency, lowercase} of `Tokenizer.train`; target_tokenizer None: one vocabulary
            for both.
        reverse_source, reverse_target: tokens are read or generated from the last to the first (Sutskever et al. 2014).
        max_length: pairs with more tokens on either side are excluded from training and from `max_target_length`. None: no limit.
    """

    def __init__(
        self,
        inputs: Mapping[str, Feature],
        targets: Mapping[str, Feature],
        source_tokenizer: Mapping[str, Any] | None = None,
        target_tokenizer: Mapping[str, Any] | None = None,
        reverse_source: bool = False,
        reverse_target: bool = False,
        max_length: int | None = None,
    ):
        self.inputs, self.targets = dict(inputs), dict(targets)
        (self._source,), (self._target,) = self.inputs, self.targets
        self.settings = (dict(source_tokenizer or CHARACTERS), target_tokenizer and dict(target_tokenizer))
        self.reverse_source, self.reverse_target, self.max_length = reverse_source, reverse_target, max_length
        self.source: Tokenizer
        self.target: Tokenizer
        self._longest = 0  # tokens of the longest training target, including EOS
        self._train: Examples | None = None  # the argument of `fit`

    def fit(self, train: Examples) -> None:
        sources, targets = as_texts(train[self._source]), self._first_references(train)
        of_source, of_target = self.settings
        if of_target is None:
            self.source = self.target = Tokenizer.train([*sources, *targets], **of_source)
        else:
            self.source, self.target = Tokenizer.train(sources, **of_source), Tokenizer.train(targets, **of_target)
        self._train = train
        self._measure()

    def _measure(self) -> None:
        """Sets the length of the longest target. Raises DataError if `max_length` excludes every pair."""
        lengths = np.array([len(self.target_ids(text)) - 1 for text in self._first_references(self._train)])
        if self.max_length is not None:
            sources = np.array([len(self.source_ids(text)) for text in as_texts(self._train[self._source])])
            lengths = lengths[np.maximum(lengths, sources) - 1 <= self.max_length]
            if not len(lengths):
                raise DataError(f"no training pair has at most {self.max_length} tokens (dataset.max_length)")
        self._longest = int(lengths.max())

    def _first_references(self, examples: Examples) -> list[str]:
        return [one if isinstance(one, str) else one[0] for one in examples[self._target]]

    def source_ids(self, text: str) -> np.ndarray:
        """(tokens,) int32 of a source, ending with EOS."""
        ids = self.source.encode_array(text)
        return np.append(ids[::-1] if self.reverse_source else ids, np.int32(EOS))

    def target_ids(self, text: str) -> np.ndarray:
        """(tokens,) int32 of a target from BOS to EOS."""
        ids = self.target.encode_array(text)
        return np.concatenate([[BOS], ids[::-1] if self.reverse_target else ids, [EOS]]).astype(np.int32)

    def text(self, ids: Iterable[int]) -> str:
        """The target with these ids (tokens,); ids after EOS are ignored."""
        kept = []
        for token in ids:
            if token == EOS:
                break
            kept.append(int(token))
        text = self.target.decode(kept[::-1] if self.reverse_target else kept)
        return _HYPHEN.sub("-", text) if self.target.kind == "words" else text

    def encode(self, examples: Examples) -> dict[str, Any]:
        if self._source not in examples:
            raise DataError(f"the examples have no {self._source!r}, which the model was trained with")
        sources = [self.source_ids(text) for text in as_texts(examples[self._source])]
        encoded = {"input_ids": Sequences(sources, PAD, "attention_mask")}
        if self._target in examples:
            targets = [self.target_ids(text) for text in self._first_references(examples)]
            encoded["labels"] = Sequences(targets, PAD, previous="decoder_input_ids")
        return encoded

    def decode(self, outputs: Mapping[str, Any], examples: Examples | None = None) -> Predictions:
        if "sequences" not in outputs:
            return decode_general(outputs)
        texts = [self.text(ids) for ids in outputs["sequences"]]
        return TextPredictions(texts, outputs.get("scores"), self.target.lowercase, self.target.loses_spaces)

    @property
    def input_keys(self) -> tuple[str, ...]:
        return "input_ids", "attention_mask"

    @property
    def spec(self) -> dict[str, Any]:
        return {
            "source_vocab_size": len(self.source),
            "target_vocab_size": len(self.target),
            "max_target_length": self._longest + self._longest // 4,  # longest generated text in tokens, including EOS
        }

    @property
    def state(self) -> dict[str, Any]:
        kind = type(self)
        return {
            "_target_": f"{kind.__module__}.{kind.__qualname__}",
            "inputs": {name: feature.state() for name, feature in self.inputs.items()},
            "targets": {name: feature.state() for name, feature in self.targets.items()},
            "source": self.source.state,
            "target": None if self.target is self.source else self.target.state,
            "reverse_source": self.reverse_source,
            "reverse_target": self.reverse_target,
            "max_length": self.max_length,
            "longest": self._longest,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> PairPreprocessor:
        inputs, targets = (restore_all(state[side]) for side in ("inputs", "targets"))
        made = cls(inputs, targets, max_length=state["max_length"])
        made._take(state)
        made._longest = state["longest"]
        return made

    def _take(self, state: Mapping[str, Any]) -> None:
        self.source = Tokenizer.from_state(state["source"])
        self.target = self.source if state["target"] is None else Tokenizer.from_state(state["target"])
        self.reverse_source, self.reverse_target = state["reverse_source"], state["reverse_target"]

    def inherit(self, state: Mapping[str, Any]) -> list[str]:
        """Takes both vocabularies: the decoder's weights belong to the tokens of the target."""
        if state.get("_target_") != self.state["_target_"]:
            return []
        self._take(state)
        self._measure()
        return list(self.inputs)
