"""What all readers of annotated images share: objects of an image, and reporting invalid ones."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mlrun.errors import DataError

log = logging.getLogger("mlrun")

SHOWN = 5  # problems in a message
Size = tuple[float, float] | None  # height and width of an image that annotations are for, if they say so


@dataclass
class Picture:
    """An image file with its objects.

    size: height and width that the annotations are for. boxes: (left, top, right, bottom) in pixels of each object. names: their classes.
    ignored: indices of those that are no objects to find, but where boxes are not wrong either.
    """

    path: Path
    size: Size = None
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    ignored: list[int] = field(default_factory=list)

    def add(self, box: tuple[float, float, float, float], name: str, place: str, ignored: bool = False) -> None:
        """Adds an object, cut to the image. place: file and line. Raises DataError for a box without area."""
        height, width = self.size or (float("inf"), float("inf"))
        left, top, right, bottom = box
        if not (right > left and bottom > top):
            raise DataError(f"{place}: the box {left:g}, {top:g}, {right:g}, {bottom:g} has no area")
        inside = max(0.0, left), max(0.0, top), min(float(width), right), min(float(height), bottom)
        if not (inside[2] > inside[0] and inside[3] > inside[1]):
            raise DataError(
                f"{place}: the box {left:g}, {top:g}, {right:g}, {bottom:g} lies outside the image of {width:g} x {height:g}"
            )
        if ignored:
            self.ignored.append(len(self.boxes))
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


def class_names(
    pictures: Sequence[Picture], given: Sequence[str] | None, known: Sequence[str], source: Path
) -> list[str]:
    """The classes of the objects, sorted, or those that are given, or those of a model that knows all of them. Raises DataError if there are none.

    Args:
        pictures: of all parts.
        given: the classes to keep, None for all.
        known: those of the model that evaluates the data, some of which may not occur; empty if there is none.
        source: of the data, for messages.
    """
    found = sorted({name for one in pictures for at, name in enumerate(one.names) if at not in one.ignored})
    if given is not None:
        unknown = [name for name in given if name not in found and name not in known]
        if unknown:
            raise DataError(
                f"dataset.classes={list(given)}: {source} has no {unknown[0]}; its classes are {', '.join(found)}"
            )
        return list(given)
    if not found:
        raise DataError(f"{source}: there is no object in any of its {len(pictures)} images")
    return list(known) if set(found) <= set(known) else found


def objects_column(pictures: Sequence[Picture], classes: Sequence[str]) -> list[dict[str, np.ndarray]]:
    """The column of a `Boxes` feature; objects of other classes are left out."""
    places = {name: at for at, name in enumerate(classes)}

    def arrays(picture: Picture, rows: Sequence[int], prefix: str = "") -> dict[str, np.ndarray]:
        return {
            f"{prefix}boxes": np.array([picture.boxes[at] for at in rows], dtype=np.float32).reshape(-1, 4),
            f"{prefix}labels": np.array([places[picture.names[at]] for at in rows], dtype=np.int64),
        }

    column: list[dict[str, np.ndarray]] = []
    for picture in pictures:
        known = [at for at, name in enumerate(picture.names) if name in places]
        ignored = [at for at in known if at in picture.ignored]
        found = arrays(picture, [at for at in known if at not in picture.ignored])
        column.append(found | arrays(picture, ignored, "ignored_") if ignored else found)
    return column


def some_visible(points: np.ndarray, source: Path) -> np.ndarray:
    """The points (rows, points, 2) themselves. Raises DataError if none of them is visible, so that there is nothing to learn."""
    if np.isnan(points).all():
        raise DataError(f"{source}: no point is visible in any of its {len(points)} images")
    return points


def mirrored(names: Sequence[str]) -> list[int] | None:
    """For points named left_… and right_…, in any case: the index of the one that takes the place of each in a mirror image; None without such
    names."""
    swapped = {"left": "right", "right": "left"}
    known = [name.lower() for name in names]
    others = [re.sub("left|right", lambda word: swapped[word[0]], name) for name in known]
    places = [known.index(other) if other in known else at for at, other in enumerate(others)]
    return None if places == list(range(len(names))) else places
