"""Reconstructions of an autoencoder during training, and its search results by code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mlrun.evaluation import fidelity
from mlrun.evaluation.reconstruction import Reconstruction
from mlrun.report.captions import explained
from mlrun.report.frames import Frames
from mlrun.report.samples import grid, picture

if TYPE_CHECKING:
    from PIL.Image import Image

    from mlrun.data.module import DataModule
    from mlrun.predictions.learner import Evaluation, Learner

SEED = 1  # of the input noise, the same for all pictures
SHOWN, FOUND = 10, 7  # rows in a picture; training rows found for each of them


class Restored(Frames):
    """Of an `Autoencoder` task: rows of the validation part, their corrupted versions if it denoises, and their reconstructions."""

    prefix = "restored"

    def shown(self, task: Any) -> Tensor:
        parts = (task.data.loader(part, task.preprocessor, task.device) for part in ("val", "train"))
        batch = next(iter(next(loader for loader in parts if loader is not None)))
        return self._side_by_side(task, next(iter(batch.values()))[:SHOWN])

    @staticmethod
    @torch.no_grad()
    def _side_by_side(task: Any, x: Tensor) -> Tensor:
        """x, its corrupted version if the task denoises, and its reconstruction, concatenated."""
        training = task.training
        task.eval()
        seen = task.corrupted(x, task.seeded(SEED))
        rows = torch.cat([x, *([seen] if task.denoises else []), task.restored(seen)])
        task.train(training)
        return rows

    def picture(self, task: Any, data: DataModule, shown: Tensor) -> Image | None:
        lines = ["inputs", *(["corrupted inputs"] if task.denoises else []), "reconstructions"]
        restored = picture(task, data, shown, columns=len(shown) // len(lines))
        if restored is None:
            return None
        *first, last = lines
        about = (
            f"Rows from top to bottom: {', '.join(lines)}."
            if task.makes_images
            else f"Blue: {', '.join(first)} and {last}."
        )
        return explained(restored, about)

    def draw(self, learner: Learner, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        task, measured = learner.task, evaluation.evaluators.get("Reconstruction")
        if isinstance(measured, Reconstruction):
            restored = self.picture(task, data, self._side_by_side(task, measured.rows))
            if restored is not None:
                yield "restored", restored
            if task.makes_images:
                order = fidelity.squared_distances(measured.codes, measured.training_codes).argsort(axis=1)[:, :FOUND]
                rows = np.concatenate([task.natural(measured.rows)[:, None], measured.training_rows[order]], axis=1)
                found = grid(rows.reshape(-1, *rows.shape[2:]), columns=1 + FOUND)
                yield (
                    "search_by_code",
                    explained(found, "First column: queries. Others: the nearest training images by code."),
                )
        yield from self.film(task, data)
