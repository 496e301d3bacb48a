"""A table of the user: `dataset=csv dataset.path=FILE dataset.target=COLUMN`, from CSV, TSV or Parquet."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.config.overrides import as_override
from mlrun.data.datasets.table_columns import (
    MANY,
    Columns,
    Rules,
    decimal_mark,
    describe_columns,
    longest,
    missing_values,
    not_numbers,
    number_format,
    texts_of,
)
from mlrun.data.features import BOOLEAN, CATEGORY, DATE, NUMBER, Feature, Label, Labels, Row, Value, Values
from mlrun.data.preprocess.columns import date_parts
from mlrun.data.readers.cells import GROUPING, MARKS, Format
from mlrun.data.readers.columns import LARGEST, are_codes, as_columns, as_numbers, as_read
from mlrun.data.readers.table import check_path, is_text_file, line_numbers, read_table, separator_of
from mlrun.data.row_data import ArrayData, Content, in_list
from mlrun.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

OTHER_MARK = {".": ",", ",": "."}  # thousands separator -> decimal mark of the same numbers
PLURALS = {NUMBER: "numbers", BOOLEAN: "booleans", DATE: "dates", CATEGORY: "categories"}


class CsvFile(ArrayData):
    """Columns `row` (a DataFrame, see `Row`) and `label`, `value` or, for several targets, `labels` or `values`.

    What each column holds is inferred from the file, see `table_columns`, unless a stored model says how it reads them (`follow`).

    Args:
        path: .csv, .tsv (or gzipped), .parquet.
        target: column to predict (default: the last); a list of columns: several labels if all are binary, else several values.
        drop: columns to leave out.
        categorical: columns to treat as categories even if they hold numbers, dates or many distinct texts.
        keep: columns to use even if they look like IDs.
        problem: "classification", "regression", or "auto": text, booleans and few distinct whole numbers are classes.
        dev_path: another file with the same columns, from the target distribution: val and test come from it, train from `path`.
        drop_missing_target: leave out the rows without a target instead of raising DataError.
        encoding, separator: format of the text file.
        decimal, thousands: marks of the numbers in texts; None: inferred from each column.
        date_format: of the dates in texts, as `strptime` takes it; None: inferred from each column.
        name, seed, options: see `ArrayData`; `normalize` applies to the numeric columns.
    """

    def __init__(
        self,
        path: str | Path | None,
        problem: str,
        name: str,
        seed: int,
        target: str | Sequence[str] | None = None,
        categorical: str | Sequence[str] = (),
        drop: str | Sequence[str] = (),
        keep: str | Sequence[str] = (),
        encoding: str = "utf-8",
        separator: str | None = None,
        decimal: str | None = None,
        thousands: str | None = None,
        date_format: str | None = None,
        dev_path: str | Path | None = None,
        drop_missing_target: bool = False,
        **options: Any,
    ):
        super().__init__(problem, name, seed, **options)
        if problem not in ("auto", "classification", "regression"):
            raise DataError(f"dataset.problem={problem}: choose auto, classification or regression")
        if decimal not in (None, *MARKS):
            raise DataError(f"dataset.decimal={decimal!r}: choose '.' or ',', or null to infer it")
        if thousands not in (None, "", *GROUPING) or thousands and thousands == decimal:
            marks = ", ".join(map(repr, GROUPING))
            raise DataError(f"dataset.thousands={thousands!r}: choose one of {marks}, '' for none, or null to infer it")
        self.path, self.dev_path = path, dev_path
        self.wanted = None if target is None else _names(target)
        self.categorical, self.drop, self.keep = _names(categorical), _names(drop), _names(keep)
        self.encoding, self.separator = encoding, separator
        self.decimal = decimal or (OTHER_MARK.get(thousands) if thousands else None)
        self.thousands, self.date_format = thousands, date_format
        self.drop_missing_target = drop_missing_target
        self.found = Columns()  # set by `prepare`
        self._learned: Row | None = None  # the columns of a stored model
        self._learned_formats: Mapping[str, Format] = {}  # of its targets
        self._kept: np.ndarray | None = None  # rows of the file that are used; None: all
        self._file_rows = 0
        self._first_rows: int | None = None  # those of `path`, if others of `dev_path` follow
        self._text_separator: str | None = None  # of a text file
        self._target_notes: list[str] = []
        self._gaps = ""  # which columns have missing values

    def follow(self, inputs: Mapping[str, Feature], targets: Mapping[str, Feature]) -> None:
        row, target = inputs.get("row"), next(iter(targets.values()), None)
        if isinstance(row, Row):
            self._learned = row
        if isinstance(target, (Label, Value)):
            self.wanted = self.wanted or [target.column]
            self.problem = "classification" if isinstance(target, Label) else "regression"
            if isinstance(target, Value) and target.written:
                self._learned_formats = {target.column: target.written}
        if isinstance(target, Values):
            self._learned_formats = target.formats or {}
        if isinstance(target, (Labels, Values)):
            self.wanted = self.wanted or list(target.classes if isinstance(target, Labels) else target.names)
            self.problem = "multi_label" if isinstance(target, Labels) else "regression"

    def read(self) -> Content:
        self.path = check_path(self.path)
        self.title = str(self.path)
        frame = self._table(self.path)
        if self.dev_path is None:
            return self.content_of(frame)
        first = self._first_rows = len(frame)
        frame = self._with_dev(frame)
        return self.content_of(frame, [(0, first, ("train", "train_dev")), (first, len(frame), ("val", "test"))])

    def _table(self, path: Path) -> pd.DataFrame:
        """The columns of a file. Columns whose texts matter, such as "007" or "1.234" in a file with decimal commas, are read as texts."""
        as_texts = self.categorical
        if self._learned is not None:
            as_texts = [name for name, kind in self._learned.kinds if kind != NUMBER or name in self._learned.written]
        frame = read_table(
            path, self.encoding, self.separator, texts=lambda names: [*as_texts, *(self.wanted or names[-1:])]
        )
        if not is_text_file(path):
            return frame
        for name in self.wanted or list(frame.columns[-1:]):
            if name in frame and name not in (*self.categorical, *self._learned_formats):
                frame[name] = as_read(frame[name])
        self._text_separator = separator_of(path, self.encoding, self.separator)
        self.decimal = self.decimal or decimal_mark(frame)
        if self.decimal == "," and self._learned is None:
            floats = [name for name, dtype in frame.dtypes.items() if dtype.kind == "f"]
            if floats:
                frame[floats] = read_table(path, self.encoding, self.separator, texts=lambda _: floats)[floats]
        return frame

    @property
    def _rules(self) -> Rules:
        return Rules(
            str(self.path),
            self._places,
            self.decimal,
            self.thousands,
            self.date_format,
            self.categorical,
            self.keep,
            self._text_separator,
        )

    def content_of(self, frame: pd.DataFrame, sources: list[tuple[int, int, tuple[str, ...]]] | None = None) -> Content:
        """A frame as `Content`, after determining the target, the problem and the kinds of the columns."""
        columns = list(frame.columns)
        targets = [columns[-1]] if self.wanted is None else self.wanted
        options = {"target": targets}
        if self._learned is None:  # a stored model needs its own columns only
            options |= {"drop": self.drop, "categorical": self.categorical, "keep": self.keep}
        for option, names in options.items():
            for name in names:
                if name not in columns:
                    raise self._no_column(name, columns, f" (dataset.{option})")
        for target in targets:
            if target in self.drop:
                raise DataError(
                    f"dataset.drop: {target!r} is the target" + ("; set dataset.target" if self.wanted is None else "")
                )
        frame, sources = self._with_target(frame, targets, sources)
        apart = {*targets, *self.drop}
        candidates = [column for column in columns if column not in apart]
        self.found = self._columns(frame[candidates], targets)
        y, feature = self._targets(frame, targets) if len(targets) > 1 else self._target(frame[targets[0]], targets[0])
        self.display_name = f"{Path(str(self.path)).name}: {', '.join(targets)}"
        self.left_out = frame[[column for column in columns if column not in self.found.kinds]]
        rows = as_columns(frame, list(self.found.kinds.items()), self.found.formats)
        self._check_range(rows)
        self._gaps = missing_values(rows)
        kinds = [[name, kind] for name, kind in self.found.kinds.items()]
        row = Row(kinds, self.encoding, self.separator, formats=self.found.formats)
        return Content(
            {"row": rows, feature.kind: y},
            {"row": row, feature.kind: feature},
            str(self.path),
            (feature.kind,),
            sources=sources,
        )

    def _columns(self, frame: pd.DataFrame, targets: Sequence[str]) -> Columns:
        """What the columns of the features hold, or how the stored model reads them."""
        predicted = ", ".join(map(repr, targets))
        if self._learned is not None:
            absent = [name for name in self._learned.names if name not in frame]
            if absent:
                raise DataError(
                    f"{self.path}: lacks the column{'s' * (len(absent) > 1)} {', '.join(absent[:10])} "
                    f"which the model was trained with"
                )
            return Columns(
                dict(map(tuple, self._learned.kinds)),  # type: ignore[arg-type]  # pairs
                {name: dict(written) for name, written in self._learned.written.items()},
            )
        found = describe_columns(frame, self._rules)
        if not found.kinds:
            reasons = "; ".join(f"{name!r} {why}" for name, why in found.left_out.items())
            hint = f"; to use it: {as_override('dataset.keep', list(found.left_out)[:1])}" if reasons else ""
            raise DataError(
                f"{self.path}: no columns are left to predict {predicted} from" + f" ({reasons}{hint})" * bool(reasons)
            )
        return found

    def _with_target(
        self, frame: pd.DataFrame, targets: Sequence[str], sources: list[tuple[int, int, tuple[str, ...]]] | None
    ) -> tuple[pd.DataFrame, list[tuple[int, int, tuple[str, ...]]] | None]:
        """The rows with a target, and the places of the sources among them. Raises DataError for the others unless they may be left out."""
        missing = frame[list(targets)].isna().any(axis=1).to_numpy()
        self._kept, self._file_rows = None, len(frame)
        if not missing.any():
            return frame, sources
        count = int(missing.sum())
        if not self.drop_missing_target:
            name = next(target for target in targets if frame[target].isna().any())
            raise DataError(
                f"{self.path}: the target {name!r} is missing in {count} row{'s' * (count > 1)} "
                f"({self._places(missing)}); fill them in, or leave these rows out with dataset.drop_missing_target=true"
            )
        if count == len(frame):
            raise DataError(f"{self.path}: the target {targets[0]!r} is missing in every row")
        self._kept = np.flatnonzero(~missing)
        if sources is not None:
            before = np.concatenate([[0], np.cumsum(~missing)])
            sources = [(int(before[first]), int(before[end]), parts) for first, end, parts in sources]
        return frame[~missing].reset_index(drop=True), sources

    def _with_dev(self, frame: pd.DataFrame) -> pd.DataFrame:
        import pandas as pd

        self.dev_path = check_path(self.dev_path)
        other = self._table(self.dev_path)
        absent = [name for name in frame.columns if name not in other and name not in self.drop]
        if absent:
            raise DataError(
                f"{self.dev_path}: lacks the column{'s' * (len(absent) > 1)} {', '.join(absent[:5])} of {self.path}"
            )
        return pd.concat([frame, other.reindex(columns=frame.columns)], ignore_index=True)

    def source_rows(self, rows: np.ndarray) -> np.ndarray:
        return rows if self._kept is None else self._kept[rows]

    def _no_column(self, name: str, columns: Sequence[str], option: str = "") -> DataError:
        near = get_close_matches(name, columns, 3, 0.5)
        shown = ", ".join(columns[:20]) + (f", ... ({len(columns)} columns)" if len(columns) > 20 else "")
        return DataError(
            f"{self.path}: no column {name!r}{option}"
            + (f"; did you mean {' or '.join(near)}" if near else "")
            + f"; columns: {shown}"
        )

    def _places(self, mask: np.ndarray) -> str:
        """Lines of the file, or of both, that hold the first rows of a mask."""
        rows = self.source_rows(np.flatnonzero(mask))
        count = len(rows) if self._first_rows is None else int(np.searchsorted(rows, self._first_rows))
        found = [line_numbers(self.path, rows[:count][:5], self.encoding, self.separator)] if count else []
        if count < min(5, len(rows)):
            others = rows[count:5] - (self._first_rows or 0)
            found.append(f"{line_numbers(self.dev_path, others, self.encoding, self.separator)} of {self.dev_path}")
        return " and ".join(found) + (", ..." if len(rows) > 5 else "")

    def _targets(self, frame: pd.DataFrame, names: Sequence[str]) -> tuple[np.ndarray, Feature]:
        """((rows, targets) bool of binary columns, or numbers of others, their feature), after determining `problem`. Raises DataError."""
        held = np.zeros((len(frame), len(names)))
        formats: dict[str, dict[str, str]] = {}
        for at, name in enumerate(names):
            written = self._target_format(frame[name])
            values = None if written is None else as_numbers(frame[name], written)
            if values is None or not (np.abs(values) <= LARGEST).all():
                raise DataError(
                    f"{self.path}: {name!r} is one of several targets, which must be numbers in every row: 0 and 1 (or true and false) in "
                    f"all of them for several labels, any numbers for several values"
                )
            held[:, at] = values
            if written:
                formats[name] = dict(written)
        if self.problem != "regression" and np.isin(held, (0.0, 1.0)).all():
            self.problem = "multi_label"
            return held.astype(bool), Labels(list(names))
        if self.problem == "classification":
            raise DataError(
                f"{self.path}: several targets of classes must hold 0 and 1 (or true and false) in every row"
            )
        self.problem = "regression"
        return held, Values(list(names), formats or None)

    def _target_format(self, column: pd.Series) -> Format | None:
        """How a target writes numbers, see `number_format`: as in training, if it can be read so."""
        learned = self._learned_formats.get(str(column.name))
        if learned and texts_of(column) is not None and as_numbers(column.dropna(), learned) is not None:
            return learned
        return number_format(column, self._rules)

    def _target(self, column: pd.Series, name: str) -> tuple[np.ndarray, Feature]:
        """(values or class indices, their feature), after determining `problem`."""
        import pandas as pd
        from pandas.api import types

        if types.is_datetime64_any_dtype(column.dtype):
            raise DataError(f"{self.path}: the target {name!r} holds dates; derive a number or a class from it first")
        if column.dtype == object and all(isinstance(value, (bool, np.bool_)) for value in column):
            column = column.astype(bool)  # there were gaps
        boolean = types.is_bool_dtype(column.dtype)
        written = None if boolean else self._target_format(column)
        values = None if written is None else as_numbers(column, written)
        if written and (texts := texts_of(column)) is not None:
            self._target_notes = [
                f"the target's numbers such as {longest(texts)} are read with decimal mark {written['decimal']!r}"
            ]
        whole = values is not None and bool((np.floor(values) == values).all() and np.isfinite(values).all())
        distinct = column.nunique()
        if self.problem == "auto":
            few = whole and (distinct <= 2 or distinct <= MANY and len(column) >= 5 * distinct)
            self.problem = "classification" if values is None or few else "regression"
        if self.problem == "regression":
            if boolean or values is None:
                raise DataError(
                    f"{self.path}: the target {name!r} holds "
                    f"{'booleans' if boolean else f'text ({column.iloc[0]}, ...)'}; regression needs numbers"
                )
            wrong = ~(np.abs(values) <= LARGEST)
            if wrong.any():
                raise DataError(
                    f"{self.path}: the target {name!r} is infinite or too large in {int(wrong.sum())} rows "
                    f"({self._places(wrong)})"
                )
        if distinct < 2 and len(column) > 1 and self._learned is None:
            raise DataError(
                f"{self.path}: the target {name!r} has one value only ({column.iloc[0]}): there is nothing to learn"
            )
        if self.problem == "regression":
            return values, Value(name, written=dict(written) if written else None)
        if values is None and not boolean:
            if distinct > MANY and distinct > len(column) / 2:
                texts = texts_of(column)
                if texts is not None and (wrong := not_numbers(texts, column, self._rules)):
                    raise DataError(
                        f"{self.path}: the target {name!r} holds numbers, but {wrong}; correct these values"
                    )
                raise DataError(
                    f"{self.path}: the target {name!r} has {distinct} different texts in {len(column)} rows, "
                    f"too many to be classes; choose another dataset.target"
                )
            column = column.astype(str)
        elif (texts := texts_of(column)) is not None and (name in self.categorical or are_codes(texts)):
            column = texts.astype(str)
        elif whole and np.abs(values).max() < 2**53:
            column = pd.Series(values.astype(np.int64))
        elif written:
            column = pd.Series(values)
        elif whole:  # more digits than a float holds: names, not numbers
            column = column.astype(str)
        labels, y = np.unique(column.to_numpy(), return_inverse=True)
        return y.astype(np.int64).reshape(-1), Label(labels.tolist(), column=name)

    def _check_range(self, frame: pd.DataFrame) -> None:
        """Raises DataError for numbers that are infinite or too large."""
        numeric = frame[[name for name, kind in self.found.kinds.items() if kind == NUMBER]]
        largest = np.maximum(numeric.max().to_numpy(float), -numeric.min().to_numpy(float))
        wrong = numeric.columns[largest > LARGEST]
        if len(wrong):
            mask = ~(numeric[wrong[0]].abs() <= LARGEST).to_numpy() & numeric[wrong[0]].notna().to_numpy()
            raise DataError(
                f"{self.path}: column {wrong[0]!r} is infinite or beyond {LARGEST:.1e} in {int(mask.sum())} rows "
                f"({self._places(mask)}); correct it or leave it out with {as_override('dataset.drop', [wrong[0]])}"
            )

    @property
    def summary(self) -> list[tuple[str, str]]:
        self.prepare()
        kinds = list(self.found.kinds.values())
        held = {kind: f"{kinds.count(kind)} {_plural(kind, kinds.count(kind))}" for kind in PLURALS if kind in kinds}
        if DATE in held:
            held[DATE] += f" ({self._date_features()})"
        lines = [("columns", ", ".join(held.values())), *super().summary]
        out = [f"{in_list(name)} ({why})" for name, why in self.found.left_out.items()]
        out += [f"{in_list(name)} (dataset.drop)" for name in self.drop]
        if self._kept is not None:
            count = self._file_rows - len(self._kept)
            out.append(f"{count:,} row{'s' * (count != 1)} without a target")
        if out:
            lines.append(("left out", ", ".join(out)))
        if self._gaps:
            lines.append(("missing", self._gaps))
        return lines + [("note", note) for note in (*self._target_notes, *self.found.notes)]

    def _date_features(self) -> str:
        """What models get of the dates: year, month, day, weekday, elapsed. By column if that differs."""
        rows = self.content.columns["row"].iloc[self.rows("train")]
        parts = {name: ", ".join(date_parts(rows[name])) for name, kind in self.found.kinds.items() if kind == DATE}
        if len(set(parts.values())) == 1:
            return next(iter(parts.values()))
        return "; ".join(f"{name}: {own}" for name, own in parts.items())

    def column(self, name: str) -> np.ndarray:
        self.prepare()
        if name in self.left_out:
            return self.left_out[name].to_numpy(dtype=object)
        names = self._row.names
        if name not in names:
            raise self._no_column(name, [*names, *self.left_out])
        return super().column(name)

    @property
    def _row(self) -> Row:
        row = self.features["row"]
        assert isinstance(row, Row)
        return row

    @property
    def source(self) -> str:
        return str(Path(self.content.source).absolute())

    @cached_property
    def digest(self) -> str:
        target = self.target
        targets = [target.column] if isinstance(target, (Label, Value)) else self.wanted or self.left_out.columns
        digest = hashlib.blake2b(f"{', '.join(targets)}\0{self._row.names}".encode(), digest_size=8)
        for path in filter(None, (self.path, self.dev_path)):
            with open(path, "rb") as file:
                for block in iter(lambda: file.read(2**20), b""):
                    digest.update(block)
        return digest.hexdigest()


def _names(names: str | int | Iterable[Any] | None) -> list[str]:
    return [str(names)] if isinstance(names, (str, int)) else [str(name) for name in names or ()]


def _plural(kind: str, count: int) -> str:
    return kind if count == 1 else PLURALS[kind]
