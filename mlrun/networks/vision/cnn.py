"""A plain convolutional network with every option."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.networks.layers.activations import make_activation
from mlrun.networks.layers.initialization import initialize
from mlrun.networks.layers.shapes import output_shape


class MinPool2d(nn.Module):
    """The smallest value of each window, with a stride of the window's size."""

    def __init__(self, kernel: int):
        super().__init__()
        self.kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, channels, height / kernel, width / kernel)."""
        return -F.max_pool2d(-x, self.kernel)


POOLS = {"max": nn.MaxPool2d, "mean": nn.AvgPool2d, "min": MinPool2d}


class GlobalPool(nn.Module):
    """One number per map: its mean or its largest value.

    Args:
        kind: "mean" or "max".
    """

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, channels)."""
        return x.mean(dim=(2, 3)) if self.kind == "mean" else torch.amax(x, dim=(2, 3))


class CNN(nn.Module):
    """Blocks of convolutions and pooling, hidden linear layers, and `head`.

    A block is `convolutions` times (convolution, norm, activation), then 2x2 pooling and dropout.

    Args:
        image_shape: (channels, height, width).
        num_outputs: class scores before the softmax, or predicted values.
        channels: of each block.
        convolutions: in each block.
        kernel: of every convolution, as is `stride`.
        padding: pixels on each side; None keeps height and width at stride 1 with odd kernels.
        pooling: at the end of each block.
        norm: after each convolution.
        activation: after each norm and hidden layer.
        dropout: of whole maps after each block, and of hidden units.
        bottleneck: b > 1 puts a 1x1 convolution to channels / b before every convolution but the first.
        separable: every convolution but the first is a depthwise one followed by a 1x1 one (Howard et al. 2017, MobileNets).
        global_pooling: one number per map instead of flattened maps.
        hidden: widths of the hidden linear layers.
        init: see `mlrun.networks.layers.initialization`.

    Raises:
        ValueError: for unknown options, or images too small for the layers.
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
            raise ValueError(f"pooling={pooling!r}: choose one of {', '.join(POOLS)}, none")

        def normalization(width: int) -> list[nn.Module]:
            if norm is None:
                return []
            makers: dict[str, Callable[[int], nn.Module]] = {
                "batch": nn.BatchNorm2d,
                "group": lambda w: nn.GroupNorm(_groups(w), w),
                "instance": lambda w: nn.InstanceNorm2d(w, affine=True),
            }
            if norm not in makers:
                raise ValueError(f"norm={norm!r}: choose one of {', '.join(makers)}, null")
            return [makers[norm](width)]

        layers: list[nn.Module] = []
        depth = image_shape[0]
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
        classifier: list[nn.Module] = []
        for width in hidden:
            classifier += [nn.Linear(units, width), make_activation(activation)]
            classifier += [nn.Dropout(dropout)] if dropout else []
            units = width
        self.classifier = nn.Sequential(*classifier)
        self.head = nn.Linear(units, num_outputs)
        initialize(self, init, activation)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, num_outputs)."""
        return self.head(self.classifier(self.body(x)))


def _groups(width: int, most: int = 8) -> int:
    """The largest number of groups up to `most` into which the channels divide evenly."""
    return next(groups for groups in range(min(most, width), 0, -1) if width % groups == 0)
