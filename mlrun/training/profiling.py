"""`trainer.profile`: where the time of a training step goes, by torch's profiler."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch.profiler import ProfilerActivity, profile, supported_activities

if TYPE_CHECKING:
    from mlrun.tracking.run import Run

SKIPPED, STEPS = 10, 20  # steps before the recording and in it: the first ones allocate, choose kernels and compile
TOP = 30  # operators in the table


class Profile(Callback):
    """Writes `operators.txt`, the operators by their own time, and `trace.json.gz` for chrome://tracing or Perfetto.

    Of a training that is too short for `SKIPPED` steps first, the second half is recorded.

    Args:
        folder: where to write.
        run: the MLflow run that receives the folder.
    """

    def __init__(self, folder: Path, run: Run):
        self.folder, self.run = Path(folder), run
        self.profiler: profile | None = None
        self.seen = 0  # steps of this process
        self.first = 1  # step with which the recording begins

    def on_train_start(self, trainer: Trainer, task: LightningModule) -> None:
        steps = trainer.estimated_stepping_batches * trainer.accumulate_grad_batches
        self.first = 1 + int(min(SKIPPED, steps // 2))

    def on_train_batch_start(self, trainer: Trainer, task: LightningModule, batch: Any, batch_index: int) -> None:
        self.seen += 1
        if self.seen == self.first:
            self.profiler = profile(activities=supported_activities() & {ProfilerActivity.CPU, ProfilerActivity.CUDA})
            self.profiler.start()

    def on_train_batch_end(
        self, trainer: Trainer, task: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        if self.profiler is not None and self.seen == self.first + STEPS - 1:
            self._finish()

    def on_train_end(self, trainer: Trainer, task: LightningModule) -> None:
        self._finish()

    def on_exception(self, trainer: Trainer, task: LightningModule, exception: BaseException) -> None:
        self._finish()

    def _finish(self) -> None:
        if self.profiler is None:
            return
        profiler, self.profiler = self.profiler, None
        profiler.stop()
        self.folder.mkdir(parents=True, exist_ok=True)
        averages = profiler.key_averages()
        gpu = any(event.self_device_time_total for event in averages)
        table = averages.table(sort_by="self_device_time_total" if gpu else "self_cpu_time_total", row_limit=TOP)
        (self.folder / "operators.txt").write_text(
            f"{self.seen - self.first + 1} steps of training\n{table}\n", encoding="utf-8"
        )
        profiler.export_chrome_trace(str(self.folder / "trace.json.gz"))
        self.run.artifact(self.folder, "profile")
