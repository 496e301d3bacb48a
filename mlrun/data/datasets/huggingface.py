"""Data sets loaded by the library `datasets` (extra `hub`): any name on the hub, or local files that it supports."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlrun.data.datasets.csv_file import CsvFile
from mlrun.data.datasets.image_data import ImageData, labelled_images
from mlrun.data.features import Label
from mlrun.data.readers.images import fit_image
from mlrun.data.readers.table import with_clean_texts
from mlrun.data.row_data import Content, RowData
from mlrun.errors import DataError


def load(path: str, name: str | None, files: Any = None) -> dict[str, Any]:
    """Calls `datasets.load_dataset` for a name on the hub, a builder ("parquet", "csv", "imagefolder") with files, or a folder.

    Args:
        path: name, builder or folder.
        name: configuration of a set that has several.
        files: `data_files` of a builder.

    Returns:
        Part -> Dataset.

    Raises:
        DataError: the library is missing or cannot load the set.
    """
    try:
        import datasets
    except ImportError:
        raise DataError("dataset=huggingface needs the library datasets: pip install 'mlrun[hub]'") from None
    datasets.disable_progress_bars()
    given: dict[str, Any] = {"data_files": files} if files else {}
    try:
        found = datasets.load_dataset(path, name, **given)
    except Exception as error:  # from many libraries: unknown set, no connection, damaged file
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise DataError(f"dataset.path={path}: cannot be loaded by datasets ({lines[0][:300]})") from None
    return dict(found)


def open_huggingface(
    path: str,
    problem: str,
    name: str,
    seed: int,
    config: str | None = None,
    files: Any = None,
    target: str | None = None,
    input: str | None = None,
    side: int = 64,
    grey: bool = False,
    image_size: int | None = None,
    enlarge_to: int | None = None,
    augment: Sequence[Any] | None = None,
    classes: Sequence[Any] | None = None,
    drop: Sequence[str] = (),
    categorical: Sequence[str] = (),
    **options: Any,
) -> RowData:
    """The data set, not yet prepared: images where a column holds images (or `input` names one), else a table.

    Parts named train, validation and test are used as such.

    Args:
        path, config, files: see `load`; files are for the builders csv, parquet, json, imagefolder.
        problem, name, seed, options: see `RowData`.
        target: target column; the default is "label", "labels", "target", "class", or else the last column.
        input: column of images.
        side, grey: see `HubImages`. image_size, enlarge_to, augment, classes: see `ImageData`. drop, categorical: see `CsvFile`.

    Raises:
        DataError: the set cannot be loaded, or a column does not exist.
    """
    parts = load(path, config, files)
    columns = next(iter(parts.values())).column_names
    target = target or next(
        (known for known in ("label", "labels", "target", "class") if known in columns), columns[-1]
    )
    if target not in columns:
        raise DataError(f"{path}: no column {target!r} (dataset.target); columns: {', '.join(columns)}")
    features = next(iter(parts.values())).features
    pictures = [column for column in columns if type(features[column]).__name__ == "Image"]
    if input is not None and input not in columns:
        raise DataError(f"{path}: no column {input!r} (dataset.input); columns: {', '.join(columns)}")
    if pictures:
        if problem not in ("auto", "classification"):
            raise DataError(f"dataset.problem={problem}: images are for classification")
        extra: dict[str, Any] = dict(image_size=image_size, enlarge_to=enlarge_to, augment=augment, classes=classes)
        return HubImages(
            parts, input or pictures[0], target, path, side, grey, "classification", name, seed, **extra, **options
        )
    options.pop("resident_limit", None)
    return HubTable(
        parts, input, path, problem, name, seed, target=target, drop=drop, categorical=categorical, **options
    )


def _names(dataset: Any, target: str) -> list[str]:
    """Names of the classes, empty where the column has none."""
    return list(getattr(dataset.features[target], "names", None) or [])


def _sources(
    parts: Mapping[str, Any],
) -> tuple[list[Any], list[tuple[int, int, tuple[str, ...]]] | None]:
    """(datasets in order, `sources` of `Content`): validation and test parts keep their role."""
    known: dict[str, tuple[str, ...]] = {
        "train": ("train", "train_dev"),
        "validation": ("val",),
        "valid": ("val",),
        "val": ("val",),
        "dev": ("val",),
        "test": ("test",),
    }
    used = [(part, known[part]) for part in parts if part in known]
    if not used:
        used = [(next(iter(parts)), ("train", "train_dev"))]
    given = {made for _, makes in used for made in makes}
    used = [
        (
            part,
            makes + tuple(rest for rest in ("val", "test") if rest not in given)
            if part in ("train", used[0][0])
            else makes,
        )
        for part, makes in used
    ]
    start = 0
    sources: list[tuple[int, int, tuple[str, ...]]] = []
    for part, makes in used:
        sources.append((start, start + len(parts[part]), makes))
        start = sources[-1][1]
    return [parts[part] for part, _ in used], None if len(used) == 1 else sources


class HubTable(CsvFile):
    """Columns of numbers and categories, handled like those of a CSV file.

    Args:
        parts: part -> dataset of the library.
        input: the only input column; None: all columns but the target.
        origin: where the data come from.
        problem, name, seed, options: see `CsvFile`.
    """

    def __init__(
        self,
        parts: Mapping[str, Any],
        input: str | None,
        origin: str,
        problem: str,
        name: str,
        seed: int,
        **options: Any,
    ):
        super().__init__(None, problem, name, seed, **options)
        self.parts, self.input_column, self.origin = parts, input, origin

    def read(self) -> Content:
        import pandas as pd

        datasets, sources = _sources(self.parts)
        frame = with_clean_texts(pd.concat([part.to_pandas() for part in datasets], ignore_index=True))
        (target,) = self.wanted
        names = _names(datasets[0], target)
        if names:
            frame[target] = [
                names[int(place)] if place == place and 0 <= place < len(names) else None for place in frame[target]
            ]
        if self.input_column is not None:
            frame = frame[[self.input_column, target]]
        self.path = self.title = str(self.origin)
        return self.content_of(frame, sources)

    def _places(self, mask: np.ndarray) -> str:
        rows = np.flatnonzero(mask)[:5]
        return f"rows {', '.join(str(row + 1) for row in rows)}"

    @property
    def digest(self) -> str:
        return hashlib.blake2b(
            "".join(part._fingerprint for part in self.parts.values()).encode(), digest_size=8
        ).hexdigest()

    @property
    def source(self) -> str:
        return str(self.origin)


class HubImages(ImageData):
    """A column of images, held in memory as bytes.

    Args:
        parts: part -> dataset of the library.
        column, class_column: columns of the images and of their classes.
        origin: where the data come from.
        side: height and width of the images in memory.
        grey: one channel instead of three.
        problem, name, seed, options: see `ImageData`.
    """

    def __init__(
        self,
        parts: Mapping[str, Any],
        column: str,
        class_column: str,
        origin: str,
        side: int,
        grey: bool,
        problem: str,
        name: str,
        seed: int,
        **options: Any,
    ):
        super().__init__(problem, name, seed, **options)
        self.parts, self.image_column, self.class_column = parts, column, class_column
        self.origin, self.side, self.grey = origin, side, grey

    def read(self) -> Content:
        datasets, sources = _sources(self.parts)
        images: list[np.ndarray] = []
        classes: list[Any] = []
        for part in datasets:
            try:
                for record in part:
                    images.append(fit_image(record[self.image_column], (self.side, self.side), self.grey))
                    classes.append(record[self.class_column])
            except Exception as error:  # from Pillow or pyarrow
                raise DataError(
                    f"{self.origin}: image {len(images) + 1} cannot be read ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
                ) from None
        names = _names(datasets[0], self.class_column)
        labels, y = np.unique(
            np.array([names[place] if names and isinstance(place, int) else str(place) for place in classes]),
            return_inverse=True,
        )
        if len(labels) < 2:
            raise DataError(f"{self.origin}: all images are of one class: there is nothing to learn")
        return labelled_images(np.stack(images), y, Label(labels.tolist()), str(self.origin), sources=sources)
