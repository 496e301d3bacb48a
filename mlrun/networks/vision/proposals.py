"""Regions that may contain an object, without learning: windows of several sizes, or selective search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mlrun.errors import ConfigError
from mlrun.networks.vision import ops

Proposer = Literal["windows", "selective_search"]


class Windows:
    """The same windows in every image: of each size one at every step, across the image.

    Args:
        sizes: (width, height) in pixels.
        step: distance of neighbours, relative to their width and height.
    """

    def __init__(self, sizes: Sequence[Sequence[float]], step: float = 0.3):
        self.sizes, self.step = [tuple(size) for size in sizes], step

    def __call__(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, channels, height, width) -> regions (batch, n, 4), all of them real (batch, n)."""
        batch, _, *shape = pixel_values.shape
        found = torch.cat([self._of(size, *shape) for size in self.sizes]).to(pixel_values)
        return found.expand(batch, -1, -1), torch.ones(batch, len(found), dtype=torch.bool, device=found.device)

    def _of(self, size: Sequence[float], height: int, width: int) -> Tensor:
        starts = []
        for side, whole in zip(size, (width, height)):
            room = max(0.0, whole - side)
            starts.append(torch.linspace(0, room, 1 + int(np.ceil(room / (self.step * side)))))
        y, x = torch.meshgrid(starts[1], starts[0], indexing="ij")
        corner = torch.stack([x, y], -1).view(-1, 2)
        return ops.clip(torch.cat([corner, corner + torch.tensor(size)], 1), height, width)


class SelectiveSearch:
    """Selective search (Uijlings et al. 2013): regions of similar colour and texture are merged step by step; each is a proposal.

    Needs OpenCV's contributed modules: `pip install 'mlrun[selective_search]'`. Runs on the CPU, image by image.

    Args:
        most: regions of an image.
        smallest: least width and height in pixels.
    """

    def __init__(self, most: int = 300, smallest: int = 6):
        try:
            from cv2 import ximgproc
        except ImportError:
            raise ConfigError(
                "selective search needs OpenCV with its contributed modules: pip install opencv-contrib-python-headless; "
                "or use proposer=windows"
            ) from None
        self.module, self.most, self.smallest = ximgproc, most, smallest

    def __call__(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, channels, height, width) -> regions (batch, n, 4), which of them are real (batch, n)."""
        found = [torch.from_numpy(self._of(image)).to(pixel_values) for image in pixel_values.cpu().numpy()]
        return ops.padded(found)

    def _of(self, image: np.ndarray) -> np.ndarray:
        low, high = image.min(), image.max()
        pixels = ((image - low) / max(high - low, 1e-6) * 255).astype(np.uint8).transpose(1, 2, 0)
        search = self.module.segmentation.createSelectiveSearchSegmentation()
        search.setBaseImage(np.ascontiguousarray(np.repeat(pixels, 3 // pixels.shape[2], axis=2)))
        search.switchToSelectiveSearchFast()
        x, y, width, height = search.process()[:, :4].T.astype(np.float32)
        boxes = np.stack([x, y, x + width, y + height], 1)
        return boxes[(width >= self.smallest) & (height >= self.smallest)][: self.most]


def make_proposer(name: Proposer, sizes: Sequence[Sequence[float]], step: float) -> Windows | SelectiveSearch:
    """The proposer of this name. sizes, step: of `Windows`."""
    if name not in ("windows", "selective_search"):
        raise ValueError(f"proposer={name!r}: choose windows or selective_search")
    return Windows(sizes, step) if name == "windows" else SelectiveSearch()
