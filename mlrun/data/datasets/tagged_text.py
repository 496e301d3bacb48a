"""Texts with a tag for each word, from files in CoNLL's columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlrun.data.datasets.text_pairs import check_problem, texts_column
from mlrun.data.features import Tags, Text
from mlrun.data.preprocess.tags import OUTSIDE
from mlrun.data.readers.download import data_directory
from mlrun.data.readers.texts import read_text
from mlrun.data.row_data import Content, RowData
from mlrun.errors import DataError

Sentence = tuple[list[str], list[str]]  # words, tags


class Conll(RowData):
    """Sentences from files with a word per line, its tag in the last column, and an empty line after each sentence (CoNLL-2002, CoNLL-2003).

    Args:
        problem, name, seed, options: see `RowData`.
        path: a file, which is then split; or null for the files of a shared task below `data_dir`.
        data_dir, folder: where the shared task lies: `data_dir`/`folder`.
        files: part -> file name in that folder.
        encoding: of the files; null: UTF-8, or else Latin-1.
        word, tag: their columns, from 0; -1 is the last one.
    """

    def __init__(
        self,
        problem: str,
        name: str,
        seed: int,
        data_dir: str | None,
        path: str | Path | None = None,
        folder: str = "conll2002",
        files: dict[str, str] | None = None,
        encoding: str | None = None,
        word: int = 0,
        tag: int = -1,
        **options: Any,
    ):
        super().__init__(problem, name, seed, **options)
        check_problem(problem, name, "tagging")
        self.path, self.data_dir, self.folder = path, data_dir, folder
        self.files, self.encoding, self.columns = dict(files or {}), encoding, (word, tag)

    def read(self) -> Content:
        if self.path is not None:
            path = Path(str(self.path)).expanduser()
            self.title = str(path)
            return self._collected([(self._sentences(path), None)], path)
        folder = data_directory(self.data_dir) / self.folder
        absent = [file for file in self.files.values() if not (folder / file).is_file()]
        if absent or not self.files:
            raise DataError(
                f"{self.name}: put {', '.join(absent) or 'files'} in {folder}, or set data_dir or MLRUN_DATA_DIR to the folder that holds "
                f"{self.folder}/, or dataset.path to a file of your own"
            )
        read = [(self._sentences(folder / file), part) for part, file in self.files.items()]
        return self._collected(read, folder)

    def _collected(self, read: Sequence[tuple[list[Sentence], str | None]], source: Path) -> Content:
        sentences = [one for some, _ in read for one in some]
        if not sentences:
            raise DataError(
                f"{source}: has no sentences; a word and its tag per line, an empty line after each sentence"
            )
        found = {tag for _, tags in sentences for tag in tags} - {OUTSIDE}
        classes = [OUTSIDE, *sorted(found, key=lambda tag: (tag.partition("-")[2], tag))]
        places = {tag: place for place, tag in enumerate(classes)}
        ends = np.cumsum([len(some) for some, _ in read]).tolist()
        sources: list[tuple[int, int, tuple[str, ...]]] | None = None
        if read[0][1] is not None:
            sources = [(end - len(some), end, (str(part),)) for end, (some, part) in zip(ends, read)]
        columns = {
            "text": texts_column([" ".join(words) for words, _ in sentences]),
            "tags": [np.array([places[tag] for tag in tags], dtype=np.int64) for _, tags in sentences],
        }
        return Content(columns, {"text": Text(), "tags": Tags(classes)}, str(source), ("tags",), sources=sources)

    def _sentences(self, path: Path) -> list[Sentence]:
        return [one for one in self._divided(path) if one[0]]

    def _divided(self, path: Path) -> Iterator[Sentence]:
        words: list[str] = []
        tags: list[str] = []
        word, tag = self.columns
        width = 0  # columns of the first word; a line of another width lacks a tag, or a blank is part of its word
        fallback = "latin-1" if self.encoding is None else None  # the shared task of 2002
        for number, line in enumerate(read_text(path, self.encoding, fallback).split("\n"), 1):
            cells = line.split()
            if not cells or cells[0] == "-DOCSTART-":
                yield words, tags
                words, tags = [], []
                continue
            if not (-len(cells) <= tag < len(cells) and -len(cells) <= word < len(cells)) or len(cells) < 2:
                raise DataError(
                    f"{path}, line {number}: has {len(cells)} column{'s' * (len(cells) != 1)}, no word and tag: {line.strip()[:60]!r}"
                )
            width = width or len(cells)
            if len(cells) != width:
                raise DataError(
                    f"{path}, line {number}: has {len(cells)} columns, and the lines before have {width}: {line.strip()[:60]!r}"
                )
            words.append(cells[word])
            tags.append(cells[tag])
        yield words, tags
