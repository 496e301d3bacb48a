"""The two networks of CycleGAN (Zhu et al. 2017, arXiv:1703.10593, section 7.2): a translator of images, and a judge of patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Norm = Literal["instance", "batch", "none"]


class Translator(nn.Module):
    """(batch, channels, height, width) in [-1, 1] -> the same shape and range: the paper's generator.

    A first convolution, halvings, residual blocks at the lowest resolution, doublings, a last convolution and tanh. The paper's
    form is channels 64, halvings 2, blocks 6 (128 pixels) or 9 (256 pixels), kernel 7; smaller images want less.

    Args:
        channels: after the first convolution, doubled by every halving.
        kernel: of the first and last convolution.
        norm: instance norm takes the brightness of the image out of each map, which is style; none leaves it in.
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
        width, down, up = channels, [], []
        for _ in range(halvings):
            down += [nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), *_norm(norm, 2 * width), nn.ReLU()]
            width *= 2
        self.down = nn.Sequential(*down)
        self.blocks = nn.Sequential(*(_Residual(width, norm) for _ in range(blocks)))
        # a resized map and a convolution where the paper has a transposed one: no chequered patterns
        for _ in range(halvings):
            up.append(nn.Sequential(nn.Conv2d(width, width // 2, 3, padding=1), *_norm(norm, width // 2), nn.ReLU()))
            width //= 2
        self.up = nn.ModuleList(up)
        self.last = nn.Conv2d(width, depth, kernel, padding=half, padding_mode="reflect")
        small_weights(self)

    def forward(self, x: Tensor) -> Tensor:
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
    def __init__(self, width: int, norm: Norm):
        super().__init__()

        def convolution():
            return [nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect"), *_norm(norm, width)]

        self.body = nn.Sequential(*convolution(), nn.ReLU(), *convolution())

    def forward(self, x):
        return x + self.body(x)


class PatchJudge(nn.Module):
    """(batch, channels, height, width) -> (batch, 1, rows, columns): how real each patch looks, larger is more real.

    Convolutions of 4x4 with stride 2 while `halvings` last, then 3x3 with stride 1, leaky ReLU between (Isola et al. 2017). The paper has
    channels 64 and halvings 3; with its 4x4 at the end a patch is 70 pixels wide, here 54, and small images work too.
    """

    def __init__(self, image_shape: Sequence[int], channels: int = 64, halvings: int = 3, norm: Norm = "instance"):
        super().__init__()
        layers, depth, width = [], image_shape[0], channels
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
        return self.layers(x)


def _norm(kind: Norm, width: int) -> list:
    if kind == "none":
        return []
    return [nn.BatchNorm2d(width) if kind == "batch" else nn.InstanceNorm2d(width)]


def small_weights(network: nn.Module, std: float = 0.02) -> None:
    """Gaussian weights of deviation 0.02, as in DCGAN and CycleGAN."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, std=std)
            nn.init.zeros_(module.bias)
