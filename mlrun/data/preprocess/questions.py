"""Preprocessor of questions about a text whose answer is a span of it; a long text is read in overlapping windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Span, Text
from mlrun.data.predictions import Predictions, SpanPredictions
from mlrun.data.preprocess.pieces import PiecePreprocessor
from mlrun.data.preprocess.preprocessor import decode_general
from mlrun.data.preprocess.text import as_texts
from mlrun.errors import ConfigError

LONGEST_ANSWER = 30  # tokens, as in SQuAD's usual evaluation


@dataclass
class Windows:
    """A question with each window of its text: [CLS] question [SEP] window [SEP].

    ids, segments: (windows, tokens). present: (windows, tokens) bool, false for padding. readable: (windows, tokens) bool, the tokens that an
    answer can have, and [CLS], which stands for no answer. offsets: (windows, tokens, 2) characters in the text, 0 outside it.
    """

    ids: np.ndarray
    segments: np.ndarray
    present: np.ndarray
    readable: np.ndarray
    offsets: np.ndarray

    def span(self, first: int, end: int) -> np.ndarray:
        """(windows, 2) the first and the last token of the characters from `first` to `end`; 0, 0 in windows that lack part of them."""
        found = np.zeros((len(self.ids), 2), dtype=np.int64)
        if first < 0:
            return found
        inside = self.readable & (self.offsets[:, :, 1] > first) & (self.offsets[:, :, 0] < end)
        inside[:, 0] = False
        for window in np.flatnonzero(inside.any(1)):
            places = np.flatnonzero(inside[window])
            left, right = self.offsets[window, places[0], 0], self.offsets[window, places[-1], 1]
            if left <= first and right >= end:
                found[window] = places[0], places[-1]
        return found


class QuestionPreprocessor(PiecePreprocessor):
    """A batch holds lists with an entry for each row: `input_ids`, `token_type_ids`, `attention_mask` and `readable` (windows, tokens), see
    `Windows`, and `start_positions` and `end_positions` (windows,), 0 where the window does not hold the whole answer.

    Decodes `start_logits` and `end_logits`, lists of (windows, tokens). The answer is the best span of all windows, or none if [CLS] scores higher in
    every window (Devlin et al. 2018, section 4.3), where the training examples had questions without an answer.

    Args:
        inputs, targets: question and text, and the `Span` of the text; further targets are for evaluators.
        overlap: tokens that a window shares with the one before.
        longest_question: tokens after which a question is cut; None: half of `max_length`.
        without_answer: whether the answer can be none; None: as the training examples show.
        options: see `PiecePreprocessor`.
    """

    shortest = 8

    def __init__(
        self,
        inputs: Mapping[str, Feature],
        targets: Mapping[str, Feature],
        overlap: int = 32,
        longest_question: int | None = None,
        without_answer: bool | None = None,
        **options: Any,
    ):
        spans = {name: one for name, one in targets.items() if isinstance(one, Span)}
        if len(inputs) != 2 or not all(isinstance(one, Text) for one in inputs.values()) or len(spans) != 1:
            raise ConfigError(
                f"model: answers a question by a span of a text, and this dataset has {', '.join([*inputs, *targets])}"
            )
        super().__init__(inputs, targets, **options)
        ((self._answer, span),) = spans.items()
        self._context = span.of
        (self._question,) = (name for name in inputs if name != span.of)
        self.longest_question = longest_question or self.max_length // 2
        room = self.max_length - 3 - self.longest_question
        if room < 1 or not 0 <= overlap < room:
            raise ConfigError(
                f"model.preprocessor: with max_length={self.max_length} and questions of up to {self.longest_question} tokens a window "
                f"holds {max(0, room)} tokens of the text; overlap={overlap} must be smaller"
            )
        self.overlap, self.without_answer = overlap, without_answer

    def fit(self, train: Examples) -> None:
        super().fit(train)
        if self.without_answer is None:
            self.without_answer = bool((np.asarray(train[self._answer])[:, 0] < 0).any())

    def windows(self, question: str, context: str) -> Windows:
        """The windows of one example."""
        tokenizer = self.tokenizer
        asked = tokenizer.encode(question)[: self.longest_question]
        ids, offsets = tokenizer.encode_with_offsets(context)
        room = self.max_length - 3 - len(asked)
        starts = list(range(0, max(1, len(ids) - self.overlap), room - self.overlap))
        width = len(asked) + 3 + min(room, len(ids))
        shape, before = (len(starts), width), len(asked) + 2
        made = Windows(
            ids=np.full(shape, tokenizer.pad, dtype=np.int64),
            segments=np.zeros(shape, dtype=np.int64),
            present=np.zeros(shape, dtype=bool),
            readable=np.zeros(shape, dtype=bool),
            offsets=np.zeros((*shape, 2), dtype=np.int64),
        )
        for row, start in enumerate(starts):
            part = ids[start : start + room]
            end = before + len(part)
            made.ids[row, : end + 1] = [tokenizer.cls, *asked, tokenizer.sep, *part, tokenizer.sep]
            made.segments[row, before : end + 1] = 1
            made.present[row, : end + 1] = True
            made.readable[row, before:end] = True
            made.offsets[row, before:end] = offsets[start : start + room]
        made.readable[:, 0] = True
        return made

    def _all(self, examples: Examples) -> list[Windows]:
        questions, contexts = (as_texts(examples[name]) for name in (self._question, self._context))
        return [self.windows(question, context) for question, context in zip(questions, contexts)]

    def encode_inputs(self, examples: Examples) -> dict[str, Any]:
        made = self._all(examples)
        encoded: dict[str, Any] = {
            "input_ids": [one.ids for one in made],
            "attention_mask": [one.present for one in made],
            "token_type_ids": [one.segments for one in made],
            "readable": [one.readable for one in made],
        }
        if self._answer in examples:
            places = [one.span(int(first), int(end)) for one, (first, end) in zip(made, examples[self._answer])]
            encoded["start_positions"] = [one[:, 0] for one in places]
            encoded["end_positions"] = [one[:, 1] for one in places]
        return encoded

    @property
    def input_keys(self) -> tuple[str, ...]:
        return *super().input_keys, "readable"

    def decode(self, outputs: Mapping[str, Any], examples: Examples | None = None) -> Predictions:
        if "start_logits" not in outputs:
            return decode_general(outputs)
        spans, texts, shares = [], [], []
        contexts = as_texts(examples[self._context])
        for made, context, starts, ends in zip(
            self._all(examples), contexts, outputs["start_logits"], outputs["end_logits"]
        ):
            (first, end), lead = best_span(made, np.asarray(starts), np.asarray(ends))
            share = 1 / (1 + np.exp(-np.clip(lead, -700, 700)))
            if self.without_answer and lead < 0:
                first, end, share = -1, -1, 1 - share
            spans.append((first, end))
            texts.append(context[max(0, first) : max(0, end)])
            shares.append(share)
        return SpanPredictions(np.array(spans, dtype=np.int64).reshape(-1, 2), texts, np.array(shares))

    @property
    def options(self) -> dict[str, Any]:
        own = ("overlap", "longest_question", "without_answer")
        return {**super().options, **{name: getattr(self, name) for name in own}}

    @property
    def spec(self) -> dict[str, Any]:
        return {**super().spec, "num_outputs": 2}


def best_span(windows: Windows, starts: np.ndarray, ends: np.ndarray) -> tuple[tuple[int, int], float]:
    """((first character, the one after the last) of the best span of all windows, its score minus that of no answer).

    starts, ends: (windows, tokens) scores. A span's score is the sum of both; that of no answer is [CLS]'s, in the window where it is smallest.
    """
    best, found = -np.inf, (0, 0)
    nothing = float((starts[:, 0] + ends[:, 0]).min())
    for row in range(len(starts)):
        places = np.flatnonzero(windows.readable[row])[1:]  # without [CLS]
        if not len(places):
            continue
        scores = starts[row, places][:, None] + ends[row, places][None, :]
        allowed = np.tri(len(places), dtype=bool).T & np.tri(len(places), k=LONGEST_ANSWER - 1, dtype=bool)
        place = int(np.where(allowed, scores, -np.inf).argmax())
        first, last = divmod(place, len(places))
        if scores[first, last] > best:
            best = float(scores[first, last])
            found = int(windows.offsets[row, places[first], 0]), int(windows.offsets[row, places[last], 1])
    return found, best - nothing
