"""COCO's JSON of annotations: boxes, polygons, run lengths and points."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mlrun.data.readers.images import image_size
from mlrun.data.readers.objects import Picture
from mlrun.data.run_lengths import from_run_lengths
from mlrun.errors import DataError

FARTHEST = 1e5  # pixels from the corner of an image to the point of a polygon


@dataclass
class CocoFile:
    """The content of a file, checked.

    images: id -> its entry. categories: id -> name. annotations: image id -> (place, entry) of each.
    """

    path: Path
    images: dict[Any, Mapping[str, Any]]
    categories: dict[Any, str]
    keypoints: list[str] | None
    annotations: dict[Any, list[tuple[str, Mapping[str, Any]]]] = field(default_factory=dict)


def read_coco(path: Path) -> CocoFile:
    """Reads annotations. Raises DataError for a damaged or empty file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: not a complete JSON file ({error.msg})") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: not a JSON file ({error})") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: not COCO's annotations: the file holds a {type(content).__name__}")
    for key, needed in (("images", ("id", "file_name")), ("annotations", ("image_id", "category_id")), ("categories", ("id", "name"))):  # fmt: skip
        entries = content.get(key)
        if not isinstance(entries, list):
            raise DataError(f"{path}: not COCO's annotations: there is no list {key!r}")
        for at, entry in enumerate(entries):
            absent = [name for name in needed if not isinstance(entry, dict) or name not in entry]
            if absent:
                raise DataError(f"{path}: {key}[{at}] has no {absent[0]!r}")
    names = next((one["keypoints"] for one in content["categories"] if one.get("keypoints")), None)
    found = CocoFile(path, entries_by_id(content, "images", path), {}, names)
    for at, image in enumerate(content["images"]):
        if not isinstance(image["file_name"], str):
            raise DataError(f"{path}: images[{at}]: file_name must be a text, not {image['file_name']!r}")
    found.categories = {key: str(one["name"]) for key, one in entries_by_id(content, "categories", path).items()}
    for at, one in enumerate(content["annotations"]):
        place = f"{path}: annotations[{at}]"
        if not _is_among(one["image_id"], found.images):
            raise DataError(f"{place}: there is no image with the id {one['image_id']}")
        if not _is_among(one["category_id"], found.categories):
            raise DataError(f"{place}: there is no category with the id {one['category_id']}")
        found.annotations.setdefault(one["image_id"], []).append((place, one))
    return found


def entries_by_id(content: Mapping[str, Any], key: str, path: Path) -> dict[Any, Mapping[str, Any]]:
    """id -> entry of a list of the file. Raises DataError for an id that occurs twice, of which one entry would be lost."""
    found: dict[Any, Mapping[str, Any]] = {}
    for at, entry in enumerate(content[key]):
        if not isinstance(entry["id"], (int, str)):
            raise DataError(f"{path}: {key}[{at}]: id must be a number, not {entry['id']!r}")
        if entry["id"] in found:
            raise DataError(f"{path}: {key}[{at}] has the id {entry['id']}, which another one has too")
        found[entry["id"]] = entry
    return found


def _is_among(identity: Any, entries: Mapping[Any, Any]) -> bool:
    return isinstance(identity, (int, str)) and identity in entries


def pictures_of(coco: CocoFile, folder: Path, problems: list[str]) -> list[Picture]:
    """All images with their boxes; invalid ones are added to `problems`. Crowds are no objects to find, but no background either."""
    pictures = []
    for identity, image in coco.images.items():
        picture = Picture(folder / image["file_name"])
        try:
            picture.size = size_of(image, picture.path, coco.path)
        except DataError as error:
            problems.append(str(error))
            continue
        pictures.append(picture)
        for place, one in coco.annotations.get(identity, []):
            try:
                left, top, width, height = numbers(one, "bbox", place, 4)
                name, is_crowd = coco.categories[one["category_id"]], bool(one.get("iscrowd"))
                picture.add((left, top, left + width, top + height), name, place, is_crowd)
            except DataError as error:
                problems.append(str(error))
    return pictures


def size_of(image: Mapping[str, Any], file: Path, path: Path) -> tuple[int, int]:
    """(height, width) that the annotations of an image are for, or those of its file where they do not say. Raises DataError."""
    size = image.get("height"), image.get("width")
    if None in size:
        return image_size(file)
    try:
        height, width = (int(side) for side in size)  # texts of numbers too
    except (TypeError, ValueError):
        raise DataError(f"{path}: image {image['id']}: height and width must be numbers, not {size}") from None
    return height, width


def mask_of(
    coco: CocoFile, identity: Any, size: Sequence[int], places: Mapping[str, int], problems: list[str]
) -> np.ndarray:
    """(height, width) uint8: the class of each pixel, 0 for background, later annotations on top. places: name -> class."""
    mask = np.zeros(tuple(size), np.uint8)
    for place, one in coco.annotations.get(identity, []):
        label = places.get(coco.categories[one["category_id"]])
        if label is None:
            continue
        try:
            mask[inside_of(one.get("segmentation"), size, place)] = label
        except DataError as error:
            problems.append(str(error))
    return mask


def inside_of(segmentation: Any, size: Sequence[int], place: str) -> np.ndarray:
    """(height, width) bool of polygons, or of run lengths as numbers or as COCO's text. Raises DataError."""
    height, width = (int(side) for side in size)
    if isinstance(segmentation, dict):
        counts = segmentation.get("counts")
        try:
            counts = _decompressed(counts) if isinstance(counts, str) else counts
            of = tuple(segmentation.get("size") or (height, width))
            if of != (height, width):
                raise ValueError(f"their size is {list(of)}")
            return from_run_lengths(counts, of)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{place}: its run lengths do not describe a mask of {height} x {width} ({error})"
            ) from None
    if not isinstance(segmentation, list) or not segmentation:
        raise DataError(f"{place}: its segmentation is neither polygons nor run lengths")
    from faster_coco_eval.core import mask

    polygons = []
    for polygon in segmentation:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise DataError(f"{place}: a polygon needs at least three points, x and y each")
        if not all(isinstance(one, (int, float)) and abs(one) <= FARTHEST for one in polygon):
            raise DataError(f"{place}: a polygon has {polygon}, which are not all numbers of pixels")
        polygons.append([float(one) for one in polygon])
    return mask.decode(mask.frPyObjects(polygons, height, width)).any(2)


def _decompressed(text: str) -> list[int]:
    """Run lengths from COCO's text: 5 bits per character, from the third on as differences to the length before the last."""
    counts: list[int] = []
    at = 0
    while at < len(text):
        value, shift, more = 0, 0, True
        while more:
            if at >= len(text):
                raise ValueError("the text of its run lengths ends early")
            bits = ord(text[at]) - 48
            value |= (bits & 0x1F) << (5 * shift)
            more, at, shift = bool(bits & 0x20), at + 1, shift + 1
            if not more and bits & 0x10:
                value |= -1 << (5 * shift)
        counts.append(value + counts[-2] if len(counts) > 2 else value)
    return counts


def numbers(entry: Mapping[str, Any], key: str, place: str, count: int) -> list[float]:
    """The `count` numbers of an entry. Raises DataError."""
    values = entry.get(key)
    if not isinstance(values, list) or len(values) != count or not all(isinstance(one, (int, float)) for one in values):
        raise DataError(f"{place}: {key} must be {count} numbers, not {values!r}")
    return [float(one) for one in values]
