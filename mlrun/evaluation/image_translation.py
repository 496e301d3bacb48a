"""Evaluator of unpaired image-to-image translation."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import numpy as np

from mlrun.evaluation import fidelity
from mlrun.evaluation.evaluator import Better, Evaluator, Subject

CHUNK = 256  # images translated at once


class ImageTranslation(Evaluator):
    """Of a `CycleGAN` task on data of two domains, the mean of both directions.

    `cycle_l1`: distance between images and their reconstructions after both translations; `l1`: distance from the true translation, if
    the data provide it. Both are means over pixels, relative to their range. With classes: `class_kept`, the fraction of translations
    in which a reference classifier predicts the class of the original image, its `reference_accuracy` on its own test part, and `frechet`
    between translations and the real images of their domain (`frechet_real` between as many training images and those).
    """

    metrics = {
        "cycle_l1": Better.SMALLER,
        "l1": Better.SMALLER,
        "class_kept": Better.LARGER,
        "reference_accuracy": Better.LARGER,
        "frechet": Better.SMALLER,
        "frechet_real": Better.SMALLER,
    }
    every_epoch = False  # the task measures `cycle_l1` in training
    needs_predictions = False

    def begin(self, subject: Subject) -> None:
        super().begin(subject)
        # domain -> its images, their translations and the reconstructions: pixels (rows, channels, height, width) from 0 to 1
        self.images: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def compute(self) -> dict[str, float]:
        task, data, part = self.subject.model.task, self.subject.data, self.subject.part
        for letter, domain, there, back in zip(
            "AB", data.domains(part), (task.to_b, task.to_a), (task.to_a, task.to_b)
        ):
            self.images[letter] = self._translated(domain.x, there, back)
        found = {"cycle_l1": fmean(np.abs(returned - image).mean() for image, _, returned in self.images.values())}
        distances = [
            np.abs(translated - counterpart).mean()
            for (image, translated, _), to in zip(self.images.values(), "BA")
            if (counterpart := data.counterpart(image, to)) is not None
        ]
        if distances:
            found["l1"] = fmean(distances)
        classifier = self.subject.reference_classifier
        return found if classifier is None else {**found, **self._classified(classifier())}

    def _translated(self, images: np.ndarray, there: Any, back: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Raw images -> originals, translations and reconstructions as pixels from 0 to 1. there, back: translators."""
        import torch

        device = self.subject.model.task.device
        scale = self.subject.model.preprocessor.scaling.on_device(device)
        parts: list[list[Any]] = [[], [], []]
        with torch.inference_mode():
            for some in torch.from_numpy(np.ascontiguousarray(images)).split(CHUNK):
                image = scale(some.to(device))
                translated = there(image)
                for part, values in zip(parts, (image, translated, back(translated))):
                    part.append(values.float().add(1).div(2).cpu())
        first, second, third = (torch.cat(part).numpy() for part in parts)
        return first, second, third

    def _classified(self, classifier: Any) -> dict[str, float]:
        """Metrics based on a `ReferenceClassifier` of both domains."""
        data = self.subject.data
        domains, train = data.domains(self.subject.part), data.domains("train")
        of_real = [classifier.classify(self.images[letter][0]) for letter in "AB"]
        found: dict[str, list[float]] = {name: [] for name in ("class_kept", "frechet", "frechet_real")}
        for here, there in ((0, 1), (1, 0)):
            features, predicted = classifier.classify(self.images["AB"[here]][1])
            pixels = train[there].x[: len(features)] / np.float32(data.value_range)
            found["class_kept"].append((predicted == domains[here].y).mean())
            found["frechet"].append(fidelity.frechet(of_real[there][0], features))
            found["frechet_real"].append(fidelity.frechet(of_real[there][0], classifier.classify(pixels)[0]))
        # not on these images: its own split differs from that of the evaluated run, so it may have been trained on them
        return {"reference_accuracy": classifier.accuracy} | {name: fmean(values) for name, values in found.items()}
