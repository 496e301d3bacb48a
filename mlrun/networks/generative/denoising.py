"""Denoising networks of diffusion models: from noisy data and the time to the noise or v."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Layer = TypeVar("Layer", bound=nn.Module)


class TimeEmbedding(nn.Module):
    """Sines and cosines of geometrically decreasing frequency, then two linear layers.

    The sinusoids are those of the Transformer's positions (Vaswani et al. 2017).

    Args:
        width: of the embedding.
        period: the longest wavelength is 2 pi times this.
    """

    frequencies: Tensor  # (width / 2,)

    def __init__(self, width: int, period: float = 10_000.0):
        super().__init__()
        half = max(1, width // 2)
        frequencies = torch.exp(-math.log(period) * torch.arange(half) / max(1, half - 1))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.mix = nn.Sequential(nn.Linear(2 * half, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, time: Tensor) -> Tensor:
        """(batch,) -> (batch, width)."""
        angles = time[:, None].float() * self.frequencies
        return self.mix(torch.cat([angles.sin(), angles.cos()], 1).to(next(self.mix.parameters()).dtype))


class Condition(nn.Module):
    """The sum of the embeddings of time and class.

    Class `num_classes` means "no class", on which classifier-free guidance trains when it drops the label.

    Args:
        width: of the embeddings.
        num_classes: of a conditional model; 0: unconditional.
    """

    def __init__(self, width: int, num_classes: int = 0):
        super().__init__()
        self.num_classes = num_classes
        self.time = TimeEmbedding(width)
        self.label = nn.Embedding(num_classes + 1, width) if num_classes else None

    def forward(self, time: Tensor, label: Tensor | None = None) -> Tensor:
        """(batch,), and classes (batch,) int64 or None for "no class" -> (batch, width)."""
        embedded = self.time(time)
        if self.label is None:
            return embedded
        if label is None:
            label = torch.full_like(time, self.num_classes, dtype=torch.long)
        return embedded + self.label(label)


class DenoisingMLP(nn.Module):
    """Residual blocks of linear layers, modulated by time and class as in the U-Net, for points and short vectors.

    Args:
        input_shape: of one sample.
        num_classes: of a conditional model; 0: unconditional.
        width: of the hidden layers.
        blocks: residual blocks.
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
        """Predicts the noise or v, which has the shape of the data.

        Args:
            x: noisy data (batch, *input_shape).
            time: (batch,); None: 0.
            label: classes (batch,) int64; None: "no class".
        """
        condition = F.silu(self.condition(x.new_zeros(len(x)) if time is None else time, label))
        hidden = self.first(x.flatten(1))
        for block in self.blocks:
            hidden = block(hidden, condition)
        return self.last(F.silu(self.norm(hidden))).reshape(x.shape)


class _DenseBlock(nn.Module):
    """x + F(x), where F is a norm, scaled and shifted by the condition, and two linear layers with SiLU."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.condition = nn.Linear(width, 2 * width)
        self.up = nn.Linear(width, width)
        self.down = _zeroed(nn.Linear(width, width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(batch, width) both -> (batch, width)."""
        scale, shift = self.condition(condition).chunk(2, 1)
        hidden = self.norm(x) * (1 + scale) + shift
        return x + self.down(F.silu(self.up(F.silu(hidden))))


class DenoisingUNet(nn.Module):
    """Residual blocks at decreasing and increasing resolution, with skip connections (Ronneberger et al. 2015, arXiv:1505.04597).

    In the form of Ho et al. 2020 and Nichol and Dhariwal 2021: group norm whose scale and shift come from the time,
    self-attention at the lowest resolution, last layers initialized to zero. Any height and width: sizes that do not halve
    evenly are rounded up.

    Args:
        image_shape: (channels, height, width).
        num_classes: of a conditional model; 0: unconditional.
        patch: side of the squares of pixels that are moved into channels; 2 needs a quarter of the work.
        channels: at each resolution, from the highest to the lowest.
        blocks: residual blocks at each resolution; one more where the resolution increases.
        attention: whether there is self-attention at the lowest resolution.
        dropout: in each residual block.
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
        width, pixels = 4 * channels[0], image_shape[0] * patch**2  # of the condition; values of a patch
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
        """Predicts the noise or v, which has the shape of the data.

        Args:
            x: noisy data (batch, channels, height, width).
            time: (batch,); None: 0.
            label: classes (batch,) int64; None: "no class".
        """
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
            else:  # to the next resolution, that of the last skip
                x = layer(F.interpolate(x, size=skips[-1].shape[2:], mode="nearest"))
        return F.pixel_shuffle(self.last(F.silu(self.norm(x))), self.patch)[:, :, :height, :width]


class ResidualBlock(nn.Module):
    """x + F(x), where F is twice norm, SiLU and convolution; the condition scales and shifts the output of the second norm.

    Args:
        depth_in: channels of the input.
        depth: channels of the output.
        condition: width of the condition.
        dropout: before the second convolution.
        attention: self-attention after the block.
    """

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
        """(batch, depth_in, height, width) and (batch, condition) -> (batch, depth, height, width)."""
        hidden = self.convolution_in(F.silu(self.norm_in(x)))
        scale, shift = self.condition(condition)[:, :, None, None].chunk(2, 1)
        hidden = self.norm_out(hidden) * (1 + scale) + shift
        x = self.skip(x) + self.convolution_out(self.dropout(F.silu(hidden)))
        return x if self.attention is None else self.attention(x)


class PixelAttention(nn.Module):
    """Self-attention between the pixels of a map, with a residual connection.

    Args:
        channels: of the map.
        head_channels: channels of each head.
    """

    def __init__(self, channels: int, head_channels: int = 32):
        super().__init__()
        self.heads = max(1, channels // head_channels)
        self.norm = nn.GroupNorm(_groups(channels), channels)
        self.look = nn.Conv2d(channels, 3 * channels, 1)
        self.out = _zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> the same shape."""
        batch, channels, height, width = x.shape
        split = self.look(self.norm(x)).reshape(batch, 3, self.heads, channels // self.heads, height * width)
        query, key, value = split.transpose(3, 4).unbind(1)  # each (batch, heads, pixels, channels of a head)
        result = F.scaled_dot_product_attention(query, key, value)
        return x + self.out(result.transpose(2, 3).reshape(batch, channels, height, width))


def _zeroed(layer: Layer) -> Layer:
    """The layer with zero weights: a residual branch that starts at zero makes the network train faster."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _groups(channels: int, most: int = 8) -> int:
    """The largest number of groups up to `most` into which the channels divide evenly."""
    return next(groups for groups in range(min(most, channels), 0, -1) if channels % groups == 0)
