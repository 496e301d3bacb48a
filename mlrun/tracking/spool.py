"""What a run sends to MLflow, written down in its directory until it has arrived: `unsent.jsonl`, and `sent.txt` with the numbers of what has.

So a server that refuses, hangs or dies, or a process that is killed, loses nothing: `mlrun sync`, or the run when it is resumed, sends the rest.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import pickle
import threading
from pathlib import Path

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

    def append(self, method: str, arguments: tuple) -> int:
        """Writes a message down and numbers it. A disk that is full does not end the training."""
        if method == "open":  # the address may hold a password
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

    def sent(self, numbers) -> None:
        """Notes that these messages have arrived."""
        with contextlib.suppress(OSError), open(self.directory / SENT, "a", encoding="utf-8") as file:
            file.write("".join(f"{number}\n" for number in numbers))

    def pending(self, trust: bool = False) -> list[tuple[int, str, tuple]]:
        """What has not arrived. Raises UserError for a message that is not of this user's own making."""
        arrived = set(_lines(self.directory / SENT))
        found = []
        for line in _lines(self.directory / UNSENT):
            try:
                entry = json.loads(line)
            except ValueError:  # the process was killed while it wrote
                continue
            if str(entry["number"]) not in arrived:
                found.append((entry["number"], entry["method"], _decode(entry, self.directory, trust)))
        return found

    def begin_again(self) -> list[tuple[str, tuple]]:
        """Of an earlier attempt what has not arrived, without its beginning and end; the file begins anew."""
        rest = (
            [(method, arguments) for _, method, arguments in self.pending() if method not in ("open", "close")]
            if self.exists
            else []
        )
        self.clear()
        return rest

    def clear(self) -> None:
        for name in (UNSENT, SENT):
            with contextlib.suppress(OSError):
                (self.directory / name).unlink()
        self._next = 0

    def size(self) -> int:
        """Grows while messages arrive."""
        try:
            return os.path.getsize(self.directory / SENT)
        except OSError:
            return 0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []


def _encode(number: int, method: str, arguments: tuple) -> dict:
    entry = {"number": number, "method": method}
    try:
        json.dumps(arguments)
        return {**entry, "arguments": arguments}
    except TypeError:  # a model's example is an array or a table
        content = pickle.dumps(arguments)
        return {**entry, "pickle": base64.b64encode(content).decode(), "signature": sign(content)}


def _decode(entry: dict, directory: Path, trust: bool) -> tuple:
    if "pickle" not in entry:
        return tuple(entry["arguments"])
    content = base64.b64decode(entry["pickle"])
    if not trust and not is_ours(content, entry["signature"]):
        raise UserError(
            f"{directory / UNSENT} was not written by you, and reading it can run code. If you trust where it comes from, add trust=true"
        )
    return pickle.loads(content)
