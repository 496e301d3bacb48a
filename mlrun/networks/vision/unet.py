"""U-Net: an encoder, and a decoder that gets the maps of the encoder at each resolution (Ronneberger et al. 2015, arXiv:1505.04597)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mlrun.networks.vision.backbone import Backbone, convolved
from mlrun.networks.vision.upsampling import Enlarge, Upsampling, fitted


class UNet(nn.Module):
    """The maps of a backbone from coarse to fine, each enlarged, joined with the next finer one and convolved.

    Args:
        image_shape: (channels, height, width).
        num_classes: classes of pixels.
        backbone: an image network; its layers are the contracting path.
        strides: of its maps, ascending; the finest one may be coarser than the image, whose scores are then enlarged.
        convolutions: in each step of the expanding path.
        upsampling: "transposed" or "bilinear".
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_classes: int,
        backbone: nn.Module,
        strides: Sequence[int] = (1, 2, 4, 8),
        convolutions: int = 2,
        upsampling: Upsampling = "transposed",
    ):
        super().__init__()
        self.backbone = Backbone(backbone, image_shape, strides)
        channels = self.backbone.channels
        enlarge, join = [], []
        for fine in reversed(range(len(strides) - 1)):
            width, above = channels[fine], channels[fine + 1]
            enlarge.append(Enlarge(above, width, strides[fine + 1] // strides[fine], upsampling))
            join.append(nn.Sequential(*[convolved(width if at else 2 * width, width) for at in range(convolutions)]))
        self.enlarge, self.join = nn.ModuleList(enlarge), nn.ModuleList(join)
        self.head = nn.Conv2d(channels[0], num_classes, 1)
        self.last = Enlarge(num_classes, num_classes, strides[0], upsampling) if strides[0] > 1 else nn.Identity()

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(batch, channels, height, width) -> class scores (batch, num_classes, height, width)."""
        *finer, x = self.backbone(pixel_values)
        for enlarge, join, skip in zip(self.enlarge, self.join, reversed(finer)):
            x = join(torch.cat([skip, fitted(enlarge(x), skip)], 1))
        return fitted(self.last(self.head(x)), pixel_values)
