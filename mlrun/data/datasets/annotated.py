"""Common base of datasets of image files with annotations beside them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from mlrun.data.datasets.scene_data import SceneData
from mlrun.data.features import Boxes, Feature, Photo
from mlrun.data.readers.download import data_directory
from mlrun.data.readers.images import ImageFiles, check_file, image_size
from mlrun.data.readers.objects import Picture, Size, class_names, objects_column, report
from mlrun.data.row_data import Content
from mlrun.data.splits import sources_of
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
        skip_invalid: leave out invalid annotations, and images that cannot be read, and list them; if false, they are listed in a DataError.
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
        self.grey, self.skip_invalid = grey, skip_invalid
        self.classes_kept = None if classes is None else [str(one) for one in classes]  # a class "1" is given as 1 too
        if len(set(self.classes_kept or ())) < len(self.classes_kept or ()):
            raise DataError(f"dataset.classes={self.classes_kept}: give each class once")
        self.known_classes: list[str] = []  # of the model that evaluates the data

    def follow(self, inputs: Mapping[str, Feature], targets: Mapping[str, Feature]) -> None:
        self.known_classes = list(getattr(next(iter(targets.values()), None), "classes", ()))

    def read(self) -> Content:
        if not self.path.exists():
            raise DataError(f"dataset.path={self.path}: there is no such folder or file")
        return self.read_annotations()

    @abstractmethod
    def read_annotations(self) -> Content:
        """Loads the data from `path`, which exists. Raises DataError."""

    def photos(
        self, paths: Sequence[Path], sizes: Sequence[Size] | None = None
    ) -> tuple[ImageFiles, Photo, np.ndarray]:
        """The column of the images that can be read and have the size that their annotations are for, its feature, and (images,) which of the
        paths they are. The others are reported as invalid, and so are images that occur again: each would know a part of the truth only, and could
        be in several parts.

        Args:
            paths: of the images.
            sizes: (height, width) that the annotations of each image are for; None: not known.
        """
        if paths and not any(path.exists() for path in paths):
            raise DataError(f"{self.path}: none of its {len(paths)} images is where it says, such as {paths[0]}")
        with ThreadPoolExecutor() as pool:
            read = list(pool.map(_looked_at, paths, sizes or [None] * len(paths)))
        first = {path: at for at, path in reversed(list(enumerate(paths)))}
        for at, path in enumerate(paths):
            if first[path] != at and not read[at][1]:
                read[at] = (read[at][0], f"{path}: this image occurs more than once")
        report([message for _, message in read if message], self.path, self.skip_invalid)
        kept = np.flatnonzero([not message for _, message in read])
        if not len(kept):
            raise DataError(f"{self.path}: none of its {len(paths)} images can be used")
        found = np.array([read[at][0] for at in kept], dtype=np.int64)
        return (
            ImageFiles([paths[int(at)] for at in kept], self.grey, found),
            Photo(channels=1 if self.grey else 3),
            kept,
        )

    def boxes_content(self, parts: dict[str, list[Picture]]) -> Content:
        """Content of detection. parts: pictures of each part that the data define; {"": pictures} if they define none."""
        pictures = [picture for own in parts.values() for picture in own]
        if not pictures:
            raise DataError(f"{self.path}: there are no annotated images in it")
        classes = class_names(pictures, self.classes_kept, self.known_classes, self.path)
        images, photo, kept = self.photos(
            [picture.path for picture in pictures], [picture.size for picture in pictures]
        )
        return Content(
            {"image": images, "objects": objects_column([pictures[at] for at in kept], classes)},
            {"image": photo, "objects": Boxes(classes)},
            str(self.path),
            ("objects",),
            sources=sources_of({name: len(own) for name, own in parts.items()}, kept),
            names=[pictures[at].path.name for at in kept],
        )


def _looked_at(path: Path, size: Size) -> tuple[tuple[int, int], str]:
    """(height and width of an image file, why it cannot be used, else ""). size: that of its annotations, None if it is not known."""
    message, _ = check_file(path)
    if message:
        return (0, 0), message
    try:
        found = image_size(path)
    except DataError as error:
        return (0, 0), str(error)
    if size is not None and found != tuple(size):
        return found, (
            f"{path}: an image of {found[0]} x {found[1]}, but its annotations are for one of {size[0]:g} x {size[1]:g}"
        )
    return found, ""
