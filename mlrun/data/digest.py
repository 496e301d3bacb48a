"""Hashes of raw data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mlrun.data.readers.images import ImageFiles


def add_to_digest(digest: Any, column: Any) -> None:
    """Hashes the values of a column: arrays by dtype, shape and bytes, files by their bytes, texts and nested values by their text."""
    if isinstance(column, ImageFiles):
        for path in column.paths:
            digest.update(Path(path).read_bytes())
        return
    if isinstance(column, np.ndarray) and column.dtype != object:
        digest.update(f"{column.dtype.str}{column.shape}".encode())
        digest.update(np.ascontiguousarray(column).data)
        return
    if hasattr(column, "iloc"):
        column = column.itertuples(index=False)
    for value in column:
        if isinstance(value, dict):
            for name, part in value.items():
                digest.update(str(name).encode())
                add_to_digest(digest, np.asarray(part))
        elif isinstance(value, np.ndarray):
            add_to_digest(digest, value)
        else:
            digest.update(str(value).encode("utf-8", "surrogatepass") + b"\0")
