"""Questions about texts whose answer is a span of the text, from JSON files in SQuAD's format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mlrun.data.datasets.text_pairs import check_problem, texts_column
from mlrun.data.features import Span, Text
from mlrun.data.row_data import Content, RowData
from mlrun.data.splits import PARTS
from mlrun.errors import DataError

Row = tuple[
    str, str, tuple[int, int], list[str], int
]  # question, text, span of the first answer, all answers, number of the text


class Squad(RowData):
    """Questions from a file in the format of SQuAD 1.1 or 2.0 (Rajpurkar et al. 2016, 2018).

    A question without answers has none in its text. Training uses the first answer; evaluation compares with all of them. All questions about
    a text are in the same part.

    Args:
        path: the JSON file.
        problem, name, seed, options: see `RowData`.
        test_path: a further file for the test part; None: it is drawn from the first.
    """

    def __init__(
        self,
        path: str | Path | None,
        problem: str,
        name: str,
        seed: int,
        test_path: str | Path | None = None,
        **options: Any,
    ):
        super().__init__(problem, name, seed, **options)
        check_problem(problem, name, "question_answering")
        self.path, self.test_path = path, test_path
        self._texts = np.zeros(0, dtype=np.int64)  # number of the text of each question

    def read(self) -> Content:
        if self.path is None:
            raise DataError("no questions given: set dataset.path=FILE.json, in SQuAD's format")
        rows = questions(Path(str(self.path)).expanduser())
        test_rows = None
        if self.test_path is not None:
            test_rows = len(rows)
            rows += questions(Path(str(self.test_path)).expanduser())
        self.title = str(self.path)
        asked, contexts, spans, references, texts = zip(*rows)
        self._texts = np.array(texts)
        columns = {
            "question": texts_column(asked),
            "context": texts_column(contexts),
            "answer": np.array(spans, dtype=np.int64),
            "references": list(references),
        }
        features = {"question": Text(), "context": Text(), "answer": Span(of="context"), "references": Text()}
        return Content(columns, features, self.title, ("answer", "references"), test_rows=test_rows)

    @property
    def groups(self) -> np.ndarray:
        """The text of each question. Raises DataError if there are fewer than parts."""
        first = len(self._texts) if self._content.test_rows is None else self._content.test_rows
        count = len(set(self._texts[:first].tolist()))
        parts = sum(self.split.get(part, 0) != 0 for part in (PARTS if first == len(self._texts) else PARTS[:2]))
        if count < parts:
            raise DataError(
                f"{self.title}: its questions are about {count} text{'s' * (count != 1)}, too few for {parts} splits, since all questions about a "
                "text are in the same one"
            )
        return self._texts


def questions(path: Path) -> list[Row]:
    """The questions of a file. Raises DataError where it is damaged, naming the place."""
    try:
        content = json.loads(path.read_bytes())  # in any encoding of Unicode
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({' '.join(str(error).split())[:120]})") from None
    rows: list[Row] = []
    place, texts = "data", 0
    try:
        for at, article in enumerate(content["data"]):
            for index, paragraph in enumerate(article["paragraphs"]):
                place = f"data[{at}].paragraphs[{index}]"
                context = _text(paragraph["context"])
                rows += [(*_row(one, context, f"{path}: {place}"), texts) for one in paragraph["qas"]]
                texts += 1
    except KeyError as error:
        raise DataError(f"{path}: is not in SQuAD's format: {place} lacks {error}") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: is not in SQuAD's format: {place} is damaged ({error})") from None
    if not rows:
        raise DataError(f"{path}: has no questions")
    return rows


def _row(asked: Any, context: str, where: str) -> tuple[str, str, tuple[int, int], list[str]]:
    answers = [] if asked.get("is_impossible") else [one for one in asked["answers"] if one["text"].strip()]
    texts, question = [_text(one["text"]) for one in answers], _text(asked["question"])
    if not texts:
        return question, context, (-1, -1), []
    first = int(answers[0]["answer_start"])
    if context[first : first + len(texts[0])] != texts[0]:
        raise DataError(
            f"{where}: the text has no {texts[0]!r} at character {first}, where the answer to {question!r} should be"
        )
    return question, context, (first, first + len(texts[0])), texts


def _text(value: Any) -> str:
    """The text, half a character (a lone surrogate, which JSON can hold) replaced by a question mark. Raises TypeError for another value."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value.encode("utf-8", "replace").decode("utf-8")
