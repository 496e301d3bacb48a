"""The names of `mlrun.report.terminal`, for runs that nobody watches."""

from __future__ import annotations


def config_summary(cfg, overrides=(), problem=None, sizes=None, directory=None, run_id=None) -> None:
    pass


def fold(index, total, metric="", value=None) -> None:
    pass


def result_table(result) -> None:
    pass


class Progress:
    due = False

    def start(self, total_epochs, steps_per_epoch, monitor=None, mode=None, finished_epochs=0, history=None) -> None:
        pass

    def step(self, batch_index, loss=None) -> None:
        pass

    def epoch(self, epoch, metrics) -> None:
        pass

    def stop(self) -> None:
        pass
