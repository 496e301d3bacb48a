"""Encoder of masks: the class of every pixel of the network input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.features import Image, Mask
from mlrun.data.predictions import MaskPredictions
from mlrun.data.preprocess.encoder import Encoder
from mlrun.data.preprocess.images import ImageEncoder
from mlrun.data.readers.images import sizes_of

if TYPE_CHECKING:
    from mlrun.data.augment.motion import Part
    from mlrun.data.examples import Examples

IGNORED = 255  # class of pixels without one, in a batch


class MaskEncoder(Encoder):
    """`labels` (rows, height, width) uint8 at the size of the network input; pixels that do not count are IGNORED: the void class, and what
    lies outside a photo in its frame.

    Decodes `masks` (rows, height, width) to the size of the original images, by the nearest pixel.
    """

    key = "labels"
    outputs = frozenset({"masks"})
    follows = follows_joined = True
    feature: Mask

    def _image(self) -> tuple[str, ImageEncoder]:
        name, encoder = next((n, e) for n, e in self.inputs.items() if isinstance(e.feature, Image))
        assert isinstance(encoder, ImageEncoder)
        return name, encoder

    def encode(self, column: Any, examples: Examples | None = None) -> dict[str, Any]:
        name, encoder = self._image()
        assert examples is not None
        height, width = encoder.spec["input_shape"][1:]
        zooms = encoder.zoom(examples[name])
        made = np.full((len(column), height, width), IGNORED, np.uint8)
        for row, (mask, (across, down)) in enumerate(zip(column, zooms)):
            rows, columns = _nearest(height, down, mask.shape[0]), _nearest(width, across, mask.shape[1])
            values = np.asarray(mask)[np.ix_(rows, columns)]
            values = values if self.feature.void is None else np.where(values == self.feature.void, IGNORED, values)
            made[row, : len(rows), : len(columns)] = values
        return {self.key: made}

    @property
    def spec(self) -> dict[str, Any]:
        count = len(self.feature.classes)
        return {"target": self.feature.kind, "num_classes": count, "num_outputs": count}

    def decode(self, outputs: Mapping[str, Any], examples: Examples | None) -> MaskPredictions:
        name, encoder = self._image()
        assert examples is not None
        column, found = examples[name], np.asarray(outputs["masks"])
        masks = []
        for mask, size, (across, down) in zip(found, sizes_of(column), encoder.zoom(column)):
            rows, columns = (
                np.minimum(((np.arange(length) + 0.5) * factor).astype(int), most - 1)
                for length, factor, most in zip(size, (down, across), mask.shape)
            )
            masks.append(mask[np.ix_(rows, columns)])
        return MaskPredictions(self.feature.classes, masks, self.feature.void)

    def follow(self, batch: dict[str, Any], parts: Sequence[Part]) -> None:
        import torch

        from mlrun.data.augment.motion import in_region, warped_mask

        before = batch[self.key]
        made = torch.full_like(before, IGNORED)
        for part in parts:
            inside = in_region(part.region, *before.shape[1:]).to(before.device)
            made = torch.where(inside, warped_mask(before, part, IGNORED), made)
        batch[self.key] = made


def _nearest(length: int, factor: float, original: int) -> np.ndarray:
    """Indices of the original pixels at the centers of those pixels of the network input that the image covers."""
    places = ((np.arange(length) + 0.5) / factor).astype(int)
    return places[places < original]
