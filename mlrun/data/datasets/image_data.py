"""What all sets of images share: their size, and augmentation of what is trained on."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from mlrun.data.module import ArrayData
from mlrun.data.preprocess.transform import ImageScaling
from mlrun.errors import DataError


class ImageData(ArrayData):
    """Images (rows, channels, height, width) in memory.

    image_size: height and width that the network is fed, null for those of the files; images are resized batch by batch
    on the device. enlarge_to: the same, but only for smaller images: what the model's `min_image_size` asks for.
    classes: labels of the classes to keep, null for all; the rest of the images is left out.
    augment: steps of `mlrun.data.augment.images` that change each training batch, in their order.
    """

    def __init__(self, problem, name, seed, image_size=None, enlarge_to=None, classes=None, augment=None, **options):
        super().__init__(problem, name, seed, **options)
        if problem != "classification":
            raise DataError(f"dataset.problem={problem}: {name} is a classification set")
        for key, size in (("image_size", image_size), ("enlarge_to", enlarge_to)):
            if size is not None and (not isinstance(size, int) or size < 1):
                raise DataError(f"dataset.{key}={size}: give height and width in pixels as one number, or null")
        self.image_size, self.enlarge_to = image_size, enlarge_to
        self.augment, self.classes = list(augment or []), classes

    def prepare(self):
        if self._rows is None:
            self._content = self.read() if self.classes is None else self._kept(self.read())
            self._rows = self._split()

    def _kept(self, content):
        unknown = [label for label in self.classes if label not in content.labels]
        if unknown or len(set(self.classes)) < 2:
            known = ", ".join(map(str, content.labels))
            raise DataError(
                f"dataset.classes={self.classes}: give at least two of the labels of {self.name}, which are {known}"
            )
        places = sorted({content.labels.index(label) for label in self.classes})
        chosen = np.isin(content.y, places)
        return replace(
            content,
            x=content.x[chosen],
            y=np.searchsorted(places, content.y[chosen]),
            labels=[content.labels[place] for place in places],
            class_names=[content.class_names[place] for place in places],
            names=content.names and [content.names[row] for row in np.flatnonzero(chosen)],
            sources=None
            if content.sources is None
            else [(int(chosen[:start].sum()), int(chosen[:end].sum()), parts) for start, end, parts in content.sources],
            test_rows=None if content.test_rows is None else int(chosen[: content.test_rows].sum()),
        )

    @cached_property
    def resized_to(self):
        """Height and width of what the network is fed if that differs from the files, else None."""
        size = list(self.content.x.shape[2:])
        if self.image_size is not None:
            wanted = [self.image_size] * 2
        else:
            wanted = [max(side, self.enlarge_to or 0) for side in size]
        return None if wanted == size else wanted

    @property
    def file_shape(self):
        """[channels, height, width] as in the files: what an estimator sees, flattened."""
        return list(self.content.x.shape[1:])

    @property
    def input_shape(self):
        return [self.content.x.shape[1], *(self.resized_to or self.content.x.shape[2:])]

    def fit_transform(self, x, target_mean, target_std):
        scaling = ImageScaling.fit(x, self.normalize, self.content.value_range, target_mean, target_std)
        scaling.image_size, scaling.value_range = self.resized_to, float(self.content.value_range)
        return scaling

    def on_batches(self, part, shuffle, device):
        if self.augments(part, shuffle):
            return None, self.augmentation(device)
        if self.resized_to is not None:
            return self.transform.on_device(device), None
        return super().on_batches(part, shuffle, device)

    def example(self, part):
        x = self.take(self.rows(part)[:5])
        return x.reshape(len(x), int(np.prod(x.shape[1:])))

    def augments(self, part, shuffle):
        """Only what is trained on changes; the same rows read in order, to be measured, do not."""
        return bool(self.augment) and part == "train" and shuffle

    def augmentation(self, device):
        from mlrun.data.augment.images import Augmentation

        for step in self.augment:
            if hasattr(step, "fit"):
                rows, scale = self.rows("train"), self.content.value_range
                step.fit(self.take(rows[start : start + 4096]) / scale for start in range(0, len(rows), 4096))
        return Augmentation(self.augment, self.transform, self.content.value_range, len(self.content.labels), device)

    def augmented_examples(self, images=4, versions=7):
        """Training images of several classes as they are and changed: pixels (images, 1 + versions, channels, height, width) from 0
        to 1, and their shares of the classes (images, 1 + versions, classes)."""
        import torch
        from torch.nn import functional as F

        rows = self.rows("train")
        _, first = np.unique(self.content.y[rows], return_index=True)  # one of each class
        rows = rows[first[:images]]
        augmentation, x, y = (
            self.augmentation("cpu"),
            torch.from_numpy(self.take(rows)),
            torch.from_numpy(self.content.y[rows]),
        )
        pixels, shares = [], []
        for version in range(1 + versions):
            steps = augmentation.steps
            augmentation.steps = steps if version else []
            changed, labels = augmentation.change(x, y, torch.Generator().manual_seed(self.seed + version))
            augmentation.steps = steps
            pixels.append(changed)
            shares.append(labels if labels.is_floating_point() else F.one_hot(labels, augmentation.classes).float())
        return torch.stack(pixels, 1).numpy(), torch.stack(shares, 1).numpy()
