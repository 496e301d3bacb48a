"""What the columns of a table hold: numbers, booleans, dates, categories, or nothing that a model can learn from."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mlrun.config.overrides import as_override
from mlrun.data.features import BOOLEAN, CATEGORY, DATE, NUMBER
from mlrun.data.readers.cells import (
    GROUPING,
    ISO,
    TIME,
    are_booleans,
    as_format,
    closest_number_format,
    date_format,
    dates,
    look_like_dates,
    number_formats,
)
from mlrun.data.readers.columns import as_numbers
from mlrun.data.row_data import in_list
from mlrun.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

LISTED_GAPS = 6  # most columns whose share of missing values the summary lists
MANY = 20  # distinct values beyond which whole numbers are a quantity, and texts may be names
# "unnamed: 0" is how pandas names the index of the rows that `DataFrame.to_csv` has written
_ID = re.compile(r"(.*[\W_])?(id|uuid|guid|idx|index|rowid|编号|序号)|unnamed: \d+", re.IGNORECASE)
_UNIT = re.compile(r"[€$£¥]\s?[+-]?\d[\d.,]*|[+-]?\d[\d.,]*\s?[€$£¥%]")
_CAMEL_ID = re.compile(r".*[a-z](Id|ID)")

Places = Callable[[np.ndarray], str]  # (rows,) bool -> where they are in the file


@dataclass
class Rules:
    """How a table is read, as the user has set it; None: inferred.

    Args:
        path: of the table, for messages.
        places: lines of some rows.
        decimal, thousands: marks of numbers.
        date_format: of dates, as strptime takes it.
        categorical: columns of categories, whatever they hold.
        keep: columns that are used although they look like IDs.
        separator: of the fields of a text file.
    """

    path: str
    places: Places
    decimal: str | None = None
    thousands: str | None = None
    date_format: str | None = None
    categorical: Sequence[str] = ()
    keep: Sequence[str] = ()
    separator: str | None = None


@dataclass
class Columns:
    """What was found.

    Args:
        kinds: column -> NUMBER | BOOLEAN | DATE | CATEGORY, in order.
        formats: column -> how its texts are written, where that is not plain.
        left_out: column -> why it is not used.
        notes: lines for the user about what was inferred.
    """

    kinds: dict[str, str] = field(default_factory=dict)
    formats: dict[str, dict[str, str]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def decimal_mark(frame: pd.DataFrame) -> str | None:
    """The decimal mark that the columns of texts reveal: "," for `27.466,90` or `3,5`; None if they do not, or contradict each other."""
    found: set[str] = set()
    for _, column in frame.items():
        if (texts := texts_of(column)) is not None:
            found |= _decisive({mark for mark, _ in number_formats(texts)})
    return found.pop() if len(found) == 1 else None


def _decisive(marks: set[str]) -> set[str]:
    return marks if len(marks) == 1 else set()


def texts_of(column: pd.Series) -> pd.Series | None:
    """The values that are not missing, if all of them are texts, else None."""
    if column.dtype.kind in "biufcmM":
        return None
    present = column.dropna()
    return present if len(present) and all(isinstance(value, str) for value in present) else None


def number_format(column: pd.Series, rules: Rules) -> dict[str, str] | None:
    """How a column of texts writes numbers; None if they are not all numbers, {} also for a column that holds no texts."""
    texts = texts_of(column)
    if texts is None:
        return {} if as_numbers(column.dropna()) is not None else None
    possible = number_formats(texts, rules.decimal, rules.thousands)
    if not possible:
        return {} if as_numbers(texts) is not None else None
    if (".", "") in possible and rules.decimal != ",":
        return {}
    # of "1,234" alone nobody can tell: the file's other columns decide, or what usually separates its fields
    usual = rules.decimal or ("," if rules.separator == ";" else ".")
    return as_format(*min(possible, key=lambda one: one[0] != usual))


def describe_columns(frame: pd.DataFrame, rules: Rules) -> Columns:
    """Determines what each column of a table of features holds.

    Raises:
        DataError: columns hold values that fit no kind, such as numbers with a typing error.
    """
    found = Columns()
    refused: dict[str, str] = {}
    for name, column in frame.items():
        if name in rules.categorical:
            found.kinds[name] = CATEGORY
            continue
        try:
            kind, written = _kind(str(name), column, rules, found)
        except _Refused as refusal:
            refused[str(name)] = str(refusal)
            continue
        if kind is None:
            continue
        found.kinds[name] = kind
        if written:
            found.formats[name] = written
    if refused:
        names = list(refused)
        raise DataError(
            f"{rules.path}: cannot use "
            + ", ".join(f"{name!r} ({why})" for name, why in list(refused.items())[:10])
            + f": correct the values, or leave the column{'s' * (len(names) > 1)} out with {as_override('dataset.drop', names)}; "
            + f"to treat it as categories anyway: {as_override('dataset.categorical', names[:1])}"
        )
    _note_formats(found, frame, rules)
    return found


class _Refused(Exception):
    """Why a column cannot be used."""


def _kind(name: str, column: pd.Series, rules: Rules, found: Columns) -> tuple[str | None, dict[str, str]]:
    """(kind, how its texts are written); the kind is None for a column that is left out. Raises _Refused."""
    from pandas.api import types

    present = column.dropna()
    if not len(present) and name not in rules.keep:
        found.left_out[name] = "no values"
        return None, {}
    if types.is_timedelta64_dtype(column.dtype):
        raise _Refused(f"durations such as {present.iloc[0]}")
    if types.is_datetime64_any_dtype(column.dtype):
        return DATE, {}
    if len(present) and hasattr(present.iloc[0], "isoformat"):
        return DATE, {} if hasattr(present.iloc[0], "year") else {"date": TIME}
    if types.is_bool_dtype(column.dtype) or len(present) and are_booleans(present):
        return BOOLEAN, {}
    if len(present) and isinstance(present.iloc[0], (list, dict, tuple, set, bytes, np.ndarray)):
        raise _Refused(f"values of type {type(present.iloc[0]).__name__}")
    written = number_format(column, rules)
    if written is not None:
        is_float = isinstance(column.dtype, np.dtype) and column.dtype.kind == "f"
        if _is_id_name(name) and not is_float and name not in rules.keep and _is_unique(column, present):
            found.left_out[name] = "looks like an ID: every value is unique"
            return None, {}
        return NUMBER, written or _of_the_file(rules)
    texts = present.astype(str)
    if look_like_dates(texts):
        return DATE, {"date": _date_format(texts, column, rules, found, name)}
    distinct = present.nunique()
    if name in rules.keep:
        return CATEGORY, {}
    if _is_id_name(name) and _is_unique(column, present):
        found.left_out[name] = "looks like an ID: every value is unique"
        return None, {}
    wrong = not_numbers(texts, column, rules)
    if wrong and distinct <= MANY:
        found.notes.append(f"{name!r} is read as categories: most values are numbers, but {wrong}")
    if distinct > MANY:
        if wrong:
            raise _Refused(f"numbers, but {wrong}")
        if distinct > len(present) / 2:
            if all(_UNIT.fullmatch(text) for text in texts):
                found.left_out[name] = f"numbers with a unit such as {texts.iloc[0]}; write them without it to use them"
            elif distinct == len(column):
                found.left_out[name] = "looks like an ID: every value is unique"
            else:
                found.left_out[name] = f"{distinct:,} different texts in {len(present):,} rows, too many for categories"
            return None, {}
    return CATEGORY, {}


def _of_the_file(rules: Rules) -> dict[str, str]:
    """How whole numbers are written in a text file with decimal commas: 1.234 is not a fraction there."""
    if rules.decimal != "," or rules.separator is None:
        return {}
    return as_format(",", "." if rules.thousands is None else rules.thousands)


def _is_id_name(name: str) -> bool:
    return bool(_ID.fullmatch(name.strip()) or _CAMEL_ID.fullmatch(name.strip()))


def _is_unique(column: pd.Series, present: pd.Series) -> bool:
    return len(present) == len(column) > 1 and present.is_unique


def not_numbers(texts: pd.Series, column: pd.Series, rules: Rules) -> str | None:
    """Of texts most of which are numbers, those that are not, in words; else None. texts: the present values of the column."""
    values = column[texts.index].tolist()
    are_texts = np.array([isinstance(value, str) for value in values])
    if are_texts.any() and {type(value) for value in values} & {int, float}:  # of two files, one writes plain numbers
        return _odd(texts, are_texts, column, rules)
    _, fits = closest_number_format(texts, rules.decimal, rules.thousands)
    return _odd(texts, ~fits, column, rules) if fits.mean() > 0.5 else None


def _odd(texts: pd.Series, odd: np.ndarray, column: pd.Series, rules: Rules) -> str:
    """The values that do not fit, with the first of them as the file writes it and its line."""
    row = texts.index[int(np.flatnonzero(odd)[0])]
    mask = np.asarray(column.index == row)
    return f"{int(odd.sum())} of {len(texts)} values are not, such as {texts[row]!r} in {rules.places(mask)}"


def _date_format(texts: pd.Series, column: pd.Series, rules: Rules, found: Columns, name: str) -> str:
    form, others = (rules.date_format, []) if rules.date_format else date_format(texts)
    if form is None:
        raise _Refused(
            f"dates such as {texts.iloc[0]}, in an unknown format; specify it: {as_override('dataset.date_format', '%d.%m.%Y')}"
        )
    wrong = dates(texts, form).isna().to_numpy()
    if wrong.any():
        raise _Refused(f"dates, but {_odd(texts, wrong, column, rules)}")
    if others:
        found.notes.append(
            f"dates of {name!r} such as {texts.iloc[0]} are read as {_in_words(form)}; "
            f"if that is wrong: {as_override('dataset.date_format', others[0])}"
        )
    return form


def _in_words(form: str) -> str:
    words = {"%d": "day", "%m": "month", "%Y": "year", "%y": "year", "%b": "month", "%B": "month"}
    return "ISO dates" if form == ISO else re.sub(r"%(\w)", lambda found: words.get(found[0], found[0]), form)


def _note_formats(found: Columns, frame: pd.DataFrame, rules: Rules) -> None:
    """Notes how numbers are read, with an example from the file."""
    by_format: dict[tuple[str, str], list[str]] = {}
    for name, written in found.formats.items():
        if "decimal" in written and texts_of(frame[name]) is not None:
            by_format.setdefault((written["decimal"], written["thousands"]), []).append(name)
    for (decimal, thousands), names in by_format.items():
        texts = texts_of(frame[names[0]])
        assert texts is not None
        marks = f"decimal mark {decimal!r}"
        if thousands and texts.str.contains(f"[{re.escape(GROUPING[thousands])}]").any():
            marks += f", thousands separator {thousands!r}"
        found.notes.append(
            f"numbers such as {longest(texts)} in {', '.join(map(repr, names[:5]))}{', ...' * (len(names) > 5)} are read with {marks}"
        )


def missing_values(frame: pd.DataFrame) -> str:
    """The columns with missing values, those with the most first, and what models get instead; empty if there are none."""
    shares = frame.isna().mean().sort_values(ascending=False, kind="stable")
    shares = shares[shares > 0]
    listed = [f"{in_list(name)} {share:.1%}" for name, share in shares.head(LISTED_GAPS).items()]
    if len(shares) > LISTED_GAPS:
        listed.append(f"{len(shares) - LISTED_GAPS} more columns")
    filled = "filled with the median or the most frequent category of train, and marked"
    return f"{', '.join(listed)} ({filled})" if listed else ""


def longest(texts: pd.Series) -> str:
    """The longest of the first texts, which shows most of their format."""
    return max(texts.iloc[:1000], key=len)
