"""Networks of diffusion: shapes, what they depend on, and that they begin at zero."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mlrun.networks.generative.denoising import DenoisingMLP, DenoisingUNet, PixelAttention, TimeEmbedding


def awake(network):
    """All parameters away from zero, where the last layers begin."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network.eval()


@pytest.mark.parametrize(
    "shape, options",
    [
        ([1, 8, 8], {}),
        ([1, 28, 28], {"channels": [8, 16, 16]}),
        ([3, 13, 7], {"channels": [8, 16, 24], "blocks": 2}),
        ([1, 8, 8], {"channels": [8], "attention": False}),
        ([1, 9, 8], {"patch": 2}),
    ],
)
def test_the_unet_gives_back_the_shape_that_it_gets(shape, options):
    network = DenoisingUNet(shape, num_classes=10, **{"channels": [8, 16], **options})
    x, time = torch.randn(3, *shape), torch.tensor([0, 10, 999])
    assert network(x, time, torch.tensor([0, 9, 10])).shape == x.shape
    assert float(network(x).detach().abs().max()) == 0  # the last layer begins at zero
    assert awake(network)(x, time).abs().min() > 0


def networks():
    return [DenoisingUNet([1, 8, 8], num_classes=4, channels=[8, 16]), DenoisingMLP([2], num_classes=4, width=16)]


@pytest.mark.parametrize("network", networks(), ids=["unet", "mlp"])
def test_time_and_class_are_seen_and_rows_do_not_mix(network):
    network = awake(network)
    shape = (8, 8) if isinstance(network, DenoisingUNet) else ()
    x = torch.randn(1, *([1, *shape] if shape else [2])).expand(5, *([1, *shape] if shape else [2]))
    time, label = torch.tensor([5, 5, 700, 5, 5]), torch.tensor([1, 1, 1, 2, 4])
    out = network(x, time, label)
    torch.testing.assert_close(out[0], out[1])
    for other in (2, 3, 4):
        assert (out[0] - out[other]).abs().max() > 1e-3
    torch.testing.assert_close(out[4:], network(x[4:], time[4:]))  # no label is the class after the last
    torch.testing.assert_close(out[2:3], network(x[2:3], time[2:3], label[2:3]))


def test_sinusoids():
    embedding = TimeEmbedding(8)
    assert embedding.frequencies.tolist() == pytest.approx([1.0, 10_000 ** (-1 / 3), 10_000 ** (-2 / 3), 1e-4])
    embedding.mix = nn.Sequential(nn.Linear(8, 8, bias=False))
    embedding.mix[0].weight.data = torch.eye(8)
    found = embedding(torch.tensor([3.0]))[0].detach()
    assert float(found[0]) == pytest.approx(math.sin(3)) and float(found[4]) == pytest.approx(math.cos(3))
    assert float(found[3]) == pytest.approx(math.sin(3e-4))


def test_attention_by_hand():
    attention = awake(PixelAttention(64)).double()
    assert attention.heads == 2
    x = torch.randn(2, 64, 3, 2, dtype=torch.float64)
    query, key, value = attention.look(attention.norm(x)).flatten(2).chunk(3, 1)
    heads = []
    for rows in (slice(0, 32), slice(32, 64)):
        weights = (query[:, rows].transpose(1, 2) @ key[:, rows] / math.sqrt(32)).softmax(
            -1
        )  # (batch, pixels, pixels looked at)
        heads.append(value[:, rows] @ weights.transpose(1, 2))
    torch.testing.assert_close(attention(x), x + attention.out(torch.cat(heads, 1).reshape(x.shape)))
