"""A plain convolutional network with every knob."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.networks.layers.activations import make_activation
from mlrun.networks.layers.initialization import initialize
from mlrun.networks.layers.shapes import output_shape


class MinPool2d(nn.Module):
    def __init__(self, kernel: int):
        super().__init__()
        self.kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        return -F.max_pool2d(-x, self.kernel)


POOLS = {"max": nn.MaxPool2d, "mean": nn.AvgPool2d, "min": MinPool2d}


class GlobalPool(nn.Module):
    """(batch, channels, height, width) -> (batch, channels), by mean or largest value."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3)) if self.kind == "mean" else torch.amax(x, dim=(2, 3))


class CNN(nn.Module):
    """(batch, channels, height, width) -> (batch, num_outputs): class scores before the softmax, or predicted values.

    Per entry of `channels` a block: `convolutions` times (convolution, norm, activation), pooling of 2x2, dropout.
    Then the maps flattened, or one number per map (`global_pooling`), hidden linear layers, and `head`.
    padding: pixels on each side; null keeps height and width at stride 1 and odd kernels.
    bottleneck: b > 1 puts a 1x1 convolution to channels / b in front of every convolution but the very first.
    separable: depthwise convolution per channel, then 1x1 across channels (Howard et al. 2017, MobileNets), also but the first.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_outputs: int,
        channels: Sequence[int] = (32, 64),
        convolutions: int = 1,
        kernel: int = 3,
        stride: int = 1,
        padding: int | None = None,
        pooling: Literal["max", "mean", "min", "none"] | None = "max",
        norm: Literal["batch", "group", "instance"] | None = "batch",
        activation: Literal["sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "identity"] = "relu",
        dropout: float = 0.0,
        bottleneck: int = 1,
        separable: bool = False,
        global_pooling: Literal["mean", "max"] | None = None,
        hidden: Sequence[int] = (128,),
        init: Literal["default", "zeros", "small", "fan_in", "xavier", "he"] = "he",
    ):
        super().__init__()
        padding = kernel // 2 if padding is None else padding
        pooling = None if pooling == "none" else pooling
        if pooling is not None and pooling not in POOLS:
            raise ValueError(f"pooling={pooling!r}: known are {', '.join(POOLS)}, none")

        def normalization(width):
            if norm is None:
                return []
            makers = {
                "batch": nn.BatchNorm2d,
                "group": lambda w: nn.GroupNorm(_groups(w), w),
                "instance": lambda w: nn.InstanceNorm2d(w, affine=True),
            }
            if norm not in makers:
                raise ValueError(f"norm={norm!r}: known are {', '.join(makers)}, null")
            return [makers[norm](width)]

        layers, depth = [], image_shape[0]
        for width in channels:
            for _ in range(convolutions):
                first, bias = not layers, norm is None
                if bottleneck > 1 and not first:
                    narrow = max(1, depth // bottleneck)
                    layers += [
                        nn.Conv2d(depth, narrow, 1, bias=bias),
                        *normalization(narrow),
                        make_activation(activation),
                    ]
                    depth = narrow
                if separable and not first:
                    layers += [
                        nn.Conv2d(depth, depth, kernel, stride, padding, groups=depth, bias=bias),
                        *normalization(depth), make_activation(activation), nn.Conv2d(depth, width, 1, bias=bias),
                    ]  # fmt: skip
                else:
                    layers.append(nn.Conv2d(depth, width, kernel, stride, padding, bias=bias))
                layers += [*normalization(width), make_activation(activation)]
                depth = width
            layers += [POOLS[pooling](2)] if pooling else []
            layers += [nn.Dropout2d(dropout)] if dropout else []
        self.body = nn.Sequential(*layers, GlobalPool(global_pooling) if global_pooling else nn.Flatten())
        (units,) = output_shape(self.body, image_shape)
        classifier = []
        for width in hidden:
            classifier += [nn.Linear(units, width), make_activation(activation)]
            classifier += [nn.Dropout(dropout)] if dropout else []
            units = width
        self.classifier = nn.Sequential(*classifier)
        self.head = nn.Linear(units, num_outputs)
        initialize(self, init, activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.classifier(self.body(x)))


def _groups(width: int, most: int = 8) -> int:
    return next(groups for groups in range(min(most, width), 0, -1) if width % groups == 0)
