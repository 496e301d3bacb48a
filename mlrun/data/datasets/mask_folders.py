"""Pairs of image and mask folders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlrun.data.datasets.annotated import AnnotatedImages
from mlrun.data.features import Mask
from mlrun.data.module import Content
from mlrun.data.readers.images import image_size, images_in, read_indices
from mlrun.errors import DataError

MOST_VALUES = 64  # different values in masks: more are grey values, not classes


class MaskFolders(AnnotatedImages):
    """A folder of images and a folder of masks with the same names (without suffix). The values in the masks are the classes, in ascending order.

    Args:
        problem: segmentation.
        images, masks: names of the two folders.
        values: the value of each class, null for all that occur.
        classes: their names, null for the values.
        void: the value of pixels that do not count, null for none.
        options: see `AnnotatedImages`.
    """

    def __init__(
        self,
        problem: str,
        name: str,
        seed: int,
        data_dir: str | None,
        images: str = "images",
        masks: str = "masks",
        values: Sequence[int] | None = None,
        void: int | None = None,
        **options: Any,
    ):
        super().__init__(problem, name, seed, data_dir, **options)
        self.check_problem(("segmentation",))
        self.image_folder, self.mask_folder, self.values, self.void = images, masks, values, void

    def read_annotations(self) -> Content:
        images, masks = (
            {file.stem: file for file in images_in(self.path / folder)}
            for folder in (self.image_folder, self.mask_folder)
        )
        names = sorted(images.keys() & masks.keys(), key=lambda name: (len(name), name))
        if not names:
            raise DataError(
                f"{self.path}: no image in {self.image_folder} has a mask of the same name in {self.mask_folder} "
                "(dataset.images, dataset.masks)"
            )
        without = sorted(images.keys() ^ masks.keys())
        if without and not self.skip_invalid:
            raise DataError(
                f"{self.path}: {', '.join(without[:5])}: an image without mask, or a mask without image; "
                "leave them out with dataset.skip_invalid=true"
            )
        raw = [read_indices(masks[name]) for name in names]
        for name, mask in zip(names, raw):
            if image_size(images[name]) != mask.shape:
                size = " x ".join(map(str, image_size(images[name])))
                raise DataError(f"{masks[name]}: a mask of {mask.shape[0]} x {mask.shape[1]} for an image of {size}")
        column, photo = self.photos([images[name] for name in names])
        coded, values = self._coded(raw)
        classes = list(self.classes_kept or map(str, values))
        if len(classes) != len(values):
            raise DataError(
                f"dataset.classes={classes}: the masks have {len(values)} classes, {', '.join(map(str, values))}"
            )
        return Content(
            {"image": column, "mask": coded},
            {"image": photo, "mask": Mask(classes, None if self.void is None else VOID)},
            str(self.path),
            ("mask",),
            names=[images[name].name for name in names],
        )

    def _coded(self, masks: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[int]]:
        """(masks of indices of classes, the value of each class)."""
        found = sorted({int(value) for mask in masks for value in np.unique(mask)} - {self.void})
        values = found if self.values is None else list(self.values)
        unknown = [value for value in found if value not in values]
        if unknown:
            raise DataError(f"{self.path}: masks have the value {unknown[0]}, which is not in dataset.values={values}")
        if len(values) > MOST_VALUES:
            raise DataError(
                f"{self.path}: the masks have {len(values)} different values; are they grey pictures or JPEG files?"
            )
        code = np.full(max([*values, self.void or 0]) + 1, VOID, np.uint8)
        code[values] = np.arange(len(values))
        return [code[mask] for mask in masks], values


VOID = 255
