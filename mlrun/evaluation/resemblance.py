"""Evaluator of the resemblance between samples of a generative model and unseen data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.predictions import Predictions
from mlrun.evaluation import fidelity
from mlrun.evaluation.evaluator import Better, Evaluator, Subject

if TYPE_CHECKING:
    from torch import Tensor

SEED = 2  # of the noise of the evaluated samples
MEASURED, COMPARED = 4000, 10_000  # largest number of samples of a trained model, and of training rows to compare with
IN_TRAINING = 500  # largest number of samples after an epoch
TESTED = 1000  # largest number of rows of each side of the MMD test and of `novelty`
PERMUTATIONS = 200


class Resemblance(Evaluator):
    """Of a `Generation` task. Points are compared directly, images also by the features of a reference classifier.

    Always: `mmd` and `mmd_p`, the p-value of its test; `novelty`: median distance to the nearest training row, relative to that of fresh
    rows. For mixtures of points: `modes`, `good`. For images with classes: `precision`, `recall`, `density`, `coverage`, `frechet` (and
    `frechet_real` of as many training rows), `reference_accuracy` of the classifier on its own test part; for a conditional model also
    `classified_as_asked` and `diversity` (of features within a class, relative to that of the real data). See `fidelity`.

    A conditional model draws samples of the same classes as the rows they are compared with, so that a rare class is rare in both.

    After an epoch only `mmd`, in the scale of the network.

    Args:
        every_epoch: evaluate after each epoch, which requires sampling.
    """

    metrics = {
        "mmd": Better.SMALLER,
        "mmd_p": Better.LARGER,
        "novelty": Better.LARGER,
        "modes": Better.LARGER,
        "good": Better.LARGER,
        "precision": Better.LARGER,
        "recall": Better.LARGER,
        "density": Better.LARGER,
        "coverage": Better.LARGER,
        "frechet": Better.SMALLER,
        "frechet_real": Better.SMALLER,
        "reference_accuracy": Better.LARGER,
        "classified_as_asked": Better.LARGER,
        "diversity": Better.LARGER,
    }
    needs_predictions = False

    def __init__(self, every_epoch: bool = False):
        self.every_epoch = every_epoch
        # for figures: the compared samples and training rows in the unit of the data, and the reference classifier
        self.samples: np.ndarray | None = None
        self.training_rows: np.ndarray | None = None
        self.reference: Any = None

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

        task, real = self.subject.model.task, torch.cat(self._rows)
        if self.subject.in_training:
            real = real[:IN_TRAINING]
            samples, _ = task.draw(len(real), SEED, self._classes(len(real)))
            return fidelity.mmd(samples.cpu().numpy(), real.cpu().numpy())
        count = min(len(real), MEASURED)
        samples, labels = task.draw(count, SEED, self._classes(count))
        made, fresh, known = (task.natural(rows) for rows in (samples, real, self._training_rows()))
        self.samples, self.training_rows = made, known
        made_flat, fresh_flat, known_flat = (rows.reshape(len(rows), -1) for rows in (made, fresh, known))
        found = fidelity.mmd(made_flat[:TESTED], fresh_flat[:TESTED], PERMUTATIONS)
        found["novelty"] = fidelity.memorization(made_flat[:TESTED], known_flat, fresh_flat[:TESTED])
        centers = getattr(self.subject.data, "centers", None)
        if centers is not None:
            found |= fidelity.modes(made, centers, self.subject.data.noise)
        classifier = self.subject.reference_classifier
        if task.makes_images and classifier is not None:
            self.reference = classifier()
            found |= self._by_features(made, labels, fresh, torch.cat(self._labels).cpu().numpy(), known)
        return found

    def _by_features(
        self, made: np.ndarray, labels: Tensor | None, fresh: np.ndarray, classes: np.ndarray, known: np.ndarray
    ) -> dict[str, float]:
        """Metrics on the features and predictions of the reference classifier. made, fresh, known: samples, fresh and training images; labels:
        of the samples; classes: of the fresh images."""
        features, predicted = self.reference.classify(made)
        fresh_features, _ = self.reference.classify(fresh)
        known_features, _ = self.reference.classify(known)
        found = fidelity.neighbourhoods(fresh_features[: len(features)], features)
        found["frechet"] = fidelity.frechet(fresh_features, features)
        found["frechet_real"] = fidelity.frechet(fresh_features, known_features[: len(features)])
        # not on these rows: its own split differs from that of the evaluated run, so it may have been trained on them
        found["reference_accuracy"] = self.reference.accuracy
        if labels is not None:
            wanted = labels.cpu().numpy()
            found["classified_as_asked"] = float((predicted == wanted).mean())
            found["diversity"] = fidelity.diversity(features, wanted, fresh_features, classes)
        return found

    def _classes(self, count: int) -> Tensor | None:
        """Classes of the first rows; None without classes."""
        import torch

        return torch.cat(self._labels)[:count] if self._labels else None

    def _training_rows(self) -> Tensor:
        return first_training_rows(self.subject, COMPARED)[0]


def first_training_rows(subject: Subject, count: int) -> tuple[Tensor, Tensor | None]:
    """The first training rows as network input, (at most count, ...), and their labels, or None."""
    import torch

    task, found = subject.model.task, 0
    rows: list[Tensor] = []
    labels: list[Tensor] = []
    for batch in subject.data.loader("train", subject.model.preprocessor, task.device):
        rows.append(next(iter(batch.values())))
        if "labels" in batch:
            labels.append(batch["labels"])
        found += len(rows[-1])
        if found >= count:
            break
    return torch.cat(rows)[:count], torch.cat(labels)[:count] if labels else None
