"""Images with several labels each: from a CSV file, or from folders in which an image may lie several times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mlrun.data.datasets.annotated import AnnotatedImages
from mlrun.data.features import Labels
from mlrun.data.readers.annotation_files import Table
from mlrun.data.readers.images import images_in, is_hidden, is_image
from mlrun.data.readers.objects import report
from mlrun.data.row_data import Content
from mlrun.errors import DataError

YES, NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no", "")


class LabelledImages(AnnotatedImages):
    """A CSV file with a column of image files, relative to it, and a column of 0 and 1 for each class; or a folder with a folder for each class, in
    which images of the same name are the same image.

    Args:
        problem: multi_label.
        column: of the image files in a CSV file, whose other columns are the classes, or those of them that are among `classes`.
        options: see `AnnotatedImages`; `path` is the CSV file or the folder.
    """

    def __init__(self, problem: str, name: str, seed: int, data_dir: str | None, column: str = "image", **options: Any):
        super().__init__(problem, name, seed, data_dir, **options)
        self.check_problem(("multi_label",))
        self.image_column = column

    def read_annotations(self) -> Content:
        paths, present, classes = self._folders() if self.path.is_dir() else self._table()
        if not paths or len(classes) < 2:
            raise DataError(
                f"{self.path}: needs images with at least two labels, found {len(paths)} images and {len(classes)} labels"
            )
        if self.classes_kept is None and sorted(classes) == sorted(self.known_classes):
            self.classes_kept = self.known_classes  # in the order of the model
        if self.classes_kept is not None:
            unknown = [one for one in self.classes_kept if one not in classes]
            if unknown:
                raise DataError(
                    f"dataset.classes: {self.path} has no {unknown[0]}; its labels are {', '.join(classes)}"
                )
            present = [[row[classes.index(one)] for one in self.classes_kept] for row in present]
            classes = list(self.classes_kept)
        column, photo, kept = self.photos(paths)
        return Content(
            {"image": column, "labels": np.array(present, dtype=bool)[kept]},
            {"image": photo, "labels": Labels(classes)},
            str(self.path),
            ("labels",),
            names=[paths[at].name for at in kept],
        )

    def _table(self) -> tuple[list[Path], list[list[bool]], list[str]]:
        problems: list[str] = []
        rows = Table(self.path, [self.image_column], "dataset.column", problems)
        kept = self.classes_kept
        classes = [name for name in rows.columns if name != self.image_column and (kept is None or name in kept)]
        if "" in classes:
            raise DataError(
                f"{self.path}, line 1: has a column without a name; remove it, or give the labels in dataset.classes"
            )
        paths, present = list[Path](), list[list[bool]]()
        for place, row in rows:
            path = self.path.parent / row[self.image_column]
            wrong = [name for name in classes if row[name].strip().lower() not in (*YES, *NO)]
            if not path.is_file():
                problems.append(f"{place}: there is no image {row[self.image_column] or '(empty)'}")
            elif wrong:
                problems.append(f"{place}: {wrong[0]} is {row[wrong[0]]!r}, neither 0 nor 1")
            else:
                paths.append(path)
                present.append([row[name].strip().lower() in YES for name in classes])
        report(problems, self.path, self.skip_invalid)
        return paths, present, classes

    def _folders(self) -> tuple[list[Path], list[list[bool]], list[str]]:
        entries = [entry for entry in sorted(self.path.iterdir()) if not is_hidden(entry.name)]
        beside = [f"{entry}: an image in none of the folders of labels" for entry in entries if is_image(entry)]
        report(beside, self.path, self.skip_invalid)
        classes = [entry.name for entry in entries if entry.is_dir() and images_in(entry)]
        where: dict[Path, list[bool]] = {}
        first: dict[Path, Path] = {}
        for at, name in enumerate(classes):
            for file in images_in(self.path / name):
                inside = file.relative_to(self.path / name)
                first.setdefault(inside, file)
                where.setdefault(inside, [False] * len(classes))[at] = True
        return [first[inside] for inside in where], list(where.values()), classes
