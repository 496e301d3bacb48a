"""What a language model writes whenever its validation has improved: samples.txt."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlrun.data.batches import whole_batch
from mlrun.data.examples import Examples
from mlrun.report.view import View
from mlrun.tasks.validation import as_arrays

log = logging.getLogger("mlrun")


@dataclass
class Writing:
    """A text file in UTF-8."""

    text: str

    def save(self, path: Path) -> Path:
        """Writes a .txt file, whatever the suffix of `path`, and returns its path."""
        path = path.with_suffix(".txt")
        beside = path.with_name(f"{path.name}.new")  # the file of an earlier epoch may be being uploaded
        beside.write_text(self.text, encoding="utf-8")
        os.replace(beside, path)
        return path


class Continuations(View):
    """Of a task with `predict` for prompts; the metric that it is monitored by decides what is better.

    prompt: the text that is continued; the default is the beginning of a line.
    """

    def __init__(self, prompt: str = "\n"):
        self.prompt = prompt
        self._best: float | None = None
        self._samples: list[str] = []

    def epoch(self, task: Any, epoch: int, last: bool) -> Iterator[tuple[str, Any]]:
        value = task.trainer.callback_metrics.get(f"val/{task.monitor}")
        if value is None or not self._improves(float(value), task.direction(task.monitor)):
            return
        self._best = float(value)
        text = self._continued(task)
        heading = f"epoch {epoch}, validation {task.monitor} {self._best:.3f}"
        log.info("sample, %s: %s", heading, text)
        self._samples.append(f"--- {heading}\n{text}\n\n")
        yield "samples", Writing("".join(self._samples))

    def _improves(self, value: float, direction: str) -> bool:
        if self._best is None:
            return not np.isnan(value)
        return value > self._best if direction == "max" else value < self._best

    @torch.inference_mode()
    def _continued(self, task: Any) -> str:
        preprocessor, training = task.preprocessor, task.training
        (name,) = preprocessor.inputs
        prompts = Examples({name: np.array([self.prompt], dtype=object)}, preprocessor.inputs)
        task.eval()
        try:
            outputs = task.predict(whole_batch(preprocessor.encode(prompts), task.device))
        finally:
            task.train(training)
        return preprocessor.decode(as_arrays(outputs), prompts).texts[0]

    @property
    def state(self) -> dict[str, Any]:
        return {} if self._best is None else {"best": self._best, "samples": self._samples}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._best, self._samples = state["best"], list(state["samples"])
