"""Table columns as numbers, dates and texts, from any dtype of pandas: whole files, single rows, JSON records.

Training, `evaluate`, `predict` and a served model all read a column with `read_column`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.features import BOOLEAN, CATEGORY, DATE, NUMBER
from mlrun.data.readers.cells import ISO, Format, are_booleans, boolean, dates, number, numbers
from mlrun.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

# texts of missing values: those of pandas, and the question mark
MISSING = [
    "", "?", "NA", "N/A", "n/a", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None", "<NA>",
    "#N/A", "#N/A N/A", "#NA", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN",
]  # fmt: skip
LARGEST = float(np.finfo(np.float32).max)  # trees and networks work in float32
_EXPECTED = {NUMBER: "a number", BOOLEAN: "true or false", DATE: "a date"}
_ADJECTIVES = {NUMBER: "numeric", BOOLEAN: "boolean", DATE: "a date"}


def as_columns(
    frame: pd.DataFrame, columns: Sequence[tuple[str, str]], written: Mapping[str, Format] | None = None
) -> pd.DataFrame:
    """The named columns of a DataFrame, in the given order, missing values NaN or NaT.

    Args:
        frame: holds at least these columns.
        columns: (name, kind) each.
        written: column -> how its texts are written, see `readers.cells`.

    Returns:
        Numbers and booleans as numbers, dates as datetime64, categories as str objects.

    Raises:
        DataError: a column is absent, or holds a value that is not of its kind.
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
    read: dict[str, pd.Series] = {}
    for name, kind in columns:
        values, wrong = read_column(frame[name], kind, (written or {}).get(name, {}))
        if wrong.any():
            odd = frame[name].tolist()[int(np.flatnonzero(wrong)[0])]
            form = in_training(kind, (written or {}).get(name, {}))
            form = f" ({form})" if form else ""
            raise DataError(f"column {name!r}, which was {_ADJECTIVES[kind]} in training{form}, holds {odd!r} now")
        read[name] = values
    return pd.DataFrame(read, index=frame.index)


def read_column(column: pd.Series, kind: str, written: Format | None = None) -> tuple[pd.Series, np.ndarray]:
    """(values as `as_columns` returns them, (rows,) bool: rows whose value is not of this kind, and is NaN here)."""
    import pandas as pd

    written = written or {}
    nothing = np.zeros(len(column), dtype=bool)
    if kind == CATEGORY:
        return as_text(_mapped(column, _category)), nothing
    is_numeric = isinstance(column.dtype, np.dtype) and column.dtype.kind in "iuf"
    if kind == NUMBER and is_numeric or kind == DATE and pd.api.types.is_datetime64_dtype(column.dtype):
        return column, nothing
    column = cleaned(column)
    present = column.notna().to_numpy()
    some = column[present]
    if kind == DATE:
        read: Any = _as_dates(some, written.get("date", ISO))
        found = pd.Series(pd.NaT, index=column.index, dtype=read.dtype)
    else:
        read = _as_floats(some, kind, written)
        found = pd.Series(np.nan, index=column.index)
    found[present] = read
    wrong = nothing
    wrong[present] = pd.isna(read)
    return found, wrong


def expected(kind: str, written: Format) -> str | None:
    """What a value of a kind has to be, such as "a number"; None if every text can be one."""
    if kind not in _EXPECTED:
        return None
    form = in_training(kind, written)
    return f"{_EXPECTED[kind]} {form}, as in training" if form else _EXPECTED[kind]


def in_training(kind: str, written: Format) -> str:
    """How the training data wrote the values of a column; empty for plain numbers, booleans and ISO dates."""
    if kind == NUMBER and written.get("decimal", ".") != ".":
        return "with a decimal comma"
    return f"in the form {written['date']}" if kind == DATE and written.get("date", ISO) != ISO else ""


def as_numbers(column: pd.Series, written: Format | None = None) -> np.ndarray | None:
    """The values as float64, or None if one of them is not a number. Texts such as "1" in a Parquet file count as numbers."""
    if not len(column):
        return np.zeros(0)
    if column.dtype.kind in "biuf":
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    values = column.tolist()
    if written and all(isinstance(value, str) for value in values) and (found := numbers(values, written)) is not None:
        return found
    try:
        return np.array([_as_float(value, written or {}) for value in values], dtype=np.float64)
    except (ValueError, TypeError):
        return None


def _as_float(value: Any, written: Format) -> float:
    if isinstance(value, (bool, np.bool_)):
        return float(value)
    # through str, which makes an int of 400 digits infinite instead of raising
    return number(value, written) if isinstance(value, str) else float(str(value))


def _as_floats(present: pd.Series, kind: str, written: Format) -> np.ndarray:
    """The values as float64, NaN where a value is not of this kind."""
    if kind == NUMBER and (values := as_numbers(present, written)) is not None:
        return values
    values = np.full(len(present), np.nan)
    for row, value in enumerate(present):
        try:
            values[row] = boolean(value) if kind == BOOLEAN else _as_float(value, written)
        except (ValueError, TypeError):
            pass
    return values


def _as_dates(present: pd.Series, format: str) -> pd.Series:
    import pandas as pd

    if isinstance(present.dtype, pd.DatetimeTZDtype):
        return present.dt.tz_convert("UTC").dt.tz_localize(None)
    # dates of other types in their ISO form; the texts of a file as it writes them
    is_text = np.array([isinstance(value, str) for value in present], dtype=bool)
    found = pd.Series(pd.NaT, index=present.index, dtype="datetime64[us]")
    if is_text.any():
        texts = present[is_text].astype(str)
        read = dates(texts, format)
        other = read.isna() & (format != ISO)
        if other.any():  # a service sends dates in their ISO form
            read[other] = dates(texts[other], ISO)
        found[is_text] = read
    if not is_text.all():
        found[~is_text] = dates(present[~is_text].map(_iso).astype(str), ISO)
    return found


def _iso(value: Any) -> str:
    """The ISO form of a date; of a time of day on the day that `dates` gives it."""
    if not hasattr(value, "isoformat"):
        return ""
    return value.isoformat() if hasattr(value, "year") else f"1900-01-01T{value.isoformat()}"


def as_text(column: pd.Series) -> pd.Series:
    """Categories as str objects: 3 and 3.0 are "3"; missing values stay NaN."""
    from pandas.api import types

    values = column.astype(object).where(column.notna(), np.nan)
    if types.infer_dtype(values, skipna=True) == "string":
        return values
    return values.map(
        lambda value: str(int(value)) if isinstance(value, (float, np.floating)) and value.is_integer() else str(value),
        na_action="ignore",
    ).astype(object)


def cleaned(column: pd.Series) -> pd.Series:
    """Texts without white space around them, and NaN for those in MISSING; other values as they are."""
    return _mapped(column, _cleaned)


def _mapped(column: pd.Series, change: Callable[[Any], Any]) -> pd.Series:
    """A column, with the values that are no numbers or dates changed."""
    import pandas as pd

    if column.dtype.kind in "biufcmM":
        return column
    values = column.astype(object)
    if pd.api.types.infer_dtype(values, skipna=True) != "string":
        return values.map(change).astype(object)
    codes, texts = pd.factorize(values)  # most columns have few different texts
    different = np.array([*map(change, texts), np.nan], dtype=object)
    return pd.Series(different[codes], index=column.index, name=column.name)


def as_read(texts: pd.Series) -> pd.Series:
    """A column of texts as pandas reads it from a file: numbers, booleans, or texts if it holds others, or codes, see `are_codes`."""
    import pandas as pd

    present = texts.dropna()
    if not len(present) or are_codes(present):
        return texts
    if are_booleans(present):
        found = texts.map(lambda text: boolean(text) == 1, na_action="ignore")
        return found.astype(bool if len(present) == len(texts) else object)
    try:
        return pd.to_numeric(texts)
    except ValueError:
        return texts


def are_codes(texts: pd.Series) -> bool:
    """Whether a number would not be the same as one of the texts: "007", or more digits than a float has."""
    return bool(texts.str.fullmatch(r"[+-]?(0\d+|\d{16,})").any())


def _cleaned(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = value.strip()
    return np.nan if text in MISSING else text


def _category(value: Any) -> Any:
    """The category of a value: "3.0", as pandas writes whole numbers of a column with gaps, is "3"."""
    value = _cleaned(value)
    return value[:-2] if isinstance(value, str) and value.endswith(".0") and value[:-2].isdecimal() else value
