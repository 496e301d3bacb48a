"""An image as a grid of vectors that a text model reads."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mlrun.networks.text.positions import grid_sinusoids
from mlrun.networks.vision.backbone import Backbone
from mlrun.networks.vision.vit import ViT


class ImageGrid(nn.Module):
    """Base of networks of image and text: an encoder, and a linear projection `project` of each place of its grid.

    Args:
        image_shape: (channels, height, width).
        encoder: an image network, whose map of one stride is the grid, or a `ViT`, whose patches are.
        width: of the projected vectors.
        stride: image pixels per pixel of the encoder's map; not used by a `ViT`.

    Raises:
        ValueError: the network has no map of this stride.
    """

    def __init__(self, image_shape: Sequence[int], encoder: nn.Module, width: int, stride: int = 8):
        super().__init__()
        self.encoder: ViT | Backbone
        if isinstance(encoder, ViT):
            self.encoder, channels, stride = encoder, int(encoder.width), encoder.patch
            encoder.head = nn.Identity()  # type: ignore[assignment]
        else:
            self.encoder = backbone = Backbone(encoder, image_shape, [stride])
            channels = backbone.channels[0]
        self.grid_shape = [int(side) // stride for side in image_shape[1:]]  # rows and columns
        self.project = nn.Conv2d(channels, width, 1)

    @property
    def image_network(self) -> nn.Module:
        """The part that takes only the image."""
        return self.encoder

    def grid(self, pixel_values: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, width, rows, columns), one vector for each place."""
        maps = self.encoder.grid(pixel_values) if isinstance(self.encoder, ViT) else self.encoder(pixel_values)[0]
        vectors = self.project(maps)
        return vectors + grid_sinusoids(*vectors.shape[1:]).to(vectors)

    def vectors(self, pixel_values: Tensor) -> Tensor:
        """The same as a sequence, row by row: (batch, rows * columns, width)."""
        return self.grid(pixel_values).flatten(2).transpose(1, 2)
