"""Rows for a stored model, read piece by piece in constant memory from table files or images. Invalid rows are reported, not dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import CATEGORY, NUMBER, PATH, TEXT, Feature, Image, Photo, Row, Text, shape_of
from mlrun.data.inputs import from_table, read_photo
from mlrun.data.readers.csv_rows import read_csv
from mlrun.data.readers.images import SUFFIXES as IMAGE_SUFFIXES
from mlrun.data.readers.images import images_in, read_image
from mlrun.data.readers.json_rows import read_json_lines
from mlrun.data.readers.parquet_rows import read_parquet
from mlrun.data.readers.row_pieces import Fields, Parsed, Reading, Rejected
from mlrun.errors import DataError

IMAGES = 64  # images of a piece
FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
READERS = {"csv": read_csv, "parquet": read_parquet, "jsonl": read_json_lines}
Features = Mapping[str, Feature]


@dataclass
class Piece:
    """Some rows of a source.

    examples: the valid rows as model input, None if there are none. places: (rows,) their places, see `Rejected`.
    """

    examples: Examples | None
    places: Any
    rejected: list[Rejected] = field(default_factory=list)


def read_rows(
    source: str, features: Features, format: str | None = None, separator: str | None = None
) -> Iterator[Callable[[], Piece]]:
    """Functions that return the pieces in order. Call each once, from any thread.

    Args:
        source: a file, a folder of images, or "-" for stdin.
        features: the inputs of the model.
        format: csv | parquet | jsonl | images; None: by the file name.
        separator: of a CSV file; None: the most frequent one in its header.

    Raises:
        DataError: the source cannot be read, or does not suit the model.
    """
    kind = format or _format(source)
    if kind == "images":
        if len(features) != 1 or not isinstance(next(iter(features.values())), Image):
            raise DataError(f"{source}: this model does not take images" + (" alone" if len(features) > 1 else ""))
        return _images(source, features)
    fields = [pair for name, feature in features.items() for pair in feature.columns(name)]
    if not fields:
        raise DataError(f"{source}: this model does not take rows of a table")
    tables = [one for kind in (Row, Text) for one in features.values() if isinstance(one, kind)]
    reading = (
        Reading(tables[0].encoding, tables[0].separator, getattr(tables[0], "written", {})) if tables else Reading()
    )
    frames = READERS[kind](source, reading, fields, separator)
    folder = Path() if source == "-" else Path(source).parent
    return (partial(_piece, frame, features, fields, folder) for frame in frames)


def _format(source: str) -> str:
    path = Path(source)
    if source == "-":
        return "csv"
    if not path.exists():
        raise DataError(f"{source}: there is no such file")
    suffix = path.with_suffix("").suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    if path.is_dir() or suffix in IMAGE_SUFFIXES:
        return "images"
    if suffix not in FORMATS:
        raise DataError(
            f"{source}: the format of files ending in {suffix or 'nothing'} is unknown; specify it with --format csv|parquet|jsonl|images, "
            "or save the file as .csv, .parquet or .jsonl"
        )
    return FORMATS[suffix]


def _piece(read: Callable[[], Parsed], features: Features, fields: Fields, folder: Path) -> Piece:
    frame, places, rejected = read()
    if not len(frame):
        return Piece(None, places, rejected)
    if len(features) == 1:
        ((name, feature),) = features.items()
        if isinstance(feature, Row):
            return Piece(Examples({name: frame}, features), places, rejected)
        if isinstance(feature, Text):
            frame.columns = [column for column, _ in fields]
    kept, wrong = np.ones(len(frame), dtype=bool), list(rejected)
    kinds = dict(fields)
    for name, feature in features.items():
        for mask, reason in _unusable(frame, name, feature, kinds, folder):
            for row in np.flatnonzero(mask & kept):
                wrong.append(Rejected(_place(places[row]), reason(int(row)), ",".join(map(str, frame.iloc[row]))))
            kept &= ~mask
    if not kept.all():
        frame, places = frame[kept], np.asarray(places)[kept]
    wrong.sort(key=lambda one: one.place)
    if not len(frame):
        return Piece(None, places, wrong)
    if len(features) == 1 and {kind for _, kind in fields} == {NUMBER}:
        same = frame.dtypes.iloc[0] if frame.dtypes.nunique() == 1 else None
        x = frame.to_numpy() if same in (np.uint8, np.float32) else frame.to_numpy(dtype=np.float64)
        return Piece(Examples({name: x.reshape(len(x), *shape_of(feature))}, features), places, wrong)
    return Piece(from_table(frame, features, folder), places, wrong)


def _unusable(
    frame: Any, name: str, feature: Feature, kinds: Mapping[str, str], folder: Path
) -> Iterator[tuple[np.ndarray, Callable[[int], str]]]:
    """(mask of the rows without a required value, function that returns the reason of a row)."""
    columns = [column for column, _ in feature.columns(name)]
    if isinstance(feature, Row):
        return
    if {kinds[column] for column in columns} <= {NUMBER, CATEGORY}:
        x = frame[columns].to_numpy(dtype=np.float64, na_value=np.nan)
        missing = np.isnan(x)
        if np.isnan(x.sum()):
            yield missing.any(axis=1), lambda row: f"no value in {', '.join(np.array(columns)[missing[row]][:5])}"
        return
    (column,) = columns
    absent = frame[column].isna().to_numpy()
    what = "text" if kinds[column] == TEXT else "file"
    yield absent, lambda row: f"no {what}"
    if kinds[column] == PATH and isinstance(feature, Image):
        yield from _unreadable(frame[column], feature, folder, absent)


def _unreadable(
    column: Any, feature: Image, folder: Path, absent: np.ndarray
) -> Iterator[tuple[np.ndarray, Callable[[int], str]]]:
    reasons: dict[int, str] = {}
    for row in np.flatnonzero(~absent):
        try:
            _image(str(column.iloc[row]), feature, folder)
        except DataError as error:
            reasons[int(row)] = str(error)
    mask = np.zeros(len(column), dtype=bool)
    mask[list(reasons)] = True
    yield mask, lambda row: reasons[int(row)]


def _place(place: Any) -> Any:
    return int(place) if isinstance(place, (int, np.integer)) else place


# --- images ----------------------------------------------------------------------------------------------------------


def _images(source: str, features: Features) -> Iterator[Callable[[], Piece]]:
    path = Path(source)
    files = images_in(path) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{source}: there are no images in it ({', '.join(IMAGE_SUFFIXES)})")
    for start in range(0, len(files), IMAGES):
        yield partial(_image_piece, files[start : start + IMAGES], path, features)


def _image(file: Path | str, feature: Image, folder: Path = Path()) -> np.ndarray:
    """(channels, height, width) uint8 as the model reads it. Raises DataError."""
    if isinstance(feature, Photo):
        return read_photo(file, feature, folder)
    channels, height, width = shape_of(feature)
    return read_image(folder / file, (height, width), grey=channels == 1)


def _image_piece(files: list[Path], path: Path, features: Features) -> Piece:
    ((name, feature),) = features.items()
    assert isinstance(feature, Image)
    images: list[np.ndarray] = []
    places: list[str] = []
    rejected: list[Rejected] = []
    for file in files:
        place = str(file.relative_to(path)) if path.is_dir() else str(file)
        try:
            images.append(_image(file, feature))
            places.append(place)
        except DataError as error:
            rejected.append(Rejected(place, str(error).partition(": ")[2], ""))
    if not images:
        return Piece(None, places, rejected)
    if isinstance(feature, Photo):
        return Piece(Examples({name: images}, features), places, rejected)
    x, scale = np.stack(images), (feature.value_range or 255) / 255
    return Piece(Examples({name: x if scale == 1 else x * scale}, features), places, rejected)
