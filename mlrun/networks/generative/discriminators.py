"""Discriminators of GANs: one score per sample, larger for real data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as spectral

Norm = Literal["batch", "layer", "none"]
SLOPE = 0.2  # of leaky ReLU below zero (Radford et al. 2016, arXiv:1511.06434)


class Discriminator(nn.Module):
    """The output layer of a discriminator.

    A conditional one adds the inner product of the features with an embedding of the class (projection discriminator, Miyato
    and Koyama 2018, arXiv:1802.05637).

    Args:
        features: width of the input of the output layer.
        num_classes: of a conditional model; 0: unconditional.
        spectral_norm: the largest singular value of every layer is kept at 1 (Miyato et al. 2018, arXiv:1802.05957).
    """

    def __init__(self, features: int, num_classes: int, spectral_norm: bool):
        super().__init__()
        self.num_classes, wrap = num_classes, spectral if spectral_norm else lambda layer: layer
        self.head = wrap(nn.Linear(features, 1))
        self.classes = wrap(nn.Embedding(num_classes, features)) if num_classes else None

    def score(self, features: Tensor, label: Tensor | None) -> Tensor:
        """(batch, features), and classes (batch,) int64 of a conditional model -> scores (batch,).

        Raises:
            ValueError: if a conditional model gets no classes.
        """
        score = self.head(features).squeeze(1)
        if self.classes is None:
            return score
        if label is None:
            raise ValueError(f"a discriminator of {self.num_classes} classes needs the class of each sample")
        return score + (self.classes(label) * features).sum(1)


class DenseDiscriminator(Discriminator):
    """A discriminator of linear layers with leaky ReLU.

    Args:
        input_shape: of one sample.
        num_classes: of a conditional model; 0: unconditional.
        hidden: widths of the hidden layers.
        spectral_norm: see `Discriminator`.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        hidden: Sequence[int] = (128, 128),
        spectral_norm: bool = False,
    ):
        super().__init__(hidden[-1], num_classes, spectral_norm)
        wrap = spectral if spectral_norm else lambda layer: layer
        layers: list[nn.Module] = []
        width = math.prod(input_shape)
        for next_width in hidden:
            layers += [wrap(nn.Linear(width, next_width)), nn.LeakyReLU(SLOPE)]
            width = next_width
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """(batch, *input_shape), and classes (batch,) of a conditional model -> (batch,)."""
        return self.score(self.body(x.flatten(1)), label)


class ConvDiscriminator(Discriminator):
    """DCGAN's discriminator: convolutions that halve height and width, rounded up, with leaky ReLU.

    Args:
        image_shape: (channels, height, width).
        num_classes: of a conditional model; 0: unconditional.
        channels: of the convolutions.
        norm: after each convolution but the first; "layer" for WGAN-GP, whose penalty applies to single samples (Gulrajani
            et al. 2017, arXiv:1704.00028).
        spectral_norm: see `Discriminator`.
        dropout: of whole maps after each convolution.
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
        wrap = spectral if spectral_norm else lambda layer: layer
        layers: list[nn.Module] = []
        width = depth
        for place, next_width in enumerate(channels):
            layers.append(wrap(nn.Conv2d(width, next_width, 3, stride=2, padding=1)))
            if place and norm != "none":
                layers.append(nn.BatchNorm2d(next_width) if norm == "batch" else nn.GroupNorm(1, next_width))
            layers += [nn.LeakyReLU(SLOPE), *([nn.Dropout2d(dropout)] if dropout else [])]
            width = next_width
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """(batch, channels, height, width), and classes (batch,) of a conditional model -> (batch,)."""
        return self.score(self.body(x).flatten(1), label)
