"""What goes wrong in training: a loss that is not finite, and memory that does not suffice."""

from __future__ import annotations

import gc
import math
import re
from pathlib import Path
from typing import Any, NoReturn

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from mlrun.errors import UserError
from mlrun.training.reporter import Reporter

INTERVAL = 50  # steps between two checks of the losses on a device; those on the CPU are checked in every step


class Divergence(Callback):
    """Ends training at the first loss that is NaN or infinite, before a checkpoint of it is written.

    On a GPU a check makes the step wait for the device, so losses are collected and checked every `INTERVAL` steps. The step
    that is reported is exact.
    """

    def __init__(self, reporter: Reporter):
        self.reporter = reporter
        self.losses: list[torch.Tensor] = []  # of the latest steps, on the device
        self.batch_index = 0  # of the latest step

    def on_train_batch_end(
        self, trainer: Trainer, task: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        self.batch_index = batch_index
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if not isinstance(loss, torch.Tensor):
            return
        loss = loss.detach()
        if loss.device.type == "cpu":
            if not math.isfinite(loss):
                self._end(trainer, float(loss), batch_index)
            return
        self.losses.append(loss)
        if len(self.losses) >= INTERVAL or batch_index == trainer.num_training_batches - 1:
            self._check(trainer, batch_index)

    def on_train_epoch_end(self, trainer: Trainer, task: LightningModule) -> None:
        self._check(trainer, self.batch_index)
        for name, points in self.reporter.history.items():
            if (
                name.startswith("train/")
                and "loss" in name
                and points[-1][0] == trainer.current_epoch + 1
                and not math.isfinite(points[-1][1])
            ):
                self._end(trainer, points[-1][1], self.batch_index, name)

    def _check(self, trainer: Trainer, batch_index: int) -> None:
        losses, self.losses = self.losses, []
        if not losses:
            return
        values = torch.stack([loss.float().mean() for loss in losses])
        bad = (~values.isfinite()).nonzero()
        if len(bad):
            first = int(bad[0])
            self._end(trainer, float(values[first]), batch_index - (len(losses) - 1 - first))

    def _end(self, trainer: Trainer, value: float, batch_index: int, name: str = "the loss") -> NoReturn:
        raise Diverged(name, value, trainer.current_epoch + 1, batch_index + 1, trainer.num_training_batches)


class Diverged(UserError):
    """The loss is NaN or infinite. The learner, which knows the settings, adds `advice_for_divergence`.

    Args:
        name, value: of the loss.
        epoch, batch: when, counted from 1.
        batches: in an epoch; infinite if unknown.
    """

    def __init__(self, name: str, value: float, epoch: int, batch: int, batches: float):
        of = f" of {batches}" if math.isfinite(batches) else ""
        super().__init__(f"training diverged: {name} is {value} in step {batch}{of} of epoch {epoch}")


def advice_for_divergence(cfg: dict[str, Any], kept: Path | None) -> str:
    """Settings to try, in one or two sentences.

    Args:
        cfg: the configuration of the run.
        kept: the last checkpoint with a finite loss.
    """
    optim, trainer = cfg.get("optim") or {}, cfg["trainer"]
    tries = (
        [f"a smaller optim.lr (it is {optim['lr']:g})"]
        if isinstance(optim.get("lr"), (int, float))
        else ["a smaller optim.lr"]
    )
    if trainer["gradient_clip_val"] is None:
        tries.append("trainer.gradient_clip_val=1")
    if str(trainer["precision"]).startswith("16"):
        tries.append("trainer.precision=bf16-mixed")
    start = f" The last good checkpoint is kept; start from it with model.init_from={kept}." if kept else ""
    return f"Try {' or '.join(tries)}.{start}"


class OutOfMemory(UserError):
    """Memory did not suffice. `what` states that; the message adds which settings to lower.

    Args:
        error: what the allocator raised.
        epoch: counted from 1.
        batch_size: rows in a batch, if known.
        halved: whether `trainer.auto_batch` is on, which halves the batch.
    """

    def __init__(self, error: BaseException, epoch: int, batch_size: int | None, halved: bool):
        size, device = requested(error)
        self.what = f"out of memory{f' on {device}' if device else ''} in epoch {epoch}"
        self.what += f": {size} more were requested" if size else ""
        self.what += f", with batches of {batch_size}" if batch_size else ""
        smaller = "" if halved else ", or add trainer.auto_batch=true, which halves it and accumulates gradients"
        super().__init__(
            f"{self.what}. Lower dataset.batch_size{smaller}; a smaller model or trainer.precision=bf16-mixed also need less"
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory of a GPU, or of the host, was refused to an allocation."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and bool(
        re.search(r"not enough memory|can't allocate memory|out of memory|ALLOC_FAILED", str(error))
    )


def advice_for_normalization(error: BaseException) -> str | None:
    """What to do where a normalization layer got a single value to normalize; None for another error."""
    if "Expected more than 1 value per channel" in str(error):
        return (
            "batch normalization cannot train on a batch of a single row: use more training rows, dataset.batch_size=2 or more, or a "
            "network without it"
        )
    if "Expected more than 1 spatial element" in str(error):
        return "instance normalization got a map of a single pixel: use larger images, fewer layers that halve them, or a network without it"
    return None


def requested(error: BaseException) -> tuple[str, str]:
    """(size, device) of a failed allocation, such as ("2.00 GiB", "GPU 0"); "" for what the message does not contain."""
    text = str(error)
    size = re.search(r"allocate ([0-9.]+ [KMGT]?i?B)\b", text)
    count = re.search(r"allocate ([0-9]+) bytes", text)
    device = re.search(r"GPU [0-9]+", text)
    from_bytes = f"{int(count[1]) / 2**30:.2f} GiB" if count else ""
    from_host = "the host" if count or isinstance(error, MemoryError) else ""
    return (size[1] if size else from_bytes), (device[0] if device else from_host)


def release_memory() -> None:
    """Frees what is no longer referenced, on the host and on the GPU."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
