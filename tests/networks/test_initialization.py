"""The variances of initial weights, and that they keep a deep network's signal at its size."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mlrun.networks.layers.initialization import fans, initialize
from mlrun.networks.mlp import MLP

LAYERS = [
    (lambda: nn.Linear(400, 600), 400, 600),
    (lambda: nn.Conv2d(40, 60, 5), 40 * 25, 60 * 25),
    (lambda: nn.Conv1d(64, 128, 3, groups=4), 16 * 3, 32 * 3),
    (lambda: nn.ConvTranspose2d(60, 40, 4, stride=2), 60 * 16, 40 * 16),
]


@pytest.mark.parametrize(("make", "fan_in", "fan_out"), LAYERS)
def test_fans(make, fan_in, fan_out):
    assert fans(make()) == (fan_in, fan_out)


@pytest.mark.parametrize(("make", "fan_in", "fan_out"), LAYERS)
@pytest.mark.parametrize(
    ("scheme", "activation", "variance"),
    [
        ("small", "relu", lambda i, o: 1e-4),
        ("fan_in", "relu", lambda i, o: 1 / i),
        ("xavier", "tanh", lambda i, o: 2 / (i + o)),
        ("he", "relu", lambda i, o: 2 / i),
        ("he", "leaky_relu", lambda i, o: 2 / (i * (1 + 0.01**2))),
        ("zeros", "relu", lambda i, o: 0),
    ],
)
def test_variances(make, fan_in, fan_out, scheme, activation, variance):
    torch.manual_seed(0)
    layer = initialize(make(), scheme, activation)
    # of n normal numbers the sample variance has relative error sqrt(2 / n); the smallest layer here has 6144
    assert layer.weight.var().item() == pytest.approx(variance(fan_in, fan_out), rel=0.07)
    assert layer.weight.mean().abs() < 5 * layer.weight.std() / layer.weight.numel() ** 0.5 + 1e-12
    assert layer.bias.abs().max() == 0


def test_slope_counts_only_with_leaky_relu():
    torch.manual_seed(0)
    leaky = initialize(nn.Linear(400, 600), "he", "leaky_relu", slope=1.0)
    assert leaky.weight.var().item() == pytest.approx(1 / 400, rel=0.05)


def test_default_leaves_torchs_own():
    torch.manual_seed(0)
    plain = nn.Linear(5, 3)
    torch.manual_seed(0)
    assert torch.equal(initialize(nn.Linear(5, 3), "default").weight, plain.weight)


@pytest.mark.parametrize(("init", "low", "high"), [("he", 0.2, 5), ("small", 0, 1e-6)])
def test_signal_through_thirty_relu_layers(init, low, high):
    torch.manual_seed(0)
    net = MLP([256], 256, hidden=[256] * 30, init=init)
    with torch.no_grad():
        ratio = net.body(torch.randn(64, 256)).square().mean().item()
    assert low < ratio + 1e-300 < high
