"""Feature maps and Grad-CAM against their definitions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mlrun.networks.vision.activation_maps import convolutions, feature_maps, grad_cam
from mlrun.networks.vision.cnn import CNN
from mlrun.networks.vision.nin import NiN
from mlrun.report.convolution import convolution_figures


def test_feature_maps_are_the_layers_outputs():
    network = CNN([1, 8, 8], 3, dropout=0.5)
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(feature_maps(network, x, network.body[0]), network.body[0](x))
    assert network.training


def test_grad_cam_of_averaged_score_maps_is_the_class_map():
    """Where scores are means of maps, the gradient of a class is 1 / (height * width) on its own map and 0 elsewhere."""
    network = NiN([1, 16, 16], 3)
    x = torch.randn(4, 1, 16, 16)
    classes = torch.tensor([0, 1, 2, 1])
    maps = feature_maps(network, x, network.head)[torch.arange(4), classes].relu()[:, None]
    expected = nn.functional.interpolate(maps, size=(16, 16), mode="bilinear", align_corners=False)[:, 0]
    expected = expected / expected.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)
    torch.testing.assert_close(grad_cam(network, x, classes, network.head), expected)


def test_grad_cam_finds_the_spot():
    """Class 1 is a bright spot in the lower right; a network that sums bright pixels must point there."""
    network = CNN([1, 16, 16], 2, channels=(4,), norm=None, global_pooling="max", hidden=())
    nn.init.ones_(network.body[0].weight)
    nn.init.zeros_(network.body[0].bias)
    nn.init.constant_(network.head.weight, 1.0)
    x = torch.zeros(1, 1, 16, 16)
    x[0, 0, 12:14, 12:14] = 1
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    cam = grad_cam(network, x, torch.tensor([1]))[0]
    assert cam.max() == 1 and cam[11:15, 11:15].mean() > 0.5 and cam[:8, :8].max() == 0


@pytest.mark.parametrize("channels", [1, 3])
def test_figures(channels):
    network = CNN([channels, 8, 8], 3)
    figures = dict(convolution_figures(network, torch.randn(6, channels, 8, 8), [0, 1, 2, 0, 1, 2], ["a", "b", "c"]))
    assert set(figures) == {"filters", "feature_maps", "grad_cam"} and network.training


def test_grad_cam_uses_maps_that_can_locate_something():
    """The last maps of a small residual network on 8x8 images have 2x2 values."""
    from mlrun.networks.vision.resnet import ResNet

    network, x = ResNet([1, 8, 8], 3, depth=8, width=4), torch.randn(2, 1, 8, 8)
    layers = dict(network.named_modules())
    found = [name for name, layer in convolutions(network) if min(feature_maps(network, x, layer).shape[2:]) >= 4]
    classes = torch.tensor([0, 2])
    torch.testing.assert_close(grad_cam(network, x, classes), grad_cam(network, x, classes, layers[found[-1]]))
    assert len(found) < len(convolutions(network))
