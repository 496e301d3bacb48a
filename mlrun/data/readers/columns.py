"""Table columns as numbers and texts, from any dtype of pandas: whole files, single rows, JSON records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlrun.data.features import CATEGORY, NUMBER
from mlrun.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

MISSING = ["?"]  # in addition to those of pandas: "", NA, NaN, null, None ...


def as_columns(frame: pd.DataFrame, columns: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """The named columns of a DataFrame, in the given order: numbers and str objects, missing values NaN.

    Args:
        frame: holds at least these columns.
        columns: (name, NUMBER or CATEGORY) each.

    Raises:
        DataError: a column is absent, or a numeric column holds text.
    """
    import pandas as pd

    absent = [name for name, _ in columns if name not in frame]
    if absent:
        raise DataError(
            f"the data lack the column{'s' * (len(absent) > 1)} {', '.join(map(str, absent[:10]))} "
            f"which the model was trained with"
        )
    frame = frame[[name for name, _ in columns]]
    numeric = [isinstance(dtype, np.dtype) and dtype.kind in "iuf" for dtype in frame.dtypes]
    if all(ready and kind == NUMBER for ready, (_, kind) in zip(numeric, columns)):
        return frame  # rebuilding a frame of thousands of columns takes longer than most estimators
    return pd.DataFrame(
        {
            name: as_text(frame[name]) if kind == CATEGORY else frame[name] if ready else _as_floats(frame[name])
            for ready, (name, kind) in zip(numeric, columns)
        },
        index=frame.index,
    )


def as_numbers(column: pd.Series) -> np.ndarray | None:
    """The values as float64, or None if one of them is not a number. Texts such as "1" in a Parquet file count as numbers."""
    if not len(column):
        return np.zeros(0)
    if column.dtype.kind in "biuf":
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    try:  # through str, which makes an int of 400 digits infinite instead of raising
        values = [float(value if isinstance(value, (bool, np.bool_)) else str(value)) for value in column]
        return np.array(values, dtype=np.float64)
    except (ValueError, TypeError):
        return None


def as_text(column: pd.Series) -> pd.Series:
    """Categories as str objects: 3 and 3.0 are "3"; missing values stay NaN."""
    from pandas.api import types

    values = column.astype(object).where(_present(column), np.nan)
    if types.infer_dtype(values, skipna=True) == "string":
        return values
    return values.map(
        lambda value: str(int(value)) if isinstance(value, (float, np.floating)) and value.is_integer() else str(value),
        na_action="ignore",
    ).astype(object)


def _as_floats(column: pd.Series) -> pd.Series:
    import pandas as pd

    present = _present(column)
    values = as_numbers(column[present])
    if values is None:
        odd = next(value for value in column[present] if as_numbers(pd.Series([value], dtype=object)) is None)
        raise DataError(f"column {column.name!r}, which was numeric in training, holds {odd!r} now")
    result = pd.Series(np.nan, index=column.index)
    result[present] = values
    return result


def _present(column: pd.Series) -> np.ndarray:
    """(rows,) bool: whether there is a value."""
    present = column.notna().to_numpy()
    return present if column.dtype.kind in "biuf" else present & ~column.isin(MISSING).to_numpy()
