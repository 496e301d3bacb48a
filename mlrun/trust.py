"""Which files may be loaded although loading them runs code: those that this user's own `mlrun` wrote, and what is declared trusted.

Pickles are signed (HMAC-SHA256) with a key that only this user can read. A stranger's file has another signature or none.
"""

import hashlib
import hmac
import os
import pickle
import secrets
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
    return bool(key and signature) and hmac.compare_digest(hmac.new(key, content, hashlib.sha256).hexdigest(), signature.strip())


def load_tensors(path: "Path | str", trust: bool = False):
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
            what = f"not a whole checkpoint: {text[:200]}"
        raise UserError(f"{path}: {what}") from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, ImportError) as error:
        raise UserError(f"{path} is not a whole checkpoint: {' '.join(str(error).split())[:200] or type(error).__name__}") from None


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
