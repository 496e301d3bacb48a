"""`mlrun predict RUN FOLDER --draw DIR --coco FILE`: predictions for images as pictures and as COCO's results."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.predictions import SURE, BoxesPredictions, MaskPredictions, PointsPredictions, Predictions
from mlrun.data.rows import read_rows
from mlrun.data.run_lengths import run_lengths
from mlrun.errors import UserError
from mlrun.predictions.query import Query

if TYPE_CHECKING:
    from mlrun.data.module import DataModule
    from mlrun.predictions.learner import Learner

POINT_VISIBLE = 2  # COCO's v of a point that is visible


class Pictures(Query):
    """Pictures with the predicted boxes, masks or points drawn into them, and COCO's JSON; with `--output` also JSON lines."""

    name = "draw"
    title = "images"

    def add_options(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--draw", metavar="DIR", help="directory for the images of INPUT with predictions drawn into them"
        )
        parser.add_argument(
            "--coco", metavar="FILE", help="file for the predictions as COCO JSON: images, categories, annotations"
        )
        parser.add_argument(
            "--least-score", type=float, default=SURE, help=f"score from which boxes are drawn (default: {SURE})"
        )

    def is_asked(self, arguments: Namespace) -> bool:
        return arguments.draw is not None or arguments.coco is not None

    def answer(
        self, learner: Learner, cfg: dict[str, Any], arguments: Namespace, open_data: Callable[..., DataModule]
    ) -> int:
        if arguments.input is None:
            raise UserError("--draw and --coco: no images given: mlrun predict RUN FOLDER --draw DIR")
        output = None if arguments.output is None else Path(arguments.output)
        if output is not None and output.suffix not in (".jsonl", ".json", ".ndjson"):
            raise UserError(f"--output {output}: together with --draw or --coco give a file ending in .jsonl")
        if arguments.draw is not None:
            _check_directory(arguments.draw, arguments.input)
        ((image, _),) = learner.inputs.items()
        coco = Coco()
        lines: list[str] = []
        count, is_folder, drawn_names = 0, Path(arguments.input).is_dir(), set[str]()
        for read in read_rows(arguments.input, learner.inputs, arguments.format, arguments.separator):
            piece = read()
            for one in piece.rejected:
                print(f"mlrun: {one.place}: {one.reason}", file=sys.stderr)
            if piece.examples is None:
                continue
            found = learner.predict(piece.examples)
            for row, place in enumerate(piece.places):
                pixels = np.asarray(piece.examples[row][image])
                if arguments.draw is not None:
                    target = Path(arguments.draw) / picture_name(str(place), is_folder, drawn_names)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    drawn(pixels, found, row, arguments.least_score).save(target)
                coco.add(str(place), pixels.shape[1:], found, row)
                lines.append(json.dumps({"row": str(place), **found.row(row)}, ensure_ascii=False))
                count += 1
        if arguments.coco is not None:
            _write(Path(arguments.coco), json.dumps(coco.content()))
        if output is not None:
            _write(output, "".join(f"{line}\n" for line in lines))
        written = [str(path) for path in (arguments.draw, arguments.coco, arguments.output) if path is not None]
        print(f"{', '.join(written)}: {count} images")
        return 0 if count else 1


def picture_name(place: str, is_folder: bool, taken: set[str]) -> str:
    """The file, relative to the directory of drawings, for the picture of a row; it is added to those that are taken.

    Args:
        place: of the row: a path relative to the folder that was read, the path of the only image, or the number of a line.
        is_folder: whether a folder was read.
        taken: names of earlier rows. The image "a.jpg" beside "a.png" becomes "a.jpg.png".
    """
    path = Path(place if is_folder else Path(place).name)
    name = str(path.with_suffix(".png"))
    name = f"{path}.png" if name in taken else name
    taken.add(name)
    return name


def _check_directory(draw: str, source: str) -> None:
    """Raises UserError if pictures would be written over the images that are read."""
    path = Path(source)
    if Path(draw).resolve() == (path if path.is_dir() else path.parent).resolve():
        raise UserError(
            f"--draw {draw}: the images of {source} are there, and would be overwritten; give another directory"
        )


def drawn(pixels: np.ndarray, found: Predictions, row: int, least_score: float) -> Any:
    """The picture (channels, height, width) of a row with its prediction. Raises UserError for predictions that cannot be drawn into an image."""
    from mlrun.report.drawing import drawn_mask, drawn_objects, drawn_points

    if isinstance(found, BoxesPredictions):
        kept = found.scores[row] >= least_score
        boxes, labels, scores = (values[row][kept] for values in (found.boxes, found.labels, found.scores))
        return drawn_objects(pixels, boxes, labels, scores, found.classes)
    if isinstance(found, MaskPredictions):
        return drawn_mask(pixels, np.asarray(found.masks[row]), found.classes)
    if isinstance(found, PointsPredictions):
        return drawn_points(pixels, found.points[row])
    raise UserError(f"--draw: predictions of kind {found.kind} cannot be drawn into an image")


class Coco:
    """Predictions of several images in COCO's format for annotations; each has the score of the prediction besides."""

    def __init__(self) -> None:
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.categories: list[dict[str, Any]] = []

    def add(self, name: str, size: Any, found: Predictions, row: int) -> None:
        """Adds the prediction of a row. size: height and width of its image."""
        height, width = (int(side) for side in size)
        self.images.append({"id": len(self.images) + 1, "file_name": name, "height": height, "width": width})
        if not self.categories:
            names = [str(one) for one in getattr(found, "classes", ["object"])]
            self.categories = [{"id": at + 1, "name": one} for at, one in enumerate(names)]
            if isinstance(found, PointsPredictions):
                self.categories[0]["keypoints"] = found.names
        for annotation in self._annotations(found, row):
            identity = {"id": len(self.annotations) + 1, "image_id": len(self.images)}
            self.annotations.append({**identity, "iscrowd": 0, **annotation})

    @staticmethod
    def _annotations(found: Predictions, row: int) -> Iterator[dict[str, Any]]:
        if isinstance(found, BoxesPredictions):
            for box, label, score in zip(found.boxes[row], found.labels[row], found.scores[row]):
                left, top, right, bottom = (round(float(side), 2) for side in box)
                sides = [left, top, round(right - left, 2), round(bottom - top, 2)]
                yield {"category_id": int(label) + 1, "bbox": sides, "area": sides[2] * sides[3], "score": float(score)}
        elif isinstance(found, MaskPredictions):
            mask = np.asarray(found.masks[row])
            for label in range(1, len(found.classes)):
                inside = mask == label
                if inside.any():
                    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
                    sides = [int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1]
                    runs = {"size": list(mask.shape), "counts": run_lengths(inside)}
                    yield {"category_id": label + 1, "segmentation": runs, "bbox": sides, "area": int(inside.sum())}
        elif isinstance(found, PointsPredictions):
            values = [[round(float(x), 2), round(float(y), 2), POINT_VISIBLE] for x, y in found.points[row]]
            yield {
                "category_id": 1,
                "keypoints": [one for point in values for one in point],
                "num_keypoints": len(values),
            }

    def content(self) -> dict[str, Any]:
        """The content of the JSON file."""
        return {"images": self.images, "categories": self.categories, "annotations": self.annotations}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
