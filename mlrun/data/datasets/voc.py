"""Pascal VOC folders: boxes in Annotations/*.xml, masks in SegmentationClass/*.png."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mlrun.data.datasets.annotated import AnnotatedImages, sources_of
from mlrun.data.features import Mask
from mlrun.data.module import Content
from mlrun.data.readers.images import images_in, read_indices
from mlrun.data.readers.objects import Picture, report
from mlrun.data.readers.xml_lines import read_xml
from mlrun.errors import DataError

# classes of the public set in the order of its palette
CLASSES = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep sofa "
    "train tvmonitor"
).split()
VOID = 255


class VocFolder(AnnotatedImages):
    """A folder in the layout of Pascal VOC.

    `JPEGImages` holds the images, `Annotations` a file for each with its objects (or `SegmentationClass` a picture with the class of each pixel),
    `ImageSets/Main` (or `Segmentation`) the lists train.txt, val.txt and test.txt of names without suffix. Parts without a list are taken
    from train; without any list all annotated images are split.

    Args:
        problem: detection or segmentation.
        difficult: also objects that are marked as difficult.
        options: see `AnnotatedImages`. `classes` of segmentation: the names of the values in the masks, in order.
    """

    def __init__(
        self, problem: str, name: str, seed: int, data_dir: str | None, difficult: bool = False, **options: Any
    ):
        super().__init__(problem, name, seed, data_dir, **options)
        self.check_problem(("detection", "segmentation"))
        self.difficult = difficult

    def read_annotations(self) -> Content:
        images = {file.stem: file for file in images_in(self.path / "JPEGImages")}
        if not images:
            raise DataError(f"{self.path}: there are no images in JPEGImages")
        return self._boxes(images) if self.problem == "detection" else self._masks(images)

    def _names(self, kind: str, known: list[str], images: dict[str, Path]) -> dict[str, list[str]]:
        """Part -> names of its images, from the lists of ImageSets/`kind`."""
        found: dict[str, list[str]] = {}
        for part in ("train", "val", "test"):
            path = self.path / "ImageSets" / kind / f"{part}.txt"
            if not path.is_file():
                continue
            found[part] = []
            for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
                if text.strip():
                    name = text.split()[0]
                    if name not in images:
                        raise DataError(f"{path}, line {line}: there is no image {name} in JPEGImages")
                    found[part].append(name)
        if found and "train" not in found:
            raise DataError(f"{self.path / 'ImageSets' / kind}: has {next(iter(found))}.txt, but no train.txt")
        return found or {"": [name for name in known if name in images]}

    def _boxes(self, images: dict[str, Path]) -> Content:
        folder = self.path / "Annotations"
        known = sorted(file.stem for file in folder.glob("*.xml"))
        problems: list[str] = []
        parts = {
            part: [self._picture(images[name], folder / f"{name}.xml", problems) for name in names]
            for part, names in self._names("Main", known, images).items()
        }
        report(problems, folder, self.skip_invalid)
        return self.boxes_content(parts)

    def _picture(self, image: Path, path: Path, problems: list[str]) -> Picture:
        picture = Picture(image)
        try:
            root = read_xml(path)
            size = root.find("size")
            shape = size.number("height"), size.number("width")
        except DataError as error:
            problems.append(str(error))
            return picture
        for node in root.all("object"):
            try:
                if not self.difficult and any(one.text.strip() == "1" for one in node.all("difficult")):
                    continue
                box = node.find("bndbox")
                # pixels are counted from 1, and the last one belongs to the box
                left, top = box.number("xmin") - 1, box.number("ymin") - 1
                sides = left, top, box.number("xmax"), box.number("ymax")
                picture.add(sides, node.find("name").text.strip(), shape, box.place)
            except DataError as error:
                problems.append(str(error))
        return picture

    def _masks(self, images: dict[str, Path]) -> Content:
        folder = self.path / "SegmentationClass"
        known = sorted(file.stem for file in folder.glob("*.png"))
        parts = self._names("Segmentation", known, images)
        names = [name for own in parts.values() for name in own]
        if not names:
            raise DataError(f"{folder}: there are no masks (.png) of the images")
        masks = [read_indices(folder / f"{name}.png") for name in names]
        classes = list(self.classes_kept or CLASSES)
        highest = max((int(mask[mask != VOID].max(initial=0)) for mask in masks), default=0)
        if highest >= len(classes):
            raise DataError(f"{folder}: has the class {highest}; name all {highest + 1} classes in dataset.classes")
        column, photo = self.photos([images[name] for name in names])
        return Content(
            {"image": column, "mask": [mask.astype(np.uint8) for mask in masks]},
            {"image": photo, "mask": Mask(classes, VOID)},
            str(self.path),
            ("mask",),
            sources=sources_of({part: len(own) for part, own in parts.items()}),
            names=[images[name].name for name in names],
        )
