"""Images with COCO's JSON of annotations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mlrun.data.datasets.annotated import AnnotatedImages
from mlrun.data.features import Mask, Points
from mlrun.data.readers.coco import CocoFile, mask_of, numbers, pictures_of, read_coco, size_of
from mlrun.data.readers.objects import mirrored, report, some_visible
from mlrun.data.row_data import Content
from mlrun.data.splits import sources_of
from mlrun.errors import DataError


class CocoImages(AnnotatedImages):
    """Boxes, masks or points of COCO's JSON files.

    Args:
        problem: detection; segmentation (the category of each pixel, from polygons or run lengths); landmarks (the points of those images that
            have one annotated object).
        path: a folder, or the JSON file for all images.
        annotations: JSON files by part in that folder, such as {train: annotations/train.json, test: annotations/test.json}.
        images: folders of the images by part, or one for all, relative to the folder of `path`.
        options: see `AnnotatedImages`.
    """

    def __init__(
        self,
        problem: str,
        name: str,
        seed: int,
        data_dir: str | None,
        annotations: dict[str, str] | None = None,
        images: dict[str, str] | str = "images",
        **options: Any,
    ):
        super().__init__(problem, name, seed, data_dir, **options)
        self.check_problem(("detection", "segmentation", "landmarks"))
        self.annotation_files, self.image_folders = annotations, images

    def _files(self) -> dict[str, tuple[CocoFile, Path]]:
        """Part -> annotations, and the folder of its images; "" for a single file without parts."""
        if self.path.is_file():
            parts, root = {"": self.path}, self.path.parent
        else:
            if not self.annotation_files:
                raise DataError(
                    f"dataset.path={self.path}: give the JSON file, or those of the parts: dataset.annotations={{train: FILE, val: FILE}}"
                )
            parts, root = {part: self.path / file for part, file in self.annotation_files.items()}, self.path
        found = {}
        for part, file in parts.items():
            folders = self.image_folders
            folder = folders if isinstance(folders, str) else folders.get(part, "images")
            found[part] = read_coco(file), root / folder
        return found

    def read_annotations(self) -> Content:
        files = self._files()
        problems: list[str] = []
        if self.problem == "segmentation":
            return self._masks(files, problems)
        if self.problem == "landmarks":
            return self._points(files, problems)
        pictures = {part: pictures_of(*one, problems) for part, one in files.items()}
        report(problems, self.path, self.skip_invalid)
        return self.boxes_content(pictures)

    def _masks(self, files: dict[str, tuple[CocoFile, Path]], problems: list[str]) -> Content:
        names = sorted({name for coco, _ in files.values() for name in coco.categories.values()})
        classes = ["background", *(self.classes_kept or names)]
        places = {name: at for at, name in enumerate(classes)}
        paths: list[Path] = []
        masks, sizes = [], {}
        for part, (coco, folder) in files.items():
            before = len(paths)
            for identity, image in coco.images.items():
                path = folder / image["file_name"]
                try:
                    size = size_of(image, path, coco.path)
                except DataError as error:
                    problems.append(str(error))
                    continue
                paths.append(path)
                masks.append(mask_of(coco, identity, size, places, problems))
            sizes[part] = len(paths) - before
        report(problems, self.path, self.skip_invalid)
        column, photo, kept = self.photos(paths, [mask.shape for mask in masks])
        return Content(
            {"image": column, "mask": [masks[at] for at in kept]},
            {"image": photo, "mask": Mask(classes)},
            str(self.path),
            ("mask",),
            sources=sources_of(sizes, kept),
            names=[paths[at].name for at in kept],
        )

    def _points(self, files: dict[str, tuple[CocoFile, Path]], problems: list[str]) -> Content:
        names = next((coco.keypoints for coco, _ in files.values() if coco.keypoints), None)
        if names is None:
            raise DataError(f"{self.path}: no category has keypoints")
        paths: list[Path] = []
        points, sizes = [], {}
        for part, (coco, folder) in files.items():
            before = len(paths)
            for identity, image in coco.images.items():
                own = [one for one in coco.annotations.get(identity, []) if "keypoints" in one[1]]
                if len(own) != 1:
                    continue
                ((place, one),) = own
                try:
                    values = np.array(numbers(one, "keypoints", place, 3 * len(names))).reshape(-1, 3)
                except DataError as error:
                    problems.append(str(error))
                    continue
                paths.append(folder / image["file_name"])
                points.append(np.where(values[:, 2:] > 0, values[:, :2], np.nan))
            sizes[part] = len(paths) - before
        if not paths:
            raise DataError(f"{self.path}: no image has exactly one object with keypoints")
        report(problems, self.path, self.skip_invalid)
        column, photo, kept = self.photos(paths)
        return Content(
            {"image": column, "points": some_visible(np.array(points, dtype=np.float32)[kept], self.path)},
            {"image": photo, "points": Points(list(names), mirrored(names))},
            str(self.path),
            ("points",),
            sources=sources_of(sizes, kept),
            names=[paths[at].name for at in kept],
        )
