"""The two networks of CycleGAN (Zhu et al. 2017, arXiv:1703.10593, section 7.2): a translator of images, and a patch discriminator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Norm = Literal["instance", "batch", "none"]


class Translator(nn.Module):
    """The paper's generator: from an image of one domain to an image of the other.

    A first convolution, convolutions that halve the resolution, residual blocks, convolutions that double it, a last
    convolution and tanh. The paper has channels 64, halvings 2, blocks 6 (128 pixels) or 9 (256 pixels) and kernel 7; smaller
    images need less.

    Args:
        image_shape: (channels, height, width).
        channels: after the first convolution, doubled by every halving.
        halvings: of the resolution.
        blocks: residual blocks at the lowest resolution.
        kernel: of the first and last convolution.
        norm: "instance" removes the mean and contrast of each map, which are part of the style; "none" keeps them.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        channels: int = 64,
        halvings: int = 2,
        blocks: int = 6,
        kernel: int = 7,
        norm: Norm = "instance",
    ):
        super().__init__()
        depth, half = image_shape[0], kernel // 2
        self.first = nn.Sequential(
            nn.Conv2d(depth, channels, kernel, padding=half, padding_mode="reflect"), *_norm(norm, channels), nn.ReLU()
        )
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        width = channels
        for _ in range(halvings):
            down += [nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), *_norm(norm, 2 * width), nn.ReLU()]
            width *= 2
        self.down = nn.Sequential(*down)
        self.blocks = nn.Sequential(*(_Residual(width, norm) for _ in range(blocks)))
        # upsampling and a convolution in place of the paper's transposed convolution, which causes checkerboard artifacts
        for _ in range(halvings):
            up.append(nn.Sequential(nn.Conv2d(width, width // 2, 3, padding=1), *_norm(norm, width // 2), nn.ReLU()))
            width //= 2
        self.up = nn.ModuleList(up)
        self.last = nn.Conv2d(width, depth, kernel, padding=half, padding_mode="reflect")
        small_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) in [-1, 1] -> the same shape and range."""
        x = self.first(x)
        sizes = []
        for layer in self.down:
            if isinstance(layer, nn.Conv2d):
                sizes.append(x.shape[2:])
            x = layer(x)
        x = self.blocks(x)
        for layer, size in zip(self.up, reversed(sizes)):
            x = layer(F.interpolate(x, size=size, mode="nearest"))
        return torch.tanh(self.last(x))


class _Residual(nn.Module):
    """x + F(x), where F is two 3x3 convolutions."""

    def __init__(self, width: int, norm: Norm):
        super().__init__()

        def convolution() -> list[nn.Module]:
            return [nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect"), *_norm(norm, width)]

        self.body = nn.Sequential(*convolution(), nn.ReLU(), *convolution())

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> the same shape."""
        return x + self.body(x)


class PatchDiscriminator(nn.Module):
    """The discriminator of pix2pix (Isola et al. 2017, arXiv:1611.07004): one score for each patch of an image.

    4x4 convolutions with stride 2, then two 3x3 convolutions, with leaky ReLU between. The paper has channels 64 and halvings
    3. It ends in 4x4 convolutions, so that a patch is 70 pixels wide; here it is 54, and small images work too.

    Args:
        image_shape: (channels, height, width).
        channels: after the first convolution, doubled by every further one up to eight times.
        halvings: convolutions with stride 2.
        norm: after every convolution but the first and the last.
    """

    def __init__(self, image_shape: Sequence[int], channels: int = 64, halvings: int = 3, norm: Norm = "instance"):
        super().__init__()
        layers: list[nn.Module] = []
        depth, width = image_shape[0], channels
        for step in range(halvings):
            layers += [
                nn.Conv2d(depth, width, 4, stride=2, padding=1),
                *(_norm(norm, width) if step else []),
                nn.LeakyReLU(0.2),
            ]
            depth, width = width, min(2 * width, 8 * channels)
        layers += [
            nn.Conv2d(depth, width, 3, padding=1),
            *_norm(norm, width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 1, 3, padding=1),
        ]
        self.layers = nn.Sequential(*layers)
        small_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> scores (batch, 1, rows, columns), larger where a patch looks real."""
        return self.layers(x)


def _norm(kind: Norm, width: int) -> list[nn.Module]:
    if kind == "none":
        return []
    return [nn.BatchNorm2d(width) if kind == "batch" else nn.InstanceNorm2d(width)]


def small_weights(network: nn.Module, std: float = 0.02) -> None:
    """Normal weights with standard deviation `std` and zero biases for every convolution, as in DCGAN and CycleGAN."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, std=std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
