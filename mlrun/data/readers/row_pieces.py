"""What the readers of table files share: the types of their pieces, the columns that a model needs, and the check of their values.

Each reader yields functions that return (frame of the needed columns, places of its rows, rejected rows). Call each once, from any thread:
one thread splits the file, any number of others parse. A valid piece is parsed at once; only a piece with invalid rows is parsed row by row.
"""

from __future__ import annotations

import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from mlrun.data.features import NUMBER, TEXT
from mlrun.data.readers.cells import Format
from mlrun.data.readers.columns import LARGEST, expected, read_column
from mlrun.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

BLOCK = 2 * 2**20  # bytes of a text file that are read at once
TEXT_NAMES = ("text", "sentence", "review", "content", "message", "document", "title")


class Rejected(NamedTuple):
    """A row that cannot be used. place: line of a text file, row (from 1) of a Parquet file, path of an image."""

    place: Any
    reason: str
    row: str


class Reading(NamedTuple):
    """How a stored model reads tables: encoding and separator of text files, and column -> how its texts are written."""

    encoding: str = "utf-8"
    separator: str | None = None
    written: Mapping[str, Format] = {}


Fields = list[tuple[str, str]]  # (column, kind) that a model reads
Parsed = tuple[Any, np.ndarray, list[Rejected]]  # frame of the needed columns, (rows,) places, rejected rows
Pieces = Iterator[Callable[[], Parsed]]


def needed_columns(source: str, names: list[str], fields: Fields) -> Fields:
    """The columns to read. Raises DataError for absent and duplicated ones."""
    if is_single_text(fields):
        column = text_column(names, fields)
        unusual = column is not None and column != fields[0][0] and column.lower() not in TEXT_NAMES
        if unusual and source.lower().endswith(
            (".txt", ".txt.gz")
        ):  # a text per line, the first of which would be lost
            raise DataError(
                f"{source}: the first line, {column[:40]!r}, would be read as the name of the column of texts; add the line {fields[0][0]} above it"
            )
        if column is None:
            usual = [fields[0][0], *(name for name in TEXT_NAMES if name != fields[0][0])]
            raise DataError(f"{source}: no column of texts; name it {', '.join(usual[:-1])} or {usual[-1]}")
        fields = [(column, TEXT)]
    known = Counter(names)
    absent = [name for name, _ in fields if name not in known]
    if absent:
        some = ", ".join(absent[:8]) + (", ..." if len(absent) > 8 else "")
        raise DataError(f"{source}: lacks the column{'s' * (len(absent) > 1)} {some} which the model was trained with")
    twice = [name for name, _ in fields if known[name] > 1]
    if twice:
        raise DataError(f"{source}: the column {twice[0]!r} occurs more than once; rename one of them")
    return fields


def is_single_text(fields: Fields) -> bool:
    """Whether a model reads a single text; its column may then have another name."""
    return len(fields) == 1 and fields[0][1] == TEXT


def text_column(names: list[str], fields: Fields) -> str | None:
    """The column of texts: named as in training, by a usual name, or the only one."""
    own = fields[0][0]
    known = [name for name in names if name == own] or [name for name in names if name.lower() in TEXT_NAMES]
    return known[0] if known else names[0] if len(names) == 1 else None


def is_plain(column: pd.Series) -> bool:
    """Whether all values are numbers within the range of float32, or missing."""
    if column.dtype.kind != "f":
        return column.dtype.kind in "iu"
    values = column.to_numpy()
    return bool(np.fmax.reduce(values, initial=0) <= LARGEST and np.fmin.reduce(values, initial=0) >= -LARGEST)


def checked_rows(
    frame: pd.DataFrame, needed: Fields, written: Mapping[str, Format]
) -> tuple[pd.DataFrame, np.ndarray, dict[int, str]]:
    """Converts the columns of numbers, booleans and dates. Returns the valid rows, their row numbers, and row number -> reason for the others."""
    wrong: dict[int, str] = {}
    for name, kind in needed:
        wanted = expected(kind, written.get(name, {}))
        if wanted is None or kind == NUMBER and is_plain(frame[name]):
            continue
        column = frame[name]
        values, odd = read_column(column, kind, written.get(name, {}))
        for row in np.flatnonzero(odd):
            wrong.setdefault(int(row), f"{name} is {str(column.iloc[row])[:40]!r}, not {wanted}")
        if kind == NUMBER:
            for row in np.flatnonzero(np.abs(values.to_numpy(dtype=np.float64, na_value=np.nan)) > LARGEST):
                wrong.setdefault(int(row), f"{name} is {str(column.iloc[row])[:40]}: infinite or too large")
        frame = frame.assign(**{name: values})
    kept = np.delete(np.arange(len(frame)), list(wrong))
    return (frame.iloc[kept].reset_index(drop=True) if wrong else frame), kept, dict(sorted(wrong.items()))


# --- text files ------------------------------------------------------------------------------------------------------


class Readable(Protocol):
    """A file of bytes."""

    def read(self, size: int = ..., /) -> bytes: ...


def open_bytes(source: str) -> Readable:
    """The file, unpacked if its name ends in .gz; "-": stdin. Raises DataError."""
    if source == "-":
        return sys.stdin.buffer
    try:
        if source.lower().endswith(".gz"):
            import gzip

            return gzip.open(source, "rb")
        return open(source, "rb")
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error.strerror})") from None


def blocks(file: Readable, source: str, quoted: bool) -> Iterator[bytes]:
    """Whole lines, a few MiB at a time. With `quoted`, a line break between quotation marks does not end a line."""
    rest = b""
    while True:
        try:
            read = file.read(BLOCK)
        except (OSError, EOFError, zlib.error) as error:  # a damaged or truncated gzip file
            raise DataError(f"{source}: cannot be read to its end ({error})") from None
        if not read:
            if rest:
                yield rest
            return
        rest += read
        end = rest.rfind(b"\n") + 1
        while quoted and end and rest.count(b'"', 0, end) % 2:
            end = rest.rfind(b"\n", 0, end - 1) + 1
            if len(rest) - end > 8 * BLOCK:  # an unclosed quotation mark
                end = rest.rfind(b"\n") + 1
                break
        if end:
            yield rest[:end]
            rest = rest[end:]
