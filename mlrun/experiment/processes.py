"""The processes of a run: which of them records, and that none outlives the one that started it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping

# Variables through which torchrun, srun and Lightning give a process its rank. Workers of a Ray that srun started have them; jobs must not inherit them.
OF_LAUNCHERS = (
    "RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID",
    "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS", "SLURM_STEP_NUM_TASKS",
)  # fmt: skip


def die_with_parent(parent: int) -> None:
    """Asks the kernel to kill this process when its parent dies. Has no effect on systems other than Linux.

    Args:
        parent: process id of the parent, as the caller knows it.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # the parent died before the request took effect
        os._exit(1)


def knows_others(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process has been told its place among several; otherwise a training over several machines would wait for ever."""
    others = [name for name in OF_LAUNCHERS if not name.startswith("SLURM_")]  # a batch script has those, too
    return any(name in environment for name in others) or _is_slurm_task(environment)


def is_started_by_launcher(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether torchrun or srun has started this process as one of several of the same training."""
    return int(environment.get("WORLD_SIZE", 1)) > 1 and "RANK" in environment or _is_slurm_task(environment)


def is_follower(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is not the first process of a distributed training, the only one that records, evaluates and writes.

    With several machines, the local rank is not enough: every machine has a process with the local rank 0.
    """
    if "RANK" in environment:  # torchrun
        return int(environment["RANK"]) > 0
    if _is_slurm_task(environment):
        return int(environment["SLURM_PROCID"]) > 0
    # Lightning's own: it starts the further processes of a machine
    return any(int(environment.get(name, 0)) > 0 for name in ("NODE_RANK", "LOCAL_RANK"))


def _is_slurm_task(environment: Mapping[str, str]) -> bool:
    """Whether srun has started this process together with others. A batch script does not count."""
    return int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1 and "SLURM_PROCID" in environment
