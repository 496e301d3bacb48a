"""Preprocessor of unpaired images of two domains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Image, restore
from mlrun.data.predictions import Predictions
from mlrun.data.preprocess.preprocessor import Preprocessor, decode_general
from mlrun.data.preprocess.scaling import ImageScaling
from mlrun.errors import DataError

DOMAINS = {"image_a": "pixel_values_a", "image_b": "pixel_values_b"}  # feature -> tensor


class UnpairedPreprocessor(Preprocessor):
    """Pixels from -1 to 1, the range of tanh: `pixel_values_a` and `pixel_values_b`, each if the examples hold its domain.

    A model reads images of domain A and predicts `pixels` in domain B.

    Args:
        inputs: the image of domain A; those of domain B have the same shape and range.
        targets: none.
    """

    def __init__(self, inputs: Mapping[str, Feature], targets: Mapping[str, Feature]):
        self.inputs, self.targets = dict(inputs), dict(targets)
        (image,) = self.inputs.values()
        if not isinstance(image, Image) or image.shape is None:
            raise DataError("translation between two domains needs images of one size")
        half = [image.value_range / 2] * image.shape[0]
        self.scaling = ImageScaling(image.shape, half, half, value_range=image.value_range)

    def fit(self, train: Examples) -> None:
        """Learns nothing: the range of pixels is known."""

    def encode(self, examples: Examples) -> dict[str, Any]:
        found = {tensor: self.scaling(examples[name]) for name, tensor in DOMAINS.items() if name in examples}
        if not found:
            raise DataError(f"the examples have no {' or '.join(DOMAINS)}, which the model was trained with")
        return found

    def decode(self, outputs: Mapping[str, Any], examples: Examples | None = None) -> Predictions:
        return decode_general(outputs)

    @property
    def spec(self) -> dict[str, Any]:
        return {"input_shape": self.scaling.shape, "image_shape": self.scaling.shape}

    @property
    def input_keys(self) -> tuple[str, ...]:
        return tuple(DOMAINS[name] for name in self.inputs)

    @property
    def state(self) -> dict[str, Any]:
        kind = type(self)
        return {
            "_target_": f"{kind.__module__}.{kind.__qualname__}",
            "inputs": {name: feature.state() for name, feature in self.inputs.items()},
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> UnpairedPreprocessor:
        return cls({name: restore(feature) for name, feature in state["inputs"].items()}, {})
