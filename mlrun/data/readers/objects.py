"""What all readers of annotated images share: objects of an image, and reporting invalid ones."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mlrun.errors import DataError

log = logging.getLogger("mlrun")

SHOWN = 5  # problems in a message


@dataclass
class Picture:
    """An image file with its objects.

    boxes: (left, top, right, bottom) in pixels of each object. names: their classes.
    """

    path: Path
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def add(self, box: tuple[float, float, float, float], name: str, size: tuple[float, float], place: str) -> None:
        """Adds an object, cut to the image. size: height and width, place: file and line. Raises DataError for a box without area."""
        height, width = size
        left, top, right, bottom = box
        if not (right > left and bottom > top):
            raise DataError(f"{place}: the box {left:g}, {top:g}, {right:g}, {bottom:g} has no area")
        inside = max(0.0, left), max(0.0, top), min(float(width), right), min(float(height), bottom)
        if not (inside[2] > inside[0] and inside[3] > inside[1]):
            raise DataError(
                f"{place}: the box {left:g}, {top:g}, {right:g}, {bottom:g} lies outside the image of {width:g} x {height:g}"
            )
        self.boxes.append(inside)
        self.names.append(name)


def report(problems: Sequence[str], source: Path, skip: bool) -> None:
    """Reports invalid annotations: raises DataError, or prints a warning if they are left out."""
    if not problems:
        return
    count = f"{len(problems)} invalid annotation{'s' * (len(problems) > 1)}"
    shown = "; ".join(problems[:SHOWN]) + ("; ..." if len(problems) > SHOWN else "")
    if not skip:
        raise DataError(f"{source}: {count}: {shown}. Correct them, or leave them out with dataset.skip_invalid=true")
    log.info("%s: %s left out: %s", source, count, "; ".join(problems))
    print(f"mlrun: warning: {count} left out: {shown}", file=sys.stderr)


def class_names(pictures: Sequence[Picture], given: Sequence[str] | None, source: Path) -> list[str]:
    """The classes of the objects, sorted, or those that are given. Raises DataError if there are none."""
    found = sorted({name for picture in pictures for name in picture.names})
    if given is not None:
        unknown = [name for name in given if name not in found]
        if unknown:
            raise DataError(
                f"dataset.classes={list(given)}: {source} has no {unknown[0]}; its classes are {', '.join(found)}"
            )
        return list(given)
    if not found:
        raise DataError(f"{source}: there is no object in any of its {len(pictures)} images")
    return found


def objects_column(pictures: Sequence[Picture], classes: Sequence[str]) -> list[dict[str, np.ndarray]]:
    """The column of a `Boxes` feature; objects of other classes are left out."""
    places = {name: at for at, name in enumerate(classes)}
    column: list[dict[str, np.ndarray]] = []
    for picture in pictures:
        kept = [at for at, name in enumerate(picture.names) if name in places]
        column.append(
            {
                "boxes": np.array([picture.boxes[at] for at in kept], dtype=np.float32).reshape(-1, 4),
                "labels": np.array([places[picture.names[at]] for at in kept], dtype=np.int64),
            }
        )
    return column


def mirrored(names: Sequence[str]) -> list[int] | None:
    """For points named left_… and right_…: the index of the one that takes the place of each in a mirror image; None without such names."""
    swap = str.maketrans({"\0": "left", "\1": "right"})
    others = [name.replace("left", "\1").replace("right", "\0").translate(swap) for name in names]
    if others == list(names) or any(other not in names for other in others):
        return None
    return [list(names).index(other) for other in others]
