"""Parquet files read piece by piece in constant memory."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from mlrun.data.readers.cells import Format
from mlrun.data.readers.row_pieces import Fields, Parsed, Pieces, Reading, Rejected, checked_rows, needed_columns
from mlrun.errors import DataError

ROWS, VALUES = 32768, 2**21  # rows that are read at once, and values in them, at most


def read_parquet(source: str, reading: Reading, fields: Fields, separator: str | None) -> Pieces:
    """Pieces of a file of the columns `fields`; a separator only matters to CSV. Raises DataError if the file cannot be read or lacks a column."""
    import pyarrow
    import pyarrow.parquet as parquet

    if source == "-":
        raise DataError("Parquet cannot be read from a pipe; give a file")
    try:
        file = parquet.ParquetFile(source, memory_map=False, pre_buffer=False)
        needed = needed_columns(source, list(file.schema_arrow.names), fields)
        start, rows = 1, max(1, min(ROWS, VALUES // len(needed)))
        for batch in file.iter_batches(batch_size=rows, columns=[name for name, _ in needed], use_threads=False):
            yield partial(_parquet_batch, batch, start, needed, reading.written)
            start += len(batch)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{source}: not a readable Parquet file ({str(error).splitlines()[0]})") from None


def _parquet_batch(batch: Any, start: int, needed: Fields, written: Mapping[str, Format]) -> Parsed:
    frame = batch.to_pandas()[[name for name, _ in needed]]
    places = np.arange(start, start + len(frame))
    checked, kept, wrong = checked_rows(frame, needed, written)
    return (
        checked,
        places[kept],
        [Rejected(int(places[row]), reason, frame.iloc[row].to_json()) for row, reason in wrong.items()],
    )
