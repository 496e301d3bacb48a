"""The layer table against published counts, and receptive fields against the gradient."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mlrun.networks.layers.summary import as_rows, as_text, layer_table
from mlrun.networks.vision.alexnet import AlexNet
from mlrun.networks.vision.densenet import DenseNet
from mlrun.networks.vision.googlenet import GoogLeNet
from mlrun.networks.vision.lenet import LeNet
from mlrun.networks.vision.resnet import ResNet
from mlrun.networks.vision.vgg import VGG


@pytest.mark.parametrize(
    "network, options, published",  # multiply-adds at 3x224x224 as torchvision lists them ("GFLOPS")
    [
        (AlexNet, dict(channels=(64, 192, 384, 256, 256), stem=(11, 4, 2), hidden=4096), 0.71e9),
        (VGG, dict(depth=11), 7.61e9),
        (VGG, dict(depth=16), 15.47e9),
        (VGG, dict(depth=19), 19.63e9),
        (GoogLeNet, dict(stem="large", large_kernel=3), 1.50e9),
        (ResNet, dict(form="imagenet", stem="large", depth=18), 1.81e9),
        (ResNet, dict(form="imagenet", stem="large", depth=50), 4.09e9),
        (DenseNet, dict(stem="large", growth=32, blocks=(6, 12, 24, 16)), 2.83e9),
    ],
)
def test_multiply_adds(network, options, published):
    with torch.device("meta"):
        built = network([3, 224, 224], 1000, **options)
    rows = layer_table(built, [3, 224, 224])
    assert sum(row.multiply_adds for row in rows) == pytest.approx(published, abs=0.006e9)
    assert sum(row.parameters for row in rows) == sum(parameter.numel() for parameter in built.parameters())


def widest_field(network, image_shape):
    return max(row.receptive_field for row in layer_table(network, image_shape) if row.receptive_field)


@pytest.mark.parametrize(
    "network, image_shape, options, known",
    [
        (
            VGG,
            [3, 224, 224],
            dict(depth=16, width=1 / 64),
            212,
        ),  # Araujo, Norris and Sim 2019, "Computing receptive fields", Distill
        (AlexNet, [3, 224, 224], dict(stem=(11, 4, 2)), 195),
        (ResNet, [3, 224, 224], dict(form="imagenet", stem="large", depth=18, width=2), 435),
        (ResNet, [3, 224, 224], dict(form="imagenet", stem="large", depth=50, width=2), 427),
        (LeNet, [1, 32, 32], {}, 16),
    ],
)
def test_receptive_fields_that_are_known(network, image_shape, options, known):
    with torch.device("meta"):
        built = network(image_shape, 10, **options)
    assert widest_field(built, image_shape) == (known, known)


class Branches(nn.Module):
    """Two paths of different reach, as in an inception block, and one addition."""

    def __init__(self):
        super().__init__()
        self.a, self.b = (
            nn.Conv2d(1, 1, 3, stride=2, padding=1),
            nn.Sequential(nn.Conv2d(1, 1, 5, padding=2), nn.AvgPool2d(2)),
        )
        self.c = nn.Conv2d(2, 1, 3, padding=2, dilation=2)

    def forward(self, x):
        return self.c(torch.cat([self.a(x), self.b(x)], 1))


def test_receptive_field_is_what_the_gradient_sees():
    network = Branches()
    for parameter in network.parameters():
        nn.init.ones_(parameter)
    x = torch.zeros(1, 1, 40, 40, requires_grad=True)
    network(x)[0, 0, 10, 10].backward()
    seen = (x.grad[0, 0] != 0).any(0).sum()
    assert widest_field(network, [1, 40, 40]) == (int(seen), int(seen))


def test_the_table_leaves_the_network_as_it_was():
    network = ResNet([1, 8, 8], 3, depth=8)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    text = as_text(layer_table(network, [1, 8, 8]))
    assert network.training and all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert "stem.0" in text and "1x1" not in text.splitlines()[1] and text.splitlines()[-1].startswith("total")
    assert as_rows(layer_table(network, [1, 8, 8]))[0]["output"] == "16x8x8"
