"""Images with one or several captions each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlrun.data.datasets.annotated import AnnotatedImages
from mlrun.data.features import Caption
from mlrun.data.readers.annotation_files import Table, read_lines
from mlrun.data.readers.coco import entries_by_id
from mlrun.data.readers.objects import report
from mlrun.data.readers.texts import read_text
from mlrun.data.row_data import Content
from mlrun.errors import DataError

_FLICKR = re.compile(r"(?P<image>[^\t]+?)#\d+\t(?P<caption>.*)")

Read = tuple[str, str, str]  # place in the file, image, caption


class ImageCaptions(AnnotatedImages):
    """A file of image names and captions; several lines about an image are its captions.

    - CSV with a column of images and one of captions;
    - JSON lines, one object a line, whose caption is a text or a list of texts;
    - COCO's JSON of captions;
    - Flickr8k's and Flickr30k's token file: `1000268201.jpg#0<tab>A child in a pink dress .`

    Args:
        problem: captioning.
        columns: names of image and caption in CSV and JSON lines.
        images: folder of the images, relative to that of the file.
        options: see `AnnotatedImages`; `path` is the file.
    """

    def __init__(
        self,
        problem: str,
        name: str,
        seed: int,
        data_dir: str | None,
        columns: tuple[str, str] = ("image", "caption"),
        images: str = ".",
        **options: Any,
    ):
        super().__init__(problem, name, seed, data_dir, **options)
        self.check_problem(("captioning",))
        if len(columns) != 2:
            raise DataError(f"dataset.columns={list(columns)}: give the names of image and caption")
        self.image_column, self.caption_column = columns
        self.images = images

    def read_annotations(self) -> Content:
        problems: list[str] = []
        captions: dict[Path, list[str]] = {}
        absent: set[Path] = set()
        for place, image, caption in self._lines(problems):
            path = self.path.parent / self.images / image
            if path not in captions and path not in absent and not path.is_file():
                absent.add(path)
                problems.append(f"{place}: there is no image {image or '(empty)'}")
            elif not caption.strip():
                problems.append(f"{place}: the caption of {image} is empty")
            elif path not in absent:
                captions.setdefault(path, []).append(caption.strip())
        report(problems, self.path, self.skip_invalid)
        if not captions:
            raise DataError(f"{self.path}: there are no captions in it")
        paths = list(captions)
        column, photo, kept = self.photos(paths)
        return Content(
            {"image": column, "caption": [captions[paths[at]] for at in kept]},
            {"image": photo, "caption": Caption()},
            str(self.path),
            ("caption",),
            names=[paths[at].name for at in kept],
        )

    def _lines(self, problems: list[str]) -> Iterator[Read]:
        suffix = self.path.suffix.lower()
        if suffix == ".json":
            return self._coco(problems)
        if suffix in (".jsonl", ".ndjson"):
            return self._json_lines(problems)
        is_flickr = _FLICKR.match(read_lines(self.path)[0]) is not None
        return self._flickr(problems) if is_flickr else self._table(problems)

    def _table(self, problems: list[str]) -> Iterator[Read]:
        needed = (self.image_column, self.caption_column)
        for place, row in Table(self.path, needed, "dataset.columns", problems):
            yield place, row[self.image_column], row[self.caption_column]

    def _json_lines(self, problems: list[str]) -> Iterator[Read]:
        for number, line in enumerate(read_lines(self.path), 1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
                image, given = entry[self.image_column], entry[self.caption_column]
            except (ValueError, TypeError, KeyError):
                problems.append(
                    f"line {number}: no object with {self.image_column!r} and {self.caption_column!r} (dataset.columns)"
                )
                continue
            for caption in given if isinstance(given, list) and given else [given]:
                yield f"line {number}", str(image), caption if isinstance(caption, str) else ""

    def _flickr(self, problems: list[str]) -> Iterator[Read]:
        for number, line in enumerate(read_lines(self.path), 1):
            if match := _FLICKR.match(line):
                yield f"line {number}", match["image"], match["caption"]
            elif line.strip():
                problems.append(f"line {number}: not of the form IMAGE#NUMBER<tab>CAPTION")

    def _coco(self, problems: list[str]) -> Iterator[Read]:
        try:
            content = json.loads(read_text(self.path))
            images = entries_by_id(content, "images", self.path)
            files = {identity: entry["file_name"] for identity, entry in images.items()}
            annotations = list(content["annotations"])
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{self.path}: not COCO's JSON of captions: {type(error).__name__}: {error}") from None
        for number, entry in enumerate(annotations):
            place = f"annotations[{number}]"
            try:
                image, caption = files[entry["image_id"]], entry["caption"]
                if not isinstance(image, str) or not isinstance(caption, str):
                    raise TypeError
                yield place, image, caption
            except (TypeError, KeyError):
                problems.append(f"{place}: lacks a caption, or the image_id of an image in the file")
