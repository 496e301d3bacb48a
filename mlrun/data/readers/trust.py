"""Trust in files whose loading can run code: those written by this user's own `mlrun`, and those declared trusted.

Pickles are signed (HMAC-SHA256) with a key that only this user can read. A file from elsewhere has another signature or none.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import pickle
import secrets
import stat
import tempfile
from pathlib import Path
from typing import Any

from mlrun.errors import UserError

SIGNATURE = ".signature"  # suffix of the file that holds the signature of another


def sign(content: bytes) -> str:
    """The signature of some bytes, in hexadecimal; empty if no key can be stored."""
    key = _key(create=True)
    return hmac.new(key, content, hashlib.sha256).hexdigest() if key else ""


def is_ours(content: bytes, signature: str) -> bool:
    """Whether this user's `mlrun` signed these bytes."""
    key = _key(create=False)
    return bool(key and signature) and hmac.compare_digest(
        hmac.new(key, content, hashlib.sha256).hexdigest(), signature.strip()
    )


def load_tensors(path: Path | str, trust: bool = False) -> Any:
    """Calls `torch.load`, restricted to tensors and plain containers so that no file can run code; `trust` lifts the restriction.

    Raises UserError with the reason for a refused or damaged file.
    """
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=not trust)
    except pickle.UnpicklingError as error:
        text = " ".join(str(error).split())
        if "Unsupported" in text or "GLOBAL" in text or "weights_only" in text and "invalid load key" not in text:
            what = "it holds Python objects, which run code when they are loaded. Refused; if you trust where it comes from, add trust=true"
        else:
            what = f"not a whole checkpoint: {_sentence(error)}"
        raise UserError(f"{path}: {what}") from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, ImportError) as error:
        raise UserError(f"{path} is not a whole checkpoint: {_sentence(error)}") from None


def load_pickle(path: Path, trust: bool = False) -> Any:
    """The object in a signed or trusted pickle. Raises UserError."""
    content = path.read_bytes()
    signature = path.with_name(path.name + SIGNATURE)
    if not trust and not is_ours(content, signature.read_text() if signature.is_file() else ""):
        raise UserError(
            f"{path} is a pickle that you have not written yourself, and loading it can run code. Refused; if you trust where it comes from, add trust=true"
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


def _sentence(error: Exception) -> str:
    """The first sentence of a library's message."""
    return " ".join(str(error).split()).partition(". ")[0][:200] or type(error).__name__
