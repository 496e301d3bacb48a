"""Networks that look at a noisy x and at the time, and say what was added: for diffusion models."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TimeEmbedding(nn.Module):
    """Times (batch,) -> (batch, width): sines and cosines of geometrically falling frequency, then two linear layers.

    The sinusoids are the Transformer's positions (Vaswani et al. 2017) of times counted to `period`.
    """

    def __init__(self, width: int, period: float = 10_000.0):
        super().__init__()
        half = max(1, width // 2)
        frequencies = torch.exp(-math.log(period) * torch.arange(half) / max(1, half - 1))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.mix = nn.Sequential(nn.Linear(2 * half, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, time: Tensor) -> Tensor:
        angles = time[:, None].float() * self.frequencies
        return self.mix(torch.cat([angles.sin(), angles.cos()], 1).to(self.mix[0].weight.dtype))


class Condition(nn.Module):
    """Time (batch,) and class (batch,) or None -> (batch, width), their embeddings summed.

    Class `num_classes` means "no class": what classifier-free guidance trains on when it hides the label.
    """

    def __init__(self, width: int, num_classes: int = 0):
        super().__init__()
        self.num_classes = num_classes
        self.time = TimeEmbedding(width)
        self.label = nn.Embedding(num_classes + 1, width) if num_classes else None

    def forward(self, time: Tensor, label: Tensor | None = None) -> Tensor:
        embedded = self.time(time)
        if self.label is None:
            return embedded
        if label is None:
            label = torch.full_like(time, self.num_classes, dtype=torch.long)
        return embedded + self.label(label)


class DenoisingMLP(nn.Module):
    """(batch, *input_shape) and time (batch,) -> (batch, *input_shape), for points and short rows of numbers.

    Residual blocks of two layers, each modulated by the time (and class) as in the U-Net.
    """

    def __init__(self, input_shape: Sequence[int], num_classes: int, width: int = 128, blocks: int = 3):
        super().__init__()
        features = math.prod(input_shape)
        self.num_classes = num_classes
        self.condition = Condition(width, num_classes)
        self.first = nn.Linear(features, width)
        self.blocks = nn.ModuleList(_DenseBlock(width) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.last = _zeroed(nn.Linear(width, features))

    def forward(self, x: Tensor, time: Tensor | None = None, label: Tensor | None = None) -> Tensor:
        condition = F.silu(self.condition(x.new_zeros(len(x)) if time is None else time, label))
        hidden = self.first(x.flatten(1))
        for block in self.blocks:
            hidden = block(hidden, condition)
        return self.last(F.silu(self.norm(hidden))).reshape(x.shape)


class _DenseBlock(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.condition = nn.Linear(width, 2 * width)
        self.up = nn.Linear(width, width)
        self.down = _zeroed(nn.Linear(width, width))

    def forward(self, x, condition):
        scale, shift = self.condition(condition).chunk(2, 1)
        hidden = self.norm(x) * (1 + scale) + shift
        return x + self.down(F.silu(self.up(F.silu(hidden))))


class DenoisingUNet(nn.Module):
    """(batch, channels, height, width) and time (batch,) -> the same shape.

    Down and up through resolutions with skips between them (Ronneberger et al. 2015), in the form of Ho et al. 2020 and
    Nichol & Dhariwal 2021: residual blocks with group norm whose scale and shift come from the time, self-attention at the
    lowest resolution, last layers that begin at zero. Any height and width: what does not halve evenly is rounded up.

    Args:
        patch: pixels by pixels that the network takes as one, moved into channels: 2 needs a quarter of the work.
        channels: of each resolution, from the first to the lowest.
        blocks: residual blocks at each resolution; on the way up one more.
        attention: self-attention at the lowest resolution.
        num_classes: 0 for a model without classes.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_classes: int,
        patch: int = 1,
        channels: Sequence[int] = (32, 64),
        blocks: int = 1,
        attention: bool = True,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.num_classes, self.patch = num_classes, patch
        width, pixels = 4 * channels[0], image_shape[0] * patch**2  # of the condition; of a patch
        self.condition = Condition(width, num_classes)
        self.first = nn.Conv2d(pixels, channels[0], 3, padding=1)
        depth, skips = channels[0], [channels[0]]
        self.down = nn.ModuleList()
        for level, wide in enumerate(channels):
            if level:
                self.down.append(nn.Conv2d(depth, depth, 3, stride=2, padding=1))
                skips.append(depth)
            for _ in range(blocks):
                attends = attention and level == len(channels) - 1
                self.down.append(ResidualBlock(depth, wide, width, dropout, attends))
                depth = wide
                skips.append(depth)
        self.middle = ResidualBlock(depth, depth, width, dropout, attention)
        self.up = nn.ModuleList()
        for level, wide in reversed(list(enumerate(channels))):
            for _ in range(blocks + 1):
                attends = attention and level == len(channels) - 1
                self.up.append(ResidualBlock(depth + skips.pop(), wide, width, dropout, attends))
                depth = wide
            if level:
                self.up.append(nn.Conv2d(depth, depth, 3, padding=1))
        self.norm = nn.GroupNorm(_groups(depth), depth)
        self.last = _zeroed(nn.Conv2d(depth, pixels, 3, padding=1))

    def forward(self, x: Tensor, time: Tensor | None = None, label: Tensor | None = None) -> Tensor:
        condition = F.silu(self.condition(x.new_zeros(len(x)) if time is None else time, label))
        height, width = x.shape[2:]
        x = F.pad(x, (0, -width % self.patch, 0, -height % self.patch))
        x = self.first(F.pixel_unshuffle(x, self.patch))
        skips = [x]
        for layer in self.down:
            x = layer(x, condition) if isinstance(layer, ResidualBlock) else layer(x)
            skips.append(x)
        x = self.middle(x, condition)
        for layer in self.up:
            if isinstance(layer, ResidualBlock):
                x = layer(torch.cat([x, skips.pop()], 1), condition)
            else:  # to the next resolution, which is that of the skip on top
                x = layer(F.interpolate(x, size=skips[-1].shape[2:], mode="nearest"))
        return F.pixel_shuffle(self.last(F.silu(self.norm(x))), self.patch)[:, :, :height, :width]


class ResidualBlock(nn.Module):
    """Norm, SiLU, convolution, twice; the condition scales and shifts what comes out of the second norm."""

    def __init__(self, depth_in: int, depth: int, condition: int, dropout: float = 0.0, attention: bool = False):
        super().__init__()
        self.norm_in = nn.GroupNorm(_groups(depth_in), depth_in)
        self.convolution_in = nn.Conv2d(depth_in, depth, 3, padding=1)
        self.condition = nn.Linear(condition, 2 * depth)
        self.norm_out = nn.GroupNorm(_groups(depth), depth)
        self.dropout = nn.Dropout(dropout)
        self.convolution_out = _zeroed(nn.Conv2d(depth, depth, 3, padding=1))
        self.skip = nn.Conv2d(depth_in, depth, 1) if depth_in != depth else nn.Identity()
        self.attention = PixelAttention(depth) if attention else None

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        hidden = self.convolution_in(F.silu(self.norm_in(x)))
        scale, shift = self.condition(condition)[:, :, None, None].chunk(2, 1)
        hidden = self.norm_out(hidden) * (1 + scale) + shift
        x = self.skip(x) + self.convolution_out(self.dropout(F.silu(hidden)))
        return x if self.attention is None else self.attention(x)


class PixelAttention(nn.Module):
    """Every pixel looks at all others: (batch, channels, height, width) -> the same, added to what came in."""

    def __init__(self, channels: int, head_channels: int = 32):
        super().__init__()
        self.heads = max(1, channels // head_channels)
        self.norm = nn.GroupNorm(_groups(channels), channels)
        self.look = nn.Conv2d(channels, 3 * channels, 1)
        self.out = _zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        split = self.look(self.norm(x)).reshape(batch, 3, self.heads, channels // self.heads, height * width)
        query, key, value = split.transpose(3, 4).unbind(1)  # (batch, heads, pixels, channels of a head)
        seen = F.scaled_dot_product_attention(query, key, value)
        return x + self.out(seen.transpose(2, 3).reshape(batch, channels, height, width))


def _zeroed(layer: nn.Module) -> nn.Module:
    """A residual branch that begins at zero leaves the network the identity, from which it learns faster."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _groups(channels: int, most: int = 8) -> int:
    return next(groups for groups in range(min(most, channels), 0, -1) if channels % groups == 0)
