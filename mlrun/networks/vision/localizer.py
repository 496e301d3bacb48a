"""Classification with localization: the class of the one object in an image, and its box."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mlrun.networks.vision import ops
from mlrun.networks.vision.backbone import Backbone, convolved


class Localizer(nn.Module):
    """A backbone whose cells vote: each predicts how much its vote counts, class scores, and a box; the votes are averaged.

    The weights of the cells are a softmax over the image, so that the answer comes from the cells on the object wherever it lies. The box of
    a cell is given by the distances of its sides from the center of the cell.

    Args:
        image_shape: (channels, height, width).
        num_classes: classes of objects.
        backbone: an image network.
        stride: side of a cell in pixels.
        hidden: channels of a 3x3 convolution before the votes.
        dropout: of its maps.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_classes: int,
        backbone: nn.Module,
        stride: int = 8,
        hidden: int = 128,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.stride, self.num_classes = stride, num_classes
        self.backbone = Backbone(backbone, image_shape, [stride])
        self.hidden = nn.Sequential(convolved(self.backbone.channels[0], hidden), nn.Dropout(dropout))
        self.votes = nn.Conv2d(hidden, 1 + num_classes + 4, 1)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, channels, height, width) -> class scores (batch, num_classes), boxes (batch, 4) in pixels."""
        votes = self.votes(self.hidden(self.backbone(pixel_values)[0]))
        cells = ops.grid_anchors(votes.new_zeros(1, 2), votes.shape[2], votes.shape[3], self.stride)
        votes = votes.flatten(2).transpose(1, 2)  # (batch, cells, values)
        weights = votes[..., :1].softmax(1)
        distances = 2 * self.stride * votes[..., 1 + self.num_classes :].clamp(max=4).exp()
        boxes = cells + distances * distances.new_tensor([-1, -1, 1, 1])
        return (weights * votes[..., 1 : 1 + self.num_classes]).sum(1), (weights * boxes).sum(1)
