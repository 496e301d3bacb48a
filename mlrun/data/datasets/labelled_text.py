"""Texts with a class each: tables, folders per class, film reviews, names in many languages."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.datasets.text_pairs import learned_columns
from mlrun.data.features import Feature, Label, Labels, Text
from mlrun.data.preprocess.text import as_texts
from mlrun.data.readers.columns import as_text
from mlrun.data.readers.download import data_directory, fetch
from mlrun.data.readers.table import check_path, read_table
from mlrun.data.readers.texts import read_text
from mlrun.data.row_data import Content, RowData
from mlrun.data.splits import sources_of
from mlrun.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

TEXT_NAMES = ("text", "sentence", "review", "content", "message", "document", "title")
LABEL_NAMES = ("label", "class", "category", "target", "sentiment", "polarity", "language", "y")


class TextData(RowData):
    """Texts with a class each: columns `text` and `label`.

    Networks get batches of texts of similar length.

    Args:
        problem, name, seed, options: see `RowData`.
        tokenizer: {kind, size, min_frequency, lowercase} of `Tokenizer.train`, trained on the training texts.
        max_length: tokens after which a text is cut.
        features: for estimators, {weighting, level, ngrams, min_frequency, lowercase} of `preprocess.text_features.TextFeatures`.
    """

    def __init__(
        self,
        problem: str,
        name: str,
        seed: int,
        tokenizer: dict[str, Any] | None = None,
        max_length: int = 256,
        features: dict[str, Any] | None = None,
        **options: Any,
    ):
        super().__init__(problem, name, seed, **options)
        if problem != "classification":
            raise DataError(f"dataset.problem={problem}: {name} is for classification")
        if not isinstance(max_length, int) or max_length < 1:
            raise DataError(f"dataset.max_length={max_length}: give a whole number of at least 1")
        self.preprocessing |= {"tokenizer": tokenizer, "max_length": max_length, "features": features}
        self._learned: dict[str, str] | None = None  # columns of the stored model that reads the texts, if there is one

    def follow(self, inputs: Mapping[str, Feature], targets: Mapping[str, Feature]) -> None:
        self._learned = learned_columns(inputs, targets)

    @property
    def summary(self) -> list[tuple[str, str]]:
        """Of `RowData`, and how many texts of val and test are also in train."""
        return [*super().summary, *self.copies("text", "texts")]

    @property
    def items_per_batch(self) -> int:
        return self.batch_size * min(self.preprocessing["max_length"], 32)

    @cached_property
    def digest(self) -> str:
        digest = hashlib.blake2b(self.content.columns["label"].tobytes(), digest_size=8)
        for text in self.content.columns["text"]:
            digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
        return digest.hexdigest()

    def content_of(
        self,
        texts: Sequence[str],
        classes: Sequence[Any],
        source: Any,
        target: str = "target",
        feature: Text | None = None,
        **options: Any,
    ) -> Content:
        """`Content` of texts with one class each. Raises DataError if a model is to learn from them and all have the same class."""
        labels, y = np.unique(np.asarray(classes), return_inverse=True)
        if len(labels) < 2 and self._learned is None:
            raise DataError(
                f"{source}: all texts are of the class {labels[0] if len(labels) else '(none)'}: there is nothing to learn"
            )
        x = np.empty(len(texts), dtype=object)
        x[:] = texts
        label = Label(labels.tolist(), column=target)
        return Content(
            {"text": x, "label": y.astype(np.int64)},
            {"text": feature or Text(), "label": label},
            str(source),
            **options,
        )


class LabelledText(TextData):
    """Labelled texts of the user, from a table (.csv, .tsv, .parquet) or a folder.

    A folder holds `class/any.txt`, a text per file, or a file for each class with a text per line (`rt-polarity.pos`, `rt-polarity.neg`: the
    class is the suffix; `spam.txt`: the name). Folders `train`, `val` and `test` of that form are the parts, as in IMDB; a class that one of them
    lacks is left out.

    Args:
        path: the table or folder.
        problem, name, seed, options: see `TextData`.
        text: column of the texts; None: a column with a usual name, or else the one with the longest texts.
        target: column of the classes; None: a column with a usual name, or else the last of the others.
        encoding, separator: format of the text file.
        label_separator: what stands between several labels of a text, such as ";"; None: each text has one class.
    """

    def __init__(
        self,
        path: str | Path | None,
        problem: str,
        name: str,
        seed: int,
        text: str | None = None,
        target: str | None = None,
        encoding: str = "utf-8",
        separator: str | None = None,
        label_separator: str | None = None,
        **options: Any,
    ):
        super().__init__(problem, name, seed, **options)
        self.label_separator = label_separator
        self.path, self.text_column, self.class_column = path, text, target
        self.encoding, self.separator = encoding, separator
        self._left_out: Counter[str] = Counter()  # class -> texts

    @property
    def summary(self) -> list[tuple[str, str]]:
        """Of `RowData`, and the classes that one of the predefined parts lacks."""
        left_out = ", ".join(f"{name} ({count:,} texts)" for name, count in sorted(self._left_out.items()))
        return [*super().summary, *([("left out", f"{left_out}: not in every part")] if left_out else [])]

    def read(self) -> Content:
        if self.path is None:
            raise DataError("no texts given: set dataset.path=FILE or dataset.path=FOLDER")
        path = Path(str(self.path)).expanduser()
        self.title = str(path)
        return self._read_folder(path) if path.is_dir() else self._read_table(check_path(path))

    def _read_table(self, path: Path) -> Content:
        frame = read_table(path, self.encoding, self.separator, texts=True)
        text, target = self._columns(path, frame)
        texts, feature = as_texts(frame[text]), Text(text, self.encoding, self.separator)
        if self.label_separator is not None:
            return self._several(path, texts, [str(value) for value in as_text(frame[target]).fillna("")], feature)
        classes = as_text(frame[target]).fillna("").str.strip()
        missing = np.flatnonzero(classes == "")
        if len(missing):
            raise DataError(
                f"{path}: the class {target!r} is missing in {len(missing)} rows, the first is row {missing[0] + 1}"
            )
        if classes.nunique() > max(2, len(classes) / 2) and self._learned is None:
            raise DataError(
                f"{path}: {target!r} has {classes.nunique()} different values in {len(classes)} rows, too many to be classes; set dataset.target"
            )
        return self.content_of(texts, classes.astype(str).tolist(), path, target=target, feature=feature)

    def _several(self, path: Path, texts: list[str], cells: list[str], feature: Text) -> Content:
        """Texts with any number of labels each."""
        if not self.label_separator:
            raise DataError('dataset.label_separator="": give what stands between the labels of a text, such as ";"')
        parts = [{part.strip() for part in cell.split(self.label_separator) if part.strip()} for cell in cells]
        classes = sorted(set().union(*parts))
        if len(classes) < 2 and self._learned is None:
            raise DataError(
                f"{path}: found {len(classes)} label{'s' * (len(classes) != 1)} with dataset.label_separator={self.label_separator!r}; "
                "at least two are needed"
            )
        column = np.empty(len(texts), dtype=object)
        column[:] = texts
        present = np.array([[name in own for name in classes] for own in parts])
        return Content({"text": column, "label": present}, {"text": feature, "label": Labels(classes)}, str(path))

    def _columns(self, path: Path, frame: pd.DataFrame) -> tuple[str, str]:
        names = [str(name) for name in frame.columns]
        for option, name in (("text", self.text_column), ("target", self.class_column)):
            if name is not None and name not in names:
                raise DataError(f"{path}: no column {name!r} (dataset.{option}); columns: {', '.join(names)}")
        if len(names) < 2:
            raise DataError(
                f"{path}: has only the column {names[0]!r}; a column of texts and a column of classes are needed"
            )
        learned = {one: name for one, name in (self._learned or {}).items() if name in names}
        text = self.text_column or learned.get("text")
        target = self.class_column or learned.get("target")
        if text is None:
            known = [name for name in names if name.lower() in TEXT_NAMES and name != target]
            lengths = {name: as_text(frame[name]).fillna("").str.len().mean() for name in names if name != target}
            text = known[0] if known else max(lengths, key=lambda name: lengths[name])
        if target is None:
            others = [name for name in names if name != text]
            target = next((name for name in others if name.lower() in LABEL_NAMES), others[-1])
        return text, target

    def _read_folder(self, path: Path) -> Content:
        parts = [folder for part in ("train", "val", "test") if (folder := path / part).is_dir()]
        if parts and parts[0].name != "train":
            raise DataError(f"{path}: has {parts[0].name}, but no train")
        found = {folder.name: self._read_classes(folder) for folder in parts} or {"train": self._read_classes(path)}
        common = set.intersection(*(set(by_class) for by_class in found.values()))  # IMDB's train/unsup is not a class
        texts: list[str] = []
        classes: list[str] = []
        sizes: dict[str, int] = {}
        self._left_out.clear()
        for part, by_class in found.items():
            start = len(texts)
            for name, own in sorted(by_class.items()):
                if name in common:
                    texts += own
                    classes += [name] * len(own)
                else:
                    self._left_out[name] += len(own)
            sizes[part] = len(texts) - start
        if len(common) < 2:
            raise DataError(
                f"{path}: needs a folder or a file of texts for each of at least two classes, found {', '.join(sorted(common)) or 'none'}"
            )
        if "val" in sizes:
            return self.content_of(texts, classes, path, sources=sources_of(sizes))
        return self.content_of(texts, classes, path, test_rows=sizes["train"] if "test" in sizes else None)

    def _read_classes(self, folder: Path) -> dict[str, list[str]]:
        """Class -> texts."""
        below = {child.name: sorted(child.glob("*.txt")) for child in sorted(folder.iterdir()) if child.is_dir()}
        if any(below.values()):
            return {name: [self._read(file) for file in files] for name, files in below.items() if files}
        files = [
            file for file in sorted(folder.iterdir()) if file.is_file() and not file.name.startswith((".", "README"))
        ]
        named = {
            file.suffix[1:] if len({file.stem for file in files}) == 1 and len(files) > 1 else file.stem: file
            for file in files
        }
        return {name: [line for line in self._lines(file) if line.strip()] for name, file in named.items()}

    def _read(self, file: Path) -> str:
        return read_text(file, self.encoding, "latin-1")  # the film reviews of 2005

    def _lines(self, file: Path) -> list[str]:
        return (
            self._read(file).removesuffix("\n").split("\n")
        )  # not splitlines(), which also divides at an ellipsis of Windows


class RtPolarity(LabelledText):
    """10,662 sentences of film reviews, half of them positive (Pang and Lee 2005), from `data_dir`/rt_polarity: `rt_polarity.csv` with the
    columns text and label, or the original `rt-polarity.pos` and `rt-polarity.neg`. Raises DataError if neither exists."""

    def __init__(self, problem: str, name: str, seed: int, data_dir: str | None, **options: Any):
        super().__init__(None, problem, name, seed, **options)
        self.data_dir = data_dir

    def read(self) -> Content:
        folder = data_directory(self.data_dir) / "rt_polarity"
        table = folder / "rt_polarity.csv"
        places = [folder / "rt-polaritydata", folder]
        originals = next(
            (
                place
                for place in places
                if (place / "rt-polarity.pos").is_file() and (place / "rt-polarity.neg").is_file()
            ),
            None,
        )
        if table.is_file():
            return self._read_table(table)
        if originals is None:
            raise DataError(
                f"{self.name}: put rt_polarity.csv (columns text and label) or rt-polarity.pos and rt-polarity.neg in {folder}, or set "
                f"data_dir or MLRUN_DATA_DIR to the folder that holds rt_polarity/"
            )
        texts = {sign: self._lines(originals / f"rt-polarity.{sign}") for sign in ("pos", "neg")}
        classes = ["positive"] * len(texts["pos"]) + ["negative"] * len(texts["neg"])
        return self.content_of(texts["pos"] + texts["neg"], classes, originals)


class Imdb(LabelledText):
    """50,000 film reviews, half of them for test (Maas et al. 2011), from `data_dir`/aclImdb, or else downloaded (80 MB)."""

    ADDRESS = "https://ai.stanford.edu/~amaas/data/sentiment/"
    ARCHIVE, MD5 = "aclImdb_v1.tar.gz", "7c2ac02c03563afcf9b574c7e56c153a"

    def __init__(self, problem: str, name: str, seed: int, data_dir: str | None, **options: Any):
        super().__init__(None, problem, name, seed, **options)
        self.data_dir = data_dir

    def read(self) -> Content:
        import tarfile

        root = data_directory(self.data_dir)
        folder = next(
            (
                place
                for place in (root / "aclImdb", root / "imdb" / "aclImdb", root / "imdb")
                if (place / "train" / "pos").is_dir()
            ),
            None,
        )
        if folder is None:
            fetch({self.ARCHIVE: self.MD5}, (self.ADDRESS,), root / "imdb", "imdb")
            with tarfile.open(root / "imdb" / self.ARCHIVE) as archive:
                archive.extractall(root / "imdb", filter="data")
            folder = root / "imdb" / "aclImdb"
        return self._read_folder(folder)
