"""Texts as a network is fed: rows of token ids, padded on the right."""

from __future__ import annotations

import numpy as np

from mlrun.data.preprocess.tokenizer import BOS, EOS, PAD, UNK, Tokenizer
from mlrun.errors import DataError


def as_texts(rows) -> list[str]:
    """The texts of a list, an array, a column or a table of one column, of any shape; missing values are empty. Raises DataError."""
    if isinstance(rows, str):
        return [rows]
    if hasattr(rows, "columns"):
        if rows.shape[1] != 1:
            raise DataError(f"one column of texts is wanted, not {rows.shape[1]}: {', '.join(map(str, rows.columns))}")
        rows = rows.iloc[:, 0]
    values = np.asarray(rows, dtype=object).reshape(-1)
    return ["" if value is None or value != value else str(value) for value in values]


def padded(sequences: list[np.ndarray]) -> np.ndarray:
    """(rows, longest) int64, filled up with PAD; at least one column."""
    result = np.full((len(sequences), max([1, *map(len, sequences)])), PAD, dtype=np.int64)
    for row, ids in enumerate(sequences):
        result[row, : len(ids)] = ids
    return result


class TextEncoding:
    """Texts -> (rows, longest) int64 ids, cut after `max_length` tokens, the end token included; a transform with a plain `state`.

    begin, end: whether a row begins with <bos> and ends with <eos>.
    """

    target_mean, target_std = 0.0, 1.0

    def __init__(self, tokenizer, max_length=None, begin=False, end=False):
        self.tokenizer = tokenizer if isinstance(tokenizer, Tokenizer) else Tokenizer.from_state(tokenizer)
        self.max_length, self.begin, self.end = max_length, begin, end

    def ids(self, text: str) -> np.ndarray:
        """(tokens,) int32 of one text."""
        found = self.tokenizer.encode_array(text)
        if not len(found):
            found = np.array([UNK], dtype=np.int32)  # an empty row would leave attention nothing to look at
        if self.begin or self.end:
            found = np.concatenate([[BOS] * self.begin, found, [EOS] * self.end]).astype(np.int32)
        return found if self.max_length is None else found[: self.max_length]

    def __call__(self, rows) -> np.ndarray:
        return padded([self.ids(text) for text in as_texts(rows)])

    @property
    def state(self):
        return {
            "kind": "text",
            "tokenizer": self.tokenizer.state,
            "max_length": self.max_length,
            "begin": self.begin,
            "end": self.end,
        }
