"""Preprocessor of a long text as a stream of token ids, and of prompts as rows of ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Feature, restore_all
from mlrun.data.predictions import Predictions, TextPredictions
from mlrun.data.preprocess.preprocessor import Preprocessor, decode_general
from mlrun.data.preprocess.text import as_texts
from mlrun.data.preprocess.tokenizer import PAD, Tokenizer
from mlrun.data.readers.files import write_atomically
from mlrun.data.sequences import Sequences
from mlrun.data.text_pieces import TextPieces

VERSION = 2  # of what a token is; results cached by another one are not used
ON_DISK = 2**26  # smallest text in bytes whose tokens are cached in a file and read on demand


@dataclass
class TokenStream:
    """tokens: (tokens,) uint16 or int32, in memory or memory-mapped. characters: length of their text."""

    tokens: np.ndarray
    characters: int

    @property
    def tokens_per_character(self) -> float:
        return len(self.tokens) / max(1, self.characters)


class StreamPreprocessor(Preprocessor):
    """Tokens of a text of any size, which is read piece by piece; the vocabulary comes from the training part.

    The vocabulary and the tokens of a large file are stored in the user's cache folder and reused by later runs.
    Prompts are encoded as `input_ids` and `attention_mask` (batch, tokens), padded with PAD; an empty prompt is a single PAD. Decodes
    `sequences`, a list of token ids (tokens,) for each row.

    Args:
        inputs: one text. targets: none.
        tokenizer: {kind, size, min_frequency, lowercase} of `Tokenizer.train`.
        estimator: encode for an estimator, which takes prompts as a list of arrays (tokens,).
    """

    def __init__(
        self,
        inputs: Mapping[str, Feature],
        targets: Mapping[str, Feature],
        tokenizer: Mapping[str, Any] | None = None,
        estimator: bool = False,
    ):
        self.inputs, self.targets = dict(inputs), dict(targets)
        (self._text,) = self.inputs
        self.settings, self.estimator = {"kind": "characters", **(tokenizer or {})}, estimator
        self.tokenizer: Tokenizer

    def fit(self, train: Examples) -> None:
        texts = train[self._text]
        if not _is_cached(texts):
            self.tokenizer = Tokenizer.train(iter(texts), **self.settings)
            return
        path = _cache_file(texts, self.settings, ".tokenizer.json")
        if not path.is_file():
            state = Tokenizer.train(iter(texts), **self.settings).state
            write_atomically(path, lambda temporary: temporary.write_text(json.dumps(state), encoding="utf-8"))
        self.tokenizer = Tokenizer.from_state(json.loads(path.read_text(encoding="utf-8")))

    def stream(self, texts: Iterable[str]) -> TokenStream:
        """The concatenated tokens of texts. Those of a large file are memory-mapped."""
        if not _is_cached(texts):
            pieces: list[np.ndarray] = [np.zeros(0, dtype=self._dtype)]
            characters = 0
            for text in texts:
                pieces.append(self.tokenizer.encode_array(text).astype(self._dtype))
                characters += len(text)
            return TokenStream(np.concatenate(pieces), characters)
        tokens, about = (_cache_file(texts, self.tokenizer.state, suffix) for suffix in (".bin", ".json"))
        if not (tokens.is_file() and about.is_file()):
            counted = 0

            def write(temporary: Path) -> None:
                nonlocal counted
                with open(temporary, "wb") as file:
                    for text in texts:
                        self.tokenizer.encode_array(text).astype(self._dtype).tofile(file)
                        counted += len(text)

            write_atomically(tokens, write)
            write_atomically(about, lambda temporary: temporary.write_text(json.dumps({"characters": counted})))
        characters = json.loads(about.read_text())["characters"]
        if not tokens.stat().st_size:  # an empty file cannot be mapped
            return TokenStream(np.zeros(0, dtype=self._dtype), characters)
        return TokenStream(np.memmap(tokens, dtype=self._dtype, mode="r"), characters)

    @property
    def _dtype(self) -> type[np.integer]:
        return np.uint16 if len(self.tokenizer) <= 2**16 else np.int32

    def encode(self, examples: Examples) -> dict[str, Any]:
        rows = [self.tokenizer.encode_array(text) for text in as_texts(examples[self._text])]
        rows = [ids if len(ids) else np.array([PAD], dtype=np.int32) for ids in rows]
        return {"input_ids": rows if self.estimator else Sequences(rows, PAD, "attention_mask")}

    def decode(self, outputs: Mapping[str, Any], examples: Examples | None = None) -> Predictions:
        if "sequences" not in outputs:
            return decode_general(outputs)
        texts = [self.tokenizer.decode(ids) for ids in outputs["sequences"]]
        return TextPredictions(texts, lowercase=self.tokenizer.lowercase)

    @property
    def input_keys(self) -> tuple[str, ...]:
        return "input_ids", "attention_mask"

    @property
    def spec(self) -> dict[str, Any]:
        return {"vocab_size": len(self.tokenizer), "vocabulary": self.tokenizer.vocabulary}

    @property
    def state(self) -> dict[str, Any]:
        kind = type(self)
        return {
            "_target_": f"{kind.__module__}.{kind.__qualname__}",
            "inputs": {name: feature.state() for name, feature in self.inputs.items()},
            "targets": {name: feature.state() for name, feature in self.targets.items()},
            "tokenizer": self.tokenizer.state,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> StreamPreprocessor:
        made = cls(restore_all(state["inputs"]), restore_all(state["targets"]))
        made.tokenizer = Tokenizer.from_state(state["tokenizer"])
        return made

    def inherit(self, state: Mapping[str, Any]) -> list[str]:
        if state.get("_target_") != self.state["_target_"]:
            return []
        self.tokenizer = Tokenizer.from_state(state["tokenizer"])
        return list(self.inputs)


def _is_cached(texts: Any) -> TypeGuard[TextPieces]:
    """Whether results computed from these texts are cached on disk."""
    return isinstance(texts, TextPieces) and texts.identity is not None and len(texts.buffer) >= ON_DISK


def _cache_file(texts: TextPieces, settings: Mapping[str, Any], suffix: str) -> Path:
    """Path of a cached result that depends on these texts and settings."""
    from pooch import os_cache

    about = json.dumps([VERSION, texts.identity, texts.start, texts.end, settings])
    folder = Path(os_cache("mlrun")) / "tokens"
    return folder / f"{hashlib.blake2b(about.encode(), digest_size=12).hexdigest()}{suffix}"
