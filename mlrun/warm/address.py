"""Where a warm server listens, for which callers, and for which version of the code. Imports nothing heavy: every command asks.

A command may run in a server only if it would import the same libraries in the same way. What decides that, and what a process cannot
change later, is hashed into the name of the server's socket.
"""

from __future__ import annotations

import hashlib
import json
import os
import site
import socket
import stat
import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import mlrun

PACKAGE = Path(mlrun.__file__).resolve().parent
LONGEST_ADDRESS = 100  # bytes; the kernel's limit is 108

# Variables that the interpreter, the C library and the packages read while they start or are imported.
_READ_EARLY = (
    "ATEN_", "BLIS_", "CUBLAS_", "CUDA_", "DNNL_", "GLIBC_", "GOMP_", "HF_", "HOME", "HYDRA_", "JOBLIB_", "KMP_", "LANG", "LC_", "LD_",
    "LOKY_", "MALLOC_", "MKL_", "MPL", "NCCL_", "NUMEXPR_", "NUMPY_", "NVIDIA_", "OMP_", "ONEDNN_", "OPENBLAS_", "PYTHON", "PYTORCH_",
    "SCIPY_", "SKLEARN_", "TMPDIR", "TOKENIZERS_", "TORCH", "TRANSFORMERS_", "TRITON_", "TZ", "VIRTUAL_ENV", "XDG_CACHE_", "XDG_CONFIG_",
)  # fmt: skip
_READ_LATE = {"CUDA_VISIBLE_DEVICES", "HYDRA_FULL_ERROR"}
# The job of a cluster's scheduler: its limits and its accounting are those of its own processes.
_JOBS = {"SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID"}


def folder(create: bool = False) -> Path | None:
    """The directory of this user's sockets, which nobody else can enter; None if there is none."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    path = Path(runtime) / "mlrun" if runtime else Path(tempfile.gettempdir()) / f"mlrun-{os.getuid()}"
    try:
        if create:
            path.mkdir(mode=0o700, exist_ok=True)
        status = path.lstat()
    except OSError:
        return None
    private = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077
    return path if private else None


def address(directory: Path) -> Path | None:
    """The socket of the server for commands like this process's; None if its path is too long."""
    path = directory / f"warm-{_key()}"
    return path if len(os.fsencode(path)) <= LONGEST_ADDRESS else None


def is_of_this_user(connection: socket.socket) -> bool:
    """Whether the process at the other end of a connection belongs to this user."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", credentials)[1] == os.getuid()


def _key() -> str:
    import resource

    environment = {
        name: value
        for name, value in os.environ.items()
        if name in _JOBS or name.startswith(_READ_EARLY) and name not in _READ_LATE
    }
    limits = [
        resource.getrlimit(getattr(resource, name)) for name in sorted(vars(resource)) if name.startswith("RLIMIT_")
    ]
    namespaces = [os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "net", "pid", "user")]
    facts = [
        sys.executable, sys.prefix, sys.version, list(sys.flags), sys.warnoptions, sys._xoptions, str(PACKAGE), shared_path(),
        sorted(environment.items()), limits, sorted(os.sched_getaffinity(0)), os.nice(0), os.getgid(), sorted(os.getgroups()), namespaces,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()[:20]


def shared_path() -> list[str]:
    """`sys.path` without the directories of the script and of the caller."""
    own = {"", os.getcwd(), os.path.dirname(os.path.abspath(sys.argv[0]))} - {str(PACKAGE.parent)}
    return list(dict.fromkeys(entry for entry in sys.path if entry not in own))


def fingerprint() -> str:
    """Changes with mlrun's code and configuration files, and when a package is installed, updated or removed."""
    from mlrun.config.compose import CONF

    places = [PACKAGE, PACKAGE.parent / "hydra_plugins", CONF]
    found = sorted(entry for place in places for entry in _files(place))
    installed = {*site.getsitepackages(), site.getusersitepackages()} | {
        path for path in sys.path if path.endswith(("site-packages", "dist-packages"))
    }
    folders = [(path, os.stat(path).st_mtime_ns) for path in sorted(installed) if os.path.isdir(path)]
    return hashlib.sha256(repr([found, folders, os.stat(sys.executable).st_mtime_ns]).encode()).hexdigest()


def _files(directory: Path | str) -> Iterator[tuple[str, int, int]]:
    """(path, size, time) of the files below a directory, without compiled ones."""
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return
    for entry in entries:
        if entry.is_dir():
            if entry.name != "__pycache__":
                yield from _files(entry.path)
        elif not entry.name.startswith("."):
            status = entry.stat()
            yield entry.path, status.st_size, status.st_mtime_ns
