"""Predictions of a stored model for any number of rows, in constant memory; reading, inference and writing overlap."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Semaphore
from typing import Any

import numpy as np

from mlrun.data.predictions import Predictions
from mlrun.data.readers.row_pieces import Rejected
from mlrun.data.rows import Piece
from mlrun.data.spreadsheet import safe_cell, safe_table
from mlrun.errors import UserError
from mlrun.predictions.learner import Learner
from mlrun.report.console import drop_output

AHEAD = 2  # pieces in the queue, besides those that the threads work on
PRINTED = 5  # most rejected rows that are printed
REJECTED_HEADER = ("place", "reason", "row")
FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}


def predict_all(
    learner: Learner, reads: Iterator[Callable[[], Piece]], output: str, format: str, rejected: Path
) -> tuple[int, int]:
    """Writes `row` and the columns of the prediction for each valid row, and the other rows to `rejected`.

    `row` is the line of a text file, the row (from 1) of a Parquet file, or the name of an image. This thread splits the input and writes
    the output; others parse and predict.

    Args:
        learner: of a finished run.
        reads: from `read_rows`.
        output: a file, or "-" for stdout.
        format: csv | parquet | jsonl.
        rejected: file for the other rows; created if there are any.

    Returns:
        (rows predicted, rows rejected)
    """
    sink = Sink(output, format, rejected)
    pending: deque[Future[tuple[Piece, Predictions | None]]] = deque()
    try:
        with learner.sharing() as threads, ThreadPoolExecutor(threads + 1) as pool:
            turn = Semaphore(threads)

            def predict(read: Callable[[], Piece]) -> tuple[Piece, Predictions | None]:
                piece = read()
                with turn:
                    return piece, None if piece.examples is None else learner.predict(piece.examples)

            try:
                for read in reads:
                    pending.append(pool.submit(predict, read))
                    if len(pending) > threads + AHEAD:
                        sink.write(*pending.popleft().result())
                while pending:
                    sink.write(*pending.popleft().result())
            finally:
                for future in pending:
                    future.cancel()
        sink.finish()
    finally:
        sink.discard()
    return sink.rows, sink.refused


class Sink:
    """Writes to a file beside the output and renames it at the end, so that an incomplete file is never mistaken for the output."""

    def __init__(self, output: str, format: str, rejected: Path):
        self.output, self.format, self.rejected = output, format, rejected
        self.rows = self.refused = 0
        self._file: Any = None
        self._writer: Any = None  # for Parquet
        self._side: Any = None  # the file of rejected rows
        self._beside = None if output == "-" else Path(f"{output}.part")

    def write(self, piece: Piece, predictions: Predictions | None) -> None:
        """Writes a piece of the input with the predictions for its valid rows."""
        for one in piece.rejected:
            self._refuse(one)
        if predictions is None or not len(predictions):
            return
        with self._writes():
            if self.format == "jsonl" and predictions.is_nested:
                self._write_records(piece.places, predictions)
            else:
                import pyarrow

                columns = {"row": pyarrow.array(piece.places)}
                columns |= {name: pyarrow.array(_plain(values)) for name, values in predictions.columns().items()}
                self._write_table(pyarrow.table(columns))
        self.rows += len(predictions)

    def _write_records(self, places: Any, predictions: Predictions) -> None:
        """Nested predictions keep their structure in JSON lines."""
        if self._file is None:
            self._open(None)
        for place, row in zip(np.asarray(places).tolist(), predictions):
            self._file.write((json.dumps({"row": place, **row}, ensure_ascii=False) + "\n").encode())

    def _write_table(self, table: Any) -> None:
        if self._file is None:
            self._open(table)
        if self.format == "parquet":
            self._writer.write_table(table)
        elif self.format == "jsonl":
            self._file.write(_json_lines(table))
        else:
            from pyarrow.csv import WriteOptions, write_csv

            table = safe_table(_with_named_booleans(table))
            write_csv(table, self._file, WriteOptions(include_header=False, quoting_style=_quoting(table)))

    def _open(self, table: Any) -> None:
        if self._beside:
            self._beside.parent.mkdir(parents=True, exist_ok=True)
        self._file = sys.stdout.buffer if self._beside is None else open(self._beside, "wb")
        if self.format == "parquet":
            import pyarrow.parquet as parquet

            # float32 probabilities neither repeat nor compress; trying takes longer than inference
            self._writer = parquet.ParquetWriter(
                self._file, table.schema, use_dictionary=_repeated(table.schema), compression="none"
            )
        elif self.format == "csv":
            import io

            head = io.StringIO()
            csv.writer(head, lineterminator="\n").writerow(table.column_names)
            self._file.write(head.getvalue().encode())

    def _refuse(self, one: Rejected) -> None:
        with self._rejects():
            if self._side is None:
                self._side = open(self.rejected, "w", newline="", encoding="utf-8", errors="replace")
                csv.writer(self._side).writerow(REJECTED_HEADER)
            csv.writer(self._side).writerow(map(safe_cell, one))
        self.refused += 1
        if self.refused <= PRINTED:
            print(
                f"mlrun: {'line ' if isinstance(one.place, (int, np.integer)) else ''}{one.place}: {one.reason}",
                file=sys.stderr,
            )

    def finish(self) -> None:
        """Closes the files and renames the output into place."""
        with self._writes():
            if self._writer is not None:
                self._writer.close()
            if self._file is not None:
                self._file.flush()
            if self._beside is not None and self._file is not None:
                self._file.close()
                os.replace(self._beside, self.output)
        if self._side is not None:
            with self._rejects():
                self._side.close()
        else:
            self._forget_earlier()

    @contextlib.contextmanager
    def _writes(self) -> Iterator[None]:
        """Raises UserError where the output cannot be written, such as on a full disk; a closed pipe stays a BrokenPipeError."""
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            if self._beside is None:
                drop_output()
            place = "the output" if self._beside is None else self.output
            raise UserError(f"{place}: cannot be written ({error.strerror})") from None

    @contextlib.contextmanager
    def _rejects(self) -> Iterator[None]:
        """Raises UserError where the file of rejected rows cannot be written."""
        try:
            yield
        except OSError as error:
            raise UserError(
                f"{self.rejected}: cannot be written ({error.strerror}); rows that cannot be used go there, see --rejected"
            ) from None

    def _forget_earlier(self) -> None:
        """Removes the file of rejected rows of an earlier prediction, but no other file of that name."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            with open(self.rejected, encoding="utf-8") as file:
                ours = file.readline().strip() == ",".join(REJECTED_HEADER)
            if ours and self._beside is not None:
                self.rejected.unlink()

    def discard(self) -> None:
        """Removes an unfinished output."""
        if self._beside is not None:
            for file in (self._writer, self._file):
                with contextlib.suppress(OSError):  # of a full disk: closing writes what is left
                    if file is not None:
                        file.close()
            self._beside.unlink(missing_ok=True)


def _with_named_booleans(table: Any) -> Any:
    """A table with True and False as the columns of probabilities name them; pyarrow would write true and false."""
    import pyarrow
    from pyarrow import compute

    for at, column in enumerate(table.columns):
        if pyarrow.types.is_boolean(column.type):
            table = table.set_column(at, table.column_names[at], compute.if_else(column, "True", "False"))
    return table


def _json_lines(table: Any) -> bytes:
    """A table as one JSON object per line, numbers with all their digits; pandas would write ten decimals."""
    from pyarrow import compute

    parts: list[Any] = []
    for name, column in zip(table.column_names, table.columns):
        parts += [f"{',' if parts else '{'}{json.dumps(name, ensure_ascii=False)}:", _json_values(column)]
    return "".join(compute.binary_join_element_wise(*parts, "}\n", "").to_pylist()).encode()


def _json_values(column: Any) -> Any:
    """The values of a pyarrow column as JSON texts; null for those that are missing or not finite."""
    import pyarrow
    from pyarrow import compute

    if pyarrow.types.is_string(column.type):
        different = column.unique()
        texts = pyarrow.array([json.dumps(text, ensure_ascii=False) for text in different.to_pylist()])
        return compute.take(texts, compute.index_in(column, different))
    texts = compute.cast(column, pyarrow.string())
    if pyarrow.types.is_floating(column.type):
        texts = compute.if_else(compute.is_finite(column), texts, "null")
    return compute.fill_null(texts, "null")


def _plain(values: Any) -> Any:
    """Values as pyarrow takes them: objects in a list."""
    return values.tolist() if isinstance(values, np.ndarray) and values.dtype == object else values


def _quoting(table: Any) -> str:
    """How pyarrow has to quote a table's texts: "none" is the fastest style, but refuses a separator, quotation mark or line break.

    It refuses after it has written the rows before, so the style is chosen first.
    """
    import pyarrow
    from pyarrow import compute

    for column in table.columns:
        if (
            pyarrow.types.is_string(column.type)
            and compute.any(compute.match_substring_regex(column, '[,"\r\n]')).as_py()
        ):
            return "needed"
    return "none"


def _repeated(schema: Any) -> list[str] | bool:
    """Columns with few distinct values, for which a dictionary pays off."""
    shares = any(name.startswith("probability_") for name in schema.names)
    return ["prediction"] if shares and "prediction" in schema.names else False
