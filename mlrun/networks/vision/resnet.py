"""Residual networks: He, Zhang, Ren and Sun 2016, "Deep residual learning for image recognition", arXiv:1512.03385."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.networks.layers.initialization import initialize

# residual blocks of each stage by depth, table 1
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def conv_bn(channels: int, out: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """Convolution without bias that keeps the size at stride 1, and batch norm."""
    return [nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2, bias=False), nn.BatchNorm2d(out)]


class ZeroPadding(nn.Module):
    """Option A of the paper: every `stride`-th pixel, and zeros for the new channels; no parameters."""

    def __init__(self, channels: int, out: int, stride: int):
        super().__init__()
        self.new_channels, self.stride = out - channels, stride

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, out, height / stride, width / stride)."""
        x = x[:, :, :: self.stride, :: self.stride]
        before = self.new_channels // 2
        return F.pad(x, (0, 0, 0, 0, before, self.new_channels - before))


class Residual(nn.Module):
    """relu(F(x) + shortcut(x)); F is two 3x3 convolutions, or 1x1, 3x3 and 1x1 to four times the width (bottleneck).

    The bottleneck's stride is in its 3x3 convolution (ResNet "v1.5"); in the paper it was in the first one.

    Args:
        channels: of the input.
        width: channels of the 3x3 convolutions.
        stride: of the block.
        bottleneck: the second form of F.
        projection: where the shape changes, the shortcut is a 1x1 convolution rather than `ZeroPadding`.
    """

    def __init__(self, channels: int, width: int, stride: int, bottleneck: bool, projection: bool):
        super().__init__()
        if bottleneck:
            out = 4 * width
            layers = [
                *conv_bn(channels, width, 1),
                nn.ReLU(),
                *conv_bn(width, width, 3, stride),
                nn.ReLU(),
                *conv_bn(width, out, 1),
            ]
        else:
            out = width
            layers = [*conv_bn(channels, width, 3, stride), nn.ReLU(), *conv_bn(width, width, 3)]
        self.residual = nn.Sequential(*layers)
        self.shortcut: nn.Module
        if stride == 1 and channels == out:
            self.shortcut = nn.Identity()
        elif projection:
            self.shortcut = nn.Sequential(*conv_bn(channels, out, 1, stride))
        else:
            self.shortcut = ZeroPadding(channels, out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, out channels, height / stride, width / stride)."""
        return F.relu(self.residual(x) + self.shortcut(x))


class ResNet(nn.Module):
    """A stem, stages of residual blocks, the mean over the image, and `head`.

    For 1,000 classes with the large stem: 11,689,512 (18), 21,797,672 (34), 25,557,032 (50) and 44,549,160 (101) parameters;
    form cifar, depth 20, ten classes: 272,474, with zero_padding 269,722.

    Args:
        image_shape: (channels, height, width).
        num_outputs: class scores before the softmax, or predicted values.
        depth: layers with weights: 18, 34, 50, 101 or 152 of form "imagenet"; 6n + 2 (20, 32, 44, 56, 110 ...) of form "cifar".
        form: "imagenet" has four stages and starts at 64 channels, "cifar" three stages of n blocks from 16 (section 4.2).
        stem: "large" is a 7x7 convolution with stride 2 and pooling, for 224x224; "small" is a 3x3 convolution.
        width: channels of the first stage, doubled in each further one; None: that of the form.
        shortcut: where the shape changes, "projection" by 1x1 convolution (option B) or "zero_padding" (option A).
        zero_last: initialize the last scale of each residual to 0, so that the network starts as the identity (Goyal et al. 2017).
        init: see `mlrun.networks.layers.initialization`.

    Raises:
        ValueError: for a depth that the form does not have.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_outputs: int,
        depth: int = 20,
        form: Literal["imagenet", "cifar"] = "cifar",
        stem: Literal["large", "small"] = "small",
        width: int | None = None,
        shortcut: Literal["projection", "zero_padding"] = "projection",
        zero_last: bool = False,
        init: Literal["default", "zeros", "small", "fan_in", "xavier", "he"] = "he",
    ):
        super().__init__()
        if form == "imagenet":
            if depth not in BLOCKS:
                raise ValueError(f"depth={depth}: with form=imagenet it is one of {', '.join(map(str, BLOCKS))}")
            blocks: tuple[int, ...] = BLOCKS[depth]
            width = width or 64
        else:
            if depth < 8 or (depth - 2) % 6:
                raise ValueError(f"depth={depth}: with form=cifar it is 6n + 2, such as 20, 32, 44, 56, 110")
            blocks, width = ((depth - 2) // 6,) * 3, width or 16
        bottleneck = form == "imagenet" and depth >= 50
        channels = width
        if stem == "large":
            self.stem = nn.Sequential(*conv_bn(image_shape[0], width, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1))
        else:
            self.stem = nn.Sequential(*conv_bn(image_shape[0], width, 3), nn.ReLU())
        stages = []
        for stage, count in enumerate(blocks):
            layers, stage_width = [], width * 2**stage
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(Residual(channels, stage_width, stride, bottleneck, shortcut == "projection"))
                channels = stage_width * (4 if bottleneck else 1)
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(channels, num_outputs)
        initialize(self, init)
        if zero_last:
            for module in self.modules():
                if isinstance(module, Residual):
                    nn.init.zeros_(cast(nn.BatchNorm2d, module.residual[-1]).weight)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, num_outputs)."""
        return self.head(self.stages(self.stem(x)).mean(dim=(2, 3)))
