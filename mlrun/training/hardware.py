"""How a training uses the machine: threads, memory, and the order of values in it."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Literal

import torch

# Multiply-adds of a batch's forward pass. Measured on two cores: 13 M are faster on one thread, 480 M on two.
SMALL_STEP = 50_000_000
# At least this many rows or input values: what lies between the layers then stays in the caches.
CPU_ROWS, CPU_VALUES = 16, 2**17
GPU_VALUES = 2**22
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def keep_freed_memory() -> None:
    """Has glibc keep freed memory for this process.

    Every step allocates and frees tensors of megabytes. By default glibc returns their pages to the kernel, which clears them
    anew each time: a fifth of a small ResNet's step on the CPU.
    """
    with suppress(OSError, AttributeError):  # another C library
        library = ctypes.CDLL(None)
        for option in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            library.mallopt(option, 2**30)


def lay_out_channels(task: torch.nn.Module) -> None:
    """Stores the channels of a pixel side by side in every convolution.

    On the CPU, with one thread, images run 1.1 to 1.4 times as fast (eight networks), volumes 1.5 times. A network in which oneDNN
    cannot compute a convolution in this layout keeps torch's own.
    """
    if any(_overruns_in_onednn(module) for module in task.modules()):
        return
    for module in task.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's annotations
        elif isinstance(module, (torch.nn.Conv3d, torch.nn.ConvTranspose3d)):
            module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def _overruns_in_onednn(module: torch.nn.Module) -> bool:
    """Whether the gradient of this convolution's input writes past its memory on processors with AVX2 but without AVX-512.

    Seen with torch 2.13 (kernel brgconv_strided:avx2) for a 1x1 kernel of stride 2 on fewer than eight channels, the vector's width:
    the process ends with "corrupted double-linked list".
    """
    return (
        isinstance(module, torch.nn.Conv2d)
        and module.kernel_size == (1, 1)
        and module.stride != (1, 1)
        and module.in_channels < 8
    )


def threads_for(wanted: int | Literal["auto"], work: int, given: int) -> int:
    """Threads of the CPU's kernels. Dividing a small step costs more than it saves, above all on a busy machine.

    Args:
        wanted: `trainer.threads`.
        work: multiply-adds of a batch's forward pass.
        given: threads that the process may use.
    """
    if wanted != "auto":
        return wanted
    return 1 if work < SMALL_STEP else given


def rows_at_once(values: int, device: torch.device) -> int:
    """Rows that go through a network at once in prediction.

    Args:
        values: in the input of one row.
        device: of the network.
    """
    return max(CPU_ROWS, CPU_VALUES // values) if device.type == "cpu" else max(1, GPU_VALUES // values)
