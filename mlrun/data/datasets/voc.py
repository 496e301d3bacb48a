"""Pascal VOC folders: boxes in Annotations/*.xml, masks in SegmentationClass/*.png."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mlrun.data.datasets.annotated import AnnotatedImages
from mlrun.data.features import Mask
from mlrun.data.readers.annotation_files import read_lines
from mlrun.data.readers.image_folders import files_by_name
from mlrun.data.readers.images import image_size, read_indices
from mlrun.data.readers.objects import Picture, report
from mlrun.data.readers.xml_lines import Node, read_xml
from mlrun.data.row_data import Content
from mlrun.data.splits import sources_of
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
        difficult: also objects that are marked as difficult. Otherwise they are neither trained on nor counted, and boxes on them are neither right
            nor wrong.
        options: see `AnnotatedImages`. `classes` of segmentation: the names of the values in the masks, in order.
    """

    def __init__(
        self, problem: str, name: str, seed: int, data_dir: str | None, difficult: bool = False, **options: Any
    ):
        super().__init__(problem, name, seed, data_dir, **options)
        self.check_problem(("detection", "segmentation"))
        self.difficult = difficult

    def read_annotations(self) -> Content:
        (images,) = files_by_name(self.path / "JPEGImages")
        if not images:
            raise DataError(f"{self.path}: there are no images in JPEGImages")
        return self._boxes(images) if self.problem == "detection" else self._masks(images)

    def _names(self, kind: str, known: list[str], images: dict[str, Path]) -> dict[str, list[str]]:
        """Part -> names of its images, from the lists of ImageSets/`kind`."""
        found: dict[str, list[str]] = {}
        listed: dict[str, str] = {}  # name -> the list that has it
        for part in ("train", "val", "test"):
            path = self.path / "ImageSets" / kind / f"{part}.txt"
            if not path.is_file():
                continue
            found[part] = []
            for line, text in enumerate(read_lines(path), start=1):
                if text.strip():
                    name = text.strip() if text.strip() in images else text.split()[0]  # a number may follow
                    if name not in images:
                        raise DataError(f"{path}, line {line}: there is no image {text.strip()} in JPEGImages")
                    if name in listed:
                        raise DataError(f"{path}, line {line}: {name} is already in {listed[name]}")
                    listed[name] = path.name
                    found[part].append(name)
        if found and "train" not in found:
            raise DataError(f"{self.path / 'ImageSets' / kind}: has {next(iter(found))}.txt, but no train.txt")
        return found or {"": known}

    def _boxes(self, images: dict[str, Path]) -> Content:
        folder = self.path / "Annotations"
        found = sorted(file.stem for file in folder.glob("*.xml"))
        known = [name for name in found if name in images]
        problems = [
            f"{folder / name}.xml: there is no image {name} in JPEGImages" for name in found if name not in images
        ]
        parts: dict[str, list[Picture]] = {}
        for part, names in self._names("Main", known, images).items():
            pictures = (self._picture(images[name], folder / f"{name}.xml", problems) for name in names)
            parts[part] = [one for one in pictures if one is not None]
        report(problems, folder, self.skip_invalid)
        return self.boxes_content(parts)

    def _picture(self, image: Path, path: Path, problems: list[str]) -> Picture | None:
        """An image with its objects; None if nothing is known about them."""
        picture = Picture(image)
        try:
            root = read_xml(path)
            picture.size = self._size(root, image)
        except DataError as error:
            problems.append(str(error))
            return None
        for node in root.all("object"):
            try:
                difficult = any(one.text.strip() == "1" for one in node.all("difficult"))
                box = node.find("bndbox")
                # pixels are counted from 1, and the last one belongs to the box
                left, top = box.number("xmin") - 1, box.number("ymin") - 1
                sides = left, top, box.number("xmax"), box.number("ymax")
                picture.add(sides, node.find("name").text.strip(), box.place, difficult and not self.difficult)
            except DataError as error:
                problems.append(str(error))
        return picture

    @staticmethod
    def _size(root: Node, image: Path) -> tuple[float, float]:
        """Height and width in the annotations or, where a program has left them out or at 0, those of the file."""
        for size in root.all("size"):
            shape = size.number("height"), size.number("width")
            if min(shape) > 0:
                return shape
        return image_size(image)

    def _masks(self, images: dict[str, Path]) -> Content:
        folder = self.path / "SegmentationClass"
        known = sorted(file.stem for file in folder.glob("*.png") if file.stem in images)
        parts = self._names("Segmentation", known, images)
        names = [name for own in parts.values() for name in own]
        if not names:
            raise DataError(f"{folder}: there are no masks (.png) of the images")
        masks = [read_indices(folder / f"{name}.png") for name in names]
        classes = list(self.classes_kept or CLASSES)
        highest = max((int(mask[mask != VOID].max(initial=0)) for mask in masks), default=0)
        if highest >= len(classes):
            raise DataError(f"{folder}: has the class {highest}; name all {highest + 1} classes in dataset.classes")
        column, photo, kept = self.photos([images[name] for name in names], [mask.shape for mask in masks])
        return Content(
            {"image": column, "mask": [masks[at].astype(np.uint8) for at in kept]},
            {"image": photo, "mask": Mask(classes, VOID)},
            str(self.path),
            ("mask",),
            sources=sources_of({part: len(own) for part, own in parts.items()}, kept),
            names=[images[names[at]].name for at in kept],
        )
