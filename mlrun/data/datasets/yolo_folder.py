"""Folders in the layout of YOLO: a text file of boxes for each image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mlrun.data.datasets.annotated import AnnotatedImages
from mlrun.data.readers.annotation_files import read_lines
from mlrun.data.readers.image_folders import part_folders
from mlrun.data.readers.images import image_size, images_in
from mlrun.data.readers.objects import Picture, report
from mlrun.data.row_data import Content
from mlrun.errors import DataError

CLASSES = "classes.txt"


class YoloFolder(AnnotatedImages):
    """`images/…/1.jpg` with `labels/…/1.txt`, whose lines are "class x y width height": the center and the size of a box relative to the image.

    Folders `train`, `val` and `test` below `images` are these parts. An image without a text file has no objects.

    Args:
        problem: detection.
        names: of the classes in order; null: the lines of `classes.txt` in the folder or in `labels`, else the numbers.
        options: see `AnnotatedImages`.
    """

    def __init__(
        self, problem: str, name: str, seed: int, data_dir: str | None, names: list[str] | None = None, **options: Any
    ):
        super().__init__(problem, name, seed, data_dir, **options)
        self.check_problem(("detection",))
        self.names = names

    def read_annotations(self) -> Content:
        root = self.path / "images"
        if not images_in(root) or not (self.path / "labels").is_dir():
            raise DataError(
                f"{self.path}: needs a folder images, and a folder labels with the same names ending in .txt"
            )
        names, problems = self._class_names(), list[str]()
        found = {
            part: [self._picture(file, names, problems) for file in images_in(root / part)]
            for part in part_folders(root) or [""]
        }
        used = {self._label_file(picture.path) for own in found.values() for picture in own}
        for file in sorted((self.path / "labels").rglob("*.txt")):
            if file not in used and file.name != CLASSES:
                problems.append(f"{file}: there is no image of this name in {root}")
        report(problems, self.path / "labels", self.skip_invalid)
        return self.boxes_content(found)

    def _class_names(self) -> list[str] | None:
        listed = next((file for file in (self.path / CLASSES, self.path / "labels" / CLASSES) if file.is_file()), None)
        if self.names is None and listed is not None:
            names = [line.strip() for line in "\n".join(read_lines(listed)).rstrip().split("\n")]
            if "" in names:  # a class that is left out would shift those after it
                raise DataError(f"{listed}, line {names.index('') + 1}: a class without a name")
            return names
        return None if self.names is None else [str(name) for name in self.names]

    def _label_file(self, image: Path) -> Path:
        return (self.path / "labels" / image.relative_to(self.path / "images")).with_suffix(".txt")

    def _picture(self, image: Path, names: list[str] | None, problems: list[str]) -> Picture:
        picture = Picture(image)
        path = self._label_file(image)
        if not path.is_file():
            return picture
        try:
            picture.size = height, width = image_size(image)
        except DataError:  # `photos` reports it
            return picture
        for line, text in enumerate(read_lines(path), start=1):
            place = f"{path}, line {line}"
            if not text.strip():
                continue
            try:
                label, x, y, across, down = self._values(text, place)
                if label < 0:
                    raise DataError(f"{place}: class {label}; classes are counted from 0")
                if names is not None and label >= len(names):
                    raise DataError(f"{place}: class {label}, but there are {len(names)} names of classes")
                center, half = np.array([x * width, y * height]), np.array([across * width, down * height]) / 2
                left, top, right, bottom = (float(side) for side in (*(center - half), *(center + half)))
                picture.add((left, top, right, bottom), str(label) if names is None else names[label], place)
            except DataError as error:
                problems.append(str(error))
        return picture

    @staticmethod
    def _values(text: str, place: str) -> tuple[int, float, float, float, float]:
        try:
            label, x, y, width, height = map(float, text.split())
            if not label.is_integer():
                raise ValueError
            return int(label), x, y, width, height
        except ValueError:
            raise DataError(f"{place}: {text.strip()!r} is not a class and four numbers") from None
