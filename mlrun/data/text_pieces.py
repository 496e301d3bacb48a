"""A long text in pieces of a few MiB, only one of which is in memory at a time."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np

from mlrun.errors import DataError

PIECE = 2**22  # bytes of text that are decoded at once

Buffer = bytes | mmap.mmap


class TextPieces(Sequence[str]):
    """The column of a text stream: the text between two bytes of a buffer, one piece per row. Pieces end at line ends if possible.

    Args:
        buffer: the whole text in UTF-8.
        start, end: the first byte and the one after the last.
        title: name of the text in messages.
        identity: key of the text and its version, if results computed from it may be cached on disk.
    """

    def __init__(self, buffer: Buffer, start: int, end: int, title: str, identity: str | None = None):
        self.buffer, self.start, self.end, self.title, self.identity = buffer, start, end, title, identity
        bounds = [start]
        while bounds[-1] < end:
            stop = min(end, bounds[-1] + PIECE)
            if stop < end:
                line = buffer.rfind(b"\n", bounds[-1], stop)
                stop = line + 1 if line >= 0 else character_boundary(buffer, stop)
            bounds.append(stop)
        self._bounds = bounds

    def __len__(self) -> int:
        return len(self._bounds) - 1

    @overload
    def __getitem__(self, row: int) -> str: ...

    @overload
    def __getitem__(self, row: slice | np.ndarray) -> list[str]: ...

    def __getitem__(self, row: Any) -> str | list[str]:
        """Raises DataError naming the line of invalid UTF-8."""
        if not isinstance(row, (int, np.integer)):
            return [self[int(one)] for one in np.arange(len(self))[row]]
        first = self._bounds[:-1][row]
        stop = self._bounds[1:][row]
        try:
            return self.buffer[first:stop].decode("utf-8")
        except UnicodeDecodeError as error:
            line = self.buffer[: first + error.start].count(b"\n") + 1
            raise DataError(
                f"{self.title}, line {line}: not UTF-8 ({error.reason}); convert it first, e.g. with iconv"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return (self[row] for row in range(len(self)))


def character_boundary(buffer: Buffer, at: int) -> int:
    """The first byte from `at` on at which a character begins."""
    while at < len(buffer) and buffer[at] & 0xC0 == 0x80:
        at += 1
    return at
