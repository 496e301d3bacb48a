"""Which files may be loaded although loading them runs code: those that this user's own `mlrun` wrote, and what is declared trusted.

Pickles are signed (HMAC-SHA256) with a key that only this user can read. A stranger's file has another signature or none.
"""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

SIGNATURE = ".signature"  # beside the file


def sign(content: bytes) -> str:
    """The signature of some bytes, in hexadecimal; empty where no key can be kept."""
    key = _key(create=True)
    return hmac.new(key, content, hashlib.sha256).hexdigest() if key else ""


def is_ours(content: bytes, signature: str) -> bool:
    """Whether this user's `mlrun` has signed these bytes."""
    key = _key(create=False)
    return bool(key and signature) and hmac.compare_digest(hmac.new(key, content, hashlib.sha256).hexdigest(), signature.strip())


def _key(create: bool) -> "bytes | None":
    path = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "mlrun" / "key"
    try:
        return path.read_bytes()
    except OSError:
        if not create:
            return None
    try:
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
    except OSError:
        return None
