"""GoogLeNet: Szegedy et al. 2015, "Going deeper with convolutions", arXiv:1409.4842."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from mlrun.networks.layers.initialization import initialize

# Table 1: the inception blocks of each stage as (1x1, 3x3 reduced, 3x3, 5x5 reduced, 5x5, projection after pooling)
STAGES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    ((192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64), (112, 144, 288, 32, 64, 64),
     (256, 160, 320, 32, 128, 128)),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)  # fmt: skip


class Conv(nn.Sequential):
    """Convolution that keeps the size at stride 1, optional batch norm, ReLU: (batch, channels, ...) -> (batch, out, ...)."""

    def __init__(self, channels: int, out: int, kernel: int, batch_norm: bool, stride: int = 1):
        norm = [nn.BatchNorm2d(out, eps=0.001)] if batch_norm else []
        super().__init__(nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=not batch_norm), *norm, nn.ReLU())


class Inception(nn.Module):
    """Four parallel paths whose channels are concatenated: 1x1; 1x1 and 3x3; 1x1 and 5x5; pooling and 1x1.

    Args:
        channels: of the input.
        widths: channels of the convolutions as in `STAGES`.
        batch_norm: after each convolution.
        large_kernel: of the third path.
    """

    def __init__(self, channels: int, widths: Sequence[int], batch_norm: bool, large_kernel: int = 5):
        super().__init__()
        one, reduce_three, three, reduce_five, five, pooled = widths
        self.paths = nn.ModuleList([
            Conv(channels, one, 1, batch_norm),
            nn.Sequential(Conv(channels, reduce_three, 1, batch_norm), Conv(reduce_three, three, 3, batch_norm)),
            nn.Sequential(Conv(channels, reduce_five, 1, batch_norm), Conv(reduce_five, five, large_kernel, batch_norm)),
            nn.Sequential(nn.MaxPool2d(3, 1, padding=1), Conv(channels, pooled, 1, batch_norm)),
        ])  # fmt: skip
        self.out_channels = one + three + five + pooled

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, out_channels, height, width)."""
        return torch.cat([path(x) for path in self.paths], dim=1)


class AuxiliaryHead(nn.Sequential):
    """Class scores from the middle of the network, whose loss strengthens the gradient there (section 5).

    (batch, channels, height, width) -> (batch, num_outputs).
    """

    def __init__(self, channels: int, num_outputs: int, batch_norm: bool):
        super().__init__(
            nn.AdaptiveAvgPool2d(4), Conv(channels, 128, 1, batch_norm), nn.Flatten(),
            nn.Linear(128 * 16, 1024), nn.ReLU(), nn.Dropout(0.7), nn.Linear(1024, num_outputs),
        )  # fmt: skip


class GoogLeNet(nn.Module):
    """A stem, three stages of inception blocks, the mean over the image, dropout, and `head`.

    With the large stem and 1,000 classes: 6,998,552 parameters (13,378,280 with auxiliary heads) as in the paper;
    with batch_norm and large_kernel 3: 6,624,904 (13,004,888), as in torchvision.

    Args:
        image_shape: (channels, height, width).
        num_outputs: class scores before the softmax, or predicted values.
        stem: "large" is the paper's, which divides height and width by 8, for 224x224; "small" is a 3x3 convolution.
        width: fraction of the paper's channels.
        batch_norm: after each convolution; the paper had none.
        large_kernel: of the third path, 5 in the paper; 3 is torchvision's form, whose last pooling is 2x2.
        auxiliary: two more heads, used in training, whose losses the task adds with `auxiliary_weight`.
        dropout: before the head.
        init: see `mlrun.networks.layers.initialization`.
    """

    auxiliary_weight = 0.3

    def __init__(
        self,
        image_shape: Sequence[int],
        num_outputs: int,
        stem: Literal["large", "small"] = "small",
        width: float = 1.0,
        batch_norm: bool = True,
        large_kernel: Literal[3, 5] = 5,
        auxiliary: bool = False,
        dropout: float = 0.2,
        init: Literal["default", "zeros", "small", "fan_in", "xavier", "he"] = "he",
    ):
        super().__init__()

        def scaled(channels: int) -> int:
            return max(1, round(channels * width))

        channels = scaled(192)
        if stem == "large":
            self.stem = nn.Sequential(
                Conv(image_shape[0], scaled(64), 7, batch_norm, stride=2), nn.MaxPool2d(3, 2, ceil_mode=True),
                Conv(scaled(64), scaled(64), 1, batch_norm), Conv(scaled(64), channels, 3, batch_norm),
                nn.MaxPool2d(3, 2, ceil_mode=True),
            )  # fmt: skip
        else:
            self.stem = Conv(image_shape[0], channels, 3, batch_norm)
        stages, block_channels = [], []
        for blocks in STAGES:
            stage = []
            for widths in blocks:
                stage.append(Inception(channels, [scaled(w) for w in widths], batch_norm, large_kernel))
                channels = stage[-1].out_channels
                block_channels.append(channels)
            stages.append(nn.ModuleList(stage))
        self.stages = nn.ModuleList(stages)
        self.pools = nn.ModuleList(
            nn.MaxPool2d(kernel, 2, ceil_mode=True) for kernel in (3, 2 if large_kernel == 3 else 3)
        )
        self.auxiliary = nn.ModuleDict()
        if auxiliary:  # after the first and the fourth block of the second stage: 4a and 4d
            self.auxiliary["0"] = AuxiliaryHead(block_channels[2], num_outputs, batch_norm)
            self.auxiliary["3"] = AuxiliaryHead(block_channels[5], num_outputs, batch_norm)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, num_outputs)
        initialize(self, init)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """(batch, channels, height, width) -> (batch, num_outputs); in training with auxiliary heads a tuple of three such tensors."""
        x, auxiliary_scores = self.stem(x), []
        for index, stage in enumerate(self.stages):
            x = self.pools[index - 1](x) if index else x
            for block, inception in enumerate(cast(nn.ModuleList, stage)):
                x = inception(x)
                if index == 1 and self.training and str(block) in self.auxiliary:
                    auxiliary_scores.append(self.auxiliary[str(block)](x))
        scores = self.head(self.dropout(x.mean(dim=(2, 3))))
        return (scores, *auxiliary_scores) if auxiliary_scores else scores
