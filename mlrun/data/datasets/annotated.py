"""Common base of datasets of image files with annotations beside them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlrun.data.datasets.scene_data import SceneData
from mlrun.data.features import Boxes, Photo
from mlrun.data.module import Content
from mlrun.data.readers.download import data_directory
from mlrun.data.readers.images import ImageFiles
from mlrun.data.readers.objects import Picture, class_names, objects_column
from mlrun.data.splits import TRAIN_DEV
from mlrun.errors import DataError


class AnnotatedImages(SceneData):
    """Image files, read batch by batch, with boxes, masks or points.

    Args:
        problem, name, seed, options: see `SceneData`.
        data_dir: folder of public data sets.
        path: folder of the data; relative to `data_dir` if `collection` is true.
        collection: whether it is one of the public data sets.
        grey: one channel instead of three.
        classes: those to keep, in this order; null for all.
        skip_invalid: leave out invalid annotations and list them; if false, they are listed in a DataError.
    """

    def __init__(
        self,
        problem: str,
        name: str,
        seed: int,
        data_dir: str | None,
        path: str | Path,
        collection: bool = False,
        grey: bool = False,
        classes: Sequence[str] | None = None,
        skip_invalid: bool = False,
        **options: Any,
    ):
        super().__init__(problem, name, seed, **options)
        self.path = data_directory(data_dir) / path if collection else Path(path).expanduser()
        self.grey, self.classes_kept, self.skip_invalid = grey, classes, skip_invalid

    def read(self) -> Content:
        if not self.path.exists():
            raise DataError(f"dataset.path={self.path}: there is no such folder or file")
        return self.read_annotations()

    @abstractmethod
    def read_annotations(self) -> Content:
        """Loads the data from `path`, which exists. Raises DataError."""

    def photos(self, paths: Sequence[Path], **options: Any) -> tuple[ImageFiles, Photo]:
        """The column of images and its feature."""
        return ImageFiles(paths, self.grey), Photo(channels=1 if self.grey else 3)

    def boxes_content(self, parts: dict[str, list[Picture]]) -> Content:
        """Content of detection. parts: pictures of each part that the data define; {"": pictures} if they define none."""
        pictures = [picture for own in parts.values() for picture in own]
        if not pictures:
            raise DataError(f"{self.path}: there are no annotated images in it")
        classes = class_names(pictures, self.classes_kept, self.path)
        images, photo = self.photos([picture.path for picture in pictures])
        return Content(
            {"image": images, "objects": objects_column(pictures, classes)},
            {"image": photo, "objects": Boxes(classes)},
            str(self.path),
            ("objects",),
            sources=sources_of({name: len(own) for name, own in parts.items()}),
            names=[picture.path.name for picture in pictures],
        )


def sources_of(sizes: dict[str, int]) -> list[tuple[int, int, tuple[str, ...]]] | None:
    """`sources` of `Content` from the sizes of the parts that data define, in order: val and test come from their own, or else from train. None
    for a single source without a name."""
    if list(sizes) == [""]:
        return None
    absent = tuple(part for part in ("val", "test") if part not in sizes)
    found, start = [], 0
    for name, size in sizes.items():
        found.append((start, start + size, ("train", TRAIN_DEV, *absent) if name == "train" else (name,)))
        start += size
    return found
