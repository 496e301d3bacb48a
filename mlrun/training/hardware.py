"""What a training asks of the machine: threads, memory, the order of values in it."""

from __future__ import annotations

import ctypes
from contextlib import suppress

import torch

SMALL_STEP = 50_000_000  # multiply-adds of a batch's forward pass; measured on two cores: 13 M are faster on one thread, 480 M on two
CPU_ROWS, CPU_VALUES = 16, 2**17  # so many rows at least, or input values, stay in the caches between the layers
GPU_VALUES = 2**22
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def keep_freed_memory() -> None:
    """For this process: tensors of megabytes come and go in every step, and glibc would hand their pages back to the kernel each time and
    have them cleared anew, which took a fifth of a small ResNet's step on the CPU."""
    with suppress(OSError, AttributeError):  # another C library
        library = ctypes.CDLL(None)
        for option in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            library.mallopt(option, 2**30)


def lay_out_channels(task) -> None:
    """Images run 1.1 to 1.4 times as fast with the channels of a pixel side by side (measured on CPU, one thread, eight networks), volumes 1.5."""
    for module in task.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            module.to(memory_format=torch.channels_last)
        elif isinstance(module, (torch.nn.Conv3d, torch.nn.ConvTranspose3d)):
            module.to(memory_format=torch.channels_last_3d)


def threads_for(wanted: int | str, work: int, given: int) -> int:
    """Threads of the CPU's kernels. Sharing out a small step costs more than it saves, above all on a busy machine."""
    if wanted != "auto":
        return wanted
    return 1 if work < SMALL_STEP else given


def rows_at_once(values: int, device: torch.device) -> int:
    """Rows that go through a network at once when predicting. values: of the input, a row."""
    return max(CPU_ROWS, CPU_VALUES // values) if device.type == "cpu" else max(1, GPU_VALUES // values)
