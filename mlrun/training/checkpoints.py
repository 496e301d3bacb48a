"""Checkpoints of a training: written so that a process which is killed anywhere leaves a whole one, and read with suspicion.

`last.ckpt` is the newest, `previous.ckpt` the one before, `best.ckpt` the best epoch by the watched metric. They hold all that training goes
on from: weights, optimizer, schedule, random generators, order of the batches, history, what early stopping has seen.
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
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping
from lightning.pytorch.utilities.model_helpers import is_overridden

from mlrun.data.readers.trust import load_tensors
from mlrun.errors import UserError

log = logging.getLogger("mlrun")

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
OURS = "mlrun"  # our part of a Lightning checkpoint
FORMAT = 1
SYNC_SECONDS = 2.0  # at most so often is waited for the disk; an epoch may take less
VALIDATION_SECONDS = 10.0  # so long a validation may go on after the signal to end


class Checkpoints(Checkpoint):
    """Saves at the end of each epoch, and between two batches when a signal asks the run to end.

    folder: where to; monitor, mode: what chooses the best epoch, None: the last is the best; label: what the checkpoint is of, compared when
    one is read; reporter: whose history is kept with it; patience: of early stopping, which may have been changed since;
    batches: their size and how many make an update; resumed: our part of the checkpoint that training goes on from, with its path, or None.
    """

    def __init__(
        self,
        folder: Path,
        monitor: str | None,
        mode: str,
        label: dict,
        reporter,
        patience=None,
        resumed: dict | None = None,
        batches=None,
    ):
        self.folder, self.monitor, self.mode, self.label, self.reporter = (
            Path(folder),
            monitor,
            mode,
            dict(label),
            reporter,
        )
        self.patience, self.batches = patience, batches
        self.best_epoch, self.best_value = None, None
        self.resumed = resumed
        self.stopped_by = None  # number of the signal that ended training
        self._signal, self._signalled = None, 0.0
        self._synced, self._last_is_synced = 0.0, False

    @property
    def best_path(self) -> Path:
        return self.folder / BEST

    # --- state ----------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, trainer, task, checkpoint):
        loaders = trainer.fit_loop._combined_loader.flattened
        randoms = random_state(trainer.strategy.root_device)
        if trainer.world_size > 1:
            gathered = [None] * trainer.world_size
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
            "loaders": [loader.state_dict() if hasattr(loader, "state_dict") else None for loader in loaders],
            "sums": task._sums if self._within else {},
            "best": {"epoch": self.best_epoch, "value": self.best_value},
            "watched": {
                config.monitor: float(trainer.callback_metrics[config.monitor]) for config in _plateaus(trainer)
            }
            if not self._within
            else {},
            "history": {
                name: torch.tensor(points, dtype=torch.float64) for name, points in self.reporter.history.items()
            },
        }

    _within = False  # whether what is being saved lies within an epoch

    @staticmethod
    def _epochs(trainer) -> int:
        """Epochs that are over."""
        return trainer.fit_loop.epoch_progress.current.processed

    def on_load_checkpoint(self, trainer, task, checkpoint):
        state = checkpoint[OURS]
        self.best_epoch, self.best_value = state["best"]["epoch"], state["best"]["value"]
        self.reporter.history.update(
            {
                name: [(int(epoch), value) for epoch, value in points.tolist()]
                for name, points in state["history"].items()
            }
        )

    def on_fit_start(self, trainer, task):
        if self.resumed is not None:
            for callback in trainer.callbacks:
                if isinstance(callback, EarlyStopping):
                    callback.patience = self.patience
                    trainer.should_stop |= callback.wait_count >= callback.patience
            self._mend_best(trainer)

    def on_train_start(self, trainer, task):
        self._listen(trainer)
        state, self.resumed = self.resumed, None
        if state is None:
            return
        loop, ours = trainer.fit_loop, state
        task._sums = {
            stage: {name: _on(value, task.device) for name, value in sums.items()}
            for stage, sums in ours["sums"].items()
        }
        for loader, kept in zip(loop._combined_loader.flattened, ours["loaders"]):
            if kept is not None:
                loader.load_state_dict(kept)
        for config in _plateaus(trainer):  # Lightning steps them after the checkpoint is written
            if config.monitor in ours["watched"] and task.automatic_optimization:
                config.scheduler.step(ours["watched"][config.monitor])
        randoms = ours["random"]
        restore_random(
            randoms[trainer.global_rank] if trainer.global_rank < len(randoms) else randoms[0],
            trainer.strategy.root_device,
        )
        if not ours["within_epoch"]:
            # a reader that asks a global generator for its order does so now, as it would have
            iter(loop._data_fetcher)

    # --- writing --------------------------------------------------------------------------------------------------

    def on_train_epoch_end(self, trainer, task):
        if trainer.fast_dev_run:
            return
        epoch = self._epochs(trainer)
        if self._is_best(trainer):
            self.best_epoch = epoch
            self._write(trainer)
            if trainer.is_global_zero:
                _link(self.folder / LAST, self.best_path)
        else:
            self._write(trainer)
        self._end_if_told()

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_index):
        if self._signal is None or trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            return
        if self._may_split(trainer, task):
            if (batch_index + 1) % trainer.accumulate_grad_batches:
                return
            self._within = True
            try:
                self._write(trainer)
            finally:
                self._within = False
        self._end_if_told()

    def on_validation_batch_end(self, trainer, *_):
        if self._signal is not None and time.monotonic() - self._signalled > VALIDATION_SECONDS:
            self._end_if_told()

    @staticmethod
    def _may_split(trainer, task) -> bool:
        """Whether training can go on in the middle of an epoch: who reads the batches, and the task, must be able to."""
        loaders = trainer.fit_loop._combined_loader.flattened
        return (
            task.splits_epochs
            and not trainer.fast_dev_run
            and all(hasattr(loader, "load_state_dict") for loader in loaders)
            and not is_overridden("on_train_epoch_start", task)
        )

    def _is_best(self, trainer) -> bool:
        """Remembers the watched value if it is the best so far, the first of equals."""
        if self.monitor is None:
            return True
        value = float(trainer.callback_metrics[self.monitor])
        if value != value:
            return self.best_epoch is None  # better than no checkpoint
        if self.best_value is None or (value > self.best_value if self.mode == "max" else value < self.best_value):
            self.best_value = value
            return True
        return False

    def _write(self, trainer) -> None:
        """Beside, to the disk, then renamed. Raises UserError where the disk takes no more; what was there stays."""
        beside, last = self.folder / f"{LAST}.new", self.folder / LAST
        try:
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
        except (OSError, RuntimeError) as error:  # torch's zip writer says RuntimeError for a full disk
            full = isinstance(error, OSError) or "write" in str(error)
            if not full:
                raise
            _remove(beside)
            kept = f"that of the epoch before is intact: {last}" if last.exists() else "there is none yet"
            raise UserError(
                f"the checkpoint could not be written to {self.folder}: {_reason(error)}; {kept}. Make room, then mlrun resume {self.folder.parent}"
            ) from error

    def _mend_best(self, trainer) -> None:
        """Killed between the two, the last checkpoint was written and is the best, but does not stand there as the best."""
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

    def _listen(self, trainer) -> None:
        """Ctrl-C and SIGTERM wait for the end of the batch; a second one does not. Several processes cannot agree on a batch: they end at once."""
        if threading.current_thread() is not threading.main_thread() or trainer.world_size > 1:
            return
        self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def ask(number, frame):
            if self._signal is not None:
                self.deafen()
                self._raise(number)
            self._signal, self._signalled = number, time.monotonic()

        for number, before in self._before.items():
            if before not in (signal.SIG_IGN, None):
                signal.signal(number, ask)

    def deafen(self) -> None:
        """Signals act as they did before."""
        for number, before in getattr(self, "_before", {}).items():
            signal.signal(number, before)
        self._before = {}

    def on_train_end(self, trainer, task):
        self.deafen()
        self._end_if_told()

    def on_exception(self, trainer, task, exception):
        self.deafen()

    def _end_if_told(self) -> None:
        if self._signal is not None:
            number, self._signal = self._signal, None
            self._raise(number)

    def _raise(self, number: int) -> None:
        self.stopped_by = number
        raise Stopped(number)


class Stopped(Exception):
    """A signal asked the training to end, and it has. Becomes KeyboardInterrupt or SystemExit outside of Lightning."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


# --- random generators ----------------------------------------------------------------------------------------------


def random_state(device: torch.device) -> dict:
    """States of Python's, NumPy's, torch's and the device's global generators, as plain containers and tensors."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    state = {
        "python": [version, list(words), gauss],
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random(state: dict, device: torch.device) -> None:
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)


# --- reading --------------------------------------------------------------------------------------------------------


def read(path: Path | str, trust: bool = False) -> dict:
    """The content of a checkpoint that training can go on from. Raises UserError with the reason where it is none.

    Only tensors and plain containers are read, so that no file can run code; with `trust` anything.
    """
    path = Path(path)
    content = load_tensors(path, trust)
    if not isinstance(content, dict) or not {"state_dict", "optimizer_states", "loops"} <= set(content):
        raise UserError(f"{path} is no checkpoint of a training (weights alone can be a start: model.init_from={path})")
    if content.get(OURS, {}).get("format") != FORMAT:
        raise UserError(
            f"{path} was not written by this version of mlrun; its weights can be a start: model.init_from={path}"
        )
    content["path"] = str(path)
    return content


def check_label(content: dict, label: dict) -> None:
    """Raises UserError where a checkpoint belongs to another training than `label` says."""
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
                f"{content['path']} is {what}{detail}{more}; it cannot be gone on from. Its weights can be a start: model.init_from={content['path']}"
            )


def _plateaus(trainer) -> list:
    return [
        config
        for config in trainer.lr_scheduler_configs
        if config.reduce_on_plateau and config.interval == "epoch" and config.monitor
    ]


def _on(value, device):
    return value.to(device) if isinstance(value, torch.Tensor) else value


def _sync(path: Path) -> None:
    """To the disk itself. A sharded checkpoint is a directory: its files were closed, which must do."""
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
