"""Reading a CSV, TSV or Parquet file into a DataFrame, with one-line messages about invalid files."""

from __future__ import annotations

import codecs
import csv
import gzip
import math
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mlrun.data.readers.columns import MISSING, cleaned
from mlrun.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

WIDE = 1000  # columns
SUFFIXES: dict[str, str | None] = {
    ".csv": None,
    ".tsv": "\t",
    ".tab": "\t",
    ".txt": None,
    ".parquet": None,
    ".pq": None,
}


def read_table(
    path: str | Path | None,
    encoding: str = "utf-8",
    separator: str | None = None,
    texts: bool | Callable[[list[str]], Sequence[str]] = False,
    rows: int | None = None,
) -> pd.DataFrame:
    """DataFrame of the file's columns, named by its first line. Blank lines are skipped; text files may be gzipped.

    Texts lose the white space around them. Columns without name and values, which separators at the ends of lines make, are left out.

    Args:
        path: .csv, .tsv, .parquet and their usual variants.
        encoding, separator: format of a text file; separator None: the most frequent one in the header.
        texts: a function of the names of a text file's columns that gives those that are read as texts. True: all, as they are, and "null"
            and "NA" are words, not missing values.
        rows: of a text file that are read; None: all.

    Raises:
        DataError: the path does not exist or is a directory; the file is empty or has only a header; rows are ragged, columns are
            duplicated, a quotation mark makes one cell of several rows, or the encoding is wrong.
    """
    path = check_path(path)
    suffix = _suffix(path)
    if suffix not in SUFFIXES:
        raise DataError(
            f"{path}: files ending in {suffix or 'nothing'} cannot be read; save it as .csv, .tsv or .parquet"
        )
    import pandas as pd

    if suffix in (".parquet", ".pq"):
        try:
            frame = pd.read_parquet(path)
        except Exception as error:  # pyarrow raises many types; each means that the file is unusable
            raise DataError(
                f"{path}: not a readable Parquet file ({str(error).splitlines()[0].split('. ')[0]})"
            ) from None
        frame.columns = [str(column) for column in frame.columns]
        if not len(frame.columns) or not len(frame):
            raise DataError(f"{path}: has no rows")
        _check_names(path, list(frame.columns))
        frame = frame.reset_index(drop=True)
        return frame if texts is True else with_clean_texts(frame)
    try:
        header, separator = _check_start(path, encoding, separator)
        as_texts = texts(list(filter(None, header))) if callable(texts) else ()
        frame = pd.read_csv(
            path,
            sep=separator,
            encoding=encoding,
            low_memory=False,
            na_values=None if texts is True else MISSING,
            keep_default_na=texts is not True,
            dtype=str if texts is True else {header.index(name): str for name in as_texts if name in header},
            skipinitialspace=True,
            nrows=rows,
        )
    except UnicodeError:
        raise _encoding_error(path, encoding) from None
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise DataError(f"{path}: damaged or truncated gzip file") from None
    except (pd.errors.ParserError, csv.Error) as error:
        _check_ragged(path, encoding, separator)
        reason = str(error).replace("Error tokenizing data. C error: ", "").strip()
        raise DataError(
            f"{path}: cannot be read as a table: {reason}"
            + ("; is a quotation mark left open?" if "EOF inside string" in reason else "")
        ) from None
    except (pd.errors.EmptyDataError, OSError, LookupError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a table: {str(error).splitlines()[0]}") from None
    if frame[frame.columns[-1]].isna().any():  # a missing value, or a row that is too short
        _check_ragged(path, encoding, separator)
    if any(_has_line_ends(frame[name]) for name, dtype in frame.dtypes.items() if dtype.kind == "O"):
        _check_quotes(path, encoding, separator)
    frame = together(frame)
    frame.columns = [name or str(column) for name, column in zip(header, frame.columns)]
    if header[0] == "" and frame.iloc[:, 0].equals(pd.Series(range(len(frame)))):
        frame, header = frame.iloc[:, 1:].copy(), header[1:]  # the row index that DataFrame.to_csv writes
    empty = [not name and bool(frame.iloc[:, at].isna().all()) for at, name in enumerate(header)]
    frame = frame.loc[:, [not one for one in empty]].copy() if any(empty) else frame
    return frame if texts is True else with_clean_texts(frame)


def with_clean_texts(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame itself, with `cleaned` columns of texts."""
    for name in [name for name, dtype in frame.dtypes.items() if dtype.kind == "O"]:
        frame[name] = cleaned(frame[name])
    return frame


def together(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame, the columns of a type in one array if there are many: pandas takes rows from each array one by one."""
    return frame.copy() if len(frame.columns) > WIDE else frame


def check_path(path: str | Path | None) -> Path:
    """The path of an existing, non-empty file. Raises DataError with similar names."""
    if path is None or str(path) == "":
        raise DataError("no file given: set dataset.path=FILE")
    path = Path(str(path)).expanduser()
    try:
        if path.is_dir():
            names = [entry.name for entry in sorted(path.iterdir()) if _suffix(entry) in SUFFIXES]
            raise DataError(
                f"{path} is a directory, not a file" + (f"; tables in it: {', '.join(names[:5])}" if names else "")
            )
        if not path.exists():
            folder = path.parent
            if not folder.is_dir():
                raise DataError(f"{path}: there is no directory {folder}")
            names = [entry.name for entry in folder.iterdir() if entry.is_file()]
            near = get_close_matches(path.name, names, 3, 0.5)
            raise DataError(
                f"{path}: no such file"
                + (f"; did you mean {' or '.join(near)}?" if near else f" in {folder.absolute()}")
            )
        if not path.is_file():  # reading a pipe or a device might never end
            raise DataError(f"{path}: not a regular file; save its content as a file first")
        with open(path, "rb") as file:
            if not file.read(1):
                raise DataError(f"{path}: the file is empty")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    return path


def line_numbers(path: str | Path, rows: Iterable[int], encoding: str = "utf-8", separator: str | None = None) -> str:
    """Location of data rows: "lines 4, 7, 9" of a text file, "rows 3, 6" (from 1) of a Parquet file."""
    rows = [int(row) for row in rows]
    if _suffix(path) in (".parquet", ".pq"):
        places, word = [row + 1 for row in rows], "row"
    else:
        wanted, word = set(rows), "line"
        places = []
        for row, (line, _) in enumerate(_records(path, encoding, separator), start=-1):
            if row in wanted:
                places.append(line)
                if len(places) == len(wanted):
                    break
    return f"{word}{'s' * (len(places) > 1)} {', '.join(map(str, places))}"


def is_text_file(path: str | Path) -> bool:
    """Whether a table is a text file, not Parquet."""
    return _suffix(path) not in (".parquet", ".pq")


def separator_of(path: str | Path, encoding: str, separator: str | None = None) -> str:
    """The separator of the fields of a text file: the one given, or the most frequent one in the header."""
    return separator or _separator(path, encoding)


def _suffix(path: str | Path) -> str:
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    return suffixes[-2] if len(suffixes) > 1 and suffixes[-1] == ".gz" else suffixes[-1] if suffixes else ""


def _open(path: str | Path, encoding: str) -> IO[str]:
    encoding = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
    if Path(path).suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding=encoding, newline="")
    return open(path, encoding=encoding, newline="")


def _records(path: str | Path, encoding: str, separator: str | None) -> Iterator[tuple[int, list[str]]]:
    """(line number, fields) of every non-blank record, including the header."""
    csv.field_size_limit(2**31 - 1)
    with _open(path, encoding) as file:
        reader = csv.reader(file, delimiter=separator or _separator(path, encoding), skipinitialspace=True)
        line = 1
        for fields in reader:
            if fields:
                yield line, fields
            line = reader.line_num + 1


def _separator(path: str | Path, encoding: str) -> str:
    usual = SUFFIXES[_suffix(path)]
    if usual:
        return usual
    with _open(path, encoding) as file:
        header = ""
        for line in file:
            header += line if header or line.strip() else ""
            if header and header.count('"') % 2 == 0:
                break
    return likely_separator(header)


def likely_separator(header: str) -> str:
    """The separator that occurs most often in a header line outside of quotation marks; the comma if none occurs."""
    return max(",;\t|", key=re.sub('"[^"]*"', "", header).count)


def _check_start(path: Path, encoding: str, separator: str | None) -> tuple[list[str], str]:
    """Checks the header and the first row. Returns (column names, separator)."""
    try:
        separator = separator or _separator(path, encoding)
    except LookupError:
        raise DataError(f"dataset.encoding={encoding}: no such encoding") from None
    if len(separator) != 1:
        raise DataError(f"dataset.separator={separator!r}: give one character")
    records = _records(path, encoding, separator)
    _, header = next(records, (1, []))
    header = [name.strip() for name in header]
    if not any(header):
        raise DataError(f"{path}: has no header line")
    if any("\0" in name for name in header):
        raise DataError(f"{path}: holds zero bytes: not a text file, or one to be read with dataset.encoding=utf-16")
    if is_note("".join(header)):
        raise DataError(f"{path}: the first line, {separator.join(header)!r}, is a note for Excel; delete this line")
    numbers = [name for name in header if _is_number(name)]
    values = [name for name in numbers if not float(name).is_integer() or "." in name]
    numbered = header == ["", *map(str, range(len(header) - 1))]  # an array written by DataFrame.to_csv with its index
    if values or len(numbers) == sum(map(bool, header)) and not numbered:
        names = [f"x{column}" for column in range(1, len(header))] + ["y"]
        names = names if len(names) <= 8 else [*names[:2], "...", *names[-2:]]
        raise DataError(
            f"{path}: the first line holds {'values' if values else 'numbers only'} "
            f"({', '.join((values or numbers)[:3])}), not the names of the columns; "
            f"add a header line above it, such as {separator.join(names)}"
        )
    _check_names(path, list(filter(None, header)))
    first = next(records, None)
    if first is None:
        raise DataError(f"{path}: has a header but no rows")
    if len(first[1]) > len(header):
        raise DataError(f"{path}: line {first[0]} has {len(first[1])} fields, but the header has {len(header)}")
    return header, separator


def is_note(line: str) -> bool:
    """Whether a first line tells Excel the separator: `sep=;`."""
    return line.lower().startswith("sep=") and len(line) <= len("sep=,")


def _is_number(name: str) -> bool:
    try:
        return math.isfinite(float(name)) and "_" not in name
    except ValueError:
        return False


def _check_names(path: Path, names: Sequence[str]) -> None:
    seen: set[str] = set()
    twice: list[str] = []
    for name in names:
        if name in seen and name not in twice:
            twice.append(name)
        seen.add(name)
    if twice:
        raise DataError(
            f"{path}: the column{'s' * (len(twice) > 1)} {', '.join(map(repr, twice[:5]))} "
            f"occur{'s' * (len(twice) == 1)} more than once; rename them"
        )


def _check_ragged(path: Path, encoding: str, separator: str | None) -> None:
    """Raises DataError with the line of the first row that has more or fewer fields than the header."""
    records = _records(path, encoding, separator)
    try:
        width = len(next(records)[1])
        ragged = [(line, len(fields)) for line, fields in records if len(fields) != width]
    except csv.Error:
        return
    if ragged:
        line, fields = ragged[0]
        more = f" ({len(ragged) - 1} more such line{'s' * (len(ragged) > 2)})" if len(ragged) > 1 else ""
        raise DataError(
            f"{path}: line {line} has {fields} field{'s' * (fields != 1)}, but the header has {width}{more}"
        )


def _has_line_ends(texts: pd.Series) -> bool:
    if texts.dtype == "object":  # texts beside numbers
        return any(isinstance(one, str) and "\n" in one for one in texts)
    return bool(texts.str.contains("\n", regex=False, na=False).any())


def _check_quotes(path: Path, encoding: str, separator: str | None) -> None:
    """Raises DataError for a quotation mark that begins a cell and is closed in the middle of the text of a later line: pandas makes one cell of all
    rows between the two."""
    csv.field_size_limit(2**31 - 1)
    with _open(path, encoding) as file:
        reader = csv.reader(file, delimiter=separator or _separator(path, encoding), skipinitialspace=True, strict=True)
        start = 1
        while True:
            try:
                next(reader)
            except StopIteration:
                return
            except csv.Error:
                if reader.line_num > start:
                    raise DataError(
                        f"{path}: a quotation mark that begins a cell in line {start} is closed in line {reader.line_num}, in the middle of a text: "
                        'the rows between would be one cell; quote such a text and double the marks inside it: """Yes"", she said"'
                    ) from None
            start = reader.line_num + 1


def _encoding_error(path: Path, encoding: str) -> DataError:
    with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else open(path, "rb") as file:
        content = file.read(2**20)
        if b"\0" in content and guess_encoding(content) != "utf-16":
            return DataError(f"{path}: not a text file")
        file.seek(0)
        place = ""
        if codecs.lookup(encoding).name == "utf-8":
            for number, line in enumerate(file, start=1):  # no UTF-8 sequence crosses a line break
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError as error:
                    place = f" (byte 0x{line[error.start]:02x} in line {number})"
                    content = line
                    break
    guess = guess_encoding(content)
    return DataError(f"{path}: not {encoding.upper()} text{place}; try dataset.encoding={guess}")


def guess_encoding(content: bytes) -> str:
    """A likely encoding of bytes that are not UTF-8.

    A byte-order mark identifies UTF-16. Bytes above 127 come in pairs in Chinese text, and among ASCII letters in
    Western European text.
    """
    if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    high = [byte > 127 for byte in content]
    paired = sum(a and b for a, b in zip(high, high[1:]))
    for guess in ("gb18030", "cp1252") if paired > sum(high) / 3 else ("cp1252",):
        try:
            codecs.getincrementaldecoder(guess)().decode(content)
            return guess
        except UnicodeDecodeError:
            continue
    return "latin-1"
