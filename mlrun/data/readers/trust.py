"""Trust in files that can run code: those written by this user's own `mlrun`, and those declared trusted.

Pickles, and descriptions of what to build, are signed (HMAC-SHA256) with a key that only this user can read. A file from elsewhere has
another signature or none.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import pickle
import secrets
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlrun.config.permitted import unknown_code
from mlrun.errors import UserError

SIGNATURE = ".signature"  # suffix of the file that holds the signature of another
ENTRY = "signature"  # of signed containers
LINE = "# signature: "  # the beginning of a signed text


def sign(content: bytes) -> str:
    """The signature of some bytes, in hexadecimal; empty if no key can be stored."""
    key = _key(create=True)
    return hmac.new(key, content, hashlib.sha256).hexdigest() if key else ""


def is_ours(content: bytes, signature: str) -> bool:
    """Whether this user's `mlrun` signed these bytes."""
    key = _key(create=False)
    if not key or not signature:
        return False
    own = hmac.new(key, content, hashlib.sha256).hexdigest()
    return hmac.compare_digest(own.encode(), signature.strip().encode(errors="replace"))


def with_signature(value: Mapping[str, Any]) -> dict[str, Any]:
    """Plain containers, as JSON holds them, with their signature as one more entry."""
    plain = json.loads(json.dumps(_unsigned(value)))
    return {**plain, ENTRY: sign(_canonical(plain))}


def has_signature(value: Mapping[str, Any]) -> bool:
    """Whether this user's `mlrun` wrote these containers, and nobody has changed them."""
    signature = value.get(ENTRY)
    return isinstance(signature, str) and is_ours(_canonical(value), signature)


def with_signature_line(text: str) -> str:
    """A YAML text with its signature in a comment before it."""
    return f"{LINE}{sign(text.encode())}\n{text}"


def has_signature_line(text: str) -> bool:
    """Whether this user's `mlrun` wrote this YAML text, and nobody has changed it."""
    line, _, rest = text.partition("\n")
    return line.startswith(LINE) and is_ours(rest.encode(), line.removeprefix(LINE))


def check_code(node: Any, where: Path | str, ours: bool, trust: bool) -> None:
    """Refuses a stored configuration or recipe of somebody else that would run code of its choice.

    Args:
        node: of which objects are built.
        where: its file.
        ours: whether this user wrote it.
        trust: the user's consent, given on the command line of the current call.

    Raises:
        UserError: with the code that it names.
    """
    if trust or ours:
        return
    names = unknown_code(node)
    if names:
        raise UserError(
            f"{where} was not written by you, and would run {', '.join(names[:10])}. Rejected. If you trust its source, add trust=true"
        )


def load_pickle(path: Path, trust: bool = False) -> Any:
    """The object in a signed or trusted pickle. Raises UserError."""
    content = path.read_bytes()
    signature = path.with_name(path.name + SIGNATURE)
    if not trust and not is_ours(content, signature.read_text() if signature.is_file() else ""):
        raise UserError(
            f"{path} is a pickle that you have not written yourself, and loading it can run code. Rejected. If you trust its source, add trust=true"
        )
    try:
        return pickle.loads(content)
    except (pickle.UnpicklingError, EOFError, ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from error


def write_pickle(value: Any, path: Path) -> None:
    """Writes a pickle and its signature."""
    content = pickle.dumps(value, protocol=5)
    path.write_bytes(content)
    path.with_name(path.name + SIGNATURE).write_text(sign(content), encoding="utf-8")


def _unsigned(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key != ENTRY}


def _canonical(value: Mapping[str, Any]) -> bytes:
    """The same bytes before the containers are written and after they are read."""
    return json.dumps(_unsigned(value), sort_keys=True).encode()


def _key(create: bool) -> bytes | None:
    for folder in _folders():
        try:
            return (folder / "key").read_bytes()
        except OSError:
            continue
    if not create:
        return None
    for folder in _folders():
        try:
            return _new_key(folder / "key")
        except OSError:
            continue
    return None


def _folders() -> list[Path]:
    """Folders for the key: the user's data folder or, without a writable home, a private temporary folder."""
    data = os.environ.get("XDG_DATA_HOME")
    try:
        first: Path | None = (Path(data) if data else Path.home() / ".local" / "share") / "mlrun"
    except RuntimeError:  # a user without a home
        first = None
    found = [first] if first else []
    if hasattr(os, "getuid"):
        other = Path(tempfile.gettempdir()) / f"mlrun-{os.getuid()}"
        try:
            other.mkdir(mode=0o700, exist_ok=True)
            status = other.lstat()
            if status.st_uid == os.getuid() and stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o077:
                found.append(other)
        except OSError:
            pass
    return found


def _new_key(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"key.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(secrets.token_bytes(32))
    try:
        os.link(temporary, path)  # fails if another process was first
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    return path.read_bytes()
