"""Tables in files, piece by piece and in constant memory: CSV, Parquet, JSON lines.

Each reader yields functions that give (frame of the needed columns, places of its rows, what was rejected), to be called once, from any thread:
one thread splits the file, any number of others parse. A piece is read as a whole where nothing is wrong with it; only a piece with something
wrong is gone through row by row.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from mlrun.data.features import TEXT
from mlrun.data.readers.columns import MISSING, NUMBER, as_numbers
from mlrun.errors import DataError

BLOCK = 2 * 2**20  # bytes of a text file that are read at once
ROWS, VALUES = 32768, 2**21  # rows of a Parquet file, and values in them, at most
LARGEST = float(np.finfo(np.float32).max)
TEXT_NAMES = ("text", "sentence", "review", "content", "message", "document", "title")


class Rejected(NamedTuple):
    """A row that cannot be used. place: line of a text file, row (from 1) of a Parquet file, path of an image."""

    place: Any
    reason: str
    row: str


Fields = list[tuple[str, str]]  # (column, kind) that a model reads


def _needed(source: str, names: list[str], fields: Fields) -> Fields:
    """The columns to read of those that are there. Raises DataError for absent ones and for columns of the same name."""
    if _is_single_text(fields):
        column = _text_column(names, fields)
        if column is None:
            usual = [fields[0][0], *(name for name in TEXT_NAMES if name != fields[0][0])]
            raise DataError(f"{source}: no column of texts; name it {', '.join(usual[:-1])} or {usual[-1]}")
        fields = [(column, TEXT)]
    absent = [name for name, _ in fields if name not in names]
    if absent:
        some = ", ".join(absent[:8]) + (", ..." if len(absent) > 8 else "")
        raise DataError(f"{source}: lacks the column{'s' * (len(absent) > 1)} {some} which the model was trained with")
    twice = [name for name, _ in fields if names.count(name) > 1]
    if twice:
        raise DataError(f"{source}: the column {twice[0]!r} occurs more than once; rename one of them")
    return fields


def _is_single_text(fields: Fields) -> bool:
    """Whether a model reads one text, whose column may have another name."""
    return len(fields) == 1 and fields[0][1] == TEXT


def _text_column(names: list[str], fields: Fields) -> str | None:
    """The column of texts: named as in training, by a usual name, or the only one."""
    own = fields[0][0]
    known = [name for name in names if name == own] or [name for name in names if name.lower() in TEXT_NAMES]
    return known[0] if known else names[0] if len(names) == 1 else None


# --- text files ------------------------------------------------------------------------------------------------------


def _open_bytes(source: str):
    if source == "-":
        return sys.stdin.buffer
    try:
        if source.lower().endswith(".gz"):
            import gzip

            return gzip.open(source, "rb")
        return open(source, "rb")
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error.strerror})") from None


def _blocks(file, source: str, quoted: bool) -> Iterator[bytes]:
    """Whole lines, a few MiB at a time; with `quoted` a line break between quotation marks ends nothing."""
    rest = b""
    while True:
        try:
            read = file.read(BLOCK)
        except (OSError, EOFError) as error:  # a truncated gzip file
            raise DataError(f"{source}: cannot be read to its end ({error})") from None
        if not read:
            if rest:
                yield rest
            return
        rest += read
        end = rest.rfind(b"\n") + 1
        while quoted and end and rest.count(b'"', 0, end) % 2:
            end = rest.rfind(b"\n", 0, end - 1) + 1
            if len(rest) - end > 8 * BLOCK:  # a mark that was never closed
                end = rest.rfind(b"\n") + 1
                break
        if end:
            yield rest[:end]
            rest = rest[end:]


def _csv(source, inputs, fields, separator):
    encoding = inputs.get("encoding") or "utf-8"
    if encoding.lower().replace("_", "-") in ("utf-16", "utf-32"):
        raise DataError(f"{source}: {encoding} cannot be read piece by piece; save it as UTF-8")
    decimal = inputs.get("decimal") or "."
    file = _open_bytes(source)
    header, line, separator = (
        None,
        1,
        separator
        or inputs.get("separator")
        or ("\t" if source.lower().removesuffix(".gz").endswith((".tsv", ".tab")) else None),
    )
    for block in _blocks(file, source, quoted=True):
        if header is None:
            first, _, block = block.removeprefix(b"\xef\xbb\xbf").partition(b"\n")
            head = first.decode(encoding, "replace").strip()
            if not head:
                raise DataError(f"{source}: has no header line")
            separator = separator or max(",;\t|", key=head.count)
            header = [name.strip() for name in next(csv.reader([head], delimiter=separator, skipinitialspace=True))]
            needed = _needed(source, header, fields)
            line = 2
        if block:
            yield partial(_csv_block, block, line, header, needed, separator, encoding, decimal)
        line += block.count(b"\n")
    if header is None:
        raise DataError(f"{source}: the file is empty")


def _csv_block(block, line, header, needed, separator, encoding, decimal):
    """(frame of the needed columns, line numbers, rejected)."""
    import pandas as pd

    lines = block.count(b"\n") + (not block.endswith(b"\n"))
    names = [name for name, _ in needed]
    if b'"' not in block and b"\r\r" not in block:  # a row is a line
        try:
            texts = {name: str for name, kind in needed if kind != NUMBER}
            frame = pd.read_csv(
                io.BytesIO(block), sep=separator, encoding=encoding, decimal=decimal, header=None, names=header, usecols=names, na_values=MISSING,
                skipinitialspace=True, dtype=texts, low_memory=False, skip_blank_lines=False, index_col=False, on_bad_lines="error", engine="c",
            )[names]  # fmt: skip
            # bytes.count is ten times slower
            separators = np.count_nonzero(np.frombuffer(block, np.uint8) == ord(separator))
            full = separators == (len(header) - 1) * lines  # pandas fills rows that are too short
            if len(frame) == lines and full and all(_is_plain(frame[name]) for name, kind in needed if kind == NUMBER):
                return frame, np.arange(line, line + lines), []
        except (ValueError, pd.errors.ParserError, UnicodeError):
            pass
    return _row_by_row(block, line, header, needed, separator, encoding, decimal)


def _is_plain(column) -> bool:
    """Whether all are numbers that a network can take (missing ones count)."""
    if column.dtype.kind != "f":
        return column.dtype.kind in "iu"
    values = column.to_numpy()
    return bool(np.fmax.reduce(values, initial=0) <= LARGEST and np.fmin.reduce(values, initial=0) >= -LARGEST)


def _row_by_row(block, line, header, needed, separator, encoding, decimal):
    import pandas as pd

    csv.field_size_limit(2**31 - 1)
    at = [header.index(name) for name, _ in needed]
    rows, places, rejected = [], [], []
    text = block.decode(encoding, "replace")
    undecodable = "�" in text and "�" not in block.decode(encoding, "ignore")
    lines = text.split("\n")
    reader = csv.reader((f"{part}\n" for part in lines), delimiter=separator, skipinitialspace=True)
    before = 0
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            rejected.append(Rejected(line + before, str(error), lines[before] if before < len(lines) else ""))
            before = reader.line_num
            continue
        start, before = before, reader.line_num
        if not fields or fields == [""]:
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
    frame = frame.where(
        ~frame.isin([*MISSING, "", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "n/a", "<NA>", "-nan", "#N/A"]),
        np.nan,
    )
    if decimal != ".":
        for name, kind in needed:
            if kind == NUMBER:
                frame[name] = frame[name].map(
                    lambda value: value.replace(decimal, ".") if isinstance(value, str) else value
                )
    frame, kept, wrong = _checked(frame, needed)
    rejected += [Rejected(places[row][0], reason, places[row][1]) for row, reason in wrong.items()]
    return frame, np.array([places[row][0] for row in kept], dtype=np.int64), sorted(rejected)


def _checked(frame, needed):
    """(frame with number columns as numbers, kept row places, {place: reason} of those left out)."""
    import pandas as pd

    wrong: dict[int, str] = {}
    for name, kind in needed:
        if kind != NUMBER or _is_plain(frame[name]):
            continue
        column = frame[name]
        present = column.notna().to_numpy()
        values = np.full(len(column), np.nan)
        numbers = as_numbers(column[present])
        if numbers is None:
            for row in np.flatnonzero(present):
                one = as_numbers(pd.Series([column.iloc[row]], dtype=object))
                if one is None:
                    wrong.setdefault(int(row), f"{name} is {str(column.iloc[row])[:40]!r}, not a number")
                else:
                    values[row] = one[0]
        else:
            values[present] = numbers
        for row in np.flatnonzero(np.abs(values) > LARGEST):
            wrong.setdefault(int(row), f"{name} is {str(column.iloc[row])[:40]}: infinite or too large")
        frame = frame.assign(**{name: values})
    kept = np.delete(np.arange(len(frame)), list(wrong))
    return (frame.iloc[kept].reset_index(drop=True) if wrong else frame), kept, dict(sorted(wrong.items()))


def _json_lines(source, inputs, fields, separator):
    line, needed = 1, None
    for block in _blocks(_open_bytes(source), source, quoted=False):
        block = block.removeprefix(b"\xef\xbb\xbf") if line == 1 else block
        if needed is None:
            records = (record for record in map(_record, block.split(b"\n")) if record is not None)
            first = next(records, None)
            if first is not None:
                whole = (record for record in chain([first], records) if _is_whole(list(record), fields))
                needed = _needed(source, list(next(whole, first)), fields)
        yield partial(_json_block, block, line, needed or [])
        line += block.count(b"\n")


def _is_whole(names: list[str], fields: Fields) -> bool:
    """Whether a record has all that the model reads."""
    if _is_single_text(fields):
        return _text_column(names, fields) is not None
    return {name for name, _ in fields} <= set(names)


def _record(text: bytes) -> dict | None:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _json_block(block, line, needed):
    """(frame of the needed columns, line numbers, rejected)."""
    frame = _whole_json(block, needed)
    if frame is not None:
        return frame, np.arange(line, line + len(frame)), []
    return _json_by_line(block, line, needed)


def _whole_json(block, needed):
    """A frame where every line is an object with all needed values of the right type, else None."""
    import pyarrow
    from pyarrow import json as reader

    lines = block.count(b"\n") + (not block.endswith(b"\n"))
    schema = pyarrow.schema(
        [(name, pyarrow.float64() if kind == NUMBER else pyarrow.string()) for name, kind in needed]
    )
    try:
        block.decode("utf-8")  # pyarrow does not look
        table = reader.read_json(
            io.BytesIO(block),
            reader.ReadOptions(use_threads=False, block_size=max(len(block), 1)),
            reader.ParseOptions(schema, newlines_in_values=False, unexpected_field_behavior="ignore"),
        )
    except (pyarrow.ArrowException, UnicodeDecodeError):
        return None
    if len(table) != lines:
        return None
    for name, _ in needed:  # pyarrow gives null for what is absent, too
        key = re.escape(json.dumps(name, ensure_ascii=False).encode())
        if table[name].null_count and len(re.findall(key + rb"\s*:", block)) != lines:
            return None
    frame = table.to_pandas()
    return frame if all(_is_plain(frame[name]) for name, kind in needed if kind == NUMBER) else None


def _json_by_line(block, line, needed):
    import pandas as pd

    records, places, rejected = [], [], []
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
        absent = [name for name, _ in needed if name not in record]
        if absent:
            rejected.append(Rejected(place, f"lacks {', '.join(absent[:5])}", text))
        else:
            records.append([record[name] for name, _ in needed])
            places.append((place, text))
    frame, kept, wrong = _checked(pd.DataFrame(records, columns=[name for name, _ in needed], dtype=object), needed)
    rejected += [Rejected(places[row][0], reason, places[row][1]) for row, reason in wrong.items()]
    return frame, np.array([places[row][0] for row in kept], dtype=np.int64), sorted(rejected)


def _parquet(source, inputs, fields, separator):
    import pyarrow
    import pyarrow.parquet as parquet

    if source == "-":
        raise DataError("Parquet cannot be read from a pipe; give a file")
    try:
        file = parquet.ParquetFile(source, memory_map=False, pre_buffer=False)
        needed = _needed(source, list(file.schema_arrow.names), fields)
        start, rows = 1, max(1, min(ROWS, VALUES // len(needed)))
        for batch in file.iter_batches(batch_size=rows, columns=[name for name, _ in needed], use_threads=False):
            yield partial(_parquet_batch, batch, start, needed)
            start += len(batch)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{source}: not a readable Parquet file ({str(error).splitlines()[0]})") from None


def _parquet_batch(batch, start, needed):
    frame = batch.to_pandas()[[name for name, _ in needed]]
    places = np.arange(start, start + len(frame))
    checked, kept, wrong = _checked(frame, needed)
    return (
        checked,
        places[kept],
        [Rejected(int(places[row]), reason, frame.iloc[row].to_json()) for row, reason in wrong.items()],
    )


READERS = {"csv": _csv, "parquet": _parquet, "jsonl": _json_lines}
