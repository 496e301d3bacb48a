"""Word vectors: neighbours, analogies, and files in the text format of word2vec and GloVe."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mlrun.errors import DataError

SUFFIXES = (".txt", ".vec", ".gz")  # of files in text format


@dataclass
class WordVectors:
    """A vector for each word.

    words: in the order of the rows, usually by decreasing frequency. matrix: (words, width) float32.
    """

    words: Sequence[str]
    matrix: np.ndarray

    @cached_property
    def index(self) -> dict[str, int]:
        """Word -> row; of a word that occurs several times, the first."""
        return first_places(self.words)

    @cached_property
    def lowercase_index(self) -> dict[str, int]:
        """Lower-case form of a word -> row of its first spelling."""
        return first_places([word.lower() for word in self.words])

    @cached_property
    def directions(self) -> np.ndarray:
        """(words, width) vectors of length 1; a zero vector stays zero."""
        lengths = np.linalg.norm(self.matrix, axis=1, keepdims=True)
        return self.matrix / np.where(lengths > 0, lengths, 1)

    def similarity(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """(pairs,) cosine similarities of known words."""
        first, second = (self.directions[[self.index[pair[side]] for pair in pairs]] for side in (0, 1))
        return (first * second).sum(1)

    def row(self, word: str) -> int:
        """The row of a word, or else of its lower-case form. Raises KeyError."""
        return self.index[word] if word in self.index else self.index[word.lower()]

    def nearest(self, direction: np.ndarray, count: int, without: Sequence[int] = ()) -> list[tuple[str, float]]:
        """The `count` words with the largest cosine similarity to a vector, and the similarities; some rows left out."""
        length = np.linalg.norm(direction)
        scores = self.directions @ (direction / (length if length else 1))
        scores[list(without)] = -np.inf
        count = min(count, len(scores) - len(set(without)))
        best = np.argpartition(-scores, count - 1)[:count] if 0 < count < len(scores) else np.arange(len(scores))
        ordered = best[np.argsort(-scores[best], kind="stable")][: max(count, 0)]
        return [(self.words[row], float(scores[row])) for row in ordered]

    def neighbours(self, word: str, count: int = 10) -> list[tuple[str, float]]:
        """The nearest words of a word. Raises KeyError for an unknown one."""
        row = self.row(word)
        return self.nearest(self.directions[row], count, [row])

    def analogy(self, a: str, b: str, c: str, count: int = 10) -> list[tuple[str, float]]:
        """Words d such that a is to b as c is to d: nearest to b - a + c, all of length 1, without the three (3CosAdd; Mikolov et al. 2013).
        Raises KeyError for an unknown word."""
        rows = [self.row(word) for word in (a, b, c)]
        first, second, third = self.directions[rows]
        return self.nearest(second - first + third, count, rows)

    def write(self, path: Path) -> None:
        """Writes word2vec's text format, which gensim reads with `KeyedVectors.load_word2vec_format(path)`."""
        with _open(path, "wt") as file:
            file.write(f"{len(self.words)} {self.matrix.shape[1]}\n")
            for word, vector in zip(self.words, self.matrix):
                file.write(f"{word} {' '.join(format(value, '.6g') for value in vector.tolist())}\n")


def first_places(words: Sequence[str]) -> dict[str, int]:
    """Word -> its first place."""
    places: dict[str, int] = {}
    for place, word in enumerate(words):
        places.setdefault(word, place)
    return places


def read_vectors(path: Path) -> WordVectors:
    """Reads word2vec's text format, or GloVe's, which lacks the first line. Raises DataError naming a line that does not fit, and for a file with
    fewer vectors than its first line says."""
    try:
        with _open(path, "rt") as file:
            return _parsed(path, file)
    except UnicodeDecodeError:
        raise DataError(
            f"{path}: not a text in UTF-8; give word vectors in word2vec's or GloVe's text format"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _parsed(path: Path, lines: Iterator[str]) -> WordVectors:
    words: list[str] = []
    rows: list[np.ndarray] = []
    width: int | None = None
    promised = 0
    for number, line in enumerate(lines, 1):
        parts = line.rstrip("\n ").split(" ")
        if number == 1 and len(parts) == 2 and all(part.isdigit() for part in parts):
            promised, width = int(parts[0]), int(parts[1])
            continue
        if parts == [""]:
            continue
        width = len(parts) - 1 if width is None else width
        try:
            if len(parts) <= width or width < 1:
                raise ValueError
            rows.append(np.array(parts[-width:], dtype=np.float32))
            if not np.isfinite(rows[-1]).all():
                raise ValueError
        except ValueError:
            raise DataError(
                f"{path}, line {number}: expected a word and {width} numbers, all finite; give word vectors in word2vec's or GloVe's text format"
            ) from None
        words.append(" ".join(parts[:-width]))
    if not words:
        raise DataError(f"{path}: there are no word vectors in it")
    if len(words) < promised:
        raise DataError(
            f"{path}: has {len(words):,} word vectors, but its first line says {promised:,}: the file is incomplete; copy or download it again"
        )
    return WordVectors(words, np.stack(rows))


def _open(path: Path, mode: str) -> Any:
    opened: Any = gzip.open if path.suffix == ".gz" else open
    writes = "w" in mode
    return opened(path, mode, encoding="utf-8" if writes else "utf-8-sig", newline="\n" if writes else None)


def vectors_of(learner: Any) -> WordVectors:
    """The word vectors of a learner whose task or estimator has a method `word_vectors(preprocessor)`."""
    owner = getattr(learner, "task", None) or learner.estimator
    return owner.word_vectors(learner.preprocessor)
