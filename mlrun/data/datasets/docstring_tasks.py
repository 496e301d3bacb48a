"""Tasks made from the documentation in installed packages: does a summary belong to a text, parameter names and types, questions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlrun.data.datasets.docstrings import Library
from mlrun.data.datasets.text_pairs import check_problem, texts_column
from mlrun.data.features import Label, Span, Tags, Text
from mlrun.data.preprocess.tags import OUTSIDE
from mlrun.data.preprocess.word_pattern import WORD
from mlrun.data.readers.docstrings import Docstring, Parameter
from mlrun.data.row_data import Content, RowData
from mlrun.data.splits import PARTS
from mlrun.errors import DataError

TEXTS = {"train": 0.8, "val": 0.1, "test": 0.1}  # parts of the texts, as in dataset=docstrings
BODY, SHORTEST_BODY, SHORTEST_SUMMARY = 400, 60, 15  # characters
ENTRIES = 4  # parameters in a text that is tagged, or asked about
DESCRIPTION = 20  # words of the description of a parameter that are kept


class DocstringRows(RowData):
    """Rows made from documentation texts. A part has rows from the texts that are in this part of `dataset=docstrings` with the same seed, so that
    a model pre-trained there has not seen those of val and test.

    A subclass makes all rows in `make`, a row with the index of its text each.

    Args:
        packages: see `Library`.
        problem, name, seed, options: see `RowData`; split: numbers of rows, drawn at random; null: all.
    """

    expected: str  # problem

    def __init__(self, problem: str, name: str, seed: int, packages: Sequence[str], **options: Any):
        super().__init__(problem, name, seed, **options)
        check_problem(problem, name, self.expected)
        self.library = Library(packages)
        unknown = [key for key in self.split if key not in (*PARTS, "seed")]
        if unknown:
            raise DataError(f"dataset.split.{unknown[0]}: the parts are {', '.join(PARTS)}; a further key is seed")
        for part in PARTS:
            size = self.split.get(part)
            if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
                raise DataError(f"dataset.split.{part}={size}: give a number of rows, or null for all of this part")

    def make(self, texts: list[Docstring], parts: dict[str, np.ndarray]) -> tuple[Content, np.ndarray]:
        """All rows, and (rows,) the index of the text of each. parts: part -> indices of its texts."""
        raise NotImplementedError

    def read(self) -> Content:
        chosen = self.split.get("seed")
        self._parts = self.library.parts({**TEXTS, "seed": chosen}, self.seed, self.title)
        content, self._owners = self.make(self.library.texts, self._parts)
        return content

    def _split(self) -> dict[str, np.ndarray]:
        seed = self.split.get("seed")
        random = np.random.default_rng((self.seed if seed is None else seed) % 2**63)
        found = {}
        for part in PARTS:
            rows = np.flatnonzero(np.isin(self._owners, self._parts[part]))
            size = self.split.get(part)
            if size is not None and size > len(rows):
                raise DataError(f"{self.title}: {part} has {len(rows)} rows, fewer than dataset.split.{part}={size}")
            found[part] = rows if size is None else np.sort(random.permutation(rows)[:size])
        return found

    @property
    def digest(self) -> str:
        return self.library.digest


class DocstringPairs(DocstringRows):
    """Does a summary belong to a text? In half of the rows the text is that of another function of the same package and part."""

    expected = "text_pairs"

    def make(self, texts: list[Docstring], parts: dict[str, np.ndarray]) -> tuple[Content, np.ndarray]:
        random = np.random.default_rng(0)
        rows: list[tuple[str, str, int, int]] = []
        for part in PARTS:
            groups: dict[str, list[int]] = {}
            for index in parts[part]:
                if _has_body(texts[index]):
                    groups.setdefault(texts[index].package, []).append(int(index))
            for members in groups.values():
                others = np.roll(random.permutation(members), 1)
                exchanged = random.permutation(len(members)) < len(members) // 2
                for index, other, wrong in zip(random.permutation(members), others, exchanged):
                    described = texts[int(other) if wrong else int(index)]
                    belongs = described.body == texts[index].body
                    rows.append((texts[index].summary, rest_of(described), int(belongs), int(index)))
        if not rows:
            raise DataError(f"{self.title}: no text has a summary and a body")
        first, second, labels, owners = zip(*rows)
        label = Label(["other", "same"], column="belongs")
        columns = {"text": texts_column(first), "text_pair": texts_column(second), "label": np.array(labels, np.int64)}
        features = {"text": Text(), "text_pair": Text(), "label": label}
        return Content(columns, features, self.library.source, ("label",)), np.array(owners)


class DocstringTags(DocstringRows):
    """Which words of a list of parameters are names, and which are types?"""

    expected = "tagging"
    CLASSES = [OUTSIDE, "B-NAME", "B-TYPE", "I-TYPE"]

    def make(self, texts: list[Docstring], parts: dict[str, np.ndarray]) -> tuple[Content, np.ndarray]:
        rows, tags, owners = [], [], []
        for index, text in enumerate(texts):
            for entries in _groups(text):
                words, marks = _tagged(entries)
                rows.append(" ".join(words))
                tags.append(np.array(marks, dtype=np.int64))
                owners.append(index)
        if not rows:
            raise DataError(f"{self.title}: no text documents the types of its parameters")
        features = {"text": Text(), "tags": Tags(self.CLASSES)}
        return Content({"text": texts_column(rows), "tags": tags}, features, self.library.source, ("tags",)), np.array(
            owners
        )


class DocstringQuestions(DocstringRows):
    """What is the default, or the type, of a parameter of a function? The text is a part of its documentation; a fifth of the questions
    is about a parameter that this part does not document."""

    expected = "question_answering"
    UNANSWERED = 0.2

    def make(self, texts: list[Docstring], parts: dict[str, np.ndarray]) -> tuple[Content, np.ndarray]:
        rows = list(answered_questions(texts, self.UNANSWERED))
        if not rows:
            raise DataError(f"{self.title}: no text documents its parameters")
        questions, contexts, spans, owners = zip(*rows)
        columns = {"question": texts_column(questions), "context": texts_column(contexts), "answer": np.array(spans)}
        features = {"question": Text(), "context": Text(), "answer": Span(of="context")}
        return Content(columns, features, self.library.source, ("answer",)), np.array(owners)


def answered_questions(
    texts: list[Docstring], unanswered: float = 0.0
) -> Iterator[tuple[str, str, tuple[int, int], int]]:
    """(question, text, span of the answer, index of the text), for half of all that could be asked. unanswered: share of questions about a
    parameter that the text does not document."""
    random = np.random.default_rng(0)
    names = sorted({one.name for text in texts for one in text.parameters})
    for index, text in enumerate(texts):
        for entries in _groups(text):
            made = _entry_text(entries)
            for kind, name, span in made.answers:
                if random.random() < 0.5:
                    continue
                if random.random() < unanswered:
                    name, span = names[random.integers(len(names))], (-1, -1)
                    if name in {one.name for one in entries}:
                        continue
                function = text.name.rpartition(".")[2] or text.module
                yield f"what is the {kind} of {name} in {function}?", made.text, span, index


def _has_body(text: Docstring) -> bool:
    return len(text.summary) >= SHORTEST_SUMMARY and len(rest_of(text)) >= SHORTEST_BODY


def rest_of(text: Docstring) -> str:
    """The text without its summary, on one line, up to BODY characters."""
    return " ".join(text.body.partition("\n\n")[2].split())[:BODY]


def _groups(text: Docstring) -> Iterator[list[Parameter]]:
    """The documented parameters with a type, a few at a time."""
    typed = [one for one in text.parameters if one.type and one.description]
    for start in range(0, len(typed), ENTRIES):
        yield typed[start : start + ENTRIES]


def _tagged(entries: Sequence[Parameter]) -> tuple[list[str], list[int]]:
    """Words, and their places in `DocstringTags.CLASSES`."""
    words: list[str] = []
    marks: list[int] = []
    for entry in entries:
        kind = WORD.findall(entry.type)
        described = WORD.findall(entry.description)[:DESCRIPTION]
        words += [entry.name, ":", *kind, *described]
        marks += [1, 0, *(2 if at == 0 else 3 for at in range(len(kind))), *(0 for _ in described)]
    return words, marks


@dataclass
class _Entries:
    """The text of some parameters. answers: ("default" or "type", name of the parameter, span)."""

    text: str
    answers: list[tuple[str, str, tuple[int, int]]]


def _entry_text(entries: Sequence[Parameter]) -> _Entries:
    made = _Entries("", [])
    for entry in entries:
        described = " ".join(entry.description.split()[:DESCRIPTION])
        line = f"{entry.name} : {entry.type} {described}"
        start = len(made.text)
        kind_at = start + len(entry.name) + 3
        plain = entry.type.partition(", default")[0].partition(", optional")[0].rstrip()
        made.answers.append(("type", entry.name, (kind_at, kind_at + len(plain))))
        place = line.find(entry.default, len(entry.name) + 3) if entry.default else -1
        if place >= 0 and "default" in line:
            after = line.find("default")
            place = line.find(entry.default, after + len("default")) if after >= 0 else place
        if place >= 0 and "default" in line:
            made.answers.append(("default", entry.name, (start + place, start + place + len(entry.default))))
        made.text += line + "\n"
    made.text = made.text.rstrip("\n")
    return made
