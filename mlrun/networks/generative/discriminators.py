"""Networks that tell data from what was made: one score per row, larger for real."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as spectral

Norm = Literal["batch", "layer", "none"]
SLOPE = 0.2  # of leaky ReLU below 0 (Radford et al. 2016)


class Discriminator(nn.Module):
    """(batch, ...), and classes (batch,) where there are `num_classes`, -> (batch,).

    The class is weighed by a product of its embedding with the features (projection, Miyato and Koyama 2018).
    """

    def __init__(self, features: int, num_classes: int, spectral_norm: bool):
        super().__init__()
        self.num_classes, wrap = num_classes, spectral if spectral_norm else lambda layer: layer
        self.head = wrap(nn.Linear(features, 1))
        self.classes = wrap(nn.Embedding(num_classes, features)) if num_classes else None

    def score(self, features: Tensor, label: Tensor | None) -> Tensor:
        score = self.head(features).squeeze(1)
        if self.classes is None:
            return score
        if label is None:
            raise ValueError(f"this network judges {self.num_classes} classes: say which")
        return score + (self.classes(label) * features).sum(1)


class DenseDiscriminator(Discriminator):
    """Linear layers. spectral_norm: every layer's largest singular value is held at 1 (Miyato et al. 2018)."""

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        hidden: Sequence[int] = (128, 128),
        spectral_norm: bool = False,
    ):
        super().__init__(hidden[-1], num_classes, spectral_norm)
        wrap, layers, width = spectral if spectral_norm else lambda layer: layer, [], math.prod(input_shape)
        for next_width in hidden:
            layers += [wrap(nn.Linear(width, next_width)), nn.LeakyReLU(SLOPE)]
            width = next_width
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        return self.score(self.body(x.flatten(1)), label)


class ConvDiscriminator(Discriminator):
    """DCGAN's discriminator: convolutions that halve the maps (rounded up), one per entry of `channels`.

    norm: after each convolution but the first; "layer" for WGAN-GP, whose penalty is of single rows (Gulrajani et al. 2017).
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_classes: int,
        channels: Sequence[int] = (32, 64),
        norm: Norm = "none",
        spectral_norm: bool = False,
        dropout: float = 0.0,
    ):
        depth, *size = image_shape
        for _ in channels:
            size = [-(-side // 2) for side in size]
        super().__init__(channels[-1] * math.prod(size), num_classes, spectral_norm)
        wrap, layers, width = spectral if spectral_norm else lambda layer: layer, [], depth
        for place, next_width in enumerate(channels):
            layers.append(wrap(nn.Conv2d(width, next_width, 3, stride=2, padding=1)))
            if place and norm != "none":
                layers.append(nn.BatchNorm2d(next_width) if norm == "batch" else nn.GroupNorm(1, next_width))
            layers += [nn.LeakyReLU(SLOPE), *([nn.Dropout2d(dropout)] if dropout else [])]
            width = next_width
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        return self.score(self.body(x).flatten(1), label)
