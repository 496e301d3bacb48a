"""Epoch by epoch from Lightning to MLflow and to the terminal."""

from __future__ import annotations

import logging
from pathlib import Path

from lightning.pytorch.callbacks import Callback

from mlrun.predictions.learner import send_again

log = logging.getLogger("mlrun")


class Reporter(Callback):
    """Hands each epoch's metrics to MLflow and to the terminal. Asks the device for the loss only when the terminal is due."""

    def __init__(self, run, progress, monitor: str, directory: Path):
        self.run, self.progress, self.monitor, self.directory = run, progress, monitor, directory
        self.history: dict[str, list[tuple[int, float]]] = {}
        self.rates: list[float] = []

    def on_fit_start(self, trainer, task):
        send_again(self.history, self.run)

    def on_train_start(self, trainer, task):
        self.progress.start(
            trainer.max_epochs, trainer.num_training_batches, self.monitor, task.mode, trainer.current_epoch,
            self.history.get(self.monitor, ()),
        )  # fmt: skip

    def on_train_batch_start(self, trainer, task, batch, batch_index):
        if batch_index == trainer.num_training_batches - 1:  # at the end of the epoch schedules have moved on
            self.rates = [float(optimizer.param_groups[0]["lr"]) for optimizer in trainer.optimizers]

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_index):
        if self.progress.due:
            loss = outputs["loss"] if isinstance(outputs, dict) else outputs
            self.progress.step(batch_index, float(loss))

    def on_train_epoch_end(self, trainer, task):
        epoch = trainer.current_epoch + 1
        metrics = {
            **task.epoch_metrics("train"),
            **{key: value.item() for key, value in trainer.callback_metrics.items()},
        }
        metrics.update({"lr" if index == 0 else f"lr_{index}": rate for index, rate in enumerate(self.rates)})
        for key, value in metrics.items():
            self.history.setdefault(key, []).append((epoch, value))
        self.run.metrics(metrics, step=epoch)
        log.info("epoch %d: %s", epoch, ", ".join(f"{key} {value:.6g}" for key, value in metrics.items()))
        self.progress.epoch(epoch, metrics)
        self._draw(task, epoch, last=epoch == trainer.max_epochs)

    def _draw(self, task, epoch: int, last: bool) -> None:
        for name, picture in task.epoch_pictures(epoch, last):
            from mlrun.report.figures import save

            path = self.directory / "figures" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            own = getattr(picture, "save", None)
            own(path) if own else save(picture, path)
            self.run.artifact(path, "figures")

    def on_train_end(self, trainer, task):
        self.progress.stop()

    def on_exception(self, trainer, task, exception):
        self.progress.stop()
