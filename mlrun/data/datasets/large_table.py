"""A table larger than memory: `dataset=large_table dataset.path=FILE dataset.target=COLUMN`, read block by block from Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.datasets.csv_file import CsvFile
from mlrun.data.datasets.table_columns import decimal_mark
from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Label, Row
from mlrun.data.module import DataModule
from mlrun.data.readers.columns import LARGEST, as_columns, as_numbers, as_read, cleaned
from mlrun.data.readers.row_groups import LARGEST_BLOCK, Blocks, converted, csv_pieces, parquet_pieces
from mlrun.data.readers.table import check_path, is_text_file, read_table, separator_of, with_clean_texts
from mlrun.data.row_data import Content
from mlrun.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from mlrun.data.batches import Batches
    from mlrun.data.preprocess.preprocessor import Preprocessor

SAMPLE_BLOCKS, SAMPLE_ROWS = 32, 4096  # rows of a block that are looked at before training
FIRST_ROWS = 50_000  # of a CSV file, from which the types of its columns are inferred


class LargeTable(CsvFile):
    """As `CsvFile`, but the rows stay in the file. The target and the division into parts are held in memory, a few bytes a row.

    What the columns hold, and what a preprocessor learns (moments, medians, categories), is determined from a sample of rows.

    Args:
        path: .parquet; .csv and .tsv files, and Parquet files with large row groups, are converted once.
        cache: directory of converted files; None: in the user's cache.
        buffer: training rows among which rows are shuffled, in addition to the order of the blocks.
        passes: over the training rows, of estimators with `partial_fit`.
        problem, name, seed, options: see `CsvFile`.
    """

    def __init__(
        self,
        path: str | Path | None,
        problem: str,
        name: str,
        seed: int,
        cache: str | Path | None = None,
        buffer: int = 2**18,
        passes: int = 1,
        **options: Any,
    ):
        super().__init__(path, problem, name, seed, **options)
        if self.wanted is not None and len(self.wanted) > 1:
            raise DataError(f"dataset.target={self.wanted}: dataset=large_table predicts one column")
        for key, value in (("buffer", buffer), ("passes", passes)):
            if not isinstance(value, int) or value < 1:
                raise DataError(f"dataset.{key}={value}: give a whole number of at least 1")
        self.cache, self.buffer, self.passes = cache, buffer, passes
        self._known: dict[str, Examples] = {}  # part -> its rows in memory

    def read(self) -> Content:
        self.path = check_path(self.path)
        self.title = str(self.path)
        self.blocks = Blocks(self._converted(self.path))
        sample = self._sample()
        content = self.content_of(sample)
        target = self.wanted[0] if self.wanted else self.blocks.names[-1]
        feature = content.features[content.targets[0]]
        y, feature = self._whole_target(target, feature)
        row = content.features["row"]
        assert isinstance(row, Row)
        rows = RowsOnDisk(self.blocks, row)
        return Content(
            {"row": rows, feature.kind: y}, {"row": row, feature.kind: feature}, str(self.path), (feature.kind,)
        )

    def _converted(self, path: Path) -> Path:
        folder = Path(self.cache).expanduser() if self.cache else _cache()
        if not is_text_file(path):
            blocks = Blocks(path)
            return (
                path if blocks.largest <= LARGEST_BLOCK else converted(path, folder, "", lambda: parquet_pieces(path))
            )
        separator = separator_of(path, self.encoding, self.separator)
        first = read_table(
            path,
            self.encoding,
            separator,
            texts=lambda names: [*self.categorical, *(self.wanted or names[-1:])],
            rows=FIRST_ROWS,
        )
        target = self.wanted[0] if self.wanted else first.columns[-1]
        if target in first and target not in self.categorical:
            first[target] = as_read(first[target])
        decimal = self.decimal or decimal_mark(first) or "."
        types = {name: _arrow_type(first[name]) for name in first}
        key = f"{self.encoding}\0{separator}\0{decimal}\0{sorted((name, str(kind)) for name, kind in types.items())}"
        return converted(path, folder, key, lambda: csv_pieces(path, self.encoding, separator, decimal, types))

    def _sample(self) -> pd.DataFrame:
        import pandas as pd

        random = np.random.default_rng(0)
        chosen = np.sort(random.permutation(self.blocks.count)[:SAMPLE_BLOCKS])
        parts = []  # of which each is cut before the next is read
        for block in chosen:
            rows = self.blocks.read(int(block))
            parts.append(rows.take(np.sort(random.permutation(len(rows))[:SAMPLE_ROWS])))
        sample = with_clean_texts(pd.concat(parts, ignore_index=True))
        target = self.wanted[0] if self.wanted else sample.columns[-1]
        return sample[sample[target].notna()] if self.drop_missing_target and target in sample else sample

    def _whole_target(self, name: str, feature: Feature) -> tuple[np.ndarray, Feature]:
        """(values or class indices of all rows, their feature), read without the other columns."""
        missing = np.zeros(len(self.blocks), dtype=bool)
        values = np.zeros(len(self.blocks), dtype=np.int32 if isinstance(feature, Label) else np.float32)
        places: dict[Any, int] = {}  # class -> index, in the order of their appearance
        kind = type(feature.classes[0]) if isinstance(feature, Label) else float
        for block in range(self.blocks.count):
            column, first = cleaned(self.blocks.read(block, [name])[name]), int(self.blocks.starts[block])
            gaps = column.isna().to_numpy()
            missing[first : first + len(column)] = gaps
            present = column[~gaps]
            if isinstance(feature, Label):
                read = _labels(present, kind)
                codes, found = read.factorize()
                index = np.array([places.setdefault(one, len(places)) for one in found.tolist()], dtype=np.int32)
                values[first : first + len(column)][~gaps] = index[codes] if len(codes) else 0
            else:
                numbers = as_numbers(present, self.found.formats.get(name, {}))
                if numbers is None or not (np.abs(numbers) <= LARGEST).all():
                    raise DataError(
                        f"{self.path}: the target {name!r} has values that are not numbers, in row {first:,} or later"
                    )
                values[first : first + len(column)][~gaps] = numbers
        self._leave_out(missing, name)
        if not isinstance(feature, Label):
            return values, feature
        classes = sorted(places)
        order = np.empty(len(places), dtype=np.min_scalar_type(len(places)))  # a byte a row, mostly
        order[[places[one] for one in classes]] = np.arange(len(classes))
        return order[values], Label(classes, column=name)

    def _places(self, mask: np.ndarray) -> str:
        return f"{int(mask.sum())} of {len(mask)} rows examined"

    def source_rows(self, rows: np.ndarray) -> np.ndarray:
        return rows  # those without a target keep their numbers

    def _leave_out(self, missing: np.ndarray, name: str) -> None:
        count = int(missing.sum())
        self._kept, self._file_rows = None, len(missing)
        if not count:
            return
        if not self.drop_missing_target:
            raise DataError(
                f"{self.path}: the target {name!r} is missing in {count:,} rows; leave these rows out with dataset.drop_missing_target=true"
            )
        if count == len(missing):
            raise DataError(f"{self.path}: the target {name!r} is missing in every row")
        self._kept = np.flatnonzero(~missing)

    def _split(self) -> dict[str, np.ndarray]:
        whole = self._content
        if self._kept is not None:  # the split knows only the rows with a target
            target = whole.targets[0]
            self._content = Content(
                {target: whole.columns[target][self._kept]}, whole.features, whole.source, whole.targets
            )
        parts = super()._split()
        self._content = whole
        kept = {part: rows if self._kept is None else self._kept[rows] for part, rows in parts.items()}
        smallest = np.int32 if len(self.blocks) < 2**31 else np.int64
        return {part: np.sort(rows).astype(smallest) for part, rows in kept.items()}  # a block's rows together

    def examples(self, part: str) -> Examples:
        found = super().examples(part)
        if part == "train" or not len(found) or len(found) * len(self._row.kinds) * 8 > self.resident_limit:
            return found
        if part not in self._known:  # they are asked for again and again, and lie all over the file
            names = list(found.columns)
            self._known[part] = Examples({name: found[name] for name in names}, found.features)
        return self._known[part]

    @property
    def examples_to_learn_from(self) -> Examples:
        rows, random = self.rows("train"), np.random.default_rng(self.seed % 2**63)
        ends = np.searchsorted(rows, self.blocks.starts)
        some = random.permutation(self.blocks.count)[:SAMPLE_BLOCKS]
        chosen = [ends[block] + random.permutation(ends[block + 1] - ends[block])[:SAMPLE_ROWS] for block in some]
        return super().examples("train").take(np.sort(np.concatenate(chosen)))

    def in_pieces(self, part: str) -> Iterator[Examples]:
        """All rows of a part, `passes` times, in pieces that fit in memory; blocks and rows are shuffled."""
        from mlrun.data.block_batches import BlockOrder

        examples, random = super().examples(part), np.random.default_rng(self.seed % 2**63)
        order = BlockOrder(self.rows(part), self.blocks.starts, self.buffer)
        for _ in range(self.passes):
            for segment in order.segments(random.permutation(order.blocks)):
                yield examples.take(segment.rows[random.permutation(len(segment))])

    def loader(
        self,
        part: str,
        preprocessor: Preprocessor,
        device: torch.device | str = "cpu",
        shuffle: bool = False,
        shard: tuple[int, int] = (0, 1),
    ) -> Batches | None:
        from mlrun.data.block_batches import BlockBatches, BlockOrder

        examples = self.examples(part)
        if not isinstance(examples.columns["row"], RowsOnDisk) or not len(examples):
            return super().loader(part, preprocessor, device, shuffle, shard)
        order = BlockOrder(self.rows(part), self.blocks.starts, self.buffer)

        def read(rows: np.ndarray) -> Mapping[str, Any]:
            return preprocessor.encode(examples.take(rows))

        return BlockBatches(read, order, self.batch_size, device, shuffle=shuffle, seed=self.seed, shard=shard)

    def with_parts(self, parts: Mapping[str, np.ndarray]) -> DataModule:  # type: ignore[override]
        raise DataError(
            f"{self.title}: cross-validation reads the rows of every fold anew, so it needs them in memory: "
            "use dataset=csv, or a single split of this table (dataset.split)"
        )

    def column(self, name: str) -> np.ndarray:
        raise DataError(
            f"{self.title}: dataset=large_table cannot provide the column {name!r} as a whole; use dataset=csv"
        )

    @cached_property
    def digest(self) -> str:
        self.prepare()
        return self.blocks.digest()


class RowsOnDisk:
    """The column `row` of a table on disk. `iloc[rows]` reads rows as a DataFrame, as pandas does; the latest block is kept."""

    def __init__(self, blocks: Blocks, row: Row):
        self.blocks, self.row = blocks, row
        self._latest: tuple[int, pd.DataFrame] | None = None

    def __len__(self) -> int:
        return len(self.blocks)

    @property
    def iloc(self) -> RowsOnDisk:
        return self

    def __getitem__(self, rows: Any) -> Any:
        import pandas as pd

        if isinstance(rows, (int, np.integer)):
            return self[np.array([rows])].iloc[0]
        rows = np.arange(len(self))[rows] if isinstance(rows, slice) else np.asarray(rows)
        order = np.argsort(rows, kind="stable")
        ascending = rows[order]
        ends = np.searchsorted(ascending, self.blocks.starts)
        parts = [
            self._block(block).take(ascending[start:end] - self.blocks.starts[block])
            for block, (start, end) in enumerate(zip(ends, ends[1:]))
            if end > start
        ]
        frame = pd.concat(parts, ignore_index=True) if parts else self._block(0).iloc[:0]
        if (order[1:] > order[:-1]).all():
            return frame
        back = np.empty(len(order), dtype=np.int64)
        back[order] = np.arange(len(order))
        return frame.take(back).reset_index(drop=True)

    def _block(self, block: int) -> pd.DataFrame:
        latest = self._latest
        if latest is not None and latest[0] == block:
            return latest[1]
        kinds = self.row.columns("row")
        frame = as_columns(self.blocks.read(block, [name for name, _ in kinds]), kinds, self.row.formats)
        numbers = frame.select_dtypes("number")
        wrong = [name for name in numbers if not numbers[name].abs().max() <= LARGEST and numbers[name].notna().any()]
        if wrong:
            raise DataError(
                f"{self.blocks.path}: column {wrong[0]!r} is infinite or beyond {LARGEST:.1e} in block {block}"
            )
        self._latest = (block, frame)
        return frame


def _labels(column: pd.Series, kind: type) -> pd.Series:
    """The values as `CsvFile` reads classes: texts, whole numbers or numbers."""
    if kind is str:
        return column.astype(str)
    values = as_numbers(column)
    if values is None or kind is int and not (np.floor(values) == values).all():
        raise DataError(
            f"the target {column.name!r} holds whole numbers in the first rows and other values later ({column.iloc[0]}, ...)"
        )
    import pandas as pd

    return pd.Series(values.astype(np.int64) if kind is int else values.astype(bool) if kind is bool else values)


def _arrow_type(column: pd.Series) -> Any:
    import pyarrow
    from pandas.api.types import infer_dtype

    if column.dtype.kind in "iuf":
        return pyarrow.float64()
    return pyarrow.bool_() if infer_dtype(column, skipna=True) == "boolean" else pyarrow.string()


def _cache() -> Path:
    from pooch import os_cache

    return Path(os_cache("mlrun")) / "tables"
