"""Encoders of questions about an image and of their answers: texts that a language model continues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Answers, Questions
from mlrun.data.predictions import AnswersPredictions, Predictions
from mlrun.data.predictions.texts import answers_in, questions_in, tidy
from mlrun.data.preprocess.encoder import Encoder
from mlrun.data.preprocess.text import as_texts
from mlrun.data.preprocess.tokenizer import BOS, EOS, PAD, UNK, Tokenizer
from mlrun.data.sequences import Sequences
from mlrun.errors import DataError

LONGEST = 32  # tokens of a question


class QuestionsEncoder(Encoder):
    """`input_ids` (rows, questions, tokens), each question from BOS on, padded with PAD on the right. A row with fewer questions than
    others ends in empty ones.

    Args:
        tokenizer: {kind, size, min_frequency, lowercase} of `Tokenizer.train`.
        max_length: tokens after which a question is truncated.
    """

    key = "input_ids"
    feature: Questions

    def __init__(
        self,
        feature: Questions,
        tokenizer: Mapping[str, Any] | None = None,
        max_length: int | None = None,
        **settings: Any,
    ):
        super().__init__(feature)
        self.settings = {"kind": "words", **(tokenizer or {})}
        self.max_length = LONGEST if max_length is None else max_length
        self.tokenizer: Tokenizer

    def fit(self, column: Any) -> None:
        self.learn(column)

    def learn(self, texts: Sequence[str]) -> None:
        """Takes the vocabulary from these texts."""
        self.tokenizer = Tokenizer.train(texts, **self.settings)

    def ids(self, question: str) -> list[int]:
        """From BOS on; at least one token follows."""
        return [BOS, *(self.tokenizer.encode(question)[: self.max_length - 1] or [UNK])]

    def encode(self, column: Any, examples: Examples | None = None) -> dict[str, Any]:
        return {self.key: padded([[self.ids(one) for one in questions_in(text)] for text in as_texts(column)])}

    @property
    def spec(self) -> dict[str, Any]:
        return {"vocab_size": len(self.tokenizer)}

    @property
    def state(self) -> dict[str, Any]:
        return {"tokenizer": self.tokenizer.state, "max_length": self.max_length}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.tokenizer, self.max_length = Tokenizer.from_state(state["tokenizer"]), state["max_length"]

    def inherit(self, state: Mapping[str, Any]) -> bool:
        self.restore(state)
        return True


class AnswersEncoder(Encoder):
    """`decoder_input_ids` and `labels` (rows, questions, tokens): each question and its answer as one text, and the token that follows each,
    EOS in the end; PAD where the next token belongs to the question, which is not learned.

    Questions and answers have a common vocabulary. Decodes `sequences` (rows, questions, tokens).
    """

    key, further_keys = "labels", ("decoder_input_ids",)
    outputs = frozenset({"sequences"})
    feature: Answers

    def __init__(self, feature: Answers, **settings: Any):
        super().__init__(feature)
        self._longest = 0  # tokens of the longest training answer, including EOS

    @property
    def questions(self) -> QuestionsEncoder:
        """The encoder of the questions, which holds the vocabulary."""
        encoder = self.inputs[self.feature.of]
        assert isinstance(encoder, QuestionsEncoder)
        return encoder

    def prepare(self, train: Examples) -> None:
        answers = as_texts(train[self.name])
        self.questions.learn([*as_texts(train[self.feature.of]), *answers])
        encode = self.questions.tokenizer.encode
        self._longest = max(len(encode(one)) + 1 for text in answers for one in answers_in(text))

    def encode(self, column: Any, examples: Examples | None = None) -> dict[str, Any]:
        assert examples is not None
        tokens: list[list[list[int]]] = []
        labels: list[list[list[int]]] = []
        for asked, given in zip(as_texts(examples[self.feature.of]), as_texts(column)):
            questions, answers = questions_in(asked), answers_in(given)
            if len(questions) != len(answers):
                raise DataError(f"{len(answers)} answers ({given}) to {len(questions)} questions ({asked})")
            tokens.append([])
            labels.append([])
            for question, answer in zip(questions, answers):
                before, after = self.questions.ids(question), [*self.questions.tokenizer.encode(answer), EOS]
                tokens[-1].append([*before, *after[:-1]])
                labels[-1].append([*[PAD] * (len(before) - 1), *after])
        return {self.key: padded(labels), "decoder_input_ids": padded(tokens)}

    def decode(self, outputs: Mapping[str, Any], examples: Examples | None) -> Predictions:
        assert examples is not None
        tokenizer, found = self.questions.tokenizer, []
        for ids, asked in zip(outputs["sequences"], as_texts(examples[self.feature.of])):
            answers = []
            for answer in np.asarray(ids)[: len(questions_in(asked))].tolist():
                answers.append(tidy(tokenizer.decode(answer[: answer.index(EOS)] if EOS in answer else answer)))
            found.append("; ".join(answers))
        return AnswersPredictions(found, None, tokenizer.lowercase)

    @property
    def spec(self) -> dict[str, Any]:
        generated = self._longest + self._longest // 4  # tokens of an answer at most, including EOS
        return {"max_target_length": generated, "text_length": self.questions.max_length + generated}

    @property
    def state(self) -> dict[str, Any]:
        return {"longest": self._longest}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._longest = state["longest"]


def padded(rows: Sequence[Sequence[Sequence[int]]]) -> np.ndarray:
    """(rows, texts, tokens) int64 from the ids of several texts per row, padded with PAD."""
    most = max((len(texts) for texts in rows), default=1)
    flat = [np.asarray(ids) for texts in rows for ids in [*texts, *[()] * (most - len(texts))]]
    return Sequences(flat, PAD).padded().reshape(len(rows), most, -1)
