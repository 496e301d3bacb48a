"""The interface of all datasets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Label
from mlrun.errors import DataError

if TYPE_CHECKING:
    import torch

    from mlrun.data.batches import Batches
    from mlrun.data.preprocess.preprocessor import Preprocessor

SPLIT = {"train": 0.6, "val": 0.2, "test": 0.2}


class DataModule:
    """Data of one run. `prepare` loads, checks and splits; the other members call it when needed.

    `preprocessing` holds settings for the model's preprocessor, such as `normalize`, which a model's YAML may override.

    Args:
        problem: the learning problem, such as "classification", by which models and datasets are matched before they are loaded.
        name: as in the configuration, for messages.
        seed: of split and order.
        split: sizes of "train", "val", "test", see `splits.part_sizes`, and optionally `seed` and `stratify`.
        batch_size: rows per batch.
        num_workers: processes that read data too large for the device.
    """

    # default for models whose YAML names none
    preprocessor: ClassVar[str] = "mlrun.data.preprocess.preprocessor.FeaturePreprocessor"

    def __init__(
        self,
        problem: str,
        name: str,
        seed: int,
        split: Mapping[str, Any] | None = None,
        batch_size: int = 64,
        num_workers: int = 0,
    ):
        if not isinstance(batch_size, int) or batch_size < 1:
            raise DataError(f"dataset.batch_size={batch_size}: give a whole number of at least 1")
        self.problem, self.name, self.seed = problem, name, seed
        self.title = name  # name of the data in messages; the path if they come from a file
        self.display_name = name  # name of the data in results and of the run; a file's with its target
        self.split = dict(split or SPLIT)
        self.batch_size, self.num_workers = batch_size, num_workers
        self.preprocessing: dict[str, Any] = {}

    def follow(self, inputs: Mapping[str, Feature], targets: Mapping[str, Feature]) -> None:
        """Called before `prepare` for data that a stored model evaluates: a dataset that infers what its columns hold reads them as that
        model's features say instead."""

    def prepare(self) -> None:
        """Load, check and split. Idempotent. Raises DataError."""

    @property
    def summary(self) -> list[tuple[str, str]]:
        """(name, text) of further lines about the data in the summary of a run."""
        return []

    @property
    def source(self) -> str:
        """Origin of the data: a path, a URL, a library."""
        return ""

    @property
    def digest(self) -> str:
        """Hash of the raw data."""
        return ""

    @property
    def features(self) -> dict[str, Feature]:
        """Name -> feature of that part of an example; inputs first."""
        raise NotImplementedError

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the features that are predicted, usually one; the others are inputs."""
        return ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the features that a model reads."""
        return tuple(name for name in self.features if name not in self.targets)

    @property
    def target(self) -> Feature | None:
        """The feature that is predicted, None if there is none."""
        return self.features[self.targets[0]] if self.targets else None

    @property
    def positive(self) -> int | None:
        """Index of the positive one of two classes, the same for all divisions of the same rows into parts; None if there are not two."""
        return None

    @property
    def spec(self) -> dict[str, Any]:
        """Plain values that a network or task may request by name, in addition to those of the preprocessor."""
        return {}

    @property
    def sizes(self) -> dict[str, int]:
        """Part -> number of rows."""
        raise NotImplementedError

    @property
    def items_per_batch(self) -> int:
        """Number of items in a batch to which each weight is applied: its rows, or the tokens of its texts. A measure of the step's cost."""
        return self.batch_size

    def examples(self, part: str) -> Examples:
        """The rows of a part."""
        raise DataError(f"dataset {self.name} has no rows: it cannot be used with this kind of model")

    @property
    def examples_to_learn_from(self) -> Examples:
        """The rows from which a preprocessor learns: those of train, or a sample of them."""
        return self.examples("train")

    def in_pieces(self, part: str) -> Iterator[Examples] | None:
        """The rows of a part in pieces, for estimators that learn piece by piece; None if the rows fit in memory."""
        return None

    def sample(self, part: str) -> Examples:
        """Inputs of a few examples, to demonstrate predictions of the trained model."""
        return self.examples(part).only(self.inputs).take(slice(0, 5))

    @property
    def draws_val_from_train(self) -> bool:
        """Whether train and val were drawn at random from the same rows, so that they have the same distribution."""
        return False

    def with_parts(self, parts: Mapping[str, np.ndarray]) -> DataModule:
        """The same data with other parts: name -> original row numbers."""
        raise DataError(f"dataset {self.name} has no rows that could be split in another way")

    def source_rows(self, rows: np.ndarray) -> np.ndarray:
        """Numbers, from 0, that rows have in the source of the data; others than their own if rows of it were left out."""
        return rows

    def column(self, name: str) -> np.ndarray:
        """A table column by name, (all rows,), including columns left out of the features."""
        raise DataError(f"dataset {self.name} has no column {name!r}")

    def labelled(self, dataset: dict[str, Any]) -> dict[str, Any] | None:
        """Configuration of a dataset for a classifier of these inputs, derived from their own configuration `dataset`; None without classes."""
        return dataset if isinstance(self.target, Label) else None

    def loader(
        self,
        part: str,
        preprocessor: Preprocessor,
        device: torch.device | str = "cpu",
        shuffle: bool = False,
        shard: tuple[int, int] = (0, 1),
    ) -> Batches | None:
        """Batches of a part on the device, as network input; None if the part is empty."""
        raise DataError(f"dataset {self.name} cannot be used with this kind of network")
