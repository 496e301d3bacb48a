"""Documents and queries: a folder of texts, the Cranfield collection, the documentation in installed packages."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlrun.data.datasets.docstring_tasks import DocstringRows, answered_questions, rest_of
from mlrun.data.datasets.text_pairs import check_problem, texts_column
from mlrun.data.features import Feature, Relevant, Text
from mlrun.data.readers.docstrings import Docstring
from mlrun.data.readers.download import data_directory
from mlrun.data.readers.texts import read_text
from mlrun.data.row_data import Content, RowData
from mlrun.errors import DataError

PROBLEM = "retrieval"
SHORTEST_QUERY = 15  # characters
SUFFIXES = (".txt", ".md", ".rst")


@dataclass(frozen=True)
class Document:
    """A text that can be found, and its name."""

    name: str
    text: str


def retrieval_content(
    queries: Sequence[str],
    relevant: Sequence[Sequence[int]],
    documents: Sequence[Document],
    source: Any,
    answers: Sequence[Sequence[str]] | None = None,
) -> Content:
    """`Content` of queries: `query`, and as targets `relevant`, `document` (the text of the first relevant one) and, if there are any,
    `references` (right answers)."""
    columns: dict[str, Any] = {
        "query": texts_column(queries),
        "relevant": [np.array(sorted(row), dtype=np.int64) for row in relevant],
        "document": texts_column([documents[row[0]].text if len(row) else "" for row in relevant]),
    }
    features: dict[str, Feature] = {"query": Text(), "relevant": Relevant(), "document": Text()}
    if answers is not None:
        columns["references"], features["references"] = [list(row) for row in answers], Text()
    return Content(columns, features, str(source), tuple(name for name in columns if name != "query"))


class Cranfield(RowData):
    """1,400 abstracts on aerodynamics, 225 questions, and which abstracts answer them (Cleverdon 1967).

    Every judged document is relevant, with any of the codes 1 to 4 and -1. There is one document of code -1 for each question; words alone rank it
    higher than those of the other codes, so it does not stand for "of no interest", as some descriptions say.

    Args:
        problem, name, seed, options: see `RowData`.
        data_dir: has cranfield/cran.all.1400, cran.qry and cranqrel.
    """

    FILES = ("cran.all.1400", "cran.qry", "cranqrel")

    def __init__(self, problem: str, name: str, seed: int, data_dir: str | None, **options: Any):
        super().__init__(problem, name, seed, **options)
        check_problem(problem, name, PROBLEM)
        self.data_dir = data_dir
        self.documents: list[Document] = []

    def read(self) -> Content:
        folder = data_directory(self.data_dir) / "cranfield"
        absent = [file for file in self.FILES if not (folder / file).is_file()]
        if absent:
            raise DataError(
                f"{self.name}: put {', '.join(absent)} in {folder}, or set data_dir or MLRUN_DATA_DIR to the folder that holds cranfield/"
            )
        texts, queries, judged = ((folder / file).read_text(encoding="utf-8", errors="replace") for file in self.FILES)
        self.documents = [
            Document(
                f"{number} {' '.join(fields.get('T', '').split())}".strip(),
                " ".join(f"{fields.get('T', '')} {fields.get('W', '')}".split()),
            )
            for number, fields in smart_records(texts)
        ]
        asked = [" ".join(fields.get("W", "").split()) for _, fields in smart_records(queries)]
        relevant: list[list[int]] = [[] for _ in asked]
        for line in judged.splitlines():
            cells = line.split()
            if len(cells) >= 3:  # the judgements count the questions
                relevant[int(cells[0]) - 1].append(int(cells[1]) - 1)
        return retrieval_content(asked, relevant, self.documents, folder)


def smart_records(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """(number, field -> text) of the records of a file in SMART's format: `.I number`, then fields such as `.W`, each on its own line."""
    for record in re.split(r"^\.I ", text, flags=re.MULTILINE)[1:]:
        number, _, rest = record.partition("\n")
        parts = re.split(r"^\.([A-Z])\s*$", rest, flags=re.MULTILINE)
        yield number.strip(), dict(zip(parts[1::2], parts[2::2]))


class DocstringSearch(DocstringRows):
    """Finds a documentation text, which is a document without its summary.

    Args:
        queries: "summaries": the summary of each text; "questions": questions about defaults and types of parameters with their answers,
            see `DocstringQuestions`, whose documents are the parts of the texts that document parameters.
        problem, name, seed, packages, options: see `DocstringRows`.
    """

    expected = PROBLEM

    def __init__(
        self, problem: str, name: str, seed: int, packages: Sequence[str], queries: str = "summaries", **options: Any
    ):
        super().__init__(problem, name, seed, packages, **options)
        if queries not in ("summaries", "questions"):
            raise DataError(f"dataset.queries={queries}: choose one of summaries, questions")
        self.queries = queries
        self.documents: list[Document] = []

    def make(self, texts: list[Docstring], parts: dict[str, np.ndarray]) -> tuple[Content, np.ndarray]:
        return self._questions(texts) if self.queries == "questions" else self._summaries(texts)

    def _summaries(self, texts: list[Docstring]) -> tuple[Content, np.ndarray]:
        places: dict[str, int] = {}
        queries: dict[str, list[int]] = {}  # the same summary can stand above several texts
        owners: dict[str, int] = {}
        for index, text in enumerate(texts):
            rest = rest_of(text)
            if not rest or len(text.summary) < SHORTEST_QUERY:
                continue
            if rest not in places:
                places[rest] = len(self.documents)
                self.documents.append(Document(f"{text.module}.{text.name}".rstrip("."), rest))
            found = queries.setdefault(text.summary, [])
            if places[rest] not in found:
                found.append(places[rest])
            owners.setdefault(text.summary, index)
        if not queries:
            raise DataError(f"{self.title}: no text has a summary and a body")
        content = retrieval_content(list(queries), list(queries.values()), self.documents, self.library.source)
        return content, np.array(list(owners.values()))

    def _questions(self, texts: list[Docstring]) -> tuple[Content, np.ndarray]:
        places: dict[str, int] = {}
        rows = []
        for question, context, (first, end), owner in answered_questions(texts):
            if first < 0:
                continue
            if context not in places:
                places[context] = len(self.documents)
                name = f"{texts[owner].module}.{texts[owner].name}".rstrip(".")
                self.documents.append(Document(name, f"{name}\n{context}"))
            rows.append((question, [places[context]], [context[first:end]], owner))
        if not rows:
            raise DataError(f"{self.title}: no text documents its parameters")
        questions, relevant, answers, owners = zip(*rows)
        return retrieval_content(questions, relevant, self.documents, self.library.source, answers), np.array(owners)


class DocumentFolder(RowData):
    """The texts of a folder: a document per file (.txt, .md, .rst), whose query is its first line. A file of one line is a document without a query.

    Args:
        path: the folder; files in folders below it count.
        problem, name, seed, options: see `RowData`.
    """

    def __init__(self, path: str | Path | None, problem: str, name: str, seed: int, **options: Any):
        super().__init__(problem, name, seed, **options)
        check_problem(problem, name, PROBLEM)
        self.path = path
        self.documents: list[Document] = []

    def read(self) -> Content:
        if self.path is None:
            raise DataError("no documents given: set dataset.path=FOLDER")
        folder = Path(str(self.path)).expanduser()
        self.title = str(folder)
        found = folder.rglob("*") if folder.is_dir() else ()
        files = sorted(path for path in found if path.suffix.lower() in SUFFIXES and path.is_file())
        self.documents = []
        queries, relevant = [], []
        for file in files:
            head, _, rest = read_text(file).strip().partition("\n")
            name = os.fsencode(file.relative_to(folder)).decode("utf-8", "replace")
            if rest.strip():
                queries.append(head.strip("#=- ") or file.stem)
                relevant.append([len(self.documents)])
                self.documents.append(Document(name, rest.strip()))
            elif head:
                self.documents.append(Document(name, head))
        if not queries:
            raise DataError(f"{folder}: has no texts of two lines or more ({', '.join(SUFFIXES)})")
        return retrieval_content(queries, relevant, self.documents, folder)
