"""Fast R-CNN: one pass over the image, then the regions are cut from its feature maps (Girshick 2015, arXiv:1504.08083)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from mlrun.networks.vision import ops
from mlrun.networks.vision.backbone import Backbone
from mlrun.networks.vision.proposals import Proposer, make_proposer
from mlrun.networks.vision.regions import RegionDetector, RegionHead

Pooling = Literal["align", "max"]


class FastRCNN(RegionDetector):
    """A backbone, RoI pooling or RoI align, and a head for each region.

    Args:
        image_shape: (channels, height, width).
        num_classes: classes of objects.
        anchors: (width, height) of the windows, if they are proposed.
        backbone: an image network.
        stride: of the map from which regions are cut.
        grid: rows and columns of a region's features.
        pooling: "align" (RoI align), or "max" (RoI pooling, as in the paper).
        hidden: widths of the head's hidden layers.
        proposer: "windows" or "selective_search", see `proposals`.
        step: of the windows.
        sampled, positive, overlap: see `RegionDetector`.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_classes: int,
        anchors: Sequence[Sequence[float]],
        backbone: nn.Module,
        stride: int = 4,
        grid: int = 5,
        pooling: Pooling = "align",
        hidden: Sequence[int] = (128,),
        proposer: Proposer = "windows",
        step: float = 0.3,
        sampled: int = 32,
        positive: float = 0.5,
        overlap: float = 0.5,
    ):
        super().__init__(sampled, positive, overlap)
        self.propose = make_proposer(proposer, anchors, step)
        self.stride, self.grid, self.pooling = stride, grid, pooling
        self.backbone = Backbone(backbone, image_shape, [stride])
        self.head = RegionHead(self.backbone.channels[0] * grid**2, num_classes, hidden)

    def features(self, pixel_values: Tensor) -> Tensor:
        """The map of the backbone."""
        return self.backbone(pixel_values)[0]

    def pooled(self, features: Tensor, regions: Tensor, images: Tensor) -> Tensor:
        """Regions of the map."""
        pool = ops.roi_align if self.pooling == "align" else ops.roi_pool
        return pool(features, regions, images, self.grid, 1 / self.stride)

    def proposals(self, features: Tensor, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Regions found without learning."""
        return self.propose(pixel_values)
