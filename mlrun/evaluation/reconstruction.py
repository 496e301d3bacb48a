"""Evaluator of autoencoders: reconstruction of rows from their codes, and search for similar rows by code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Label
from mlrun.data.predictions import Predictions
from mlrun.evaluation import fidelity
from mlrun.evaluation.evaluator import Better, Evaluator, Subject
from mlrun.evaluation.resemblance import COMPARED, first_training_rows

if TYPE_CHECKING:
    from torch import Tensor

SEED = 2  # of the noise on the input
SHOWN = 10  # rows kept for figures


class Reconstruction(Evaluator):
    """Of an `Autoencoder` task. Errors are mean squares in the unit of the data (pixels from 0 to 1), not clipped to its range.

    `mse`; for codes shorter than a row `pca_mse` of as many principal components of the training rows, and `against_pca`, their ratio. For a denoising task also
    `noisy_mse` of corrupted rows and `denoised_mse` of their reconstructions. For data with classes `search_accuracy`: the fraction of
    rows whose nearest training row by code has their class.
    """

    metrics = {
        "mse": Better.SMALLER,
        "pca_mse": Better.SMALLER,
        "against_pca": Better.SMALLER,
        "noisy_mse": Better.SMALLER,
        "denoised_mse": Better.SMALLER,
        "search_accuracy": Better.LARGER,
    }
    every_epoch = False
    needs_predictions = False

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        self._rows: list[Tensor] = []
        self._labels: list[Tensor] = []

    def update(self, batch: Mapping[str, Any], examples: Examples | None, predictions: Predictions | None) -> None:
        self._rows.append(next(iter(batch.values())))
        if "labels" in batch:
            self._labels.append(batch["labels"])

    def compute(self) -> dict[str, float]:
        import torch

        task, x = self.subject.model.task, torch.cat(self._rows)
        known, known_labels = first_training_rows(self.subject, COMPARED)
        codes, known_codes = task.encoder(x), task.encoder(known)
        restored, original, train = (task.natural(rows, clip=False) for rows in (task.decoder(codes), x, known))
        error = mean_square(restored - original)
        found = {"mse": error}
        if codes.shape[1] < original[0].size:  # else the components restore every row, up to rounding
            pca = fidelity.pca_error(train, original, codes.shape[1])
            found |= {"pca_mse": pca, "against_pca": error / max(pca, 1e-12)}
        if task.denoises:
            noisy = task.corrupted(x, task.seeded(SEED))
            found["noisy_mse"] = mean_square(task.natural(noisy, clip=False) - original)
            found["denoised_mse"] = mean_square(task.natural(task.restored(noisy), clip=False) - original)
        if known_labels is not None and self._has_classes():
            _, nearest = fidelity.nearest(codes.cpu().numpy(), known_codes.cpu().numpy())
            of_nearest, labels = known_labels.cpu().numpy()[nearest], torch.cat(self._labels).cpu().numpy()
            found["search_accuracy"] = float((of_nearest == labels).mean())
        # for figures: some of the rows with their codes, and the training rows (in the unit of the data) with theirs
        self.rows, self.codes = x[:SHOWN], codes[:SHOWN].cpu().numpy()
        self.training_rows, self.training_codes = train, known_codes.cpu().numpy()
        return found

    def _has_classes(self) -> bool:
        """Components of a generated distribution, by which it is not stratified, do not count as classes."""
        data = self.subject.data
        return isinstance(data.target, Label) and getattr(data, "splits_by_class", True)


def mean_square(difference: np.ndarray) -> float:
    """Mean of the squares of all values."""
    return float((difference**2).mean())
