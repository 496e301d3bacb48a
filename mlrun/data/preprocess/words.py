"""Preprocessor of word-vector models: the frequent words of a text and how often each occurs in the training texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Text, restore_all
from mlrun.data.predictions import Predictions
from mlrun.data.preprocess.preprocessor import OFFERS_WORDS, Preprocessor, decode_general
from mlrun.data.preprocess.text import as_texts
from mlrun.data.preprocess.tokenizer import PAD, SPECIAL, Tokenizer, check_limits
from mlrun.data.preprocess.word_pattern import WORD
from mlrun.data.sequences import Sequences
from mlrun.errors import ConfigError, DataError


@dataclass
class Corpus:
    """The words of several texts, one after another.

    tokens: (words,) int32 ids. texts: (words,) int32, the number of the text that a word belongs to.
    """

    tokens: np.ndarray
    texts: np.ndarray


class WordPreprocessor(Preprocessor):
    """Texts as the ids of their frequent words; all other words are left out, as if they were not in the text.

    The words are numbered by decreasing frequency, after the special tokens. `counts` (vocabulary,) holds their frequencies in the training
    texts; special tokens have none. Rows are encoded as `input_ids` and `attention_mask`, for an estimator as a sparse matrix of counts
    (rows, vocabulary). Inputs other than the text, and the targets, are not read.

    Args:
        inputs, targets: the features of the dataset; the first text is read.
        tokenizer: {min_frequency, size, lowercase}: how often a word occurs at least, most words, see `Tokenizer.train`.
        letters_only: leave out tokens without a letter, such as numbers and punctuation marks.
        estimator: encode for an estimator.
        settings: of the dataset for other preprocessors; not used.
    """

    def __init__(
        self,
        inputs: Mapping[str, Feature],
        targets: Mapping[str, Feature],
        tokenizer: Mapping[str, Any] | None = None,
        letters_only: bool = True,
        estimator: bool = False,
        **settings: Any,
    ):
        texts = [name for name, feature in inputs.items() if isinstance(feature, Text)]
        if not texts:
            raise ConfigError(f"model: learns from words, and this dataset has no text (it has {', '.join(inputs)})")
        self._text = texts[0]
        self.inputs, self.targets = {self._text: inputs[self._text]}, {}
        self.settings = {"min_frequency": 5, "size": None, "lowercase": True, **(tokenizer or {})}
        self.letters_only, self.estimator = letters_only, estimator
        self.tokenizer: Tokenizer
        self.counts: np.ndarray

    def fit(self, train: Examples) -> None:
        check_limits(self.settings["size"], self.settings["min_frequency"])
        counted: Counter[str] = Counter()
        lowercase = bool(self.settings["lowercase"])
        for text in train[self._text]:
            counted.update(WORD.findall(text.lower() if lowercase else text))
        least, most = self.settings["min_frequency"], self.settings["size"]
        known = [
            (word, count)
            for word, count in counted.items()
            if count >= least and word not in SPECIAL and not (self.letters_only and not _has_letter(word))
        ]
        if len(known) < 2:
            raise DataError(
                f"fewer than two words occur {least} times in the training texts: set model.preprocessor.tokenizer.min_frequency"
            )
        known.sort(key=lambda one: (-one[1], one[0]))
        known = known if most is None else known[: most - len(SPECIAL)]
        self.tokenizer = Tokenizer("words", [*SPECIAL, *(word for word, _ in known)], lowercase)
        self.counts = np.array([0] * len(SPECIAL) + [count for _, count in known], dtype=np.int64)

    def ids(self, text: str) -> np.ndarray:
        """(words,) int32 of the known words of a text."""
        found = self.tokenizer.ids
        words = (found.get(word, PAD) for word in WORD.findall(text.lower() if self.tokenizer.lowercase else text))
        return np.array([word for word in words if word >= len(SPECIAL)], dtype=np.int32)

    def corpus(self, texts: Iterable[str]) -> Corpus:
        """The words of some texts."""
        rows = [self.ids(text) for text in texts]
        tokens = np.concatenate([np.zeros(0, dtype=np.int32), *rows])
        return Corpus(tokens, np.repeat(np.arange(len(rows), dtype=np.int32), [len(row) for row in rows]))

    def column(self, examples: Examples) -> Iterable[str]:
        """The texts of some examples."""
        return examples[self._text]

    def encode(self, examples: Examples) -> dict[str, Any]:
        rows = [self.ids(text) for text in as_texts(examples[self._text])]
        if not self.estimator:
            return {"input_ids": Sequences(rows, PAD, "attention_mask")}
        from scipy.sparse import csr_matrix

        ends = np.cumsum([0, *map(len, rows)])
        flat = np.concatenate([np.zeros(0, dtype=np.int32), *rows])
        counts = csr_matrix((np.ones(len(flat), np.float32), flat, ends), shape=(len(rows), len(self.tokenizer)))
        counts.sum_duplicates()
        return {"features": counts}

    def decode(self, outputs: Mapping[str, Any], examples: Examples | None = None) -> Predictions:
        return decode_general(outputs)

    @property
    def input_keys(self) -> tuple[str, ...]:
        return "input_ids", "attention_mask"

    offset = len(SPECIAL)  # id of the first word

    @property
    def words(self) -> list[str]:
        """The vocabulary without the special tokens."""
        return self.tokenizer.vocabulary[len(SPECIAL) :]

    @property
    def spec(self) -> dict[str, Any]:
        return {"vocab_size": len(self.tokenizer)}

    def inherit(self, state: Mapping[str, Any]) -> list[str]:
        if state.get("_target_") != self.state["_target_"]:
            return []
        self._restore(state)
        return list(self.inputs)

    @property
    def state(self) -> dict[str, Any]:
        kind = type(self)
        return {
            "_target_": f"{kind.__module__}.{kind.__qualname__}",
            "inputs": {name: feature.state() for name, feature in self.inputs.items()},
            "letters_only": self.letters_only,
            "tokenizer": self.tokenizer.state,
            OFFERS_WORDS: True,
            "counts": self.counts.tolist(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> WordPreprocessor:
        made = cls(restore_all(state["inputs"]), {}, letters_only=state["letters_only"])
        made._restore(state)
        return made

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.tokenizer = Tokenizer.from_state(state["tokenizer"])
        self.counts = np.array(state["counts"], dtype=np.int64)


def _has_letter(word: str) -> bool:
    return any(character.isalpha() for character in word)
