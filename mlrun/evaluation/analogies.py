"""Evaluator of word vectors: analogy questions, such as Athens : Greece :: Paris : ?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mlrun.data.readers.word_files import QUESTIONS, find_file, read_questions
from mlrun.data.word_vectors import WordVectors, vectors_of
from mlrun.evaluation.evaluator import Better, Evaluator

AT_ONCE = 256  # questions


class Analogies(Evaluator):
    """The share of questions that 3CosAdd answers correctly (Mikolov et al. 2013, arXiv:1301.3781): the word nearest to b - a + c, without
    a, b and c, must be d.

    `analogy_semantic`, `analogy_syntactic`: of the sections whose names do not begin, or begin, with "gram". `analogy_questions`: how many
    were answered; `analogy_skipped`: how many have a word without a vector, which count neither way.

    Args:
        file: the questions; None: `questions-words.txt` in the data directory or in gensim's test data.
        restrict: number of the most frequent words that can be answers (30,000 in the authors' script); None: all words.
    """

    metrics = {
        "analogy_accuracy": Better.LARGER,
        "analogy_semantic": Better.LARGER,
        "analogy_syntactic": Better.LARGER,
        "analogy_questions": Better.NEITHER,
        "analogy_skipped": Better.NEITHER,
    }
    every_epoch = False
    needs_predictions = False

    def __init__(self, file: str | None = None, restrict: int | None = 30_000):
        self.file, self.restrict = file, restrict

    def compute(self) -> dict[str, float]:
        path = self.file or find_file("analogies", QUESTIONS, getattr(self.subject.data, "data_dir", None))
        if path is None:
            return {}
        every = vectors_of(self.subject.model)
        vectors = WordVectors(every.words[: self.restrict], every.matrix[: self.restrict])
        right: dict[str, list[np.ndarray]] = {"semantic": [], "syntactic": []}
        skipped = 0
        for section, questions in read_questions(Path(path)).items():
            known = [[vectors.index[word] for word in question] for question in questions if all(word in vectors.index for word in question)]  # fmt: skip
            skipped += len(questions) - len(known)
            if known:
                right["syntactic" if section.startswith("gram") else "semantic"].append(answered(vectors, np.array(known)))  # fmt: skip
        found = {f"analogy_{kind}": float(np.concatenate(parts).mean()) for kind, parts in right.items() if parts}
        every_answer = [one for parts in right.values() for one in parts]
        if every_answer:
            found["analogy_accuracy"] = float(np.concatenate(every_answer).mean())
        return {**found, "analogy_questions": float(sum(map(len, every_answer))), "analogy_skipped": float(skipped)}


def answered(vectors: WordVectors, questions: np.ndarray) -> np.ndarray:
    """(questions,) bool, whether d is found. questions: (questions, 4) rows of a, b, c, d."""
    right = []
    for start in range(0, len(questions), AT_ONCE):
        some = questions[start : start + AT_ONCE]
        a, b, c = (vectors.directions[some[:, side]] for side in range(3))
        scores = (b - a + c) @ vectors.directions.T
        np.put_along_axis(scores, some[:, :3], -np.inf, axis=1)
        right.append(scores.argmax(1) == some[:, 3])
    return np.concatenate(right)
