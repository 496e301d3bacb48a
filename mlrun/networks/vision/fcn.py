"""Fully convolutional network: class scores of coarse maps, enlarged to the image (Long, Shelhamer and Darrell 2015, arXiv:1411.4038)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mlrun.networks.vision.backbone import Backbone
from mlrun.networks.vision.upsampling import Enlarge, Upsampling, fitted


class FCN(nn.Module):
    """A backbone, a 1x1 convolution to class scores for each of its maps, and their sum at the size of the image.

    Args:
        image_shape: (channels, height, width).
        num_classes: classes of pixels.
        backbone: an image network.
        strides: of its maps, ascending. One, such as [8]: no skips (FCN-32s at its stride of 32); several: finer scores are added.
        upsampling: "transposed" or "bilinear".
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_classes: int,
        backbone: nn.Module,
        strides: Sequence[int] = (8,),
        upsampling: Upsampling = "transposed",
    ):
        super().__init__()
        self.backbone = Backbone(backbone, image_shape, strides)
        self.scores = nn.ModuleList(nn.Conv2d(channels, num_classes, 1) for channels in self.backbone.channels)
        factors = [strides[0], *(coarse // fine for fine, coarse in zip(strides, strides[1:]))]
        self.enlarge = nn.ModuleList(Enlarge(num_classes, num_classes, factor, upsampling) for factor in factors)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(batch, channels, height, width) -> class scores (batch, num_classes, height, width)."""
        maps = self.backbone(pixel_values)
        found = self.scores[-1](maps[-1])
        for level in range(len(maps) - 1, 0, -1):
            finer = self.scores[level - 1](maps[level - 1])
            found = finer + fitted(self.enlarge[level](found), finer)
        return fitted(self.enlarge[0](found), pixel_values)
