"""JSON lines read piece by piece in constant memory."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.features import BOOLEAN, NUMBER
from mlrun.data.readers.cells import Format
from mlrun.data.readers.row_pieces import (
    Fields,
    Parsed,
    Pieces,
    Reading,
    Rejected,
    blocks,
    checked_rows,
    is_plain,
    is_single_text,
    needed_columns,
    open_bytes,
    text_column,
)
from mlrun.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def read_json_lines(source: str, reading: Reading, fields: Fields, separator: str | None) -> Pieces:
    """Pieces of a file of the columns `fields`; a separator only matters to CSV. Raises DataError if the file cannot be read or lacks a column."""
    line = 1
    needed: Fields | None = None
    for block in blocks(open_bytes(source), source, quoted=False):
        block = block.removeprefix(b"\xef\xbb\xbf") if line == 1 else block
        if needed is None:
            records = (record for record in map(_record, block.split(b"\n")) if record is not None)
            first = next(records, None)
            if first is None:
                _check_lines(source, block)
            else:
                whole = (record for record in chain([first], records) if _is_whole(list(record), fields))
                needed = needed_columns(source, list(next(whole, first)), fields)
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
    if is_single_text(fields):
        return text_column(names, fields) is not None
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
        frame, _, wrong = checked_rows(frame, needed, written)
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
    return frame if all(is_plain(frame[name]) for name, kind in needed if kind == NUMBER) else None


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
    frame, kept, wrong = checked_rows(frame, needed, written)
    rejected += [Rejected(places[row][0], reason, places[row][1]) for row, reason in wrong.items()]
    return frame, np.array([places[row][0] for row in kept], dtype=np.int64), sorted(rejected)


def _is_unicode(record: dict) -> bool:
    """Whether the texts of a record can be written: JSON can hold half a character."""
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
