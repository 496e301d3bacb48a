"""R-CNN: every proposed region is cut out and goes through a network (Girshick, Donahue, Darrell and Malik 2014, arXiv:1311.2524)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mlrun.networks.vision import ops
from mlrun.networks.vision.backbone import Backbone
from mlrun.networks.vision.proposals import Proposer, make_proposer
from mlrun.networks.vision.regions import RegionDetector, RegionHead

CROPS = 2048  # regions that go through the network at once in prediction


class RCNN(RegionDetector):
    """Regions are resized to the same shape, whatever theirs is, and classified by a network of their own.

    Unlike the paper's, which trains a support vector machine per class on the features of a finished network, everything is trained at once.

    Args:
        image_shape: (channels, height, width).
        num_classes: classes of objects.
        anchors: (width, height) of the windows, if they are proposed.
        backbone: makes an image network for the regions, from `image_shape` and `num_outputs`.
        crop: height and width to which regions are resized.
        stride: of the map of the backbone that the head reads.
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
        backbone: Callable[..., nn.Module],
        crop: int = 32,
        stride: int = 8,
        hidden: Sequence[int] = (128,),
        proposer: Proposer = "windows",
        step: float = 0.3,
        sampled: int = 16,
        positive: float = 0.5,
        overlap: float = 0.5,
    ):
        super().__init__(sampled, positive, overlap)
        self.crop, self.propose = crop, make_proposer(proposer, anchors, step)
        shape = [image_shape[0], crop, crop]
        self.backbone = Backbone(backbone(image_shape=shape, num_outputs=num_classes), shape, [stride])
        side = -(-crop // stride)
        self.head = RegionHead(self.backbone.channels[0] * side**2, num_classes, hidden)

    def features(self, pixel_values: Tensor) -> Tensor:
        """The image itself."""
        return pixel_values

    def pooled(self, features: Tensor, regions: Tensor, images: Tensor) -> Tensor:
        """Each region, cut out and resized, through the backbone."""
        found = [
            self.backbone(ops.roi_align(features, some, image, self.crop))[0]
            for some, image in zip(regions.split(CROPS), images.split(CROPS))
        ]
        return torch.cat(found) if len(found) != 1 else found[0]

    def proposals(self, features: Tensor, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Regions found without learning."""
        return self.propose(pixel_values)
