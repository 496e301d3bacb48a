"""CSV files read piece by piece in constant memory."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from mlrun.data.features import NUMBER, TEXT
from mlrun.data.readers.cells import Format
from mlrun.data.readers.columns import MISSING
from mlrun.data.readers.row_pieces import (
    Fields,
    Parsed,
    Pieces,
    Readable,
    Reading,
    Rejected,
    blocks,
    checked_rows,
    is_plain,
    needed_columns,
    open_bytes,
)
from mlrun.data.readers.table import is_note, likely_separator
from mlrun.errors import DataError


class _Lines:
    """A text file with line feeds at the ends of its lines, also where carriage returns stand there alone."""

    def __init__(self, file: Readable):
        self._file = file
        self._old: bool | None = None  # whether carriage returns stand alone, as the first block shows

    def read(self, size: int = -1, /) -> bytes:
        read = self._file.read(size)
        if self._old is None:
            self._old = b"\r" in read and b"\n" not in read
        return read.replace(b"\r", b"\n") if self._old else read


def _header(block: bytes) -> int:
    """Where the header ends: the first line break that is not between quotation marks."""
    end = block.find(b"\n")
    while end >= 0 and block.count(b'"', 0, end) % 2:
        end = block.find(b"\n", end + 1)
    return len(block) if end < 0 else end + 1


def read_csv(source: str, reading: Reading, fields: Fields, separator: str | None) -> Pieces:
    """Pieces of a file of the columns `fields`; a separator only matters to CSV. Raises DataError if the file cannot be read or lacks a column."""
    encoding = reading.encoding
    if encoding.lower().replace("_", "-") in ("utf-16", "utf-32"):
        raise DataError(f"{source}: {encoding} cannot be read piece by piece; save it as UTF-8")
    file = open_bytes(source)
    tabs = source.lower().removesuffix(".gz").endswith((".tsv", ".tab"))
    separator = separator or reading.separator or ("\t" if tabs else None)
    header: list[str] | None = None
    needed: Fields = []
    line = 1
    for block in blocks(_Lines(file), source, quoted=True):
        if header is None:
            block = block.removeprefix(b"\xef\xbb\xbf")
            end = _header(block)
            head, block, line = (
                block[:end].decode(encoding, "replace").strip(),
                block[end:],
                1 + block.count(b"\n", 0, end),
            )
            if not head:
                raise DataError(f"{source}: has no header line")
            separator = separator or likely_separator(head)
            lines = io.StringIO(head, newline="")
            names = next(csv.reader(lines, delimiter=separator, skipinitialspace=True))
            header = [name.strip() or f"Unnamed: {at}" for at, name in enumerate(names)]  # as pandas names them
            try:
                needed = needed_columns(source, header, fields)
            except DataError as error:
                raise DataError(_fault_of_header(source, head, encoding) or str(error)) from None
        if block:
            yield partial(_csv_block, block, line, header, needed, separator, reading)
        line += block.count(b"\n")
    if header is None:
        raise DataError(f"{source}: the file is empty")


def _fault_of_header(source: str, head: str, encoding: str) -> str | None:
    """Why a header lacks the columns that a model needs, if the form of the file is the reason; else None."""
    if "\ufffd" in head or "\0" in head:
        return f"{source}: the header is not {encoding.upper()} text, as the model reads it; save the file as {encoding.upper()}"
    if is_note(head):
        return f"{source}: the first line, {head!r}, is a note for Excel; delete this line"
    return None


def _csv_block(block: bytes, line: int, header: list[str], needed: Fields, separator: str, reading: Reading) -> Parsed:
    import pandas as pd

    written, decimal = _read_by_pandas(needed, reading.written)

    lines = block.count(b"\n") + (not block.endswith(b"\n"))
    names = [name for name, _ in needed]
    if b'"' not in block and b"\r\r" not in block:  # a row is a line
        try:
            texts = {name: str for name, kind in needed if kind != NUMBER or name in written}
            # "null" is a word where texts are read; pandas has a faster way for columns that are all alike
            has_texts = any(kind == TEXT for _, kind in needed)
            missing: Any = {name: [""] if kind == TEXT else MISSING for name, kind in needed} if has_texts else MISSING
            frame = pd.read_csv(
                io.BytesIO(block), sep=separator, encoding=reading.encoding, decimal=decimal, header=None, names=header, usecols=names,
                na_values=missing, keep_default_na=not has_texts, skipinitialspace=True, dtype=texts, low_memory=False, skip_blank_lines=False, index_col=False, on_bad_lines="error", engine="c",
            )[names]  # fmt: skip
            # ten times as fast as bytes.count
            separators = np.count_nonzero(np.frombuffer(block, np.uint8) == ord(separator))
            full = separators == (len(header) - 1) * lines  # pandas pads short rows
            if len(frame) == lines and full:
                plain = [name for name, kind in needed if kind == NUMBER and name not in written]
                if all(is_plain(frame[name]) for name in plain):
                    frame, _, wrong = checked_rows(frame, needed, written)
                    if not wrong:
                        return frame, np.arange(line, line + lines), []
        except (ValueError, pd.errors.ParserError, UnicodeError):
            pass
    return _row_by_row(block, line, header, needed, separator, reading)


def _read_by_pandas(needed: Fields, written: Mapping[str, Format]) -> tuple[Mapping[str, Format], str]:
    """(column -> format of the columns that pandas has to leave as texts, decimal mark for the others).

    pandas reads one decimal mark for all columns, and takes thousands separators at any place.
    """
    numbers = [written.get(name, {}) for name, kind in needed if kind == NUMBER]
    marks = {(one.get("decimal", "."), one.get("thousands", "")) for one in numbers}
    if len(marks) == 1 and (only := next(iter(marks)))[1] == "":
        return {name: written[name] for name, kind in needed if kind != NUMBER and name in written}, only[0]
    return written, "."


def _row_by_row(block: bytes, line: int, header: list[str], needed: Fields, separator: str, reading: Reading) -> Parsed:
    import pandas as pd

    encoding = reading.encoding

    csv.field_size_limit(2**31 - 1)
    places_of = {name: place for place, name in enumerate(header)}
    at = [places_of[name] for name, _ in needed]
    rows: list[list[str]] = []
    places: list[tuple[int, str]] = []
    rejected: list[Rejected] = []
    text = block.decode(encoding, "replace")
    undecodable = "�" in text and "�" not in block.decode(encoding, "ignore")
    lines = text.split("\n")
    first = before = 0  # the lines at which the reader and the next row begin

    def read_from(place: int, strict: bool = False) -> Any:
        rest = (f"{lines[at]}\n" for at in range(place, len(lines)))
        return csv.reader(rest, delimiter=separator, skipinitialspace=True, strict=strict)

    reader = read_from(0)
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            rejected.append(Rejected(line + before, str(error), lines[before] if before < len(lines) else ""))
            before = first + reader.line_num
            continue
        start, before = before, first + reader.line_num
        if not fields or fields == [""]:
            continue
        if before > start + 1 and not _is_whole_row(
            read_from(start, strict=True)
        ):  # the later lines are rows of their own
            rejected.append(Rejected(line + start, "a quotation mark that begins a cell is not closed", lines[start]))
            first = before = start + 1
            reader = read_from(first)
            continue
        raw = "\n".join(lines[start:before]).rstrip("\r")
        if len(fields) != len(header):
            rejected.append(Rejected(line + start, f"{len(fields)} fields, but the header has {len(header)}", raw))
        elif undecodable and "�" in raw:
            rejected.append(Rejected(line + start, f"not {encoding} text", raw))
        else:
            rows.append(fields)
            places.append((line + start, raw))
    frame = pd.DataFrame(
        [[fields[index] for index in at] for fields in rows], columns=[name for name, _ in needed], dtype=object
    )
    for name, kind in needed:
        frame[name] = frame[name].where(~frame[name].isin([""] if kind == TEXT else MISSING), np.nan)
    frame, kept, wrong = checked_rows(frame, needed, reading.written)
    rejected += [Rejected(places[row][0], reason, places[row][1]) for row, reason in wrong.items()]
    return frame, np.array([places[row][0] for row in kept], dtype=np.int64), sorted(rejected)


def _is_whole_row(reader: Any) -> bool:
    """Whether the cells of the next row of a strict reader end where their quotation marks do."""
    try:
        next(reader)
    except csv.Error:
        return False
    return True
