"""The same outputs as independent implementations with the same weights, where they are installed.

Neither needs torchvision at run time: `pip install --no-deps pytorchcv googlenet_pytorch`.
"""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import nn

from mlrun.networks.vision.alexnet import AlexNet
from mlrun.networks.vision.densenet import DenseNet
from mlrun.networks.vision.googlenet import GoogLeNet
from mlrun.networks.vision.nin import NiN
from mlrun.networks.vision.resnet import ResNet
from mlrun.networks.vision.vgg import CHANNELS, CONVOLUTIONS, VGG


def same_outputs(ours, theirs, size):
    """Both list their tensors from input to output, so that they pair up by order."""
    with torch.no_grad():
        for parameter in theirs.parameters():  # biases, scales and statistics that are not all alike
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        for module in theirs.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 1.5)
        for mine, other in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
            assert mine.shape == other.shape
            mine.copy_(other)
        x = torch.randn(2, 3, size, size)
        a, b = ours.eval()(x), theirs.eval()(x)
    torch.testing.assert_close(a / b.abs().max(), b / b.abs().max(), atol=1e-5, rtol=1e-5)


def zoo(module, name):
    pytest.importorskip("pytorchcv")
    torch.manual_seed(0)
    return getattr(importlib.import_module(f"pytorchcv.models.{module}"), name)


@pytest.mark.parametrize("normalized", [False, True])
def test_alexnet(normalized):
    widths = [[32], [48], [64, 64, 48]]
    theirs = zoo("alexnet", "AlexNet")(
        widths, [[11], [5], [3, 3, 3]], [[4], [1], [1, 1, 1]], [[2], [2], [1, 1, 1]], normalized, num_classes=10
    )
    ours = AlexNet([3, 224, 224], 10, sum(widths, []), (11, 4, 2), hidden=4096, local_response_norm=normalized)
    for module in ours.modules():
        if isinstance(module, nn.LocalResponseNorm):
            module.alpha = 1e-4  # the paper's sum over five channels is their mean here
    same_outputs(ours, theirs, 224)


@pytest.mark.parametrize("depth, batch_norm", [(11, False), (13, True), (16, False), (19, True)])
def test_vgg(depth, batch_norm):
    widths = [[channels // 8] * count for channels, count in zip(CHANNELS, CONVOLUTIONS[depth])]
    theirs = zoo("vgg", "VGG")(widths, use_bn=batch_norm, num_classes=10)
    same_outputs(VGG([3, 224, 224], 10, depth, batch_norm, width=1 / 8, hidden=8 * 4096), theirs, 224)


def test_nin():
    """Theirs pools by mean before the last block, whose convolution is 3x3 as ours, and cuts the class maps at zero."""
    theirs = zoo("nin_cifar", "CIFARNIN")([[192, 160, 96], [192, 192, 192], [192, 192]], [5, 5, 3])
    theirs.features.stage3.pool3 = nn.MaxPool2d(3, 2, padding=1)
    theirs.output.final_conv.activ = nn.Identity()
    widths = [[192, 160, 96], [192, 192, 192]]
    ours = NiN([3, 32, 32], 10, widths, kernels=[5, 5], strides=[1, 1], paddings=[2, 2], head_widths=[192, 192])
    same_outputs(ours, nn.Sequential(theirs, nn.Flatten()), 32)


@pytest.mark.parametrize("auxiliary", [False, True])
def test_googlenet_in_torchvisions_form(auxiliary):
    package = pytest.importorskip("googlenet_pytorch")
    torch.manual_seed(0)
    options = {"num_classes": 10, "aux_logits": auxiliary, "transform_input": False}
    theirs = package.GoogLeNet.from_name("googlenet", override_params=options)
    same_outputs(GoogLeNet([3, 96, 96], 10, "large", large_kernel=3, auxiliary=auxiliary), theirs, 96)


@pytest.mark.parametrize("depth", [18, 50])
def test_resnet(depth):
    theirs = zoo("resnet", f"resnet{depth}b" if depth >= 50 else f"resnet{depth}")(num_classes=10)
    same_outputs(ResNet([3, 224, 224], 10, depth, "imagenet", stem="large"), theirs, 224)


def test_resnet_for_small_images():
    theirs = zoo("resnet_cifar", "resnet20_cifar10")()
    same_outputs(ResNet([3, 32, 32], 10, 20), theirs, 32)


def test_densenet_121():
    theirs = zoo("densenet", "densenet121")(num_classes=10)
    same_outputs(DenseNet([3, 224, 224], 10, (6, 12, 24, 16), growth=32, stem="large"), theirs, 224)


@pytest.mark.parametrize("bottleneck, name", [(0, "densenet40_k12_cifar10"), (4, "densenet100_k12_bc_cifar10")])
def test_densenet_for_small_images(bottleneck, name):
    theirs = zoo("densenet_cifar", name)()
    ours = DenseNet([3, 32, 32], 10, [16 if bottleneck else 12] * 3, growth=12, bottleneck=bottleneck)
    same_outputs(ours, theirs, 32)
