"""Encoders of texts as token ids, padded on the right, and of spans as token positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.features import Span, Text
from mlrun.data.predictions import SpanPredictions
from mlrun.data.preprocess.encoder import Encoder
from mlrun.data.preprocess.tokenizer import BOS, EOS, PAD, UNK, Tokenizer
from mlrun.data.sequences import Sequences
from mlrun.errors import DataError

if TYPE_CHECKING:
    from mlrun.data.examples import Examples

IGNORED = -100  # a position that the loss ignores; the default of `torch.nn.functional.cross_entropy`
LEARNED = (
    "learned"  # key of the state: number of tokens of the training texts; those that word vectors brought follow them
)
LONGEST_SPAN = 64  # tokens of a predicted span; limits the pairs of positions that are compared


def as_texts(rows: Any, given: bool = False) -> list[str]:
    """The texts of a list, an array, a column or a table of one column, of any shape; missing values are empty.

    Args:
        rows: the texts.
        given: whether they are what a model is asked about, of which none may be missing.

    Raises:
        DataError: a table has several columns, or a text that has to be given is missing or a container.
    """
    if isinstance(rows, str):
        return [rows]
    if hasattr(rows, "columns"):
        if rows.shape[1] != 1:
            raise DataError(f"expected one column of texts, got {rows.shape[1]}: {', '.join(map(str, rows.columns))}")
        rows = rows.iloc[:, 0]
    values = np.asarray(rows, dtype=object).reshape(-1)
    texts = []
    for row, value in enumerate(values, start=1):
        is_missing = value is None or type(value).__name__ == "NAType" or isinstance(value, float) and value != value
        if given and (is_missing or isinstance(value, (list, tuple, dict, np.ndarray))):
            what = "no text" if is_missing else f"a {type(value).__name__}, not a text"
            raise DataError(f"row {row}: {what}")
        texts.append("" if is_missing else str(value))
    return texts


class TextEncoder(Encoder):
    """Texts as ids, truncated to `max_length` tokens, including the end token. The vocabulary comes from the training texts.

    Args:
        tokenizer: {kind, size, min_frequency, lowercase} of `Tokenizer.train`.
        max_length: tokens after which a text is truncated, None for no limit.
        begin, end: whether a row begins with <bos> and ends with <eos>.
    """

    key, further_keys = "input_ids", ("attention_mask",)
    feature: Text

    def __init__(
        self,
        feature: Text,
        tokenizer: Mapping[str, Any] | None = None,
        max_length: int | None = 256,
        begin: bool = False,
        end: bool = False,
        **settings: Any,
    ):
        super().__init__(feature)
        if max_length is not None and (not isinstance(max_length, int) or max_length < 1):
            raise DataError(f"dataset.max_length={max_length}: give a whole number of at least 1")
        self.settings = {"kind": "words", **(tokenizer or {})}
        self.max_length, self.begin, self.end = max_length, begin, end
        self.tokenizer: Tokenizer
        self._learned: int | None = None  # tokens of the training texts, where words of word vectors follow them

    def fit(self, column: Sequence[str]) -> None:
        self.tokenizer = Tokenizer.train(column, **self.settings)

    def ids(self, text: str) -> np.ndarray:
        """(tokens,) int32 of one text."""
        found = self.tokenizer.encode_array(text)
        if not len(found):
            found = np.array([UNK], dtype=np.int32)  # attention needs at least one token
        if self.begin or self.end:
            found = np.concatenate([[BOS] * self.begin, found, [EOS] * self.end]).astype(np.int32)
        return found if self.max_length is None else found[: self.max_length]

    def encode(self, column: Any, examples: Examples | None = None) -> dict[str, Any]:
        return {self.key: Sequences([self.ids(text) for text in as_texts(column)], PAD, "attention_mask")}

    @property
    def spec(self) -> dict[str, Any]:
        vocabulary = self.tokenizer.vocabulary
        return {"vocab_size": len(vocabulary), "max_length": self.max_length, "vocabulary": vocabulary}

    @property
    def state(self) -> dict[str, Any]:
        return {
            "tokenizer": self.tokenizer.state,
            "max_length": self.max_length,
            "begin": self.begin,
            "end": self.end,
            **({} if self._learned is None else {LEARNED: self._learned}),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.tokenizer = Tokenizer.from_state(state["tokenizer"])
        self.max_length, self.begin, self.end = state["max_length"], state["begin"], state["end"]
        self._learned = state.get(LEARNED)

    def extend(self, words: Sequence[str]) -> None:
        if self.tokenizer.kind == "words":
            self._learned = self._learned or len(self.tokenizer)
            self.tokenizer = self.tokenizer.extended(words)

    def inherit(self, state: Mapping[str, Any]) -> bool:
        self.tokenizer = Tokenizer.from_state(state["tokenizer"])
        self.begin, self.end = state["begin"], state["end"]
        return True


class SpanEncoder(Encoder):
    """A span as the positions of its first and last token; IGNORED if there is none, or it extends beyond the tokens read.

    Decodes `start_logits` and `end_logits` (rows, tokens), whose padding is -inf: the best pair of at most LONGEST_SPAN tokens.
    """

    key, further_keys = "start_positions", ("end_positions",)
    outputs = frozenset({"start_logits", "end_logits"})
    feature: Span

    def _offsets(self, text: str) -> np.ndarray:
        """(tokens, 2) characters of the tokens that the network reads."""
        encoder = self.inputs[self.feature.of]
        assert isinstance(encoder, TextEncoder)
        offsets = encoder.tokenizer.offsets(text)[: encoder.max_length]
        return np.concatenate([np.zeros((int(encoder.begin), 2), dtype=np.int64), offsets])

    def encode(self, column: Any, examples: Examples | None = None) -> dict[str, Any]:
        texts = as_texts(examples[self.feature.of])
        places = np.full((len(texts), 2), IGNORED, dtype=np.int64)
        for row, (text, (first, end)) in enumerate(zip(texts, column)):
            offsets = self._offsets(text)
            inside = np.flatnonzero((offsets[:, 1] > first) & (offsets[:, 0] < end) & (first >= 0))
            if len(inside) and offsets[inside[-1], 1] >= end:
                places[row] = inside[0], inside[-1]
        return {"start_positions": places[:, 0], "end_positions": places[:, 1]}

    def decode(self, outputs: Mapping[str, Any], examples: Examples | None) -> SpanPredictions:
        starts, ends = (np.asarray(outputs[name], dtype=np.float64) for name in ("start_logits", "end_logits"))
        texts = as_texts(examples[self.feature.of])
        spans, found, shares = np.full((len(texts), 2), -1, dtype=np.int64), [], np.zeros(len(texts))
        for row, text in enumerate(texts):
            offsets = self._offsets(text)
            count = min(len(offsets), starts.shape[1])
            if count:
                scores = _log_shares(starts[row, :count])[:, None] + _log_shares(ends[row, :count])[None, :]
                allowed = np.tri(count, k=0, dtype=bool).T & np.tri(count, k=LONGEST_SPAN - 1, dtype=bool)
                best = int(np.where(allowed, scores, -np.inf).argmax())
                first, last = divmod(best, count)
                spans[row] = offsets[first, 0], offsets[last, 1]
                shares[row] = float(np.exp(scores[first, last]))
            found.append(text[max(spans[row, 0], 0) : max(spans[row, 1], 0)])
        return SpanPredictions(spans, found, shares)


def _log_shares(logits: np.ndarray) -> np.ndarray:
    top = logits.max()
    return logits - top - np.log(np.exp(logits - top).sum())
