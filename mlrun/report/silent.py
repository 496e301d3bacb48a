"""The interface of `mlrun.report.terminal` without output."""

from __future__ import annotations

from typing import Any


def config_summary(cfg: Any, overrides: Any = (), **options: Any) -> None:
    """Prints nothing."""


def doing(text: str) -> None:
    """Prints nothing."""


def fold(index: int, total: int, metric: str = "", value: float | None = None) -> None:
    """Prints nothing."""


def result_table(result: Any) -> None:
    """Prints nothing."""


class Progress:
    """The interface of `mlrun.report.progress.Progress` without output."""

    due = False

    def start(
        self,
        total_epochs: int | None,
        steps_per_epoch: int | None,
        monitor: str | None = None,
        mode: str | None = None,
        finished_epochs: int = 0,
        history: Any = None,
    ) -> None:
        """Prints nothing."""

    def step(self, batch_index: int, loss: float | None = None) -> None:
        """Prints nothing."""

    def epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Prints nothing."""

    def stop(self) -> None:
        """Prints nothing."""
