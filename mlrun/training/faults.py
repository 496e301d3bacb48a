"""What goes wrong in training: a loss that is no number, memory that does not suffice."""

from __future__ import annotations

import gc
import math
import re

import torch
from lightning.pytorch.callbacks import Callback

from mlrun.errors import UserError

INTERVAL = 50  # steps between two looks at the losses on a device; the CPU's are looked at in every step


class Divergence(Callback):
    """Ends training at the first loss that is NaN or infinite, before a checkpoint of it is written.

    On a GPU a look makes the step wait for the device, so losses are collected and looked at now and then; the step that is told is exact.
    """

    def __init__(self, reporter):
        self.reporter = reporter
        self.losses: list[torch.Tensor] = []  # of the latest steps, on the device

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_index):
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
            self._look(trainer, batch_index)

    def on_train_epoch_end(self, trainer, task):
        self._look(trainer, trainer.fit_loop.batch_idx)
        for name, points in self.reporter.history.items():
            if (
                name.startswith("train/")
                and "loss" in name
                and points[-1][0] == trainer.current_epoch + 1
                and not math.isfinite(points[-1][1])
            ):
                self._end(trainer, points[-1][1], trainer.fit_loop.batch_idx, name)

    def _look(self, trainer, batch_index: int) -> None:
        losses, self.losses = self.losses, []
        if not losses:
            return
        values = torch.stack([loss.float().mean() for loss in losses])
        bad = (~values.isfinite()).nonzero()
        if len(bad):
            first = int(bad[0])
            self._end(trainer, float(values[first]), batch_index - (len(losses) - 1 - first))

    def _end(self, trainer, value: float, batch_index: int, name: str = "the loss") -> None:
        raise Diverged(name, value, trainer.current_epoch + 1, batch_index + 1, trainer.num_training_batches)


class Diverged(UserError):
    """The loss is NaN or infinite. `advice` is added by who knows the settings."""

    def __init__(self, name: str, value: float, epoch: int, batch: int, batches: float):
        of = f" of {batches}" if math.isfinite(batches) else ""
        super().__init__(f"training diverged: {name} is {value} in step {batch}{of} of epoch {epoch}")


def advice_for_divergence(cfg: dict, kept: str | None) -> str:
    """What to try, in one sentence."""
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
    kept = f" The last good checkpoint is kept; start from it with model.init_from={kept}." if kept else ""
    return f"Try {' or '.join(tries)}.{kept}"


class OutOfMemory(UserError):
    """Memory did not suffice. `what` is the fact, the message adds what to lower."""

    def __init__(self, error: BaseException, epoch: int, batch_size: int | None, halved: bool):
        size, place = asked_for(error)
        self.what = f"out of memory{f' on {place}' if place else ''} in epoch {epoch}" + (
            f": {size} more were asked for" if size else ""
        )
        self.what += f", with batches of {batch_size}" if batch_size else ""
        smaller = "" if halved else ", or add trainer.auto_batch=true, which halves it and accumulates gradients"
        super().__init__(
            f"{self.what}. Lower dataset.batch_size{smaller}; a smaller model or trainer.precision=bf16-mixed need less, too"
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Of a GPU, or of the host where the allocation itself was refused."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and bool(
        re.search(r"not enough memory|can't allocate memory|out of memory|ALLOC_FAILED", str(error))
    )


def asked_for(error: BaseException) -> tuple[str, str]:
    """(size, device) of an allocation that failed, as far as the message tells: ("2.00 GiB", "GPU 0")."""
    text = str(error)
    size = re.search(r"allocate ([0-9.]+ [KMGT]?i?B)\b", text)
    count = re.search(r"allocate ([0-9]+) bytes", text)
    device = re.search(r"GPU [0-9]+", text)
    bytes_ = f"{int(count[1]) / 2**30:.2f} GiB" if count else ""
    return (size[1] if size else bytes_), (
        device[0] if device else "the host" if count or isinstance(error, MemoryError) else ""
    )


def release_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
