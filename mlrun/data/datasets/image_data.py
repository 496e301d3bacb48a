"""Common base of image datasets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mlrun.data.features import Image, Label
from mlrun.data.preprocess.images import check_sizes
from mlrun.data.readers.images import DecodedFiles
from mlrun.data.row_data import ArrayData, Content
from mlrun.errors import DataError


class ImageData(ArrayData):
    """Images with a class each: columns `image` (rows, channels, height, width) and `label`.

    Args:
        problem: "classification": all parts have the same classes. "similarity": the classes of val and test do not occur in train, and
            `split` counts classes.
        name, seed, options: see `ArrayData`.
        image_size: height and width of the network input, null for those of the files; images are resized batch by batch
            on the device.
        enlarge_to: the same, but only for smaller images; the model's `min_image_size` sets it.
        classes: labels of the classes to keep, null for all; other images are left out.
        augment: steps of `mlrun.data.augment.images`, applied in order to each training batch.
    """

    problems: tuple[str, ...] = ("classification", "similarity")

    def __init__(
        self,
        problem: str,
        name: str,
        seed: int,
        image_size: int | None = None,
        enlarge_to: int | None = None,
        classes: Sequence[Any] | None = None,
        augment: Sequence[Any] | None = None,
        **options: Any,
    ):
        super().__init__(problem, name, seed, **options)
        if problem not in self.problems:
            raise DataError(f"dataset.problem={problem}: choose one of {', '.join(self.problems)}")
        self.unseen_classes = problem == "similarity"
        check_sizes(image_size=image_size, enlarge_to=enlarge_to)
        self.preprocessing |= {"image_size": image_size, "enlarge_to": enlarge_to, "augment": list(augment or [])}
        self.kept = classes

    def prepare(self) -> None:
        if self._rows is None:
            self._content = self.read() if self.kept is None else self._only_kept(self.read())
            self._rows = self._split()

    def _only_kept(self, content: Content) -> Content:
        label = content.features["label"]
        assert isinstance(label, Label) and self.kept is not None
        by_text = {str(one): place for place, one in enumerate(label.classes)}  # a folder "1" is given as 1 too
        unknown = [one for one in self.kept if str(one) not in by_text]
        if unknown or len(set(self.kept)) < 2:
            known = ", ".join(map(str, label.classes))
            raise DataError(
                f"dataset.classes={self.kept}: give at least two of the labels of {self.name}, which are {known}"
            )
        y = content.columns["label"]
        places = sorted({by_text[str(one)] for one in self.kept})
        kept = np.isin(y, places)
        classes, names = ([values[place] for place in places] for values in (label.classes, label.names))
        return replace(
            content,
            columns={"image": content.columns["image"][kept], "label": np.searchsorted(places, y[kept])},
            features={**content.features, "label": Label(classes, names)},
            names=content.names and [content.names[row] for row in np.flatnonzero(kept)],
            sources=None
            if content.sources is None
            else [(int(kept[:start].sum()), int(kept[:end].sum()), parts) for start, end, parts in content.sources],
            test_rows=None if content.test_rows is None else int(kept[: content.test_rows].sum()),
        )


def labelled_images(
    pixels: np.ndarray | DecodedFiles,
    labels: np.ndarray,
    label: Label,
    source: str,
    pixel_names: Sequence[str] = (),
    value_range: float = 255,
    **options: Any,
) -> Content:
    """Images (rows, channels, height, width) with class indices (rows,). options: of `Content`."""
    image = Image(list(pixels.shape[1:]), value_range, list(pixel_names))
    return Content(
        {"image": pixels, "label": labels.astype(np.int64)}, {"image": image, "label": label}, source, **options
    )
