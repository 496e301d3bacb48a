"""Queries of models that have a vector for each word: `mlrun predict RUN --neighbours array,tensor`, `--analogy king:man::?:woman`,
`--vectors FILE`."""

from __future__ import annotations

import csv
from abc import abstractmethod
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.config.validate import nearest
from mlrun.data.word_vectors import SUFFIXES, WordVectors, vectors_of
from mlrun.errors import UserError
from mlrun.predictions.query import Query, writing

if TYPE_CHECKING:
    from mlrun.data.module import DataModule
    from mlrun.predictions.learner import Learner

COUNT = 10  # words of an answer, unless --count says otherwise


class WordQuery(Query):
    """Base of queries about words, the first of which declares `--count`: prints a line for each answer, or writes a table to `--output` FILE.csv."""

    header: tuple[str, ...]

    def answer(
        self, learner: Learner, cfg: dict[str, Any], arguments: Namespace, open_data: Callable[..., DataModule]
    ) -> int:
        if arguments.count < 1:
            raise UserError(f"--count {arguments.count}: give at least 1")
        found = list(self.answers(vectors_of(learner), arguments))
        if arguments.output in (None, "-"):
            for asked, words in found:
                print(f"{asked}: {', '.join(f'{word} {score:.3f}' for word, score in words)}")
            return 0
        with writing("--output", Path(arguments.output)):
            with open(arguments.output, "w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(self.header)
                writer.writerows((asked, word, f"{score:.6g}") for asked, words in found for word, score in words)
        print(f"{arguments.output}: {sum(len(words) for _, words in found)} words")
        return 0

    @abstractmethod
    def answers(self, vectors: WordVectors, arguments: Namespace) -> Iterable[tuple[str, list[tuple[str, float]]]]:
        """(what is asked, [(word, cosine similarity)]). Raises UserError for a word without a vector."""


class Neighbours(WordQuery):
    """The words whose vectors are nearest to that of a word."""

    name = "neighbours"
    header = ("word", "neighbour", "similarity")

    def add_options(self, parser: ArgumentParser) -> None:
        parser.add_argument("--neighbours", metavar="WORDS", help="words whose nearest words are wanted: array,tensor")
        parser.add_argument(
            "--count", type=int, default=COUNT, help=f"words of an answer, also of --analogy (default: {COUNT})"
        )

    def answers(self, vectors: WordVectors, arguments: Namespace) -> Iterable[tuple[str, list[tuple[str, float]]]]:
        words = [one.strip() for one in arguments.neighbours.split(",") if one.strip()]
        if not words:
            raise UserError("--neighbours: give one or several words, separated by commas")
        for word in words:
            check(vectors, word, "--neighbours")
            yield word, vectors.neighbours(word, arguments.count)


class Analogy(WordQuery):
    """The missing word of an analogy, by 3CosAdd."""

    name = "analogy"
    header = ("analogy", "answer", "similarity")

    def add_options(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--analogy", metavar="A:B::C:D", help="one of the four is a question mark: king:man::?:woman"
        )

    def answers(self, vectors: WordVectors, arguments: Namespace) -> Iterable[tuple[str, list[tuple[str, float]]]]:
        words = [word.strip() for side in arguments.analogy.split("::") for word in side.split(":")]
        if len(words) != 4 or words.count("?") != 1 or arguments.analogy.count("::") != 1:
            raise UserError(
                f"--analogy {arguments.analogy}: give three words and a question mark, such as king:man::?:woman"
            )
        for word in words:
            if word != "?":
                check(vectors, word, "--analogy")
        a, b, c, d = words
        given = [
            (d, c, b),
            (c, d, a),
            (b, a, d),
            (a, b, c),
        ]  # an analogy holds also from right to left, and with sides exchanged
        yield arguments.analogy, vectors.analogy(*given[words.index("?")], arguments.count)


class Vectors(Query):
    """Writes all vectors in word2vec's text format, which gensim and `model.init_from` read."""

    name = "vectors"

    def add_options(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--vectors", metavar="FILE", help="file for the vectors in word2vec's text format, .txt, .vec or .gz"
        )

    def answer(
        self, learner: Learner, cfg: dict[str, Any], arguments: Namespace, open_data: Callable[..., DataModule]
    ) -> int:
        path = Path(arguments.vectors)
        if path.suffix.lower() not in SUFFIXES:
            raise UserError(f"--vectors {path}: give a file ending in {', '.join(SUFFIXES)}")
        vectors = vectors_of(learner)
        with writing("--vectors", path):
            vectors.write(path)
        print(f"{path}: {len(vectors.words):,} vectors of {vectors.matrix.shape[1]} dimensions")
        return 0


def check(vectors: WordVectors, word: str, option: str) -> None:
    """Raises UserError for a word without a vector, with the nearest spelling."""
    if word not in vectors.index and word.lower() not in vectors.index:
        raise UserError(f"{option}: {word!r} has no vector{nearest(word, vectors.words)}")
