"""Scores of all windows at once equal those of crops one by one."""

from __future__ import annotations

import pytest
import torch

from mlrun.networks.vision.cnn import CNN
from mlrun.networks.vision.lenet import LeNet
from mlrun.networks.vision.resnet import ResNet
from mlrun.networks.vision.sliding_window import SlidingWindow


@pytest.mark.parametrize(
    "network, size",
    [
        (LeNet([1, 28, 28], 10, activation="relu", init="he"), 28),
        (LeNet([1, 20, 20], 7, activation="tanh", pooling="mean", init="he"), 20),
        (CNN([1, 14, 14], 3, channels=(4, 8), padding=0, dropout=0.3), 14),
    ],
    ids=["lenet", "lenet_mean", "cnn"],
)
def test_windows_equal_crops(network, size):
    network.eval()
    whole = torch.randn(2, 1, size + 13, size + 9)
    slide = SlidingWindow(network, [1, size, size]).eval()
    scores = slide(whole)
    assert scores.shape[2:] == (13 // slide.stride + 1, 9 // slide.stride + 1) and slide.stride == 4
    for i in range(scores.shape[2]):
        for j in range(scores.shape[3]):
            top, left = i * slide.stride, j * slide.stride
            crop = whole[:, :, top : top + size, left : left + size]
            torch.testing.assert_close(scores[:, :, i, j], network(crop), atol=1e-5, rtol=1e-5)


def test_networks_that_cannot_slide_are_refused():
    with pytest.raises(ValueError, match="padding"):
        SlidingWindow(CNN([1, 16, 16], 3), [1, 16, 16])
    with pytest.raises(ValueError, match="cannot be applied to windows"):
        SlidingWindow(ResNet([1, 16, 16], 3, depth=8), [1, 16, 16])
