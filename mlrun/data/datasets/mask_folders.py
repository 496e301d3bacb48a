"""Pairs of image and mask folders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlrun.data.datasets.annotated import AnnotatedImages
from mlrun.data.features import Mask
from mlrun.data.readers.image_folders import files_by_name, part_folders
from mlrun.data.readers.images import read_indices
from mlrun.data.readers.objects import report
from mlrun.data.row_data import Content
from mlrun.data.splits import sources_of
from mlrun.errors import DataError

MOST_VALUES = 64  # different values in masks: more are grey values, not classes


class MaskFolders(AnnotatedImages):
    """A folder of images and a folder of masks with the same names (without suffix). The values in the masks are the classes, in ascending order.

    Folders `train`, `val` and `test` in both are these parts.

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
        root = self.path / self.image_folder
        images, masks = files_by_name(root, self.path / self.mask_folder)
        parts = (part_folders(root) if images else []) or [""]
        part_of = {name: file.relative_to(root).parts[0] if parts[0] else "" for name, file in images.items()}
        names = sorted(images.keys() & masks.keys(), key=lambda name: (parts.index(part_of[name]), len(name), name))
        if not names:
            raise DataError(
                f"{self.path}: no image in {self.image_folder} has a mask of the same name in {self.mask_folder} "
                "(dataset.images, dataset.masks)"
            )
        alone = [f"{images[name]}: an image without mask" for name in sorted(images.keys() - masks.keys())]
        alone += [f"{masks[name]}: a mask without image" for name in sorted(masks.keys() - images.keys())]
        report(alone, self.path, self.skip_invalid)
        raw = [read_indices(masks[name]) for name in names]
        column, photo, kept = self.photos([images[name] for name in names], [mask.shape for mask in raw])
        coded, values = self._coded([raw[at] for at in kept])
        classes = list(self.classes_kept or map(str, values))
        if len(classes) != len(values):
            raise DataError(
                f"dataset.classes={classes}: the masks have {len(values)} classes, the values {', '.join(map(str, values))}; "
                "give the value of each class in dataset.values"
            )
        return Content(
            {"image": column, "mask": coded},
            {"image": photo, "mask": Mask(classes, None if self.void is None else VOID)},
            str(self.path),
            ("mask",),
            sources=sources_of({part: [part_of[name] for name in names].count(part) for part in parts}, kept),
            names=[images[names[at]].name for at in kept],
        )

    def _coded(self, masks: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[int]]:
        """(masks of indices of classes, the value of each class)."""
        found = sorted({int(value) for mask in masks for value in np.unique(mask)} - {self.void})
        values = found if self.values is None else list(self.values)
        if self.values is None and self.known_classes and all(name.isdecimal() for name in self.known_classes):
            known = list(map(int, self.known_classes))  # of the model, of which some may not occur
            values = known if set(found) <= set(known) else found
        unknown = [value for value in found if value not in values]
        if unknown:
            raise DataError(f"{self.path}: masks have the value {unknown[0]}, which is not in dataset.values={values}")
        if len(values) < 2:
            raise DataError(
                f"{self.path}: the masks have a single class, the value {', '.join(map(str, values)) or 'none'}, so there is nothing to learn; "
                "see dataset.void, dataset.values"
            )
        if len(values) > MOST_VALUES:
            raise DataError(
                f"{self.path}: the masks have {len(values)} different values; are they grey pictures or JPEG files?"
            )
        code = np.full(max([*values, self.void or 0]) + 1, VOID, np.uint8)
        code[values] = np.arange(len(values))
        return [code[mask] for mask in masks], values


VOID = 255
