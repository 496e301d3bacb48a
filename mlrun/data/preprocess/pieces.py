"""Preprocessors that read texts as BERT does: what they have in common, and the one for one or two texts with a class or a value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Label, Text, Value, restore_all
from mlrun.data.predictions import Predictions
from mlrun.data.preprocess.encoder import Encoder
from mlrun.data.preprocess.preprocessor import Preprocessor, decode_general
from mlrun.data.preprocess.targets import LabelEncoder, ValueEncoder
from mlrun.data.preprocess.text import as_texts
from mlrun.data.preprocess.wordpiece import KIND, WordPiece
from mlrun.data.sequences import Sequences
from mlrun.errors import ConfigError, DataError

TARGETS: dict[type[Feature], type[Encoder]] = {Label: LabelEncoder, Value: ValueEncoder}


class PiecePreprocessor(Preprocessor):
    """Base of preprocessors whose texts become word pieces. The vocabulary comes from the training texts, or with the weights.

    Args:
        inputs, targets: the features of the dataset.
        tokenizer: {size, min_frequency, lowercase} of `WordPiece.train`; further settings, of the dataset for other models, are not used.
        max_length: most tokens of a row, special ones included.
        settings: of the dataset for other preprocessors; not used.
    """

    shortest: ClassVar[int] = 3  # smallest sensible max_length

    def __init__(
        self,
        inputs: Mapping[str, Feature],
        targets: Mapping[str, Feature],
        tokenizer: Mapping[str, Any] | None = None,
        max_length: int = 128,
        **settings: Any,
    ):
        self.inputs, self.targets = dict(inputs), dict(targets)
        if isinstance(max_length, bool) or not isinstance(max_length, int) or max_length < self.shortest:
            raise ConfigError(
                f"model.preprocessor.max_length={max_length}: give a whole number of at least {self.shortest}"
            )
        known = ("size", "min_frequency", "lowercase")
        self.settings = {name: value for name, value in (tokenizer or {}).items() if name in known}
        self.max_length = max_length
        self.tokenizer: WordPiece
        self.encoders = {
            name: TARGETS[type(feature)](feature) for name, feature in targets.items() if type(feature) in TARGETS
        }

    def texts(self, examples: Examples) -> Iterator[str]:
        """All texts from which the vocabulary is learned."""
        for name in self.inputs:
            yield from as_texts(examples[name])

    def fit(self, train: Examples) -> None:
        self.tokenizer = WordPiece.train(self.texts(train), **self.settings)
        for name, encoder in self.encoders.items():
            encoder.fit(train[name])

    def encode(self, examples: Examples) -> dict[str, Any]:
        absent = next((name for name in self.inputs if name not in examples), None)
        if absent is not None:
            raise DataError(f"the examples have no {absent!r}, which the model was trained with")
        encoded = self.encode_inputs(examples)
        for name, encoder in self.encoders.items():
            if name in examples:
                encoded |= encoder.encode(examples[name], examples)
        return encoded

    def encode_inputs(self, examples: Examples) -> dict[str, Any]:
        """The tensors of the inputs."""
        raise NotImplementedError

    def sequences(self, rows: Sequence[np.ndarray], segments: Sequence[np.ndarray]) -> dict[str, Any]:
        """Columns of ids and segments."""
        return {
            "input_ids": Sequences(rows, self.tokenizer.pad, "attention_mask"),
            "token_type_ids": Sequences(segments, 0),
        }

    def decode(self, outputs: Mapping[str, Any], examples: Examples | None = None) -> Predictions:
        for encoder in self.encoders.values():
            if encoder.outputs and encoder.outputs <= outputs.keys():
                return encoder.decode(outputs, examples)
        return decode_general(outputs)

    @property
    def input_keys(self) -> tuple[str, ...]:
        return "input_ids", "attention_mask", "token_type_ids"

    @property
    def spec(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for encoder in self.encoders.values():
            found |= encoder.spec
        return {**found, "vocab_size": len(self.tokenizer), "max_length": self.max_length}

    @property
    def state(self) -> dict[str, Any]:
        kind = type(self)
        return {
            "_target_": f"{kind.__module__}.{kind.__qualname__}",
            "inputs": {name: feature.state() for name, feature in self.inputs.items()},
            "targets": {name: feature.state() for name, feature in self.targets.items()},
            "tokenizer": self.tokenizer.state,
            "encoders": {name: encoder.state for name, encoder in self.encoders.items()},
            "options": self.options,
        }

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of the constructor besides the features, that encoding depends on."""
        return {"max_length": self.max_length}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> PiecePreprocessor:
        inputs, targets = (restore_all(state[side]) for side in ("inputs", "targets"))
        made = cls(inputs, targets, **state["options"])
        made.tokenizer = WordPiece.from_state(state["tokenizer"])
        for name, learned in state["encoders"].items():
            made.encoders[name].restore(learned)
        return made

    def inherit(self, state: Mapping[str, Any]) -> list[str]:
        """Takes the vocabulary of any model that reads word pieces."""
        theirs = state.get("tokenizer")
        if not isinstance(theirs, Mapping) or theirs.get("kind") != KIND:
            return []
        self.tokenizer = WordPiece.from_state(theirs)
        return list(self.inputs)


class TextsPreprocessor(PiecePreprocessor):
    """One text as [CLS] text [SEP], or two as [CLS] first [SEP] second [SEP], where the second one with its [SEP] is segment 1.

    Of two texts that are too long the longer one is cut first. A batch holds `input_ids`, `attention_mask` and `token_type_ids`
    (batch, tokens), and `labels` for a class or a value. Other inputs than texts are not allowed.
    """

    shortest = 5

    def __init__(self, inputs: Mapping[str, Feature], targets: Mapping[str, Feature], **options: Any):
        texts = [name for name, feature in inputs.items() if isinstance(feature, Text)]
        if len(texts) != len(inputs) or len(texts) > 2:
            raise ConfigError(f"model: reads one text or two, and this dataset has {', '.join(inputs)}")
        super().__init__(inputs, targets, **options)

    def encode_inputs(self, examples: Examples) -> dict[str, Any]:
        columns = [self.tokenizer.encode_all(as_texts(examples[name])) for name in self.inputs]
        rows, segments = [], []
        for pieces in zip(*columns):
            ids, kinds = self.join(pieces)
            rows.append(ids)
            segments.append(kinds)
        return self.sequences(rows, segments)

    def join(self, pieces: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(tokens,) ids and segments of one text or two, each given as its ids."""
        cut = shortened(pieces, self.max_length - 1 - len(pieces))
        ids, segments = [np.array([self.tokenizer.cls])], [np.zeros(1)]
        for segment, part in enumerate(cut):
            ids += [part, np.array([self.tokenizer.sep])]
            segments.append(np.full(len(part) + 1, segment))
        return np.concatenate(ids).astype(np.int32), np.concatenate(segments).astype(np.int32)


class CorpusPreprocessor(TextsPreprocessor):
    """The texts of any dataset without their targets, for pre-training: of several inputs the first text is read."""

    def __init__(self, inputs: Mapping[str, Feature], targets: Mapping[str, Feature], **options: Any):
        first = next((name for name, feature in inputs.items() if isinstance(feature, Text)), None)
        if first is None:
            raise ConfigError(f"model: learns from texts, and this dataset has none (it has {', '.join(inputs)})")
        super().__init__({first: inputs[first]}, {}, **options)

    def column(self, examples: Examples) -> Iterable[str]:
        """The texts of some examples."""
        (name,) = self.inputs
        return examples[name]

    def texts(self, examples: Examples) -> Iterator[str]:
        return iter(self.column(examples))


def shortened(parts: Sequence[np.ndarray], room: int) -> list[np.ndarray]:
    """The parts, (tokens,) each, cut at their ends to `room` tokens in all; the longest one first."""
    lengths = [len(part) for part in parts]
    while sum(lengths) > room:
        longest = max(range(len(lengths)), key=lambda at: lengths[at])
        others = [length for at, length in enumerate(lengths) if at != longest]
        # down to the next longest at once, then one by one
        spare = lengths[longest] - max(others, default=0)
        lengths[longest] -= max(1, min(spare, sum(lengths) - room))
    return [part[:length] for part, length in zip(parts, lengths)]
