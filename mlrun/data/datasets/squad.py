"""Questions about texts whose answer is a span of the text, from JSON files in SQuAD's format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mlrun.data.datasets.text_pairs import check_problem, texts_column
from mlrun.data.features import Span, Text
from mlrun.data.module import Content, RowData
from mlrun.errors import DataError


class Squad(RowData):
    """Questions from a file in the format of SQuAD 1.1 or 2.0 (Rajpurkar et al. 2016, 2018).

    A question without answers has none in its text. Training uses the first answer; evaluation compares with all of them.

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

    def read(self) -> Content:
        if self.path is None:
            raise DataError("no questions given: set dataset.path=FILE.json, in SQuAD's format")
        rows = questions(Path(str(self.path)).expanduser())
        test_rows = None
        if self.test_path is not None:
            test_rows = len(rows)
            rows += questions(Path(str(self.test_path)).expanduser())
        self.title = str(self.path)
        asked, contexts, spans, references = zip(*rows)
        columns = {
            "question": texts_column(asked),
            "context": texts_column(contexts),
            "answer": np.array(spans, dtype=np.int64),
            "references": list(references),
        }
        features = {"question": Text(), "context": Text(), "answer": Span(of="context"), "references": Text()}
        return Content(columns, features, self.title, ("answer", "references"), test_rows=test_rows)


def questions(path: Path) -> list[tuple[str, str, tuple[int, int], list[str]]]:
    """(question, text, span of the first answer, all answers) of a file. Raises DataError where it is damaged, naming the place."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({' '.join(str(error).split())[:120]})") from None
    rows: list[tuple[str, str, tuple[int, int], list[str]]] = []
    place = "data"
    try:
        for at, article in enumerate(content["data"]):
            for index, paragraph in enumerate(article["paragraphs"]):
                place = f"data[{at}].paragraphs[{index}]"
                rows += [_row(one, paragraph["context"], f"{path}: {place}") for one in paragraph["qas"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: is not in SQuAD's format: {place} lacks {error}") from None
    if not rows:
        raise DataError(f"{path}: has no questions")
    return rows


def _row(asked: Any, context: str, where: str) -> tuple[str, str, tuple[int, int], list[str]]:
    answers = [] if asked.get("is_impossible") else asked["answers"]
    texts = [str(one["text"]) for one in answers]
    if not texts:
        return asked["question"], context, (-1, -1), []
    first = int(answers[0]["answer_start"])
    if context[first : first + len(texts[0])] != texts[0]:
        raise DataError(
            f"{where}: the text has no {texts[0]!r} at character {first}, where the answer to {asked['question']!r} should be"
        )
    return asked["question"], context, (first, first + len(texts[0])), texts
