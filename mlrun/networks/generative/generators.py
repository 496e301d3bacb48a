"""From codes to data: generators of GANs, decoders of autoencoders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mlrun.networks.layers.activations import make_activation

Activation = Literal["sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "identity"]


class Generator(nn.Module):
    """From codes to data; conditional models append the class to the code, one-hot (Mirza and Osindero 2014, arXiv:1411.1784).

    Args:
        latent_size: width of the code.
        num_classes: of a conditional model; 0: unconditional.
    """

    def __init__(self, latent_size: int, num_classes: int = 0):
        super().__init__()
        self.latent_size, self.num_classes = latent_size, num_classes

    def joined(self, code: Tensor, label: Tensor | None) -> Tensor:
        """The input of the first layer: (batch, latent_size) and classes (batch,) int64 -> (batch, latent_size + num_classes).

        Raises:
            ValueError: if a conditional model gets no classes.
        """
        if not self.num_classes:
            return code
        if label is None:
            raise ValueError(f"a generator of {self.num_classes} classes needs the class of each sample")
        return torch.cat([code, nn.functional.one_hot(label, self.num_classes).to(code.dtype)], dim=1)


class DenseGenerator(Generator):
    """A generator of linear layers.

    Args:
        input_shape: of one sample of the data, which this network generates.
        latent_size: width of the code.
        num_classes: of a conditional model; 0: unconditional.
        hidden: widths of the hidden layers.
        activation: after each hidden layer.
        norm: batch normalization in each hidden layer.
        output: "identity", "tanh" for data in [-1, 1], "sigmoid" for data in [0, 1].
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        latent_size: int,
        num_classes: int,
        hidden: Sequence[int] = (128, 128),
        activation: Activation = "relu",
        norm: bool = False,
        output: Literal["identity", "tanh", "sigmoid"] = "identity",
    ):
        super().__init__(latent_size, num_classes)
        self.input_shape = list(input_shape)
        layers: list[nn.Module] = []
        width = latent_size + num_classes
        for next_width in hidden:
            layers += [
                nn.Linear(width, next_width),
                *([nn.BatchNorm1d(next_width)] if norm else []),
                make_activation(activation),
            ]
            width = next_width
        self.layers = nn.Sequential(*layers, nn.Linear(width, math.prod(input_shape)), make_activation(output))

    def forward(self, code: Tensor, label: Tensor | None = None) -> Tensor:
        """(batch, latent_size), and classes (batch,) of a conditional model -> (batch, *input_shape)."""
        return self.layers(self.joined(code, label)).unflatten(1, self.input_shape)


class ConvGenerator(Generator):
    """DCGAN's generator (Radford et al. 2016, arXiv:1511.06434): a linear layer to small maps, then transposed convolutions.

    Each convolution doubles the height and width of the maps, which start at image size / 2^len(channels), rounded up; the
    last maps are cropped to the image size.

    Args:
        image_shape: (channels, height, width).
        latent_size: width of the code.
        num_classes: of a conditional model; 0: unconditional.
        channels: of the maps.
        activation: after each layer but the last.
        norm: batch normalization in each layer but the last; weights are then initialized as in the paper.
        output: "identity", "tanh" for data in [-1, 1], "sigmoid" for data in [0, 1].
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        latent_size: int,
        num_classes: int,
        channels: Sequence[int] = (64, 32),
        activation: Activation = "relu",
        norm: bool = True,
        output: Literal["identity", "tanh", "sigmoid"] = "tanh",
    ):
        super().__init__(latent_size, num_classes)
        depth, *self.size = image_shape
        start = [-(-side // 2 ** len(channels)) for side in self.size]
        self.start = (channels[0], *start)
        self.project = nn.Linear(latent_size + num_classes, math.prod(self.start), bias=not norm)
        layers: list[nn.Module] = [*([nn.BatchNorm2d(channels[0])] if norm else []), make_activation(activation)]
        for width, next_width in zip(channels, channels[1:]):
            layers += [
                nn.ConvTranspose2d(width, next_width, 4, stride=2, padding=1, bias=not norm),
                *([nn.BatchNorm2d(next_width)] if norm else []),
                make_activation(activation),
            ]
        self.layers = nn.Sequential(
            *layers, nn.ConvTranspose2d(channels[-1], depth, 4, stride=2, padding=1), make_activation(output)
        )
        for layer in self.modules():
            if norm and isinstance(layer, (nn.ConvTranspose2d, nn.Linear)):
                nn.init.normal_(layer.weight, std=0.02)  # as in the paper

    def forward(self, code: Tensor, label: Tensor | None = None) -> Tensor:
        """(batch, latent_size), and classes (batch,) of a conditional model -> (batch, channels, height, width)."""
        maps = self.project(self.joined(code, label)).unflatten(1, self.start)
        return self.layers(maps)[..., : self.size[0], : self.size[1]]
