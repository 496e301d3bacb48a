"""Two texts with a class or a value: tables, and the sentence pairs of SICK."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.features import Feature, Label, Text, Value
from mlrun.data.preprocess.text import as_texts
from mlrun.data.readers.columns import as_text
from mlrun.data.readers.download import data_directory
from mlrun.data.readers.table import check_path, read_table
from mlrun.data.row_data import Content, RowData
from mlrun.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

PROBLEM = "text_pairs"


def texts_column(texts: Any) -> np.ndarray:
    """(rows,) str objects."""
    column = np.empty(len(texts), dtype=object)
    column[:] = list(texts)
    return column


def learned_columns(inputs: Mapping[str, Feature], targets: Mapping[str, Feature]) -> dict[str, str]:
    """Name of an input, or "target" -> table column in which a stored model found it; without those that it does not record."""
    texts = {name: one.column for name, one in inputs.items() if isinstance(one, Text) and one.column}
    target = next(iter(targets.values()), None)
    return {**texts, "target": target.column} if isinstance(target, (Label, Value)) else texts


def check_problem(problem: str, name: str, expected: str) -> None:
    """Raises DataError for a problem that the dataset is not for."""
    if problem != expected:
        raise DataError(f"dataset.problem={problem}: {name} is for {expected}")


class PairData(RowData):
    """Columns `text`, `text_pair`, and `label` (a class) or `value`.

    Args:
        problem, name, seed, options: see `RowData`.
        target_kind: "label", "value", or "auto": a value if the target's column holds numbers with more than TEN different values.
    """

    most_classes = 10

    def __init__(self, problem: str, name: str, seed: int, target_kind: str = "auto", **options: Any):
        super().__init__(problem, name, seed, **options)
        check_problem(problem, name, PROBLEM)
        if target_kind not in ("auto", "label", "value"):
            raise DataError(f"dataset.target_kind={target_kind}: choose one of auto, label, value")
        self.target_kind = target_kind
        self._is_learned = False  # whether the pairs are for a stored model

    def follow(self, inputs: Mapping[str, Feature], targets: Mapping[str, Feature]) -> None:
        learned = next(iter(targets.values()), None)
        if isinstance(learned, (Label, Value)):
            self.target_kind = "value" if isinstance(learned, Value) else "label"
            self._is_learned = True

    def content_of(
        self,
        first: Any,
        second: Any,
        target: pd.Series,
        source: Any,
        features: tuple[Text, Text] | None = None,
        **options: Any,
    ) -> Content:
        """`Content` of pairs with one target each. Raises DataError for a target that is missing, or not a number where values are asked for."""
        import pandas as pd

        words = as_text(target).fillna("").str.strip()
        missing = np.flatnonzero(words == "")
        if len(missing):
            raise DataError(
                f"{source}: {target.name!r} is missing in {len(missing)} rows, the first is row {missing[0] + 1}"
            )
        numbers = pd.to_numeric(target, errors="coerce")
        are_values = self.target_kind == "value" or (
            self.target_kind == "auto" and not numbers.isna().any() and numbers.nunique() > self.most_classes
        )
        feature: Feature
        if are_values:
            odd = ~np.isfinite(numbers.to_numpy(dtype=np.float64))
            if odd.any():
                row = int(np.flatnonzero(odd)[0])
                raise DataError(f"{source}: {target.name!r} is not a number in row {row + 1}: {target.iloc[row]!r}")
            name, feature, column = "value", Value(column=str(target.name)), numbers.to_numpy(dtype=np.float64)
        else:
            labels, column = np.unique(words.astype(str), return_inverse=True)
            if len(labels) < 2 and not self._is_learned:
                raise DataError(f"{source}: all rows are of the class {labels[0]}: there is nothing to learn")
            if self.target_kind == "auto" and len(labels) > max(2, len(column) / 2):
                raise DataError(
                    f"{source}: {target.name!r} has {len(labels)} different values in {len(column)} rows, which are neither numbers nor classes; "
                    "set dataset.target, or dataset.target_kind=label"
                )
            name, feature = "label", Label(labels.tolist(), column=str(target.name))
        return Content(
            {"text": texts_column(first), "text_pair": texts_column(second), name: column},
            {**dict(zip(("text", "text_pair"), features or (Text(), Text()))), name: feature},
            str(source),
            (name,),
            **options,
        )


class TextPairs(PairData):
    """Pairs of texts of the user, from a table (.csv, .tsv, .parquet).

    Args:
        path: the table.
        problem, name, seed, options: see `PairData`.
        text, text_pair: columns of the texts; None: the two with the longest texts that are not numbers, in their order.
        target: column of the class or value; None: the last of the others.
        encoding, separator: format of the text file.
    """

    def __init__(
        self,
        path: str | Path | None,
        problem: str,
        name: str,
        seed: int,
        text: str | None = None,
        text_pair: str | None = None,
        target: str | None = None,
        encoding: str = "utf-8",
        separator: str | None = None,
        **options: Any,
    ):
        super().__init__(problem, name, seed, **options)
        self.path, self.encoding, self.separator = path, encoding, separator
        self.wanted = {"text": text, "text_pair": text_pair, "target": target}
        self._learned: dict[str, str] = {}  # columns of a stored model

    def follow(self, inputs: Mapping[str, Feature], targets: Mapping[str, Feature]) -> None:
        super().follow(inputs, targets)
        self._learned = learned_columns(inputs, targets)

    def read(self) -> Content:
        if self.path is None:
            raise DataError("no pairs given: set dataset.path=FILE")
        path = check_path(Path(str(self.path)).expanduser())
        self.title = str(path)
        frame = read_table(path, self.encoding, self.separator, texts=True)
        first, second, target = self._columns(path, frame)
        one, other = (as_texts(frame[name]) for name in (first, second))
        features = (
            Text(first, self.encoding, self.separator),
            Text(second, self.encoding, self.separator),
        )
        return self.content_of(one, other, frame[target], path, features)

    def _columns(self, path: Path, frame: pd.DataFrame) -> tuple[str, str, str]:
        import pandas as pd

        names = [str(name) for name in frame.columns]
        for option, name in self.wanted.items():
            if name is not None and name not in names:
                raise DataError(f"{path}: no column {name!r} (dataset.{option}); columns: {', '.join(names)}")
        learned = {one: name for one, name in self._learned.items() if name in names}
        wanted = {one: name or learned.get(one) for one, name in self.wanted.items()}
        if len(names) < 3:
            raise DataError(
                f"{path}: has the columns {', '.join(names)}; two columns of texts and one with the target are needed"
            )
        lengths = {name: as_text(frame[name]).fillna("").str.len().mean() for name in names}
        taken = [name for name in wanted.values() if name is not None]
        numeric = {name for name in names if pd.to_numeric(frame[name], errors="coerce").notna().all()}
        longest = sorted((one for one in names if one not in taken), key=lambda one: (one in numeric, -lengths[one]))
        free = iter(sorted(longest[: sum(wanted[one] is None for one in ("text", "text_pair"))], key=names.index))
        first, second = (wanted[one] or next(free) for one in ("text", "text_pair"))
        others = [name for name in names if name not in (first, second)]
        return first, second, wanted["target"] or others[-1]


class Sick(PairData):
    """9,927 pairs of sentences (Marelli et al. 2014): the relatedness from 1 to 5, or whether the first entails or contradicts the second.

    Args:
        problem, name, seed, options: see `PairData`.
        data_dir: has sick2014/SICK_train.txt, SICK_trial.txt (validation) and SICK_test_annotated.txt.
        target: "entailment" or "relatedness".
    """

    FILES = (("train", "SICK_train.txt"), ("val", "SICK_trial.txt"), ("test", "SICK_test_annotated.txt"))
    COLUMNS = {"entailment": "entailment_judgment", "relatedness": "relatedness_score"}

    def __init__(
        self, problem: str, name: str, seed: int, data_dir: str | None, target: str = "entailment", **options: Any
    ):
        super().__init__(problem, name, seed, target_kind="label" if target == "entailment" else "value", **options)
        if target not in self.COLUMNS:
            raise DataError(f"dataset.target={target}: choose one of {', '.join(self.COLUMNS)}")
        self.data_dir, self.column_name = data_dir, self.COLUMNS[target]

    def read(self) -> Content:
        import pandas as pd

        folder = data_directory(self.data_dir) / "sick2014"
        absent = [file for _, file in self.FILES if not (folder / file).is_file()]
        if absent:
            raise DataError(
                f"{self.name}: put {', '.join(absent)} in {folder}, or set data_dir or MLRUN_DATA_DIR to the folder that holds sick2014/"
            )
        frames = [read_table(folder / file, separator="\t", texts=True) for _, file in self.FILES]
        ends = np.cumsum([len(frame) for frame in frames])
        sources = [
            (int(end - len(frame)), int(end), (part,)) for end, frame, (part, _) in zip(ends, frames, self.FILES)
        ]
        frame = pd.concat(frames, ignore_index=True)
        first, second = (as_text(frame[name]).fillna("") for name in ("sentence_A", "sentence_B"))
        return self.content_of(first, second, frame[self.column_name], folder, sources=sources)
