"""Checkpoints of a training: a process killed at any time leaves a complete one. Reading them runs no code.

`last.ckpt` is the newest, `previous.ckpt` the one before, `best.ckpt` the best epoch. They hold everything that training resumes
from: weights, optimizer, schedule, random generators, order of the batches, history, best epoch, state of early stopping.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import shutil
import signal
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping

from mlrun.data.readers.tensors import load_tensors
from mlrun.errors import UserError
from mlrun.evaluation.selection import Selection
from mlrun.report.notify import notify
from mlrun.tasks.task import Task
from mlrun.training.lightning_internals import installed, overrides, restart_training_iterator
from mlrun.training.reporter import Reporter

log = logging.getLogger("mlrun")

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
OURS = "mlrun"  # our part of a Lightning checkpoint
FORMAT = 2
SYNC_SECONDS = 2.0  # between two waits for the disk; an epoch may take less
VALIDATION_SECONDS = 10.0  # a validation may take this long after a signal to end


class Checkpoints(Checkpoint):
    """Saves at the end of each epoch, and between two batches when a signal ends the run.

    Args:
        folder: where to write.
        selection: chooses the best epoch.
        label: which training the checkpoints belong to; compared when one is read.
        reporter: its history is saved with them.
        patience: of early stopping, which may differ from that of the checkpoint that training resumes from.
        resumed: our part of that checkpoint, and its path; None for a new training.
        batches: their size, and how many make an update.
        upload: stores a checkpoint away from this machine, after every `upload_every` epochs and when a signal ends the run.
    """

    def __init__(
        self,
        folder: Path,
        selection: Selection,
        label: dict[str, Any],
        reporter: Reporter,
        patience: int | None = None,
        resumed: dict[str, Any] | None = None,
        batches: dict[str, Any] | None = None,
        upload: Callable[[Path], None] | None = None,
        upload_every: int = 1,
    ):
        self.folder, self.selection, self.label, self.reporter = Path(folder), selection, dict(label), reporter
        self.patience, self.batches, self.resumed = patience, batches, resumed
        self.upload, self.upload_every, self._uploaded_best = upload, upload_every, 0
        self._within = False  # whether what is being saved lies within an epoch
        self._before: dict[int, Any] = {}  # handlers of the signals as they were
        self._signal: int | None = None
        self._signalled = 0.0
        self._synced, self._last_is_synced = 0.0, False

    @property
    def best_path(self) -> Path:
        return self.folder / BEST

    # --- state ----------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, trainer: Trainer, task: LightningModule, checkpoint: dict[str, Any]) -> None:
        randoms = random_state(trainer.strategy.root_device)
        if trainer.world_size > 1:
            gathered: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(gathered, randoms)
        else:
            gathered = [randoms]
        checkpoint[OURS] = {
            "format": FORMAT,
            "label": self.label,
            "epochs": self._epochs(trainer),
            "within_epoch": self._within,
            "batches": self.batches,
            "random": gathered,
            "loaders": self._loader_states(trainer),
            "sums": task._sums if self._within else {},
            "best": self.selection.state_dict(),
            "watched": {
                config.monitor: float(trainer.callback_metrics[config.monitor]) for config in _plateaus(trainer)
            }
            if not self._within
            else {},
            "history": {
                name: torch.tensor(points, dtype=torch.float64) for name, points in self.reporter.history.items()
            },
            "views": self.reporter.state,
        }

    def _epochs(self, trainer: Trainer) -> int:
        """Finished epochs."""
        return trainer.current_epoch + (0 if self._within else 1)  # Lightning counts after the hooks of an epoch's end

    def _loader_states(self, trainer: Trainer) -> list[dict[str, Any] | None]:
        states = [loader.state_dict() if hasattr(loader, "state_dict") else None for loader in _loaders(trainer)]
        if self._within or trainer.is_last_batch:
            return states
        # the epoch was cut short (max_steps, max_time) and will not be finished: the next one begins with its first batch
        return [{**state, "served": 0} if state and "served" in state else state for state in states]

    def on_load_checkpoint(self, trainer: Trainer, task: LightningModule, checkpoint: dict[str, Any]) -> None:
        state = checkpoint[OURS]
        self.selection.load_state_dict(state["best"])
        self.reporter.history.update(
            {
                name: [(int(epoch), value) for epoch, value in points.tolist()]
                for name, points in state["history"].items()
            }
        )
        self.reporter.restore(state["views"])

    def on_fit_start(self, trainer: Trainer, task: LightningModule) -> None:
        if trainer.world_size > 1:
            self._check_same_start()
        if self.resumed is not None:
            for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set by a connector
                if isinstance(callback, EarlyStopping):
                    callback.patience = self.patience
                    trainer.should_stop |= callback.wait_count >= callback.patience
            self._restore_best(trainer)

    def _check_same_start(self) -> None:
        """Raises UserError if the processes of a training would resume from different epochs: each reads its own checkpoint."""
        mine = None if self.resumed is None else (self.resumed["epochs"], self.resumed["within_epoch"])
        found: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(found, mine)
        if len(set(found)) > 1:
            epochs = ", ".join("none" if one is None else str(one[0]) for one in found)
            raise UserError(
                f"the processes found checkpoints of different epochs ({epochs}); all machines must see the same directory or the same MLflow server"
            )

    def on_train_start(self, trainer: Trainer, task: LightningModule) -> None:
        self._listen(trainer)
        state, self.resumed = self.resumed, None
        if state is None:
            return
        cast(Task, task)._sums = {
            stage: {name: _on(value, task.device) for name, value in sums.items()}
            for stage, sums in state["sums"].items()
        }
        for loader, kept in zip(_loaders(trainer), state["loaders"]):
            if kept is not None:
                loader.load_state_dict(kept)
        for config in _plateaus(trainer):  # Lightning steps them after the checkpoint is written
            if config.monitor in state["watched"] and task.automatic_optimization:
                config.scheduler.step(state["watched"][config.monitor])
        randoms = state["random"]
        restore_random(
            randoms[trainer.global_rank] if trainer.global_rank < len(randoms) else randoms[0],
            trainer.strategy.root_device,
        )
        if not state["within_epoch"] and not restart_training_iterator(trainer):
            notify(
                f"Lightning {installed()} is not a version that mlrun supports: the next epoch may read its batches in another order "
                "than without the interruption",
                logging.WARNING,
            )

    # --- writing --------------------------------------------------------------------------------------------------

    def on_train_epoch_end(self, trainer: Trainer, task: LightningModule) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]  # set by a connector
            return
        if self.selection.offer(self._epochs(trainer), cast(dict[str, Any], trainer.callback_metrics)):
            self._write(trainer)
            if trainer.is_global_zero:
                _link(self.folder / LAST, self.best_path)
        else:
            self._write(trainer)
        if self._signal is not None or self._epochs(trainer) % self.upload_every == 0:
            self._upload()
        self._end_if_signalled()

    def on_train_batch_end(
        self, trainer: Trainer, task: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        if self._signal is None or trainer.is_last_batch or trainer.should_stop:  # the end of the epoch follows at once
            return
        if self._may_split(trainer, task):
            if (batch_index + 1) % trainer.accumulate_grad_batches:
                return
            self._within = True
            try:
                self._write(trainer)
            finally:
                self._within = False
            self._upload()
        self._end_if_signalled()

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if self._signal is not None and time.monotonic() - self._signalled > VALIDATION_SECONDS:
            self._end_if_signalled()

    @staticmethod
    def _may_split(trainer: Trainer, task: LightningModule) -> bool:
        """Whether training can resume within an epoch: the loaders and the task must support it."""
        return (
            cast(Task, task).supports_mid_epoch_resume
            and not trainer.fast_dev_run  # type: ignore[attr-defined]  # set by a connector
            and all(hasattr(loader, "load_state_dict") for loader in _loaders(trainer))
            and not overrides(task, "on_train_epoch_start")
        )

    def _write(self, trainer: Trainer) -> None:
        """Writes to another name, waits for the disk, then renames.

        Raises:
            UserError: the disk takes no more. The checkpoints that were there stay.
        """
        beside, last = self.folder / f"{LAST}.new", self.folder / LAST
        try:
            if trainer.is_global_zero:
                self.folder.mkdir(parents=True, exist_ok=True)
            trainer.save_checkpoint(beside)
            if not trainer.is_global_zero:
                return
            synced = time.monotonic() - self._synced >= SYNC_SECONDS
            if synced:
                _sync(beside)
                self._synced = time.monotonic()
            if last.exists() and self._last_is_synced:  # so that `previous` survives also a loss of power
                _link(last, self.folder / PREVIOUS)
            os.replace(beside, last)
            self._last_is_synced = synced
        except (OSError, RuntimeError) as error:  # torch's zip writer raises RuntimeError for a full disk
            full = isinstance(error, OSError) or "write" in str(error)
            if not full:
                raise
            _remove(beside)
            kept = (
                f"the checkpoint of the previous epoch is intact: {last}"
                if last.exists()
                else "there is no earlier one"
            )
            raise UserError(
                f"the checkpoint could not be written to {self.folder}: {_reason(error)}; {kept}. Free some space, then mlrun resume {self.folder.parent}"
            ) from error

    def _upload(self) -> None:
        """The best checkpoint first: training from the last one would find a newer best epoch again, but not an older one."""
        if self.upload is None:
            return
        if self.selection.epoch != self._uploaded_best and self.best_path.exists():
            self.upload(self.best_path)
            self._uploaded_best = self.selection.epoch
        self.upload(self.folder / LAST)

    def _restore_best(self, trainer: Trainer) -> None:
        """Links `best.ckpt` where the process was killed between writing the last checkpoint and declaring it the best."""
        state = self.resumed
        if (
            trainer.is_global_zero
            and not state["within_epoch"]
            and state["best"]["epoch"] == state["epochs"]
            and Path(state["path"]) != self.best_path
        ):
            self.folder.mkdir(parents=True, exist_ok=True)
            _link(Path(state["path"]), self.best_path)

    # --- signals --------------------------------------------------------------------------------------------------

    def _listen(self, trainer: Trainer) -> None:
        """Ctrl-C and SIGTERM wait for the end of the batch; a second one does not. Several processes cannot agree on a batch,
        and end at once."""
        if threading.current_thread() is not threading.main_thread() or trainer.world_size > 1:
            return
        self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def request(number: int, frame: Any) -> None:
            if self._signal is not None:
                self.stop_listening()
                self._raise(number)
            self._signal, self._signalled = number, time.monotonic()

        for number, before in self._before.items():
            if before not in (signal.SIG_IGN, None):
                signal.signal(number, request)

    def stop_listening(self) -> None:
        """Restores the handlers that the signals had before."""
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before = {}

    def on_train_end(self, trainer: Trainer, task: LightningModule) -> None:
        self.stop_listening()
        self._end_if_signalled()

    def on_exception(self, trainer: Trainer, task: LightningModule, exception: BaseException) -> None:
        self.stop_listening()

    def _end_if_signalled(self) -> None:
        if self._signal is not None:
            number, self._signal = self._signal, None
            self._raise(number)

    def _raise(self, number: int) -> None:
        raise Stopped(number)


class Stopped(Exception):
    """Training has ended because of a signal. Becomes KeyboardInterrupt or SystemExit outside of Lightning."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


# --- random generators ----------------------------------------------------------------------------------------------


def random_state(device: torch.device) -> dict[str, Any]:
    """States of Python's, NumPy's, torch's and the device's global generators, as plain containers and tensors."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = cast(tuple[Any, ...], np.random.get_state())
    state = {
        "python": [version, list(words), gauss],
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random(state: dict[str, Any], device: torch.device) -> None:
    """Sets the generators to what `random_state` returned."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)


# --- reading --------------------------------------------------------------------------------------------------------


def _damaged_part(path: Path) -> str | None:
    """The first part of a zip archive, as `torch.save` writes it, whose bytes have changed: `torch.load` does not look."""
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip()
    except Exception:  # what damaged names and sizes make of the reader
        return "its table of contents"


def read(path: Path | str, trust: bool = False) -> dict[str, Any]:
    """The content of a checkpoint that training can resume from, with its `path`.

    Args:
        path: the file.
        trust: read anything; otherwise only tensors and plain containers, so that no file can run code.

    Raises:
        UserError: it is not such a checkpoint, with the reason.
    """
    path = Path(path)
    content = load_tensors(path, trust)
    if (part := _damaged_part(path)) is not None:
        raise UserError(f"{path} is damaged: the checksum of {part} does not match")
    if not isinstance(content, dict) or not {"state_dict", "optimizer_states", "loops"} <= set(content):
        raise UserError(f"{path} is not a checkpoint of a training; to start from its weights: model.init_from={path}")
    if content.get(OURS, {}).get("format") != FORMAT:
        raise UserError(
            f"{path} was not written by this version of mlrun; to start from its weights: model.init_from={path}"
        )
    content["path"] = str(path)
    return content


def check_label(content: dict[str, Any], label: dict[str, Any]) -> None:
    """Raises UserError if a checkpoint belongs to another training than the one that `label` describes."""
    theirs = content[OURS]["label"]
    for key, what in (
        ("model", "of the model"),
        ("dataset", "of the dataset"),
        ("identity", "of another configuration"),
        ("digest", "of other data"),
    ):
        if theirs.get(key) != label.get(key):
            detail = f" {theirs.get(key)}, not {label.get(key)}" if key in ("model", "dataset") else ""
            more = ": the files have changed since" if key == "digest" else ""
            raise UserError(
                f"{content['path']} is {what}{detail}{more}; training cannot resume from it. To start from its weights: model.init_from={content['path']}"
            )


def _loaders(trainer: Trainer) -> list[Any]:
    """The training loaders, in a fixed order."""

    def leaves(node: Any) -> list[Any]:
        if isinstance(node, dict):
            node = list(node.values())
        return [leaf for child in node for leaf in leaves(child)] if isinstance(node, (list, tuple)) else [node]

    return leaves(trainer.train_dataloader)


def _plateaus(trainer: Trainer) -> list[Any]:
    """Lightning's configurations of the schedules that watch a metric after each epoch."""
    return [
        config
        for config in trainer.lr_scheduler_configs
        if config.reduce_on_plateau and config.interval == "epoch" and config.monitor
    ]


def _on(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, torch.Tensor) else value


def _sync(path: Path) -> None:
    """Waits until a file is on the disk. A sharded checkpoint is a directory, whose files were only closed."""
    if path.is_file():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _link(source: Path, target: Path) -> None:
    """`target` becomes another name of the same file, in one step; a copy where the file system has no links."""
    if target.exists() and os.path.samefile(source, target):
        return
    beside = target.with_name(f"{target.name}.new")
    _remove(beside)
    try:
        os.link(source, beside)
    except OSError:
        shutil.copytree(source, beside) if source.is_dir() else shutil.copyfile(source, beside)
    if target.is_dir():
        _remove(target)
    os.replace(beside, target)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        path.unlink()


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:200] or type(error).__name__
