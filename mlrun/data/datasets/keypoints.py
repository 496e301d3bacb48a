"""Points of images from a CSV file beside them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from mlrun.data.datasets.annotated import AnnotatedImages
from mlrun.data.features import Points
from mlrun.data.module import Content
from mlrun.data.readers.objects import mirrored, report
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
        with open(self.path, newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            head = list(rows.fieldnames or [])
            names = [name.removesuffix("_x") for name in head if name.endswith("_x") and f"{name[:-2]}_y" in head]
            if self.image_column not in head or not names:
                raise DataError(
                    f"{self.path}, line 1: needs a column {self.image_column!r} of image files (dataset.column) and columns NAME_x and NAME_y; "
                    f"it has {', '.join(head) or 'none'}"
                )
            paths, points, problems = [], [], list[str]()
            for row in rows:
                place = f"{self.path}, line {rows.line_num}"
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
        column, photo = self.photos(paths)
        values = np.array(points, dtype=np.float32)
        return Content(
            {"image": column, "points": np.where(np.isnan(values).any(2, keepdims=True), np.nan, values)},
            {"image": photo, "points": Points(names, mirrored(names))},
            str(self.path),
            ("points",),
            names=[path.name for path in paths],
        )

    def _image(self, text: str | None, place: str) -> Path:
        path = self.path.parent / (text or "")
        if not text or not path.is_file():
            raise DataError(f"{place}: there is no image {text or '(empty)'}")
        return path

    @staticmethod
    def _number(text: str | None, place: str) -> float:
        if text is None or not text.strip():
            return float("nan")
        try:
            return float(text)
        except ValueError:
            raise DataError(f"{place}: {text!r} is not a number") from None
