"""Data sets through the library `datasets` (extra `hub`): any name on the hub, or local files that it can load."""

from __future__ import annotations

import numpy as np

from mlrun.data.datasets.csv_file import CsvFile
from mlrun.data.datasets.image_data import ImageData, labelled_images
from mlrun.data.features import Label
from mlrun.data.readers.images import fit_image
from mlrun.errors import DataError


def load(path, name, files=None):
    """`datasets.load_dataset` of a name on the hub, a builder ("parquet", "csv", "imagefolder") with files, or a folder.

    Returns its parts as {name: Dataset}. Raises DataError.
    """
    try:
        import datasets
    except ImportError:
        raise DataError("dataset=huggingface needs the library datasets: pip install 'mlrun[hub]'") from None
    datasets.disable_progress_bars()
    given = {"data_files": files} if files else {}
    try:
        found = datasets.load_dataset(path, name, **given)
    except Exception as error:  # of many libraries: no such set, no connection, a damaged file
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise DataError(f"dataset.path={path}: cannot be loaded by datasets ({lines[0][:300]})") from None
    return dict(found)


def open_huggingface(
    path, problem, name, seed, config=None, files=None, target=None, input=None, side=64, grey=False, image_size=None, enlarge_to=None, augment=None,
    classes=None, drop=(), categorical=(), **options,
):  # fmt: skip
    """Images where a column holds images (or `input` names one), else a table of columns. Returns the data, not yet prepared.

    config: of sets that have several; files: for the builders csv, parquet, json, imagefolder. target: column (default: "label", "labels",
    "target", "class", else the last one). input: column of images. Parts named train, validation and test are used as such.
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
        extra = dict(image_size=image_size, enlarge_to=enlarge_to, augment=augment, classes=classes)
        return HubImages(
            parts, input or pictures[0], target, path, side, grey, "classification", name, seed, **extra, **options
        )
    options.pop("resident_limit", None)
    return HubTable(
        parts, input, path, problem, name, seed, target=target, drop=drop, categorical=categorical, **options
    )


def _names(dataset, target):
    """Names of the classes where the column knows them."""
    return list(getattr(dataset.features[target], "names", None) or [])


def _sources(parts):
    """(datasets in order, sources of `Content`): validation and test parts stay what they are."""
    known = {
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
    start, sources = 0, []
    for part, makes in used:
        sources.append((start, start + len(parts[part]), makes))
        start = sources[-1][1]
    return [parts[part] for part, _ in used], None if len(used) == 1 else sources


class HubTable(CsvFile):
    """Columns of numbers and categories, handled as those of a csv."""

    def __init__(self, parts, input, origin, problem, name, seed, **options):
        super().__init__(None, problem, name, seed, **options)
        self.parts, self.chosen, self.origin = parts, input, origin

    def read(self):
        import pandas as pd

        datasets, sources = _sources(self.parts)
        frame = pd.concat([part.to_pandas() for part in datasets], ignore_index=True)
        (target,) = self.wanted
        names = _names(datasets[0], target)
        if names:
            frame[target] = [
                names[int(place)] if place == place and 0 <= place < len(names) else None for place in frame[target]
            ]
        if self.chosen is not None:
            frame = frame[[self.chosen, target]]
        self.path = self.title = str(self.origin)
        return self.content_of(frame, sources)

    def _places(self, mask):
        rows = np.flatnonzero(mask)[:5]
        return f"rows {', '.join(str(row + 1) for row in rows)}"

    @property
    def digest(self):
        import hashlib

        return hashlib.blake2b(
            "".join(part._fingerprint for part in self.parts.values()).encode(), digest_size=8
        ).hexdigest()

    @property
    def source(self):
        return str(self.origin)


class HubImages(ImageData):
    """A column of images, kept in memory as bytes at `side`."""

    def __init__(self, parts, column, target, origin, side, grey, problem, name, seed, **options):
        super().__init__(problem, name, seed, **options)
        self.parts, self.image_column, self.target, self.origin, self.side, self.grey = (
            parts,
            column,
            target,
            origin,
            side,
            grey,
        )

    def read(self):
        datasets, sources = _sources(self.parts)
        images, classes = [], []
        for part in datasets:
            try:
                for record in part:
                    images.append(fit_image(record[self.image_column], (self.side, self.side), self.grey))
                    classes.append(record[self.target])
            except Exception as error:  # of Pillow, of pyarrow
                raise DataError(
                    f"{self.origin}: image {len(images) + 1} cannot be read ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
                ) from None
        names = _names(datasets[0], self.target)
        labels, y = np.unique(
            np.array([names[place] if names and isinstance(place, int) else str(place) for place in classes]),
            return_inverse=True,
        )
        if len(labels) < 2:
            raise DataError(f"{self.origin}: all images are of one class: there is nothing to learn")
        return labelled_images(np.stack(images), y, Label(labels.tolist()), str(self.origin), sources=sources)
