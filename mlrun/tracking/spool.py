"""The messages of a run to MLflow, kept in its directory until they have arrived.

`unsent.jsonl` holds the messages, `sent.txt` the numbers of those that have arrived. Nothing is lost when a server refuses, hangs or dies,
or when the process is killed: `mlrun sync`, or the run when it resumes, sends the rest.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import pickle
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mlrun.data.readers.trust import is_ours, sign
from mlrun.errors import UserError

UNSENT, SENT = "unsent.jsonl", "sent.txt"
log = logging.getLogger("mlrun")


class Spool:
    """Messages (number, method, arguments) of one run, in the order of sending."""

    def __init__(self, directory: Path | str):
        self.directory = Path(directory)
        self._lock = threading.Lock()
        self._next = 0
        self._broken = False

    @property
    def exists(self) -> bool:
        return (self.directory / UNSENT).exists()

    def append(self, method: str, arguments: tuple[Any, ...]) -> int:
        """Writes a message to disk and returns its number. A full disk does not end the training."""
        if method == "open":  # its first argument, the address, may contain a password
            arguments = ("", *arguments[1:])
        with self._lock:
            number, self._next = self._next, self._next + 1
            try:
                with open(self.directory / UNSENT, "a", encoding="utf-8") as file:
                    file.write(json.dumps(_encode(number, method, arguments)) + "\n")
            except OSError as error:
                if not self._broken:
                    log.warning("%s cannot be written: %s", self.directory / UNSENT, error)
                self._broken = True
            return number

    def sent(self, numbers: Iterable[int]) -> None:
        """Records that these messages have arrived."""
        with contextlib.suppress(OSError), open(self.directory / SENT, "a", encoding="utf-8") as file:
            file.write("".join(f"{number}\n" for number in numbers))

    def pending(self, trust: bool = False) -> list[tuple[int, str, tuple[Any, ...]]]:
        """The messages that have not arrived. Raises UserError for one that another user wrote, unless `trust` is true."""
        arrived = set(_lines(self.directory / SENT))
        found = []
        for line in _lines(self.directory / UNSENT):
            try:
                entry = json.loads(line)
            except ValueError:  # the process was killed while writing it
                continue
            if str(entry["number"]) not in arrived:
                found.append((entry["number"], entry["method"], _decode(entry, self.directory, trust)))
        return found

    def restart(self) -> list[tuple[str, tuple[Any, ...]]]:
        """Empties the spool. Returns what an earlier attempt could not deliver, except for the opening and closing of its run."""
        rest = (
            [(method, arguments) for _, method, arguments in self.pending() if method not in ("open", "close")]
            if self.exists
            else []
        )
        self.clear()
        return rest

    def clear(self) -> None:
        """Removes the files."""
        for name in (UNSENT, SENT):
            with contextlib.suppress(OSError):
                (self.directory / name).unlink()
        self._next = 0

    def size(self) -> int:
        """Bytes in `sent.txt`, which grows while messages arrive."""
        try:
            return os.path.getsize(self.directory / SENT)
        except OSError:
            return 0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []


def _encode(number: int, method: str, arguments: tuple[Any, ...]) -> dict[str, Any]:
    entry = {"number": number, "method": method}
    try:
        json.dumps(arguments)
        return {**entry, "arguments": arguments}
    except TypeError:  # a model's example is an array or a table
        content = pickle.dumps(arguments)
        return {**entry, "pickle": base64.b64encode(content).decode(), "signature": sign(content)}


def _decode(entry: dict[str, Any], directory: Path, trust: bool) -> tuple[Any, ...]:
    if "pickle" not in entry:
        return tuple(entry["arguments"])
    content = base64.b64decode(entry["pickle"])
    if not trust and not is_ours(content, entry["signature"]):
        raise UserError(
            f"{directory / UNSENT} was not written by you, and reading it can run code. If you trust its origin, add trust=true"
        )
    return pickle.loads(content)
