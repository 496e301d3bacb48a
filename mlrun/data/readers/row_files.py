"""Table files read piece by piece in constant memory: CSV, Parquet, JSON lines.

Each reader yields functions that return (frame of the needed columns, places of its rows, rejected rows). Call each once, from any thread:
one thread splits the file, any number of others parse. A valid piece is parsed at once; only a piece with invalid rows is parsed row by row.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from mlrun.data.features import BOOLEAN, NUMBER, TEXT
from mlrun.data.readers.cells import Format
from mlrun.data.readers.columns import LARGEST, MISSING, expected, read_column
from mlrun.data.readers.table import is_note, likely_separator
from mlrun.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

BLOCK = 2 * 2**20  # bytes of a text file that are read at once
ROWS, VALUES = 32768, 2**21  # rows of a Parquet file, and values in them, at most
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


def _needed(source: str, names: list[str], fields: Fields) -> Fields:
    """The columns to read. Raises DataError for absent and duplicated ones."""
    if _is_single_text(fields):
        column = _text_column(names, fields)
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


def _is_single_text(fields: Fields) -> bool:
    """Whether a model reads a single text; its column may then have another name."""
    return len(fields) == 1 and fields[0][1] == TEXT


def _text_column(names: list[str], fields: Fields) -> str | None:
    """The column of texts: named as in training, by a usual name, or the only one."""
    own = fields[0][0]
    known = [name for name in names if name == own] or [name for name in names if name.lower() in TEXT_NAMES]
    return known[0] if known else names[0] if len(names) == 1 else None


# --- text files ------------------------------------------------------------------------------------------------------


class _Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


def _open_bytes(source: str) -> _Readable:
    if source == "-":
        return sys.stdin.buffer
    try:
        if source.lower().endswith(".gz"):
            import gzip

            return gzip.open(source, "rb")
        return open(source, "rb")
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error.strerror})") from None


def _blocks(file: _Readable, source: str, quoted: bool) -> Iterator[bytes]:
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


class _Lines:
    """A text file with line feeds at the ends of its lines, also where carriage returns stand there alone."""

    def __init__(self, file: _Readable):
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


def _csv(source: str, reading: Reading, fields: Fields, separator: str | None) -> Pieces:
    encoding = reading.encoding
    if encoding.lower().replace("_", "-") in ("utf-16", "utf-32"):
        raise DataError(f"{source}: {encoding} cannot be read piece by piece; save it as UTF-8")
    file = _open_bytes(source)
    tabs = source.lower().removesuffix(".gz").endswith((".tsv", ".tab"))
    separator = separator or reading.separator or ("\t" if tabs else None)
    header: list[str] | None = None
    needed: Fields = []
    line = 1
    for block in _blocks(_Lines(file), source, quoted=True):
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
                needed = _needed(source, header, fields)
            except DataError as error:
                raise DataError(_fault_of_header(source, head, encoding) or str(error)) from None
        if block:
            yield partial(_csv_block, block, line, header, needed, separator, reading)
        line += block.count(b"\n")
    if header is None:
        raise DataError(f"{source}: the file is empty")


def _fault_of_header(source: str, head: str, encoding: str) -> str | None:
    """Why a header has not the columns that a model needs, if it is not for other names."""
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
                if all(_is_plain(frame[name]) for name in plain):
                    frame, _, wrong = _checked(frame, needed, written)
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


def _is_plain(column: pd.Series) -> bool:
    """Whether all values are numbers within the range of float32, or missing."""
    if column.dtype.kind != "f":
        return column.dtype.kind in "iu"
    values = column.to_numpy()
    return bool(np.fmax.reduce(values, initial=0) <= LARGEST and np.fmin.reduce(values, initial=0) >= -LARGEST)


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
    frame, kept, wrong = _checked(frame, needed, reading.written)
    rejected += [Rejected(places[row][0], reason, places[row][1]) for row, reason in wrong.items()]
    return frame, np.array([places[row][0] for row in kept], dtype=np.int64), sorted(rejected)


def _is_whole_row(reader: Any) -> bool:
    """Whether the cells of the next row of a strict reader end where their quotation marks do."""
    try:
        next(reader)
    except csv.Error:
        return False
    return True


def _checked(
    frame: pd.DataFrame, needed: Fields, written: Mapping[str, Format]
) -> tuple[pd.DataFrame, np.ndarray, dict[int, str]]:
    """Converts the columns of numbers, booleans and dates. Returns the valid rows, their row numbers, and row number -> reason for the others."""
    wrong: dict[int, str] = {}
    for name, kind in needed:
        wanted = expected(kind, written.get(name, {}))
        if wanted is None or kind == NUMBER and _is_plain(frame[name]):
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


def _json_lines(source: str, reading: Reading, fields: Fields, separator: str | None) -> Pieces:
    line = 1
    needed: Fields | None = None
    for block in _blocks(_open_bytes(source), source, quoted=False):
        block = block.removeprefix(b"\xef\xbb\xbf") if line == 1 else block
        if needed is None:
            records = (record for record in map(_record, block.split(b"\n")) if record is not None)
            first = next(records, None)
            if first is None:
                _check_lines(source, block)
            else:
                whole = (record for record in chain([first], records) if _is_whole(list(record), fields))
                needed = _needed(source, list(next(whole, first)), fields)
        yield partial(_json_block, block, line, needed or [], reading.written)
        line += block.count(b"\n")


def _check_lines(source: str, block: bytes) -> None:
    """Raises DataError for JSON that is one array, or an object over several lines: each of its lines would be refused."""
    head = block.split(b"\n", 1)[0].strip()
    if head == b"{" or head.startswith(b"["):
        raise DataError(
            f"{source}: is JSON as a whole, not JSON lines; write one object per line, as pandas' to_json(orient='records', lines=True) does"
        )


def _is_whole(names: list[str], fields: Fields) -> bool:
    """Whether a record has all columns that the model reads."""
    if _is_single_text(fields):
        return _text_column(names, fields) is not None
    return {name for name, _ in fields} <= set(names)


def _record(text: bytes) -> dict | None:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _json_block(block: bytes, line: int, needed: Fields, written: Mapping[str, Format]) -> Parsed:
    frame = _whole_json(block, needed)
    if frame is not None:
        frame, _, wrong = _checked(frame, needed, written)
        if not wrong:
            return frame, np.arange(line, line + len(frame)), []
    return _json_by_line(block, line, needed, written)


def _whole_json(block: bytes, needed: Fields) -> pd.DataFrame | None:
    """A frame if every line is an object with all needed values of the right type, else None."""
    import pyarrow
    from pyarrow import json as reader

    lines = block.count(b"\n") + (not block.endswith(b"\n"))
    schema = pyarrow.schema(
        [
            (name, pyarrow.float64() if kind == NUMBER else pyarrow.bool_() if kind == BOOLEAN else pyarrow.string())
            for name, kind in needed
        ]
    )
    try:
        block.decode("utf-8")  # pyarrow does not check the encoding
        table = reader.read_json(
            io.BytesIO(block),
            reader.ReadOptions(use_threads=False, block_size=max(len(block), 1)),
            reader.ParseOptions(schema, newlines_in_values=False, unexpected_field_behavior="ignore"),
        )
    except (pyarrow.ArrowException, UnicodeDecodeError):
        return None
    if len(table) != lines:
        return None
    for name, _ in needed:  # pyarrow also returns null for absent keys
        key = re.escape(json.dumps(name, ensure_ascii=False).encode())
        if table[name].null_count and len(re.findall(key + rb"\s*:", block)) != lines:
            return None
    frame = table.to_pandas()
    return frame if all(_is_plain(frame[name]) for name, kind in needed if kind == NUMBER) else None


def _json_by_line(block: bytes, line: int, needed: Fields, written: Mapping[str, Format]) -> Parsed:
    import pandas as pd

    records: list[list[Any]] = []
    places: list[tuple[int, str]] = []
    rejected: list[Rejected] = []
    for place, raw in enumerate(block.split(b"\n"), start=line):
        if not raw.strip():
            continue
        text = raw.decode("utf-8", "replace")
        try:
            record = json.loads(raw.decode("utf-8"))
        except UnicodeDecodeError:
            rejected.append(Rejected(place, "not utf-8 text", text))
            continue
        except (ValueError, RecursionError) as error:
            rejected.append(Rejected(place, f"not JSON: {error}", text))
            continue
        if not isinstance(record, dict):
            rejected.append(Rejected(place, "not a JSON object", text))
            continue
        if "\\u" in text and not _is_unicode(record):
            rejected.append(Rejected(place, "a text with half a character (a lone surrogate)", text))
            continue
        absent = [name for name, _ in needed if name not in record]
        if absent:
            rejected.append(Rejected(place, f"lacks {', '.join(absent[:5])}", text))
        else:
            records.append([record[name] for name, _ in needed])
            places.append((place, text))
    frame = pd.DataFrame(records, columns=[name for name, _ in needed], dtype=object)
    frame, kept, wrong = _checked(frame, needed, written)
    rejected += [Rejected(places[row][0], reason, places[row][1]) for row, reason in wrong.items()]
    return frame, np.array([places[row][0] for row in kept], dtype=np.int64), sorted(rejected)


def _is_unicode(record: dict) -> bool:
    """Whether the texts of a record can be written: JSON can hold half a character."""
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _parquet(source: str, reading: Reading, fields: Fields, separator: str | None) -> Pieces:
    import pyarrow
    import pyarrow.parquet as parquet

    if source == "-":
        raise DataError("Parquet cannot be read from a pipe; give a file")
    try:
        file = parquet.ParquetFile(source, memory_map=False, pre_buffer=False)
        needed = _needed(source, list(file.schema_arrow.names), fields)
        start, rows = 1, max(1, min(ROWS, VALUES // len(needed)))
        for batch in file.iter_batches(batch_size=rows, columns=[name for name, _ in needed], use_threads=False):
            yield partial(_parquet_batch, batch, start, needed, reading.written)
            start += len(batch)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{source}: not a readable Parquet file ({str(error).splitlines()[0]})") from None


def _parquet_batch(batch: Any, start: int, needed: Fields, written: Mapping[str, Format]) -> Parsed:
    frame = batch.to_pandas()[[name for name, _ in needed]]
    places = np.arange(start, start + len(frame))
    checked, kept, wrong = _checked(frame, needed, written)
    return (
        checked,
        places[kept],
        [Rejected(int(places[row]), reason, frame.iloc[row].to_json()) for row, reason in wrong.items()],
    )


READERS = {"csv": _csv, "parquet": _parquet, "jsonl": _json_lines}
