"""Similarity learning: vectors that are near for the same class, also of classes that training never saw. The base of its tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.data.arrangements import ByClass
from mlrun.data.batches import Batch, Batches
from mlrun.errors import ConfigError, DataError
from mlrun.evaluation.evaluator import Better
from mlrun.evaluation.pairs import best_threshold, draw_pairs
from mlrun.tasks.task import Loss, Outputs, Task

if TYPE_CHECKING:
    from mlrun.data.module import DataModule


class Similarity(Task):
    """A network that maps an example to a vector; two examples are compared by the distance of their vectors.

    A subclass writes `loss_of`, and `compare` if it is not the Euclidean distance. After every epoch the threshold below which two examples
    count as the same class is chosen on pairs of the validation part; it is saved with the weights.

    Args:
        network: maps the inputs of a batch to (batch, size).
        normalize: scale the vectors to length 1.
        per_class: rows of each class that come together in a training batch, at least 2 for pairs of the same class to meet.
    """

    metrics = {"loss": Better.SMALLER}
    monitor: str = "equal_error_rate"
    open_set = True
    is_euclidean = True  # whether `compare` is the Euclidean distance
    queries = {"pair": "mlrun.predictions.similarity.Pair", "neighbours": "mlrun.predictions.similarity.Neighbours"}
    threshold: Tensor

    def __init__(self, network: nn.Module, normalize: bool = False, per_class: int = 4):
        super().__init__()
        if per_class < 2:
            raise ConfigError(f"model.per_class={per_class}: at least 2, so that a batch holds pairs of the same class")
        self.network, self.normalize, self.per_class = network, normalize, per_class
        self.register_buffer("threshold", torch.tensor(float("nan"), dtype=torch.float64))
        self._held_out: list[tuple[Tensor, Tensor]] = []  # vectors and labels of the validation part

    # --- what a subclass defines -------------------------------------------------------------------------------------

    def loss_of(self, vectors: Tensor, labels: Tensor) -> Loss:
        """The loss of a batch: vectors (batch, size), labels (batch,) int64."""
        raise NotImplementedError

    def compare(self, first: Tensor, second: Tensor) -> Tensor:
        """Distances (...,) of vectors (..., size); smaller means more similar."""
        return euclidean(first, second)

    # --- Task --------------------------------------------------------------------------------------------------------

    def embed(self, batch: Batch) -> Tensor:
        """(batch, size)."""
        vectors = self.feed(batch)
        if isinstance(vectors, tuple):  # in training, a network with auxiliary heads returns their output too
            vectors = vectors[0]
        return F.normalize(vectors, dim=1) if self.normalize else vectors

    def loss(self, batch: Batch) -> Loss:
        return self.loss_of(self.embed(batch), batch["labels"])

    def predict(self, batch: Batch) -> Outputs:
        """`vectors` (batch, size)."""
        return {"vectors": self.embed(batch).float()}

    def train_loader(self, data: DataModule, device: torch.device, shard: tuple[int, int]) -> Batches:
        loader = super().train_loader(data, device, shard)
        labels = torch.as_tensor(np.asarray(data.examples("train")[data.targets[0]], dtype=np.int64))
        counts = labels.bincount()
        if (counts > 0).sum() < 2 or counts.max() < 2:
            lacks = "has a single class" if counts.max() > 1 else "has no class of two examples"
            raise DataError(
                f"{data.title}: the training part {lacks}, and similarity is learned from two examples of one class and one of another"
            )
        return loader.arrange(ByClass(labels, self.per_class))

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        vectors = self.embed(batch)
        self._held_out.append((vectors, batch["labels"]))
        self.report("val", self.loss_of(vectors, batch["labels"]))
        if self.validation is not None:
            self.validation.update(batch)

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self._held_out = []

    def on_validation_epoch_end(self) -> None:
        vectors, labels = (torch.cat(parts) for parts in zip(*self._held_out))
        self._held_out = []
        pairs = draw_pairs(labels.cpu().numpy(), PARTNERS)
        self.threshold.fill_(best_threshold(self.distances(vectors, pairs.first, pairs.second), pairs.same))
        super().on_validation_epoch_end()

    # --- comparing ---------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def distances(self, vectors: Any, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """(pairs,) distances of the rows `first` and `second` of vectors (rows, size)."""
        vectors = torch.as_tensor(vectors, dtype=torch.float32, device=self.device)
        found = [
            self.compare(vectors[one], vectors[other])
            for one, other in zip(
                torch.as_tensor(first, device=self.device).split(CHUNK),
                torch.as_tensor(second, device=self.device).split(CHUNK),
            )
        ]
        return torch.cat(found).cpu().numpy() if found else np.zeros(0, dtype=np.float32)

    @torch.inference_mode()
    def distance_matrix(self, rows: Any, columns: Any) -> np.ndarray:
        """(rows, columns) distances of vectors (rows, size) and (columns, size)."""
        rows, columns = (torch.as_tensor(x, dtype=torch.float32, device=self.device) for x in (rows, columns))
        size = max(1, CHUNK // max(1, len(columns)))
        found = [self.compare(some[:, None], columns[None]) for some in rows.split(size)]
        return torch.cat(found).cpu().numpy()


PARTNERS = 4  # pairs of each kind for each validation row, on which the threshold is chosen
CHUNK = 2**16  # pairs that are compared at once


def euclidean(first: Tensor, second: Tensor) -> Tensor:
    """Euclidean distances (...,) of vectors (..., size), with a finite gradient where they are equal."""
    return ((first - second) ** 2).sum(-1).clamp(min=1e-12).sqrt()


PairsOf = Callable[
    [Tensor], tuple[Tensor, Tensor, Tensor]
]  # labels (n,) -> first, second (pairs,) row numbers, same (pairs,) bool


def drawn_pairs(labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One pair of either kind for each row of a batch, with a random row of its class and with one of another class."""
    rows, same, other = drawn_partners(labels)
    return (
        torch.cat([rows, rows]),
        torch.cat([same, other]),
        torch.arange(2 * len(rows), device=labels.device) < len(rows),
    )


def all_pairs(labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Every pair of two rows of a batch."""
    first, second = torch.triu_indices(len(labels), len(labels), 1, device=labels.device)
    return first, second, labels[first] == labels[second]


PAIRS: dict[str, PairsOf] = {"drawn": drawn_pairs, "all": all_pairs}


def checked_pairs(name: str) -> str:
    """A key of PAIRS. Raises ConfigError for another name."""
    if name not in PAIRS:
        raise ConfigError(f"model.pairs={name}: choose one of {', '.join(PAIRS)}")
    return name


def balanced_mean(terms: Tensor, same: Tensor) -> Tensor:
    """The mean of the two kinds of pairs' mean terms (pairs,); a kind that does not occur counts as 0."""
    of_same, of_different = (terms * kind for kind in (same, ~same))
    return (of_same.sum() / same.sum().clamp(min=1) + of_different.sum() / (~same).sum().clamp(min=1)) / 2


def drawn_partners(labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each row of a batch a random other row of its class, and a random row of another class.

    Returns:
        (rows, same, other): (n,) row numbers of those that have both.
    """
    equal = labels[:, None] == labels[None, :]
    draws = torch.rand(equal.shape, device=labels.device)
    same = (draws * (equal & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device))).max(1)
    other = (draws * ~equal).max(1)
    rows = torch.nonzero((same.values > 0) & (other.values > 0)).flatten()
    return rows, same.indices[rows], other.indices[rows]
