"""Encoders turn one feature into tensors: their interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from mlrun.data.features import (
    Feature,
)
from mlrun.data.predictions import (
    Predictions,
)

if TYPE_CHECKING:
    import torch

    from mlrun.data.augment.motion import Part
    from mlrun.data.examples import Examples


class Encoder(ABC):
    """Encodes one feature as one or several named arrays. Constructed with the feature and the settings of its kind.

    A subclass learns its parameters in `fit`, takes them in `restore`, returns them as `state`, and provides values to networks in `spec`.
    """

    key: ClassVar[str]  # name of the main tensor in a batch
    further_keys: ClassVar[tuple[str, ...]] = ()  # names of the other tensors

    def __init__(self, feature: Feature, **settings: Any):
        self.feature = feature
        self.name = ""  # of the feature, set by the preprocessor
        self.inputs: dict[str, Encoder] = {}  # of a target: the encoders of the inputs, set by the preprocessor

    def fit(self, column: Any) -> None:
        """Learns from the column of the training rows; most encoders learn nothing."""

    @abstractmethod
    def encode(self, column: Any, examples: Examples | None = None) -> dict[str, Any]:
        """Name -> array (rows, ...), `Sequences`, or a list with an array for each row where sizes differ.

        examples: the rows of the column, for a target whose tensors depend on an input, such as a span of a text.
        """

    @property
    def names(self) -> list[str]:
        """Names of the columns of a matrix; empty if they have none."""
        return []

    @property
    def spec(self) -> dict[str, Any]:
        """Shapes and sizes that a network may request by name, as plain values."""
        return {}

    @property
    def state(self) -> dict[str, Any]:
        """The learned parameters, as plain containers."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes a `state`."""

    def inherit(self, state: Mapping[str, Any]) -> bool:
        """Takes the parameters that another run learned for a feature of this kind. Returns False, and changes nothing, if they are
        incompatible."""
        return False

    def extend(self, words: Sequence[str]) -> None:
        """Takes further words into its vocabulary, if it has one of words."""

    def compact(self, column: Any) -> dict[str, Any]:
        """Like `encode`, but in the storage format of the data; `finish` completes the encoding batch by batch on the device."""
        raise NotImplementedError

    def finish(self, device: torch.device | str) -> Callable[[torch.Tensor], torch.Tensor]:
        """The function that completes `compact` for a batch of the main tensor."""
        raise NotImplementedError

    def is_large(self, column: Any, rows: int) -> bool:
        """Whether this many rows of a column should stay compact until their batches are used."""
        return False

    # --- targets only --------------------------------------------------------------------------------------------

    outputs: ClassVar[frozenset[str]] = frozenset()  # names of the task outputs that `decode` reads
    follows: ClassVar[bool] = False  # whether the target is still right, after `follow`, if its image is augmented
    follows_joined: ClassVar[bool] = False  # the same if images are joined, as by `Mosaic`

    def prepare(self, train: Examples) -> None:
        """Learns from several columns of the training rows, once all encoders are fitted; most encoders learn nothing."""

    def follow(self, batch: dict[str, Any], parts: Sequence[Part]) -> None:
        """Changes its tensors in a batch whose images an augmentation step has moved."""

    def decode(self, outputs: Mapping[str, Any], examples: Examples | None) -> Predictions:
        """Predictions of this target from a task's outputs as arrays. examples: the inputs of these rows."""
        raise NotImplementedError
