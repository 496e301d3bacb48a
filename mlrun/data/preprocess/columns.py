"""Encoding of named table columns as a numeric matrix, for networks and estimators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.features import CATEGORY, DATE, NUMBER
from mlrun.data.preprocess.scaling import check_kind, deviation, nonzero
from mlrun.data.readers.columns import as_columns

if TYPE_CHECKING:
    import pandas as pd


DATE_PARTS = ("year", "month", "day", "weekday", "elapsed")
HOUR = "hour"


class ColumnEncoding:
    """Numbers and the parts of dates, with missing values replaced by the training median, and scaled; then each category one-hot;
    then, for each column with missing values in training, 1 where the value is missing.

    A missing category is replaced by the most frequent one; a category unseen in training is all zeros.

    Args:
        numeric: names of the columns of numbers and booleans. categorical: name -> sorted list of training categories.
        medians, shift, scale: one per numeric column, then one per part of a date. frequent: name -> most frequent category.
        gaps: names of the columns with missing values in training.
        dates: name -> its parts: year, month, day, weekday (0 is Monday), days elapsed since 1970, and the hour where times of day differ.
    """

    dates: dict[str, list[str]] = {}  # of an encoding that was stored without dates
    gaps: list[str] = []  # or without gaps

    def __init__(
        self,
        numeric: Sequence[str],
        categorical: Mapping[str, list[str]],
        medians: Any,
        shift: Any,
        scale: Any,
        frequent: Mapping[str, str],
        dates: Mapping[str, list[str]] | None = None,
        gaps: Sequence[str] = (),
    ):
        self.numeric, self.categorical, self.frequent = list(numeric), dict(categorical), dict(frequent)
        self.medians, self.shift, self.scale = (
            np.asarray(values, dtype=np.float64) for values in (medians, shift, scale)
        )
        self.dates = {name: list(parts) for name, parts in (dates or {}).items()}
        self.gaps = list(gaps)
        self.shape = [len(self.medians) + sum(map(len, self.categorical.values())) + len(self.gaps)]

    @classmethod
    def fit(
        cls,
        frame: pd.DataFrame,
        numeric: Sequence[str],
        categorical: Sequence[str],
        kind: str | None,
        dates: Sequence[str] = (),
    ) -> ColumnEncoding:
        """Learns moments and categories of the training rows. kind: of normalization, see `Scaling.fit`."""
        kind = check_kind(kind)
        parts = {name: date_parts(frame[name]) for name in dates}
        x = _numbers(frame, numeric, parts)
        medians = column_medians(x)
        x = np.where(np.isnan(x), medians, x)
        if kind == "none" or not len(x):
            shift, scale = np.zeros(x.shape[1]), np.ones(x.shape[1])
        elif kind == "unit":
            shift, scale = x.min(axis=0), x.max(axis=0) - x.min(axis=0)
        else:
            shift, scale = x.mean(axis=0), deviation(x)
        counts = {column: frame[column].value_counts() for column in categorical}
        return cls(
            numeric,
            {column: sorted(count.index.tolist()) for column, count in counts.items()},
            medians,
            shift,
            nonzero(scale),
            {column: min(count.index[count == count.max()].tolist(), default="") for column, count in counts.items()},
            parts,
            [name for name in (*numeric, *dates, *categorical) if frame[name].isna().any()],
        )

    def __call__(self, frame: pd.DataFrame, dtype: Any = np.float32) -> np.ndarray:
        """A frame with the training columns in any order -> (rows, columns). Raises DataError for absent columns and invalid numbers."""
        import pandas as pd

        kinds = [
            *((name, NUMBER) for name in self.numeric),
            *((name, DATE) for name in self.dates),
            *((name, CATEGORY) for name in self.categorical),
        ]
        frame = as_columns(frame, kinds)
        result = np.zeros((len(frame), *self.shape), dtype=dtype)
        x = _numbers(frame, self.numeric, self.dates)
        start = x.shape[1]
        result[:, :start] = (np.where(np.isnan(x), self.medians, x) - self.shift) / self.scale
        for column, categories in self.categorical.items():
            values = frame[column].where(frame[column].notna(), self.frequent[column]).to_numpy(dtype=object)
            codes = pd.Index(categories, dtype=object).get_indexer(values)
            seen = np.flatnonzero(codes >= 0)
            result[seen, start + codes[seen]] = 1.0
            start += len(categories)
        if self.gaps:
            result[:, start:] = frame[self.gaps].isna()
        return result

    @property
    def names(self) -> list[str]:
        """Names of the matrix's columns."""
        return [
            *self.numeric,
            *(f"{name}_{part}" for name, parts in self.dates.items() for part in parts),
            *(f"{name}_{one}" for name, categories in self.categorical.items() for one in categories),
            *(f"{name}_missing" for name in self.gaps),
        ]

    @property
    def state(self) -> dict[str, Any]:
        """Plain containers: the constructor's arguments."""
        return {
            "numeric": self.numeric,
            "categorical": self.categorical,
            "medians": self.medians.tolist(),
            "shift": self.shift.tolist(),
            "scale": self.scale.tolist(),
            "frequent": self.frequent,
            "dates": self.dates,
            "gaps": self.gaps,
        }


def _numbers(frame: pd.DataFrame, numeric: Sequence[str], dates: Mapping[str, list[str]]) -> np.ndarray:
    """(rows, columns) float64 of the numbers, then of the parts of dates; NaN where a value is missing."""
    x = frame[list(numeric)].to_numpy(dtype=np.float64, na_value=np.nan)
    if not dates:
        return x
    return np.column_stack([x, *(_part(frame[name], part) for name, parts in dates.items() for part in parts)])


def date_parts(column: pd.Series) -> list[str]:
    """The parts of a column of dates that a model gets; of times of day only the hour."""
    present = column.dropna()
    has_times = bool((present != present.dt.normalize()).any())
    if has_times and present.dt.normalize().nunique() == 1:
        return [HOUR]
    return [*DATE_PARTS, HOUR] if has_times else list(DATE_PARTS)


def _part(column: pd.Series, part: str) -> np.ndarray:
    import pandas as pd

    if part == "elapsed":
        values = (column - pd.Timestamp("1970-01-01")) / pd.Timedelta(days=1)
    elif part == HOUR:
        values = (column - column.dt.normalize()) / pd.Timedelta(hours=1)
    else:
        values = getattr(column.dt, "day_of_week" if part == "weekday" else part)
    return values.to_numpy(dtype=np.float64, na_value=np.nan)


def column_medians(x: np.ndarray) -> np.ndarray:
    """Median of each column, ignoring NaN; 0 for a column without values (like SimpleImputer's keep_empty_features)."""
    if not len(x):
        return np.zeros(x.shape[1])
    ordered = np.sort(x, axis=0)  # NaN come last
    count = np.count_nonzero(~np.isnan(x), axis=0)
    columns = np.arange(x.shape[1])
    low, high = ordered[np.maximum(count - 1, 0) // 2, columns], ordered[np.minimum(count // 2, len(x) - 1), columns]
    return np.where(count > 0, low + (high - low) / 2, 0.0)
