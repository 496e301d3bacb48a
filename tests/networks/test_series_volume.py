"""Networks for series and volumes: counts, gradients, and that they can learn."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mlrun.networks.vision.series import SeriesFCN, SeriesResNet
from mlrun.networks.vision.volume import CNN3d


def test_counts_of_the_papers_series_networks():
    """FCN for one channel and two classes, worked out from section 2 of the paper: (8k + 5k + 3k) weights, biases, norms, head."""
    fcn = sum(p.numel() for p in SeriesFCN([1, 100], 2).parameters())
    assert (
        fcn
        == (8 * 128 + 128 + 256) + (5 * 128 * 256 + 256 + 512) + (3 * 256 * 128 + 128 + 256) + (128 * 2 + 2)
        == 264_962
    )

    def block(c, w):
        convolutions = 8 * c * w + 5 * w * w + 3 * w * w + 3 * w + 3 * 2 * w
        return convolutions + (c * w + w + 2 * w if c != w else 2 * w)

    resnet = sum(p.numel() for p in SeriesResNet([1, 100], 2).parameters())
    assert resnet == block(1, 64) + block(64, 128) + block(128, 128) + 128 * 2 + 2


SMALL = {
    "fcn": (SeriesFCN, [2, 30], dict(channels=(8, 16, 8))),
    "resnet": (SeriesResNet, [1, 25], dict(channels=(8, 16, 16))),
    "cnn3d": (CNN3d, [1, 8, 8, 8], dict(channels=(4, 8), hidden=16, dropout=0.0)),
    "cnn3d_clip": (CNN3d, [3, 4, 12, 12], dict(channels=(4, 8, 8), hidden=16, dropout=0.0, keep_depth=True)),
}


@pytest.fixture(params=SMALL)
def small(request):
    torch.manual_seed(1)
    network, shape, options = SMALL[request.param]
    return network(shape, 3, **options), shape


def test_scores_gradients_and_neighbours(small):
    network, shape = small
    x = torch.randn(6, *shape)
    scores = network(x)
    assert scores.shape == (6, 3)
    nn.functional.cross_entropy(scores, torch.arange(6) % 3).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name
    network.eval()
    torch.testing.assert_close(network(x)[2:3], network(x[2:3]), atol=1e-5, rtol=1e-4)


def test_overfits_one_batch(small):
    network, shape = small
    x, y = torch.randn(9, *shape), torch.arange(9) % 3
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(200):
        loss = nn.functional.cross_entropy(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss < 0.05:
            break
    assert loss < 0.2 and (network(x).argmax(1) == y).all()


def test_a_clip_keeps_its_moments_in_the_first_block():
    network = CNN3d([1, 8, 16, 16], 3, keep_depth=True)
    assert network.body[3].kernel_size == (1, 2, 2) and network.body[7].kernel_size == (2, 2, 2)
