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
import shlex
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mlrun.data.readers.trust import has_signature, with_signature
from mlrun.errors import UserError

UNSENT, SENT = "unsent.jsonl", "sent.txt"
SENDS_FILES = ("artifact", "model")
METHODS = (  # of the recorder
    "open", "params", "metrics", "tags", "dataset", "child", "end_child", "end_lost_child", "close", *SENDS_FILES,
)  # fmt: skip
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
                    file.write(json.dumps(with_signature(_encode(number, method, arguments))) + "\n")
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
        """The messages that have not arrived.

        Args:
            trust: also read messages that another user wrote, which can run code.

        Raises:
            UserError: for such a message without `trust`, a damaged one, and one that would send a file outside of the directory.
        """
        arrived = set(_lines(self.directory / SENT))
        found = []
        for number, line in enumerate(_lines(self.directory / UNSENT), 1):
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):  # the process was killed while writing it
                continue
            where = f"{self.directory / UNSENT}, line {number}"
            if not isinstance(entry, dict) or not (trust or has_signature(entry)):
                raise UserError(
                    f"{where}: not a message that you have written, and sending it can run code and send your files elsewhere. "
                    f"Remove the line; if you trust its origin: mlrun sync {shlex.quote(str(self.directory))} trust=true"
                )
            if str(entry.get("number")) not in arrived:
                found.append(self._decoded(entry, where))
        return found

    def _decoded(self, entry: dict[str, Any], where: str) -> tuple[int, str, tuple[Any, ...]]:
        """A message of a trusted line. Raises UserError."""
        try:
            number, method = entry["number"], entry["method"]
            content = entry["arguments"] if "arguments" in entry else pickle.loads(base64.b64decode(entry["pickle"]))
            arguments = tuple(content)
        except Exception as error:  # a damaged pickle raises anything
            raise UserError(f"{where}: damaged, remove the line: {' '.join(str(error).split())[:200]}") from None
        if not isinstance(number, int) or method not in METHODS:
            raise UserError(f"{where}: damaged, remove the line: there is no message of that kind")
        if method in SENDS_FILES and (not arguments or not self._holds(Path(str(arguments[0])))):
            raise UserError(f"{where}: {arguments[:1]} is not a file in the directory of the run; remove the line")
        return number, method, arguments

    def _holds(self, path: Path) -> bool:
        """Whether a file or directory, with all that is in it, lies in the directory of the run, or nowhere."""
        if not path.exists():
            return True
        root = self.directory.resolve()
        return all(file.resolve().is_relative_to(root) for file in (path, *path.rglob("*")))

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
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _encode(number: int, method: str, arguments: tuple[Any, ...]) -> dict[str, Any]:
    entry = {"number": number, "method": method}
    try:
        json.dumps(arguments)
        return {**entry, "arguments": arguments}
    except TypeError:  # a model's example is an array or a table
        return {**entry, "pickle": base64.b64encode(pickle.dumps(arguments)).decode()}
