"""Which files may be loaded although loading them runs code: those that this user's own `mlrun` wrote, and what is declared trusted.

Pickles are signed (HMAC-SHA256) with a key that only this user can read. A stranger's file has another signature or none.
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

from mlrun.errors import UserError

SIGNATURE = ".signature"  # beside the file


def sign(content: bytes) -> str:
    """The signature of some bytes, in hexadecimal; empty where no key can be kept."""
    key = _key(create=True)
    return hmac.new(key, content, hashlib.sha256).hexdigest() if key else ""


def is_ours(content: bytes, signature: str) -> bool:
    """Whether this user's `mlrun` has signed these bytes."""
    key = _key(create=False)
    return bool(key and signature) and hmac.compare_digest(
        hmac.new(key, content, hashlib.sha256).hexdigest(), signature.strip()
    )


def load_tensors(path: Path | str, trust: bool = False):
    """What `torch.load` reads from a file: only tensors and plain containers, so that no file can run code; with `trust` anything.

    Raises UserError with the reason for a file that is refused or damaged.
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


def load_pickle(path: Path, trust: bool = False):
    """The object in a pickle that is signed, or trusted. Raises UserError."""
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


def write_pickle(value, path: Path) -> None:
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
    """Where the key may lie: with the user's data, or, where there is no home that can be written to, in a temporary folder of this user's own."""
    data = os.environ.get("XDG_DATA_HOME")
    try:
        first = (Path(data) if data else Path.home() / ".local" / "share") / "mlrun"
    except RuntimeError:  # a user without a home
        first = None
    found = [first] if first else []
    if hasattr(os, "getuid"):
        other = Path(tempfile.gettempdir()) / f"mlrun-{os.getuid()}"
        try:
            other.mkdir(mode=0o700, exist_ok=True)
            facts = other.lstat()
            if facts.st_uid == os.getuid() and stat.S_ISDIR(facts.st_mode) and not facts.st_mode & 0o077:
                found.append(other)
        except OSError:
            pass
    return found


def _new_key(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"key.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(secrets.token_bytes(32))
    try:
        os.link(beside, path)  # fails if another process was first
    except FileExistsError:
        pass
    finally:
        beside.unlink()
    return path.read_bytes()


def _sentence(error: Exception) -> str:
    """The first sentence of what a library said."""
    return " ".join(str(error).split()).partition(". ")[0][:200] or type(error).__name__
