"""Epoch by epoch from Lightning to MLflow and to the terminal."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from mlrun.predictions.learner import send_again
from mlrun.tasks.task import Task

if TYPE_CHECKING:
    from mlrun.report.progress import Progress
    from mlrun.report.view import View
    from mlrun.tracking.run import Run

log = logging.getLogger("mlrun")


class Reporter(Callback):
    """Sends each epoch's metrics to MLflow and to the terminal.

    The loss of a step is fetched from the device only when the terminal is due.

    Args:
        run: the MLflow run.
        progress: draws on the terminal.
        monitor, mode: name of the watched metric, and "max" or "min".
        views: what is drawn in the course of the training.
        directory: of the run; pictures are written to its `figures`.
        about: the caption of the pictures, such as "gan on digits".
        settings: dotted keys and their values, for the loggers of `trainer.loggers`.
    """

    def __init__(
        self,
        run: Run,
        progress: Progress,
        monitor: str,
        mode: str,
        views: Sequence[View],
        directory: Path,
        about: str,
        settings: Mapping[str, Any] | None = None,
    ):
        self.settings = dict(settings or {})
        self.run, self.progress, self.directory, self.about = run, progress, directory, about
        self.monitor, self.mode, self.views = monitor, mode, list(views)
        self.history: dict[str, list[tuple[int, float]]] = {}  # metric -> (epoch, value); epochs count from 1
        self.rates: list[float] = []  # of each optimizer, in the last batch of the epoch

    def on_fit_start(self, trainer: Trainer, task: LightningModule) -> None:
        send_again(self.history, self.run)
        for logger in trainer.loggers:
            logger.log_hyperparams(self.settings)

    def on_train_start(self, trainer: Trainer, task: LightningModule) -> None:
        batches = trainer.estimated_stepping_batches * trainer.accumulate_grad_batches
        self.progress.start(
            trainer.max_epochs,
            cast(int, min(trainer.num_training_batches, batches)),
            self.monitor,
            self.mode,
            trainer.current_epoch,
            self.history,
        )

    def on_train_batch_start(self, trainer: Trainer, task: LightningModule, batch: Any, batch_index: int) -> None:
        if batch_index == trainer.num_training_batches - 1:  # at the end of the epoch schedules have moved on
            self.rates = _rates(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, task: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        if self.progress.due:
            loss = outputs["loss"] if isinstance(outputs, dict) else outputs
            self.progress.step(batch_index, float(loss))

    def on_train_epoch_end(self, trainer: Trainer, task: LightningModule) -> None:
        if not trainer.is_last_batch:  # the epoch was cut short
            self.rates = _rates(trainer)
        epoch = trainer.current_epoch + 1
        metrics = {
            **cast(Task, task).epoch_metrics("train"),
            **{key: value.item() for key, value in trainer.callback_metrics.items()},
        }
        metrics.update({"lr" if index == 0 else f"lr_{index}": rate for index, rate in enumerate(self.rates)})
        for key, value in metrics.items():
            self.history.setdefault(key, []).append((epoch, value))
        self.run.metrics(metrics, step=epoch)
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=epoch)
        log.info("epoch %d: %s", epoch, ", ".join(f"{key} {value:.6g}" for key, value in metrics.items()))
        self.progress.epoch(epoch, metrics)
        if trainer.is_global_zero:
            self._draw(task, epoch, last=epoch == trainer.max_epochs)

    def _draw(self, task: LightningModule, epoch: int, last: bool) -> None:
        for name, picture in (one for view in self.views for one in view.epoch(task, epoch, last)):
            from mlrun.report.captions import captioned
            from mlrun.report.figures import save

            picture = captioned(picture, name, self.about)
            path = self.directory / "figures" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            own = getattr(picture, "save", None)
            if own is None:
                save(picture, path)
            self.run.artifact((own and own(path)) or path, "figures")

    @property
    def state(self) -> dict[str, Any]:
        """What the views keep across an interruption, by their class."""
        return {type(view).__name__: view.state for view in self.views if view.state}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes what `state` gave."""
        for view in self.views:
            if type(view).__name__ in state:
                view.restore(state[type(view).__name__])

    def on_train_end(self, trainer: Trainer, task: LightningModule) -> None:
        self.progress.stop()

    def on_exception(self, trainer: Trainer, task: LightningModule, exception: BaseException) -> None:
        self.progress.stop()


def _rates(trainer: Trainer) -> list[float]:
    return [float(optimizer.param_groups[0]["lr"]) for optimizer in trainer.optimizers]
