"""A table of the user: `dataset=csv dataset.path=FILE dataset.target=COLUMN`, from CSV, TSV or Parquet."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.features import CATEGORY, NUMBER, Feature, Label, Labels, Row, Value
from mlrun.data.module import ArrayData, Content
from mlrun.data.readers.columns import as_numbers, as_text
from mlrun.data.readers.table import check_path, line_numbers, read_table
from mlrun.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

MANY = 20  # distinct values beyond which whole numbers are a quantity, and texts may be names
LARGEST = float(np.finfo(np.float32).max)  # trees and networks work in float32

_MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_DATE = re.compile(
    rf"""\s*(\d{{4}}[-/.年]\s?\d{{1,2}}([-/.月]\s?\d{{1,2}}日?)?([T ].*)?
    | \d{{1,2}}[-/.]\d{{1,2}}[-/.]\d{{2,4}}([T ].*)?
    | ((mon|tue|wed|thu|fri|sat|sun)[a-z]*,?\s)?
      (\d{{1,2}}\.?[-\s]{_MONTH}[-\s,.]+\d{{2,4}} | {_MONTH}\.?\s\d{{1,2}},?\s\d{{4}})([T ,].*)?
    | \d{{1,2}}:\d{{2}}(:\d{{2}}(\.\d+)?)?)\s*""",
    re.VERBOSE | re.IGNORECASE,
)


class CsvFile(ArrayData):
    """Columns `row` (numeric and categorical columns as a DataFrame) and `label`, `value` or, for several targets, `labels`.

    In `row`, numeric columns keep the type in which they are read (int64, float64; booleans as 0.0 and 1.0), and text columns are objects;
    missing values are NaN. A trained model takes the raw columns, see `readers.columns.as_columns`.

    Args:
        path: .csv, .tsv (or gzipped), .parquet.
        target: column to predict (default: the last); a list of binary columns makes a multi-label target.
        drop: columns to leave out.
        categorical: columns to treat as categories even if they hold numbers, dates or many distinct texts.
        problem: "classification", "regression", or "auto": text, booleans and few distinct whole numbers are classes.
        dev_path: another file with the same columns, from the target distribution: val and test come from it, train from `path`.
        encoding, separator, decimal: format of the text file.
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
        encoding: str = "utf-8",
        separator: str | None = None,
        decimal: str = ".",
        dev_path: str | Path | None = None,
        **options: Any,
    ):
        super().__init__(problem, name, seed, **options)
        if problem not in ("auto", "classification", "regression"):
            raise DataError(f"dataset.problem={problem}: choose auto, classification or regression")
        self.path, self.dev_path = path, dev_path
        self.wanted = None if target is None else _names(target)
        self.categorical, self.drop = _names(categorical), _names(drop)
        self.encoding, self.separator, self.decimal = encoding, separator, decimal

    def read(self) -> Content:
        self.path = check_path(self.path)
        self.title = str(self.path)
        frame = read_table(self.path, self.encoding, self.separator, self.decimal)
        if self.dev_path is None:
            return self.content_of(frame)
        first = len(frame)
        frame = self._with_dev(frame)
        return self.content_of(frame, [(0, first, ("train", "train_dev")), (first, len(frame), ("val", "test"))])

    def content_of(self, frame: pd.DataFrame, sources: list[tuple[int, int, tuple[str, ...]]] | None = None) -> Content:
        """A frame as `Content`, after determining the target, the problem and the kinds of the columns."""
        columns = list(frame.columns)
        targets = [columns[-1]] if self.wanted is None else self.wanted
        for option, names in (("target", targets), ("drop", self.drop), ("categorical", self.categorical)):
            for name in names:
                if name not in columns:
                    raise self._no_column(name, columns, f" (dataset.{option})")
        for target in targets:
            if target in self.drop:
                raise DataError(
                    f"dataset.drop: {target!r} is the target" + ("; set dataset.target" if self.wanted is None else "")
                )
        apart = {*targets, *self.drop}
        features = [column for column in columns if column not in apart]
        if not features:
            raise DataError(f"{self.path}: no columns are left to predict {', '.join(map(repr, targets))} from")
        y, feature = self._targets(frame, targets) if len(targets) > 1 else self._target(frame[targets[0]], targets[0])
        self.left_out = frame[[column for column in columns if column in apart]]
        frame, categories = self._features(frame[features])
        categorical = set(categories)
        kinds = [[name, CATEGORY if name in categorical else NUMBER] for name in features]
        row = Row(kinds, self.encoding, self.separator, self.decimal)
        return Content(
            {"row": frame, feature.kind: y},
            {"row": row, feature.kind: feature},
            str(self.path),
            (feature.kind,),
            sources=sources,
        )

    def _with_dev(self, frame: pd.DataFrame) -> pd.DataFrame:
        import pandas as pd

        self.dev_path = check_path(self.dev_path)
        other = read_table(self.dev_path, self.encoding, self.separator, self.decimal)
        absent = [name for name in frame.columns if name not in other and name not in self.drop]
        if absent:
            raise DataError(
                f"{self.dev_path}: lacks the column{'s' * (len(absent) > 1)} {', '.join(absent[:5])} of {self.path}"
            )
        return pd.concat([frame, other.reindex(columns=frame.columns)], ignore_index=True)

    def _no_column(self, name: str, columns: Sequence[str], option: str = "") -> DataError:
        near = get_close_matches(name, columns, 3, 0.5)
        shown = ", ".join(columns[:20]) + (f", ... ({len(columns)} columns)" if len(columns) > 20 else "")
        return DataError(
            f"{self.path}: no column {name!r}{option}"
            + (f"; did you mean {' or '.join(near)}" if near else "")
            + f"; columns: {shown}"
        )

    def _places(self, mask: np.ndarray) -> str:
        """Lines of the file that hold the first rows of a mask."""
        rows = np.flatnonzero(mask)
        return line_numbers(self.path, rows[:5], self.encoding, self.separator) + (", ..." if len(rows) > 5 else "")

    def _targets(self, frame: pd.DataFrame, names: Sequence[str]) -> tuple[np.ndarray, Feature]:
        """(rows, classes) bool of several binary columns. Raises DataError."""
        held = np.zeros((len(frame), len(names)), dtype=bool)
        for at, name in enumerate(names):
            values = as_numbers(frame[name])
            if values is None or not np.isin(values, (0.0, 1.0)).all():
                raise DataError(
                    f"{self.path}: {name!r} is one of several targets, which must hold 0 and 1 (or true and false) in every row"
                )
            held[:, at] = values == 1
        return held, Labels(list(names))

    def _target(self, column: pd.Series, name: str) -> tuple[np.ndarray, Feature]:
        """(values or class indices, their feature), after determining `problem`."""
        import pandas as pd
        from pandas.api import types

        missing = column.isna().to_numpy()
        if missing.any():
            count = int(missing.sum())
            raise DataError(
                f"{self.path}: the target {name!r} is missing in {count} row{'s' * (count > 1)} "
                f"({self._places(missing)}); fill them in or remove the rows"
            )
        if types.is_datetime64_any_dtype(column.dtype):
            raise DataError(f"{self.path}: the target {name!r} holds dates; derive a number or a class from it first")
        boolean = types.is_bool_dtype(column.dtype)
        values = None if boolean else as_numbers(column)
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
        if distinct < 2 and len(column) > 1:
            raise DataError(
                f"{self.path}: the target {name!r} has one value only ({column.iloc[0]}): there is nothing to learn"
            )
        if self.problem == "regression":
            return values, Value(name)
        if values is None and not boolean:
            if distinct > MANY and distinct > len(column) / 2:
                raise DataError(
                    f"{self.path}: the target {name!r} has {distinct} different texts in {len(column)} rows, "
                    f"which are no classes; choose another dataset.target"
                )
            column = column.astype(str)
        elif whole and np.abs(values).max() < 2**53:
            column = pd.Series(values.astype(np.int64))
        elif whole:  # more digits than a float holds: names, not numbers
            column = column.astype(str)
        labels, y = np.unique(column.to_numpy(), return_inverse=True)
        return y.astype(np.int64).reshape(-1), Label(labels.tolist(), column=name)

    def _features(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
        """Numeric and object columns, and the names of the categorical ones."""
        import pandas as pd
        from pandas.api import types

        refused: dict[str, str] = {}
        changed: dict[str, Any] = {}
        categories: list[str] = []
        dates = False
        for name, dtype in frame.dtypes.items():
            forced = name in self.categorical
            if types.is_numeric_dtype(dtype) and not forced:
                if types.is_bool_dtype(dtype) or types.is_extension_array_dtype(dtype):
                    changed[name] = (
                        frame[name].astype("Float64" if types.is_extension_array_dtype(dtype) else float).astype(float)
                    )
                continue
            column = frame[name]
            present = column.dropna()
            values = None if forced else as_numbers(present)
            if values is not None:  # huge whole numbers, decimals, booleans with gaps
                changed[name] = pd.Series(np.nan, index=frame.index)
                changed[name].loc[present.index] = values
                continue
            kind, why = (None, None) if forced else _unusable(present)
            if kind is not None and why is not None:
                refused[name], dates = why, dates or kind == "dates"
            categories.append(name)
            changed[name] = as_text(column)
        if refused:
            names = list(refused)
            raise DataError(
                f"{self.path}: cannot use "
                + ", ".join(f"{name!r} ({why})" for name, why in list(refused.items())[:10])
                + f": leave {'it' if len(names) == 1 else 'them'} out with 'dataset.drop=[{','.join(names)}]'"
                + ("; from dates derive numbers first (year, month, weekday, days since)" if dates else "")
                + f"; to treat it as categories anyway: 'dataset.categorical=[{names[0]}]'"
            )
        if changed:
            frame = pd.DataFrame({name: changed.get(name, frame[name]) for name in frame.columns}, index=frame.index)
        categorical = set(categories)
        numeric = frame[[name for name in frame.columns if name not in categorical]]
        largest = np.maximum(numeric.max().to_numpy(float), -numeric.min().to_numpy(float))
        wrong = numeric.columns[largest > LARGEST]
        if len(wrong):
            mask = ~(numeric[wrong[0]].abs() <= LARGEST).to_numpy() & numeric[wrong[0]].notna().to_numpy()
            raise DataError(
                f"{self.path}: column {wrong[0]!r} is infinite or beyond {LARGEST:.1e} in {int(mask.sum())} rows "
                f"({self._places(mask)}); correct it or leave it out with dataset.drop"
            )
        return frame, categories

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
        targets = [target.column] if isinstance(target, (Label, Value)) else self.left_out.columns
        digest = hashlib.blake2b(f"{', '.join(targets)}\0{self._row.names}".encode(), digest_size=8)
        for path in filter(None, (self.path, self.dev_path)):
            with open(path, "rb") as file:
                for block in iter(lambda: file.read(2**20), b""):
                    digest.update(block)
        return digest.hexdigest()


def _names(names: str | int | Iterable[Any] | None) -> list[str]:
    return [str(names)] if isinstance(names, (str, int)) else [str(name) for name in names or ()]


def _unusable(present: pd.Series) -> tuple[str | None, str | None]:
    """(kind, reason) why a column that is not numeric cannot be categorical, or (None, None)."""
    from pandas.api import types

    first = present.iloc[0]
    if (
        types.is_datetime64_any_dtype(present.dtype)
        or types.is_timedelta64_dtype(present.dtype)
        or hasattr(first, "isoformat")
    ):
        return "dates", f"dates such as {first}"
    if isinstance(first, (list, dict, tuple, set, bytes, np.ndarray)):
        return "nested", f"values of type {type(first).__name__}"
    sample = present.iloc[np.unique(np.linspace(0, len(present) - 1, 200).astype(int))].astype(str)
    if np.mean([bool(_DATE.fullmatch(text)) for text in sample]) >= 0.9:
        return "dates", f"dates such as {first}"
    distinct = present.nunique()
    if distinct > MANY:
        numbers = [_is_number(text) for text in present.astype(str)]
        if np.mean(numbers) > 0.5:
            odd = present.iloc[int(np.argmin(numbers))]
            return "mixed", f"numbers, but {len(numbers) - sum(numbers)} of {len(numbers)} values not, such as {odd}"
        if np.mean([bool(re.fullmatch(r"\s*-?\d+,\d+\s*", text)) for text in sample]) > 0.9:
            return "decimal", f"decimal commas such as {first}; read them with 'dataset.decimal=\",\"'"
        if distinct > len(present) / 2:
            return "names", f"{distinct} different texts in {len(present)} rows, too many for categories"
    return None, None


def _is_number(text: str) -> bool:
    try:
        float(text)
        return True
    except ValueError:
        return False
