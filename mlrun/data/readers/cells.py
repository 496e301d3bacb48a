"""Texts of table cells as numbers, booleans and dates, and the recognition of how a column writes them.

How the texts of a column are written is a plain dict, which a stored model keeps: `{"decimal": ",", "thousands": "."}` for "27.466,90",
`{"date": "%d.%m.%Y"}` for "31.01.2020", and `{}` for plain numbers such as "-1.5e3".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

Format = Mapping[str, str]

TRUE, FALSE = "true", "false"
MARKS = (",", ".")  # decimal marks
GROUPING = {
    ",": ",",
    ".": ".",
    " ": " \u00a0\u202f",
    "'": "'’",
}  # thousands separators: the characters that count as one
SAMPLE = 200  # values by which formats are ruled out before all values are compared

# (decimal mark, thousands separator), the preferred one first
NUMBER_FORMATS = ((".", ""), (",", "."), (".", ","), (",", ""), (".", " "), (",", " "), (".", "'"), (",", "'"))

ISO = "iso"  # 2020-01-31, 2020-01-31T12:30:00Z
TIME = "%H:%M:%S"
_DAYS = (
    "%d.%m.%Y", "%Y/%m/%d", "%Y.%m.%d", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%y", "%m/%d/%y", "%d/%m/%y",
    "%b %d %Y", "%b %d, %Y", "%B %d %Y", "%B %d, %Y", "%d %b %Y", "%d. %b %Y", "%d %B %Y", "%d. %B %Y", "%d-%b-%Y", "%d-%b-%y",
    "%a, %d %b %Y", "%Y年%m月%d日",
)  # fmt: skip
_TIMES = ("%H:%M", TIME, f"{TIME}.%f")
DATE_FORMATS = (ISO, *_DAYS, *(f"{day}{gap}{time}" for day in _DAYS for time in _TIMES for gap in " T"), *_TIMES)

_MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_DATE = re.compile(
    rf"""\s*(\d{{4}}[-/.年]\s?\d{{1,2}}([-/.月]\s?\d{{1,2}}日?)?([T ].*)?
    | \d{{1,2}}[-/.]\d{{1,2}}[-/.]\d{{2,4}}([T ].*)?
    | ((mon|tue|wed|thu|fri|sat|sun)[a-z]*,?\s)?
      (\d{{1,2}}\.?[-\s]{_MONTH}[-\s,.]+\d{{2,4}} | {_MONTH}\.?\s\d{{1,2}},?\s\d{{4}})([T ,].*)?
    | \d{{1,2}}:\d{{2}}(:\d{{2}}(\.\d+)?)?)\s*""",
    re.VERBOSE | re.IGNORECASE,
)


# --- numbers ---------------------------------------------------------------------------------------------------------


@lru_cache
def _number_pattern(decimal: str, thousands: str) -> re.Pattern[str]:
    whole = r"\d+"
    if thousands:
        whole = rf"(?:[1-9]\d{{0,2}}(?:[{re.escape(GROUPING[thousands])}]\d{{3}})+|\d+)"
    mark = re.escape(decimal)
    return re.compile(rf"\s*[+-]?(?:{whole}(?:{mark}\d*)?|{mark}\d+)(?:[eE][+-]?\d+)?\s*")


def number(text: str, written: Format) -> float:
    """The value of a text. Raises ValueError if it is not a number in this format."""
    decimal, thousands = written.get("decimal", "."), written.get("thousands", "")
    if (decimal, thousands) == (".", ""):
        return float(text)
    if not _number_pattern(decimal, thousands).fullmatch(text):
        raise ValueError(f"not a number: {text}")
    for character in GROUPING.get(thousands, ""):
        text = text.replace(character, "")
    return float(text.replace(decimal, "."))


def numbers(texts: Sequence[str], written: Format) -> np.ndarray | None:
    """The values of many texts, as `number` gives them one by one, or None if that has to be done: for a text that is not a number, or an unusual one."""
    import pyarrow
    from pyarrow import compute

    decimal, thousands = written.get("decimal", "."), written.get("thousands", "")
    try:
        column = pyarrow.array(texts, pyarrow.string())
        fits = compute.match_substring_regex(column, f"^(?:{_number_pattern(decimal, thousands).pattern})$")
        if not compute.all(fits).as_py():
            return None
        for character in GROUPING.get(thousands, ""):
            column = compute.replace_substring(column, character, "")
        column = compute.replace_substring(compute.utf8_trim_whitespace(column), decimal, ".")
        return compute.cast(column, pyarrow.float64()).to_numpy(zero_copy_only=False)
    except pyarrow.ArrowException:
        return None


def number_formats(texts: pd.Series, decimal: str | None = None, thousands: str | None = None) -> list[tuple[str, str]]:
    """The formats of NUMBER_FORMATS in which every text is a number.

    Args:
        texts: (values,) of str, without missing ones.
        decimal, thousands: the only ones that are considered, if given.
    """
    allowed = [
        (mark, group)
        for mark, group in NUMBER_FORMATS
        if decimal in (None, mark) and (thousands is None or group in ("", thousands)) and mark != thousands
    ]
    return [one for one in allowed if _all_match(texts, _number_pattern(*one))]


def closest_number_format(texts: pd.Series, decimal: str | None, thousands: str | None) -> tuple[Format, np.ndarray]:
    """(the format in which most texts are numbers, (values,) bool: which ones are)."""
    best: tuple[Format, np.ndarray] = ({}, np.zeros(len(texts), dtype=bool))
    for mark, group in NUMBER_FORMATS:
        if decimal in (None, mark) and (thousands is None or group in ("", thousands)) and mark != thousands:
            fits = texts.str.fullmatch(_number_pattern(mark, group)).to_numpy(dtype=bool)
            if fits.sum() > best[1].sum():
                best = (as_format(mark, group), fits)
    return best


def as_format(decimal: str, thousands: str) -> dict[str, str]:
    """The dict of a number format; empty for plain numbers."""
    return {} if (decimal, thousands) == (".", "") else {"decimal": decimal, "thousands": thousands}


def _all_match(texts: pd.Series, pattern: re.Pattern[str]) -> bool:
    for some in (texts.iloc[:SAMPLE], texts):
        if not all(pattern.fullmatch(text) for text in some):
            return False
    return True


# --- booleans --------------------------------------------------------------------------------------------------------


def boolean(value: object) -> float:
    """1.0 or 0.0 of a boolean, 1, 0, or the words true and false in any case. Raises ValueError for other values."""
    if isinstance(value, str):
        word = value.strip().lower()
        if word in (TRUE, FALSE):
            return float(word == TRUE)
    known = float(str(value)) if not isinstance(value, (bool, np.bool_)) else float(value)
    if known not in (0.0, 1.0):
        raise ValueError(f"neither true nor false: {value}")
    return known


def are_booleans(present: pd.Series) -> bool:
    """Whether all values are booleans or the words true and false."""
    return all(
        isinstance(value, (bool, np.bool_)) or isinstance(value, str) and value.strip().lower() in (TRUE, FALSE)
        for some in (present.iloc[:SAMPLE], present)
        for value in some
    )


# --- dates -----------------------------------------------------------------------------------------------------------


def dates(texts: pd.Series, format: str) -> pd.Series:
    """Dates without a time zone (UTC where the texts name one); NaT where a text is not a date in this format."""
    import pandas as pd

    form = "ISO8601" if format == ISO else format
    return pd.to_datetime(texts.str.strip(), format=form, errors="coerce", utc=True).dt.tz_localize(None)


def look_like_dates(texts: pd.Series) -> bool:
    """Whether nine of ten texts of a sample look like dates or times of day."""
    sample = texts.iloc[np.unique(np.linspace(0, len(texts) - 1, SAMPLE).astype(int))]
    return float(np.mean([bool(_DATE.fullmatch(text)) for text in sample])) >= 0.9


def date_format(texts: pd.Series) -> tuple[str | None, list[str]]:
    """(the format in which most texts are dates, other formats in which all of them are too); (None, []) if no format fits one half.

    Of several formats that fit equally, the first of DATE_FORMATS counts: in 01/02/2020 the month comes first.
    """
    sample = texts.iloc[np.unique(np.linspace(0, len(texts) - 1, SAMPLE).astype(int))]
    shares = {form: float(dates(sample, form).notna().mean()) for form in DATE_FORMATS}
    best = max(shares, key=lambda form: shares[form])
    if shares[best] < 0.5:
        return None, []
    full = [form for form, share in shares.items() if share == 1 and dates(texts, form).notna().all()]
    return (full[0], full[1:]) if full else (best, [])
