"""Preprocessor of sequences of numbered symbols."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Feature, restore_all
from mlrun.data.predictions import Predictions
from mlrun.data.preprocess.preprocessor import Preprocessor, decode_general
from mlrun.data.preprocess.text import as_texts
from mlrun.data.sequences import Sequences
from mlrun.errors import DataError

PAD = 0  # also what comes before the first symbol; symbol n has the id n + 1


class SymbolPreprocessor(Preprocessor):
    """Texts such as "17 3 250" as `input_ids` (batch, symbols), each number plus 1, padded with PAD, and `attention_mask`. Learns nothing.

    Args:
        inputs, targets: one text, no targets.
    """

    def __init__(self, inputs: Mapping[str, Feature], targets: Mapping[str, Feature]):
        self.inputs, self.targets = dict(inputs), dict(targets)
        (self._name,) = self.inputs

    def fit(self, train: Examples) -> None:
        pass

    def encode(self, examples: Examples) -> dict[str, Any]:
        rows = []
        for text in as_texts(examples[self._name]):
            try:
                rows.append(np.array([int(word) + 1 for word in text.split()] or [PAD], dtype=np.int32))
            except ValueError:
                raise DataError(f"{text[:60]!r} is not a sequence of numbers") from None
        return {"input_ids": Sequences(rows, PAD, "attention_mask")}

    def decode(self, outputs: Mapping[str, Any], examples: Examples | None = None) -> Predictions:
        return decode_general(outputs)

    @property
    def input_keys(self) -> tuple[str, ...]:
        return "input_ids", "attention_mask"

    @property
    def state(self) -> dict[str, Any]:
        kind = type(self)
        return {
            "_target_": f"{kind.__module__}.{kind.__qualname__}",
            "inputs": {name: feature.state() for name, feature in self.inputs.items()},
            "targets": {},
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> SymbolPreprocessor:
        return cls(restore_all(state["inputs"]), {})
