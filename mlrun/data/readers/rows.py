"""Rows for a stored model, read piece by piece, in constant memory: tables in files, images. What cannot be used is told, not dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mlrun.data.datasets.image_folder import SUFFIXES as IMAGE_SUFFIXES
from mlrun.data.readers.columns import NUMBER
from mlrun.data.readers.row_files import READERS, Rejected
from mlrun.errors import DataError

IMAGES = 64


@dataclass
class Piece:
    """x: what the model takes; places: (rows,) as in `Rejected`."""

    x: Any
    places: Any
    rejected: list[Rejected] = field(default_factory=list)


def read_rows(
    source: str, inputs: dict, format: str | None = None, separator: str | None = None
) -> Iterator[Callable[[], Piece]]:
    """Functions that give the pieces in their order, each to be called once, from any thread.

    source: a file, a folder of images, or "-" for stdin; inputs: `DataModule.inputs` of the data that the model learned from.

    format: csv | parquet | jsonl | images; else by the name. Raises DataError where nothing of it can be used.
    """
    kind = format or _format(source)
    if kind == "images":
        if inputs["kind"] != "array" or len(inputs["shape"]) != 3:
            raise DataError(f"{source}: this model does not take images")
        return _images(source, inputs)
    fields = _fields(inputs)
    frames = READERS[kind](source, inputs, fields, separator)
    return (partial(_as_input, frame, inputs, fields) for frame in frames)


def _format(source: str) -> str:
    path = Path(source)
    if source == "-":
        return "csv"
    if not path.exists():
        raise DataError(f"{source}: there is no such file")
    suffix = path.with_suffix("").suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    if path.is_dir() or suffix in IMAGE_SUFFIXES:
        return "images"
    kinds = {
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
    if suffix not in kinds:
        raise DataError(
            f"{source}: files ending in {suffix or 'nothing'} are not known; say what it is with --format csv|parquet|jsonl|images"
        )
    return kinds[suffix]


def _fields(inputs: dict) -> list[tuple[str, str]] | None:
    """(name, kind) of the columns that the model needs; None for texts, whose column is found by its name."""
    if inputs["kind"] == "table":
        return [tuple(column) for column in inputs["columns"]]
    if inputs["kind"] == "text":
        return None
    names = inputs["names"] or [f"x{index}" for index in range(int(np.prod(inputs["shape"])))]
    return [(name, NUMBER) for name in names]


def _as_input(read, inputs, fields) -> Piece:
    """What the model takes: the frame itself, texts, or an array. read: gives a frame, the places of its rows, what was rejected."""
    frame, places, rejected = read()
    if not len(frame):
        return Piece(np.zeros((0,)), places, rejected)
    if inputs["kind"] == "table":
        return Piece(frame, places, rejected)
    if inputs["kind"] == "text":
        column = frame.iloc[:, 0]
        empty = np.flatnonzero(column.isna())
        rejected = [*rejected, *(Rejected(int(places[row]), "no text", "") for row in empty)]
        kept = np.flatnonzero(column.notna())
        return Piece(column.iloc[kept].astype(str).to_numpy(dtype=object), places[kept], sorted(rejected))
    same = frame.dtypes.iloc[0] if frame.dtypes.nunique() == 1 else None
    x = frame.to_numpy() if same in (np.uint8, np.float32) else frame.to_numpy(dtype=np.float64)
    missing = np.isnan(x.sum(axis=1, dtype=np.float64)) if x.dtype.kind == "f" else np.zeros(0, bool)
    if missing.any():  # the model knows nothing to put there
        names = np.array([name for name, _ in fields])
        rejected = [
            *rejected,
            *(
                Rejected(
                    int(places[row]),
                    f"no value in {', '.join(names[np.isnan(x[row])][:5])}",
                    ",".join(map(str, x[row])),
                )
                for row in np.flatnonzero(missing)
            ),
        ]
        x, places = x[~missing], places[~missing]
    return Piece(x.reshape(len(x), *inputs["shape"]), places, sorted(rejected, key=lambda one: one.place))


# --- images ----------------------------------------------------------------------------------------------------------


def _images(source, inputs):
    path = Path(source)
    files = (
        sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES) if path.is_dir() else [path]
    )
    if not files:
        raise DataError(f"{source}: there are no images in it ({', '.join(IMAGE_SUFFIXES)})")
    for start in range(0, len(files), IMAGES):
        yield partial(_image_piece, files[start : start + IMAGES], path, inputs)


def _image_piece(files, path, inputs) -> Piece:
    from mlrun.data.datasets.image_folder import read_image

    channels, height, width = inputs["shape"]
    scale = (inputs.get("value_range") or 255) / 255
    images, places, rejected = [], [], []
    for file in files:
        place = str(file.relative_to(path)) if path.is_dir() else str(file)
        try:
            images.append(read_image(file, (height, width), grey=channels == 1))
            places.append(place)
        except DataError as error:
            rejected.append(Rejected(place, str(error).partition(": ")[2], ""))
    x = np.stack(images) if images else np.zeros((0, channels, height, width), np.uint8)
    return Piece(x if scale == 1 else x * scale, places, rejected)
