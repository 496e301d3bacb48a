"""Convolutional networks: published parameter counts, layer tables, gradients, and that they can learn."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mlrun.networks.layers.shapes import output_shape, window_count
from mlrun.networks.vision.alexnet import AlexNet
from mlrun.networks.vision.cnn import CNN
from mlrun.networks.vision.densenet import DenseNet
from mlrun.networks.vision.googlenet import GoogLeNet
from mlrun.networks.vision.lenet import LeNet
from mlrun.networks.vision.nin import NiN
from mlrun.networks.vision.resnet import ResNet
from mlrun.networks.vision.vgg import VGG

IMAGENET = ([3, 224, 224], 1000)
PAPER = dict(channels=(96, 256, 384, 384, 256), stem=(11, 4, 2), hidden=4096)


def on_meta(network, *arguments, **options):
    """Weights without memory: counting a VGG-19 takes milliseconds."""
    with torch.device("meta"):
        return network(*arguments, **options)


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    "network, options, published",
    [
        (AlexNet, dict(PAPER), 62_378_344),
        (AlexNet, dict(PAPER, groups=2), 60_965_224),
        (AlexNet, dict(channels=(64, 192, 384, 256, 256), stem=(11, 4, 2), hidden=4096), 61_100_840),
        (VGG, dict(depth=11), 132_863_336),
        (VGG, dict(depth=13), 133_047_848),
        (VGG, dict(depth=16), 138_357_544),
        (VGG, dict(depth=19), 143_667_240),
        (VGG, dict(depth=11, batch_norm=True), 132_868_840),
        (VGG, dict(depth=13, batch_norm=True), 133_053_736),
        (VGG, dict(depth=16, batch_norm=True), 138_365_992),
        (VGG, dict(depth=19, batch_norm=True), 143_678_248),
        (GoogLeNet, dict(stem="large", large_kernel=3), 6_624_904),
        (GoogLeNet, dict(stem="large", large_kernel=3, auxiliary=True), 13_004_888),
        (GoogLeNet, dict(stem="large", batch_norm=False), 6_998_552),
        (GoogLeNet, dict(stem="large", batch_norm=False, auxiliary=True), 13_378_280),
        (ResNet, dict(form="imagenet", stem="large", depth=18), 11_689_512),
        (ResNet, dict(form="imagenet", stem="large", depth=34), 21_797_672),
        (ResNet, dict(form="imagenet", stem="large", depth=50), 25_557_032),
        (ResNet, dict(form="imagenet", stem="large", depth=101), 44_549_160),
        (ResNet, dict(form="imagenet", stem="large", depth=152), 60_192_808),
        (DenseNet, dict(stem="large", growth=32, blocks=(6, 12, 24, 16)), 7_978_856),
        (DenseNet, dict(stem="large", growth=32, blocks=(6, 12, 32, 32)), 14_149_480),
    ],
)
def test_published_parameter_counts_at_imagenet_size(network, options, published):
    assert parameters(on_meta(network, *IMAGENET, **options)) == published


@pytest.mark.parametrize(
    "network, image_shape, options, published",
    [
        (LeNet, [1, 32, 32], {}, 61_706),
        (LeNet, [1, 28, 28], {}, 44_426),
        (LeNet, [1, 28, 28], dict(padding=2, channels=(6, 16)), 107_786),
        (ResNet, [3, 32, 32], dict(depth=20), 272_474),
        (ResNet, [3, 32, 32], dict(depth=20, shortcut="zero_padding"), 269_722),
        (ResNet, [3, 32, 32], dict(depth=32, shortcut="zero_padding"), 464_154),
        (ResNet, [3, 32, 32], dict(depth=56, shortcut="zero_padding"), 853_018),
        (DenseNet, [3, 32, 32], dict(blocks=(16, 16, 16)), 769_162),
        (
            NiN,
            [3, 32, 32],
            dict(widths=[[192, 160, 96], [192, 192, 192]], kernels=(5, 5), paddings=(2, 2), head_widths=(192, 192)),
            966_986,
        ),
    ],
)
def test_published_parameter_counts_of_small_images(network, image_shape, options, published):
    assert parameters(on_meta(network, image_shape, 10, **options)) == published


def shapes_of(network, kind, image_shape):
    """Output shape of every layer of a kind, in the order of the forward pass."""
    found = []
    hooks = [
        m.register_forward_hook(lambda m, i, o: found.append(tuple(o.shape[1:])))
        for m in network.modules()
        if isinstance(m, kind)
    ]
    network.eval()(torch.empty(1, *image_shape, device="meta"))
    for hook in hooks:
        hook.remove()
    return found


def test_alexnet_has_the_papers_feature_maps():
    network = on_meta(AlexNet, *IMAGENET, **PAPER)
    convolutions = [(96, 55, 55), (256, 27, 27), (384, 13, 13), (384, 13, 13), (256, 13, 13)]
    assert shapes_of(network, nn.Conv2d, [3, 224, 224]) == convolutions
    assert shapes_of(network, nn.MaxPool2d, [3, 224, 224]) == [(96, 27, 27), (256, 13, 13), (256, 6, 6)]


def test_googlenet_has_the_papers_feature_maps():
    from mlrun.networks.vision.googlenet import Inception

    shapes = shapes_of(on_meta(GoogLeNet, *IMAGENET, stem="large"), Inception, [3, 224, 224])
    table_1 = [(256, 28), (480, 28), (512, 14), (512, 14), (512, 14), (528, 14), (832, 14), (832, 7), (1024, 7)]
    assert shapes == [(channels, size, size) for channels, size in table_1]


def test_resnet_50_has_the_papers_feature_maps():
    network = on_meta(ResNet, *IMAGENET, form="imagenet", stem="large", depth=50)
    sizes = [
        output_shape(nn.Sequential(network.stem, *network.stages[:stage]), [3, 224, 224]) for stage in (1, 2, 3, 4)
    ]
    assert sizes == [(256, 56, 56), (512, 28, 28), (1024, 14, 14), (2048, 7, 7)]


def test_densenet_121_has_the_papers_feature_maps():
    network = on_meta(DenseNet, *IMAGENET, stem="large", growth=32, blocks=(6, 12, 24, 16))
    assert shapes_of(network, nn.AvgPool2d, [3, 224, 224]) == [(128, 28, 28), (256, 14, 14), (512, 7, 7)]
    assert network.head.in_features == 1024


def test_vgg_halves_five_times():
    network = on_meta(VGG, *IMAGENET, depth=16)
    assert shapes_of(network, nn.MaxPool2d, [3, 224, 224]) == [
        (64, 112, 112),
        (128, 56, 56),
        (256, 28, 28),
        (512, 14, 14),
        (512, 7, 7),
    ]


def test_output_size_follows_the_formula():
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        n, f, p, s = (
            int(torch.randint(low, high, (), generator=generator)) for low, high in ((8, 40), (1, 6), (0, 3), (1, 5))
        )
        layer = nn.Conv2d(1, 1, f, stride=s, padding=p)
        assert layer(torch.zeros(1, 1, n, n)).shape[-1] == window_count(n, f, s, p) == (n + 2 * p - f) // s + 1


SMALL = {
    "lenet": (LeNet, [1, 28, 28], dict(activation="tanh")),
    "alexnet": (AlexNet, [1, 28, 28], dict(channels=(8, 8, 8, 8, 8), hidden=32, dropout=0.0, init="he")),
    "alexnet_lrn": (
        AlexNet,
        [1, 28, 28],
        dict(channels=(8, 8, 8, 8, 8), hidden=32, dropout=0.0, groups=2, local_response_norm=True, init="he"),
    ),
    "vgg": (VGG, [3, 32, 32], dict(width=0.125, hidden=256, dropout=0.0)),
    "vgg_bn": (VGG, [1, 32, 32], dict(width=0.0625, batch_norm=True, hidden=256, dropout=0.0)),
    "nin": (NiN, [1, 16, 16], dict(widths=((16, 16, 16), (16, 16, 16)), head_widths=(16, 16), dropout=0.0)),
    "googlenet": (GoogLeNet, [1, 16, 16], dict(width=0.125, dropout=0.0)),
    "resnet": (ResNet, [3, 16, 16], dict(depth=8, width=8)),
    "resnet_a": (ResNet, [1, 16, 16], dict(depth=8, width=8, shortcut="zero_padding", zero_last=True)),
    "resnet_50": (ResNet, [1, 32, 32], dict(depth=50, form="imagenet", stem="large", width=4)),
    "densenet": (DenseNet, [1, 16, 16], dict(blocks=(2, 2), growth=8)),
    "densenet_plain": (DenseNet, [1, 32, 32], dict(blocks=(2, 2), growth=8, bottleneck=0, stem="large")),
    "cnn": (CNN, [1, 8, 8], dict(channels=(8, 16), hidden=(32,))),
    "cnn_mean": (
        CNN,
        [3, 12, 12],
        dict(channels=(8, 16), pooling="mean", norm="group", global_pooling="mean", hidden=()),
    ),
    "cnn_min": (CNN, [1, 8, 8], dict(channels=(8, 16), pooling="min", norm="instance", bottleneck=2, convolutions=2)),
    "cnn_separable": (
        CNN,
        [1, 8, 8],
        dict(channels=(8, 16), pooling=None, norm=None, separable=True, stride=2, global_pooling="max"),
    ),
}


@pytest.fixture(params=SMALL)
def small(request):
    torch.manual_seed(1)
    network, image_shape, options = SMALL[request.param]
    return network(image_shape, 4, **options), image_shape


def test_scores_and_gradients_of_every_parameter(small):
    network, image_shape = small
    x = torch.randn(5, *image_shape)
    scores = network(x)
    assert scores.shape == (5, 4) and scores.dtype == torch.float32
    nn.functional.cross_entropy(scores, torch.tensor([0, 1, 2, 3, 0])).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    silent = [name for name, parameter in network.named_parameters() if not parameter.grad.any()]
    # with its last scale at zero a residual branch is shut at first: its own weights wait for the first step
    assert not [name for name in silent if not (isinstance(network, ResNet) and ".residual." in name)]


def test_overfits_one_batch(small):
    network, image_shape = small
    x, y = torch.randn(12, *image_shape), torch.arange(12) % 4
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(400):
        loss = nn.functional.cross_entropy(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss < 0.05:
            break
    assert (network(x).argmax(1) == y).all() and loss < 0.2


def test_a_sample_does_not_depend_on_its_neighbours(small):
    network, image_shape = small
    network.eval()
    x = torch.randn(3, *image_shape)
    torch.testing.assert_close(network(x)[1:2], network(x[1:2]), atol=1e-5, rtol=1e-4)


def test_auxiliary_heads_only_in_training():
    network = GoogLeNet([1, 16, 16], 4, width=0.125, auxiliary=True)
    x = torch.randn(2, 1, 16, 16)
    assert [tuple(scores.shape) for scores in network(x)] == [(2, 4)] * 3
    assert network.eval()(x).shape == (2, 4)


@pytest.mark.parametrize("network", [LeNet, AlexNet, VGG])
def test_too_small_images_are_refused_in_words(network):
    with pytest.raises(ValueError, match="8x8 are too small.*dataset.image_size"):
        network([1, 8, 8], 10, **({"channels": (4, 4, 4, 4, 4)} if network is AlexNet else {}))


def test_unknown_depths_are_refused():
    with pytest.raises(ValueError, match="depth=12"):
        VGG([3, 32, 32], 10, depth=12)
    with pytest.raises(ValueError, match="6n"):
        ResNet([3, 32, 32], 10, depth=18)
    with pytest.raises(ValueError, match="one of 18, 34"):
        ResNet([3, 32, 32], 10, depth=20, form="imagenet")
