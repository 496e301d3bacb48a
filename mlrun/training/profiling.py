"""`trainer.profile`: where the time of a training step goes, by torch's profiler."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch.callbacks import Callback
from torch.profiler import ProfilerActivity, profile, supported_activities

SKIPPED, STEPS = 10, 20  # steps before the recording and in it: the first ones allocate, choose kernels and compile
TOP = 30  # operators in the table


class Profile(Callback):
    """Writes `operators.txt`, the operators with the largest times of their own, and `trace.json.gz` for chrome://tracing or Perfetto.

    Of a training too short for that the second half is recorded.
    """

    def __init__(self, folder: Path, run):
        self.folder, self.run = Path(folder), run
        self.profiler, self.seen = None, 0

    def on_train_batch_start(self, trainer, task, batch, batch_index):
        self.seen += 1
        if self.seen == 1 + min(SKIPPED, trainer.num_training_batches * trainer.max_epochs // 2):
            self.profiler = profile(activities=supported_activities() & {ProfilerActivity.CPU, ProfilerActivity.CUDA})
            self.profiler.start()
            self.first = self.seen

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_index):
        if self.profiler is not None and self.seen == self.first + STEPS - 1:
            self._finish()

    def on_train_end(self, trainer, task):
        self._finish()

    def on_exception(self, trainer, task, exception):
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
