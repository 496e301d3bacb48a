"""The same outputs as an independent implementation with the same weights, where one is installed (transformers needs no torchvision)."""

import pytest
import torch

from mlrun.networks.resnet import ResNet


def tensors_in_our_order(theirs):
    """Their ResNet lists the shortcut before the residual of a block, ours after it."""
    embedder = theirs.resnet.embedder.embedder
    modules = [embedder.convolution, embedder.normalization]
    for stage in theirs.resnet.encoder.stages:
        for block in stage.layers:
            for unit in [*block.layer, block.shortcut]:
                if hasattr(unit, "convolution"):
                    modules += [unit.convolution, unit.normalization]
    modules.append(theirs.classifier[1])
    return [tensor for module in modules for tensor in module.state_dict().values()]


@pytest.mark.parametrize(
    "depth, kind, sizes", [(18, "basic", [64, 128, 256, 512]), (50, "bottleneck", [256, 512, 1024, 2048])]
)
def test_resnet_against_transformers(depth, kind, sizes):
    transformers = pytest.importorskip("transformers")
    depths = {18: [2, 2, 2, 2], 50: [3, 4, 6, 3]}[depth]
    torch.manual_seed(0)
    theirs = transformers.ResNetForImageClassification(
        transformers.ResNetConfig(hidden_sizes=sizes, depths=depths, layer_type=kind, num_labels=10)
    )
    ours = ResNet([3, 64, 64], 10, depth=depth, form="imagenet", stem="large")
    with torch.no_grad():
        for module in theirs.modules():  # statistics and scales that are not all alike
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.5, 1.5)
        state = ours.state_dict()
        for mine, other in zip(state.values(), tensors_in_our_order(theirs), strict=True):
            mine.copy_(other)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        a, b = ours.eval()(x), theirs.eval()(x).logits
    torch.testing.assert_close(a / b.abs().max(), b / b.abs().max(), atol=1e-5, rtol=1e-5)
