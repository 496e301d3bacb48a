"""Text cells of CSV files that a spreadsheet would run as a formula: they are written with an apostrophe before them.

The environment variable MLRUN_CSV_FORMULAS=1 leaves them as they are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

FORMULA = r"^[=+\-@\t\r][\s\S]"  # a sign alone, such as the class "+", is none
NUMBER = r"^[+\-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+\-]?[0-9]+)?$"
_FORMULA, _NUMBER = re.compile(FORMULA), re.compile(NUMBER)
SWITCH = "MLRUN_CSV_FORMULAS"


def keeps_formulas() -> bool:
    """Whether the user wants texts as they are."""
    return os.environ.get(SWITCH) == "1"


def safe_cell(value: Any) -> Any:
    """A value of a CSV file; a text that a spreadsheet would run begins with an apostrophe."""
    if isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.match(value) and not keeps_formulas():
        return f"'{value}"
    return value


def safe_rows(rows: Iterable[Iterable[Any]]) -> list[list[Any]]:
    """`safe_cell` of all values."""
    return [[safe_cell(value) for value in row] for row in rows]


def safe_table(table: Any) -> Any:
    """`safe_cell` of all values of a pyarrow table."""
    if keeps_formulas():
        return table
    import pyarrow
    from pyarrow import compute

    for at, column in enumerate(table.columns):
        if not pyarrow.types.is_string(column.type):
            continue
        runs = compute.match_substring_regex(column, FORMULA)
        if compute.any(runs).as_py():
            runs = compute.and_not(runs, compute.match_substring_regex(column, NUMBER))
            marked = compute.binary_join_element_wise("'", column, "")
            table = table.set_column(at, table.column_names[at], compute.if_else(runs, marked, column))
    return table
