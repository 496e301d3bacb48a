"""Training progress: a live line on a terminal, occasional plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import IO, TYPE_CHECKING

from mlrun.evaluation.selection import select
from mlrun.report.console import new_console
from mlrun.report.numbers import clock, number

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

PLAIN_LINES = 20  # approximate limit of progress lines off a terminal
REFRESH = 0.125  # seconds between updates of the progress line
NARROW = 72  # columns that a terminal needs for the bar and the best value
SHORTEST_BAR, GAP = 4, 2  # columns


class Progress:
    """Shows training progress: a live line on a terminal, occasional plain lines elsewhere.

    Independent of the trainer that calls it. Epochs are counted from 1: `epoch(3, ...)` means three are finished.

        progress = Progress()
        progress.start(total_epochs=20, steps_per_epoch=18, monitor="val/accuracy", mode="max")
        progress.step(batch_index, loss)      # as often as is cheap; drawn at most 8 times a second
        progress.epoch(1, {"train/loss": 0.4, "val/accuracy": 0.91})
        progress.stop()
    """

    def __init__(self, stream: IO[str] | None = None, console: Console | None = None, unit: str = "epoch"):
        self.unit = unit
        self._stream = stream
        self._console = console if console is not None else new_console(stream)
        self._live: Live | None = None
        self._running = False

    def start(
        self,
        total_epochs: int | None,
        steps_per_epoch: int | None,
        monitor: str | None = None,
        mode: str | None = None,
        finished_epochs: int = 0,
        history: Mapping[str, Sequence[tuple[int, float]]] | None = None,
    ) -> None:
        """Starts the display.

        Args:
            total_epochs, steps_per_epoch: None if unknown.
            monitor, mode: the monitored metric, and "min" or "max".
            finished_epochs, history: of a resumed run: number of finished epochs, and (epoch, value) points of each metric.
        """
        self._total = total_epochs if total_epochs and total_epochs > 0 else None
        self._steps = steps_per_epoch or None
        self._monitor = monitor
        mode = mode or ("min" if "loss" in (monitor or "loss") else "max")
        self._done, self._first, self._batch = finished_epochs, finished_epochs, 0
        self._loss: float | None = None
        self._selection = select(history or {}, monitor, mode)
        self._watched = None if self._selection.value is None else history[monitor][-1][1]
        self._begin = time.monotonic()
        self._next_drawing = 0.0
        self._printed = finished_epochs
        self._unprinted: tuple[int, dict[str, float]] | None = None
        self._running = True
        if self._console is not None:
            from rich.live import Live

            # no refreshing thread: it would compete with the training for the interpreter
            self._live = Live(self._line(), console=self._console, auto_refresh=False, transient=False)
            self._live.start(refresh=True)

    def step(self, batch_index: int, loss: float | None = None) -> None:
        """Call after batch `batch_index` (from 0) of this epoch. `loss`: a float; fetch it only if `due`."""
        self._batch = batch_index + 1
        if loss is not None:
            self._loss = loss
        if self._live is not None and time.monotonic() >= self._next_drawing:
            self._draw()

    @property
    def due(self) -> bool:
        """Whether `step` would update the display; check before fetching the loss from a device."""
        return self._live is not None and time.monotonic() >= self._next_drawing

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Call after an epoch. epoch: number of finished epochs; metrics: all values of the last one."""
        self._done, self._batch = epoch, 0
        self._loss = metrics.get("train/loss", self._loss)
        self._watch(epoch, metrics)
        if self._live is not None:
            self._draw()
            return
        interval = (self._total or 0) / PLAIN_LINES
        self._unprinted = (epoch, dict(metrics))
        if epoch == self._first + 1 or epoch == self._total or epoch - self._printed >= interval:
            self._print_epoch()

    def _watch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        value = metrics.get(self._monitor)
        if value is not None and value == value:
            self._watched = value
            self._selection.offer(epoch, metrics)

    def stop(self) -> None:
        """Stops the display and leaves its last state visible. Safe to call twice, and without `start`."""
        if not self._running:
            return
        self._running = False
        if self._live is not None:
            self._draw()
            self._live.stop()
            self._live = None
        elif self._unprinted:
            self._print_epoch()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _print_epoch(self) -> None:
        epoch, metrics = self._unprinted
        self._printed, self._unprinted = epoch, None
        of = f"/{self._total}" if self._total else ""
        parts = [f"{self.unit} {epoch}{of}", *(f"{name} {number(value)}" for name, value in metrics.items())]
        if self._selection.value is not None:
            parts.append(f"best {number(self._selection.value)} ({self.unit} {self._selection.epoch})")
        print("  ".join([*parts, clock(time.monotonic() - self._begin)]), file=self._stream, flush=True)

    def _draw(self) -> None:
        self._live.update(self._line(), refresh=True)
        self._next_drawing = time.monotonic() + REFRESH

    def _fraction(self) -> float | None:
        """Finished fraction of all epochs, or else of the current one, or else None."""
        inside = min(1.0, self._batch / self._steps) if self._steps else 0.0
        if self._total:
            return min(1.0, (self._done + inside) / self._total)
        return inside if self._steps else None

    def _line(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        whole, short = self._monitor or "", (self._monitor or "").rpartition("/")[2]
        width = self._console.width
        for name, narrow, bar in (
            (whole, False, True),
            (short, False, True),
            (short, False, False),
            (short, True, False),
        ):
            cells = [cell for cell in self._cells(name, narrow) if bar or not isinstance(cell, ProgressBar)]
            taken = sum(SHORTEST_BAR if isinstance(cell, ProgressBar) else cell.cell_len for cell in cells)
            if width >= NARROW and taken + GAP * (len(cells) - 1) <= width:
                break
        grid = Table.grid(padding=(0, GAP), expand=bar)
        for cell in cells:
            is_bar = isinstance(cell, ProgressBar)
            grid.add_column(
                ratio=1 if is_bar else None,
                min_width=SHORTEST_BAR if is_bar else None,
                no_wrap=True,
                overflow="ellipsis",
            )
        grid.add_row(*cells)
        return grid

    def _cells(self, name: str, narrow: bool) -> list[Text | ProgressBar]:
        """The parts of the line. name: of the monitored metric; narrow: without the bar, the best value and the time that is left."""
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        elapsed = time.monotonic() - self._begin
        fraction = self._fraction()
        current = self._done + (1 if self._batch or not self._done else 0)
        of = f"/{self._total}" if self._total else ""
        cells: list[Text | ProgressBar] = [Text(f"{self.unit} {current}{of}", style="bold")]
        if not narrow:
            cells.append(ProgressBar(total=1.0, completed=fraction or 0.0, width=None))
        if self._loss is not None:
            cells.append(Text(f"loss {number(self._loss)}"))
        if self._watched is not None:
            watched = Text(f"{name} {number(self._watched)}", style="cyan")
            if not narrow:
                watched.append(f" best {number(self._selection.value)}", style="green")
            cells.append(watched)
        here = self._total and self._done + (self._batch / self._steps if self._steps else 0) - self._first
        if here and fraction < 1 and not narrow:
            left = elapsed / here * (self._total - self._first - here)
            cells.append(Text(f"{clock(elapsed)} < {clock(left)}", style="dim"))
        else:
            cells.append(Text(clock(elapsed), style="dim"))
        return cells
