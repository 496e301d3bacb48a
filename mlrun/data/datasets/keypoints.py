"""Points of images from a CSV file beside them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from mlrun.data.datasets.annotated import AnnotatedImages
from mlrun.data.features import Points
from mlrun.data.readers.annotation_files import Table
from mlrun.data.readers.objects import mirrored, report, some_visible
from mlrun.data.row_data import Content
from mlrun.errors import DataError


class Keypoints(AnnotatedImages):
    """A CSV file with a column of image files, relative to it, and columns NAME_x and NAME_y of each point in pixels; empty where it is not visible.

    Args:
        problem: landmarks.
        column: of the image files.
        options: see `AnnotatedImages`; `path` is the CSV file.
    """

    def __init__(self, problem: str, name: str, seed: int, data_dir: str | None, column: str = "image", **options: Any):
        super().__init__(problem, name, seed, data_dir, **options)
        self.check_problem(("landmarks",))
        self.image_column = column

    def read_annotations(self) -> Content:
        problems: list[str] = []
        rows = Table(self.path, [self.image_column], "dataset.column", problems)
        names = [name[:-2] for name in rows.columns if name.endswith("_x") and f"{name[:-2]}_y" in rows.columns]
        if not names:
            raise DataError(
                f"{self.path}, line 1: has no columns NAME_x and NAME_y of a point, only {', '.join(rows.columns)}"
            )
        paths: list[Path] = []
        points: list[list[list[float]]] = []
        for place, row in rows:
            try:
                path = self._image(row[self.image_column], place)
                own = [[self._number(row[f"{name}_{axis}"], place) for axis in "xy"] for name in names]
            except DataError as error:
                problems.append(str(error))
                continue
            paths.append(path)
            points.append(own)
        report(problems, self.path, self.skip_invalid)
        if not paths:
            raise DataError(f"{self.path}: has no rows")
        column, photo, kept = self.photos(paths)
        values = np.array(points, dtype=np.float32)[kept]
        values = np.where(np.isnan(values).any(2, keepdims=True), np.nan, values)
        return Content(
            {"image": column, "points": some_visible(values, self.path)},
            {"image": photo, "points": Points(names, mirrored(names))},
            str(self.path),
            ("points",),
            names=[paths[at].name for at in kept],
        )

    def _image(self, text: str, place: str) -> Path:
        path = self.path.parent / text
        if not text or not path.is_file():
            raise DataError(f"{place}: there is no image {text or '(empty)'}")
        return path

    @staticmethod
    def _number(text: str, place: str) -> float:
        if not text.strip():
            return math.nan
        try:
            value = float(text)
        except ValueError:
            value = math.inf
        if math.isinf(value):
            raise DataError(f"{place}: {text!r} is not a number of pixels")
        return value
