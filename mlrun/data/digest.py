"""Hashes of raw data."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from mlrun.data.readers.images import ImageFiles

ROWS = 1024  # images that are hashed at once


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


def image_digests(images: Any, value_range: float) -> list[bytes]:
    """A hash of each image. It is equal for the same pixels, in steps of 1/255 of white, whatever the type and range of the numbers.

    Args:
        images: (rows, channels, height, width); of a column on disk some rows at a time are read.
        value_range: the value of white.
    """
    found: list[bytes] = []
    for start in range(0, len(images), ROWS):
        pixels = np.rint(np.asarray(images[start : start + ROWS], dtype=np.float64) * (255 / value_range))
        found += [hashlib.blake2b(row.data, digest_size=16).digest() for row in pixels.astype(np.uint8)]
    return found
