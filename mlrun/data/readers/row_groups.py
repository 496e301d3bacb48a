"""Parquet files read block by block, and the conversion of other tables into such files.

A block is a row group: the smallest part of a Parquet file that can be read alone.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.readers.columns import MISSING
from mlrun.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow

BLOCK_VALUES = 2**22  # rows x columns of a block that is written: 32 MiB as float64
LARGEST_BLOCK = 2**24  # of one that is read as it is
COLUMN_BUFFER = 2**16  # bytes of each column that are read at once


class Blocks:
    """The blocks of a Parquet file.

    starts: (blocks + 1,) first row of each block, and the number of rows.
    """

    def __init__(self, path: Path):
        from pyarrow import parquet

        self.path, self._lock = path, threading.Lock()
        try:  # without `pre_buffer`, which keeps whole row groups in memory beside what is made of them
            self._file = parquet.ParquetFile(path, buffer_size=COLUMN_BUFFER, pre_buffer=False)
        except Exception as error:  # pyarrow raises many types; each means that the file is unusable
            raise DataError(
                f"{path}: not a readable Parquet file ({str(error).splitlines()[0].split('. ')[0]})"
            ) from None
        details = self._file.metadata
        rows = [details.row_group(block).num_rows for block in range(details.num_row_groups)]
        self.starts = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
        self.names = [str(name) for name in self._file.schema_arrow.names]
        if not self.names or not len(self):
            raise DataError(f"{path}: has no rows")

    def __len__(self) -> int:
        """Number of rows."""
        return int(self.starts[-1])

    @property
    def count(self) -> int:
        """Number of blocks."""
        return len(self.starts) - 1

    @property
    def largest(self) -> int:
        """Values (rows x columns) of the largest block."""
        return int(np.diff(self.starts).max()) * len(self.names)

    def read(self, block: int, names: Sequence[str] | None = None) -> pd.DataFrame:
        """The rows of a block. names: of the columns; None: all."""
        with self._lock:  # a thread reads ahead
            table = self._file.read_row_group(block, columns=None if names is None else list(names), use_threads=False)
        return table.to_pandas(split_blocks=True, self_destruct=True, use_threads=False)

    def digest(self) -> str:
        """Hash of the file's description of itself: the places, sizes and extreme values of all columns of all blocks."""
        with open(self.path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(size - 8)
            footer = int.from_bytes(file.read(4), "little")
            file.seek(max(0, size - 8 - footer))
            return hashlib.blake2b(file.read() + str(size).encode(), digest_size=8).hexdigest()


def converted(path: Path, folder: Path, key: str, pieces: Callable[[], Iterator[pyarrow.RecordBatch]]) -> Path:
    """A Parquet file with small blocks and the rows of another file, written into `folder` unless it is there.

    Args:
        path: the other file.
        key: of the settings with which it is read.
        pieces: reads it.

    Raises:
        DataError: the disk is full, or `pieces` raised it.
    """
    status = path.stat()
    facts = f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\0{key}"
    target = folder / f"{path.stem}-{hashlib.sha256(facts.encode()).hexdigest()[:16]}.parquet"
    if target.is_file():
        return target
    beside = target.with_name(f"{target.name}.{secrets.token_hex(4)}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(beside, pieces())
        os.replace(beside, target)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be converted to Parquet in {folder} ({error.strerror or error}); set dataset.cache to another directory"
        ) from None
    finally:
        beside.unlink(missing_ok=True)
    return target


def _write(path: Path, pieces: Iterator[pyarrow.RecordBatch]) -> None:
    import pyarrow
    from pyarrow import parquet

    writer: parquet.ParquetWriter | None = None
    waiting: list[pyarrow.RecordBatch] = []
    rows = 0
    try:
        for piece in pieces:
            writer = writer or parquet.ParquetWriter(path, piece.schema)
            size = max(1, BLOCK_VALUES // piece.num_columns)
            waiting, rows = [*waiting, piece], rows + piece.num_rows
            while rows >= size:
                table = pyarrow.Table.from_batches(waiting)
                writer.write_table(table.slice(0, size))
                rest = table.slice(size)
                waiting, rows = rest.to_batches(), rest.num_rows
        if writer is not None and rows:
            writer.write_table(pyarrow.Table.from_batches(waiting))
    finally:
        if writer is not None:
            writer.close()


def parquet_pieces(path: Path) -> Iterator[pyarrow.RecordBatch]:
    """Reads a Parquet file of large row groups, page by page."""
    from pyarrow import parquet

    with parquet.ParquetFile(path, buffer_size=COLUMN_BUFFER, pre_buffer=False) as file:
        size = max(1, BLOCK_VALUES // len(file.schema_arrow.names))
        yield from file.iter_batches(batch_size=size, use_threads=False)


def csv_pieces(
    path: Path, encoding: str, separator: str, decimal: str, types: Mapping[str, Any]
) -> Iterator[pyarrow.RecordBatch]:
    """Reads a CSV file some megabytes at a time.

    Args:
        types: column -> pyarrow's type.

    Raises:
        DataError: a column holds a value that is not of its type.
    """
    import pyarrow
    from pyarrow import csv

    how = (
        csv.ReadOptions(block_size=2**23, encoding=encoding, use_threads=False),
        csv.ParseOptions(delimiter=separator),
    )
    try:
        with csv.open_csv(path, *how) as first:
            names = first.schema.names
        read = csv.open_csv(
            path,
            *how,
            csv.ConvertOptions(
                column_types={name: types[name.strip()] for name in names if name.strip() in types}, decimal_point=decimal, strings_can_be_null=True, null_values=MISSING
            ),
        )  # fmt: skip
        yield from (batch.rename_columns([name.strip() for name in names]) for batch in read)
    except pyarrow.ArrowInvalid as error:
        raise DataError(
            f"{path}: {str(error).splitlines()[0]}. The types of the columns are those of the first rows; "
            "correct the value, or read the column as categories with dataset.categorical"
        ) from None
