"""The IDX format of the MNIST family: two zero bytes, a type code, the number of dimensions, the sizes as big-endian
32-bit integers, then the values (http://yann.lecun.com/exdb/mnist/). Only unsigned bytes (type 8) occur there."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from mlrun.errors import DataError

UNSIGNED_BYTE = 8


def read_idx(path: str | Path, dimensions: int | None = None) -> np.ndarray:
    """Reads a file, gzipped or not, into a read-only uint8 array.

    Args:
        path: the file.
        dimensions: 3 for images, 1 for labels; None: any.

    Raises:
        DataError: the file is not IDX, has another type, is truncated or damaged, or does not match its header.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if zipped else open(path, "rb") as file:
            head = file.read(4)
            if len(head) < 4 or head[:2] != b"\0\0":
                raise DataError(
                    f"{path}: not an IDX file (it starts with {head.hex(' ') or 'nothing'}, not with 00 00 08)"
                )
            if head[2] != UNSIGNED_BYTE:
                raise DataError(f"{path}: IDX type 0x{head[2]:02x} where unsigned bytes (0x08) are expected")
            if dimensions is not None and head[3] != dimensions:
                raise DataError(
                    f"{path}: magic number {int.from_bytes(head, 'big')}, expected {UNSIGNED_BYTE * 256 + dimensions}: "
                    f"{head[3]} dimensions instead of {dimensions}; were the image and the label file swapped?"
                )
            sizes = file.read(4 * head[3])
            if len(sizes) < 4 * head[3]:
                raise DataError(f"{path}: truncated in its header")
            shape = struct.unpack(f">{head[3]}I", sizes)
            expected = math.prod(shape)
            content = file.read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged or truncated gzip file ({error}); delete it and fetch it again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    if len(content) != expected:
        raise DataError(
            f"{path}: {len(content):,} bytes of values, but its header promises "
            f"{' x '.join(map(str, shape))} = {expected:,}; "
            f"delete it and fetch it again"
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def write_idx(path: str | Path, values: np.ndarray) -> None:
    """Writes a uint8 array, gzipped if the name ends in .gz."""
    path = Path(path)
    values = np.ascontiguousarray(values, dtype=np.uint8)
    with gzip.open(path, "wb") if path.suffix == ".gz" else open(path, "wb") as file:
        file.write(
            struct.pack(f">BBBB{values.ndim}I", 0, 0, UNSIGNED_BYTE, values.ndim, *values.shape) + values.tobytes()
        )
