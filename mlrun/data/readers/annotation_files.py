"""Text files beside images: CSV tables and lists in UTF-8. What is wrong with them is named with its line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from mlrun.data.readers.texts import read_text
from mlrun.errors import DataError


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without their ends. Raises DataError for a file that cannot be read, or is not UTF-8."""
    return read_text(path).removesuffix("\n").split("\n")


class Table:
    """A CSV file with a header.

    Rows with more or fewer cells than the header would be read with texts that are cut at a comma or shifted; they are added to `problems`.

    Args:
        path: of the file.
        needed: columns that it must have.
        hint: which setting names them, for the message.
        problems: gets "FILE, line N: ..." of invalid rows.

    Raises:
        DataError: it is not UTF-8, lacks a column, or has two columns of the same name.
    """

    def __init__(self, path: Path, needed: Sequence[str], hint: str, problems: list[str]):
        self.path, self._problems = path, problems
        self._reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
        self.columns = [name.strip() for name in self._next() or []]
        absent = [name for name in needed if name not in self.columns]
        if absent:
            raise DataError(
                f"{path}, line 1: has no column {absent[0]!r} ({hint}), only {', '.join(self.columns) or 'none'}"
            )
        twice = [name for name in self.columns if name and self.columns.count(name) > 1]
        if twice:
            raise DataError(f"{path}, line 1: has two columns {twice[0]!r}; rename one of them")

    def _next(self) -> list[str] | None:
        try:
            return next(self._reader, None)
        except csv.Error as error:
            raise DataError(f"{self.path}, line {self._reader.line_num}: not a CSV file ({error})") from None

    def __iter__(self) -> Iterator[tuple[str, dict[str, str]]]:
        """("FILE, line N", column -> text) of the valid rows."""
        while (cells := self._next()) is not None:
            place = f"{self.path}, line {self._reader.line_num}"
            if len(cells) == len(self.columns):
                yield place, dict(zip(self.columns, cells))
            elif cells:
                self._problems.append(
                    f"{place}: the header has {len(self.columns)} cells, this row {len(cells)} (a text with a comma needs quotes)"
                )
