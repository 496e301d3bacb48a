"""What a process imports before it is forked for runs, and the threads of the libraries in such a process."""

from __future__ import annotations

import gc
import importlib
import os
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

COMMON = (
    "numpy",
    "mlrun.tracking.warm",
    "mlrun.report.figures",
    "mlrun.experiment.run",
    "PIL.PngImagePlugin",
    "threadpoolctl",
)
# Modules that libraries import late, in the middle of a run or of its recording.
LATE = (
    "PIL.BmpImagePlugin", "PIL.GifImagePlugin", "PIL.JpegImagePlugin", "PIL.PpmImagePlugin", "alembic.config", "antlr4.LL1Analyzer",
    "filelock", "omegaconf._impl", "rich.live", "rich.progress_bar", "rich.table", "safetensors.torch",
    "torch.utils.serialization.config",
)  # fmt: skip
_TARGET = re.compile(r"_target_: *([A-Za-z_][\w.]*)\.\w+")

# The loaded BLAS and OpenMP libraries. Finding them takes 20 ms, so the process that is forked does it once for all jobs.
_libraries: ThreadpoolController | None = None


def preload(modules: Iterable[str]) -> float:
    """Imports modules and prepares this process for being forked. What cannot be imported is left out: a run that needs it reports the error.

    Returns:
        The seconds that this took.
    """
    global _libraries
    start = time.perf_counter()
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception:
            continue
    from threadpoolctl import ThreadpoolController

    _libraries = ThreadpoolController()
    gc.collect()
    gc.freeze()  # otherwise a collection in a forked process would copy every shared page
    return time.perf_counter() - start


def limit_threads(threads: int) -> None:
    """Limits the threads of every numeric library in this process, and in those that it starts."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LOKY_MAX_CPU_COUNT"):
        os.environ[name] = str(threads)  # for libraries loaded later, and for processes that this one starts
    if "torch" in sys.modules:  # before any parallel region: later, OpenMP ignores it in a forked process
        sys.modules["torch"].set_num_threads(threads)
    if _libraries is not None:
        _libraries.limit(limits=threads)


def configured_modules(folder: Path) -> list[str]:
    """The modules of everything that the YAML files in a folder build."""
    found: set[str] = set()
    for path in sorted(folder.rglob("*.yaml")):
        found |= set(_TARGET.findall(path.read_text(encoding="utf-8", errors="replace")))
    return sorted(found)


def own_modules() -> list[str]:
    """All modules of mlrun."""
    from pkgutil import walk_packages

    import mlrun

    found = walk_packages(mlrun.__path__, "mlrun.", onerror=lambda name: None)
    return [module.name for module in found if not module.name.endswith("__main__")]
