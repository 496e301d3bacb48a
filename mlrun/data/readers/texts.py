"""Text files of the user, read as a whole: encodings, byte-order marks, line ends."""

from __future__ import annotations

from pathlib import Path

from mlrun.errors import DataError


def read_text(path: Path, encoding: str | None = None, otherwise: str | None = None) -> str:
    """The content of a text file without a byte-order mark; its lines end in line feeds.

    Args:
        path: the file.
        encoding: None: UTF-8.
        otherwise: encoding of a file that is not in the first one; None: such a file is an error.

    Raises:
        DataError: the file cannot be read, is not in that encoding, or holds zero bytes, as UTF-16 and files other than texts do.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    return decoded(content, path, encoding, otherwise).replace("\r\n", "\n").replace("\r", "\n")


def decoded(content: bytes, path: Path, encoding: str | None = None, otherwise: str | None = None) -> str:
    """The text of a file's content without a byte-order mark. Arguments, and Raises, as in `read_text`."""
    try:
        text = content.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        if b"\0" in content:
            raise _not_a_text(path) from None
        if otherwise is None:
            line = content.count(b"\n", 0, error.start) + 1
            name = (encoding or "utf-8").upper()
            raise DataError(f"{path}, line {line}: not {name} text ({error.reason}); convert it first") from None
        text = content.decode(otherwise)
    except LookupError:
        raise DataError(f"dataset.encoding={encoding}: there is no such encoding") from None
    if "\0" in text:
        raise _not_a_text(path)
    return text.removeprefix("\ufeff")


def _not_a_text(path: Path) -> DataError:
    return DataError(f"{path}: holds zero bytes: it is not a text, or it is in UTF-16; convert it to UTF-8")
