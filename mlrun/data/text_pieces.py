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
        """The text, whose lines end in line feeds. Raises DataError naming the line of invalid UTF-8 or of a zero byte."""
        if not isinstance(row, (int, np.integer)):
            return [self[int(one)] for one in np.arange(len(self))[row]]
        first = self._bounds[:-1][row]
        stop = self._bounds[1:][row]
        content = self.buffer[first:stop]
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self.title}, line {self._line(first + error.start)}: not UTF-8 ({error.reason}); convert it first, e.g. with iconv"
            ) from None
        if "\0" in text:
            raise DataError(
                f"{self.title}, line {self._line(first + content.index(0))}: holds a zero byte: it is not a text, or it is in UTF-16; "
                "convert it to UTF-8, e.g. with iconv"
            )
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def _line(self, byte: int) -> int:
        return self.buffer[:byte].count(b"\n") + 1

    def __iter__(self) -> Iterator[str]:
        return (self[row] for row in range(len(self)))


def character_boundary(buffer: Buffer, at: int) -> int:
    """The first byte from `at` on at which a character begins."""
    while at < len(buffer) and buffer[at] & 0xC0 == 0x80:
        at += 1
    return at
