"""What a convolutional network responds to: feature maps and Grad-CAM."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

SIDE = 4  # least rows and columns of the maps that Grad-CAM uses by default


def convolutions(network: nn.Module) -> list[tuple[str, nn.Conv2d]]:
    """(name, layer) of the two-dimensional convolutions, from input to output."""
    return [(name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)]


@torch.no_grad()
def feature_maps(network: nn.Module, x: Tensor, layer: nn.Module) -> Tensor:
    """The output of `layer` in evaluation mode.

    Args:
        network: takes `x`.
        x: images (batch, channels, height, width).
        layer: a module of the network.

    Returns:
        (batch, maps, map height, map width).
    """
    outputs: list[Tensor] = []
    with _evaluating(network), layer.register_forward_hook(lambda module, inputs, output: outputs.append(output)):
        network(x)
    return outputs[0]


def grad_cam(network: nn.Module, x: Tensor, classes: Tensor, layer: nn.Module | None = None) -> Tensor:
    """Grad-CAM: which regions of an image are evidence for a class (Selvaraju et al. 2017, arXiv:1610.02391).

    relu(sum_k a_k A_k), where A_k are the maps of `layer` and a_k the mean gradient of the class score with respect to A_k,
    enlarged to the image.

    Args:
        network: images to scores (batch, classes).
        x: images (batch, channels, height, width).
        classes: class of each image to explain, (batch,) int64.
        layer: whose maps are used; None: the last convolution whose maps have at least SIDE rows and columns, because coarser ones
            locate nothing, or else the last one.

    Returns:
        (batch, height, width) from 0 to 1.
    """
    if layer is None:
        layer = _last_detailed(network, x)
    outputs: list[Tensor] = []
    with (
        _evaluating(network),
        torch.enable_grad(),
        layer.register_forward_hook(lambda module, inputs, output: outputs.append(output)),
    ):
        scores = network(x.detach().requires_grad_())  # a gradient flows even where all weights are frozen
        chosen = scores.gather(1, classes[:, None].to(scores.device)).sum()
        (gradient,) = torch.autograd.grad(chosen, outputs[0])
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    cam = (weights * outputs[0].detach()).sum(dim=1, keepdim=True).relu()
    cam = nn.functional.interpolate(cam, size=x.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    return cam / cam.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)


@torch.no_grad()
def _last_detailed(network: nn.Module, x: Tensor) -> nn.Module:
    layers = [layer for _, layer in convolutions(network)]
    detailed: list[nn.Module] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if min(output.shape[2:]) >= SIDE:
            detailed.append(module)

    with _evaluating(network), ExitStack() as hooks:
        for layer in layers:
            hooks.enter_context(layer.register_forward_hook(note))
        network(x[:1])
    return detailed[-1] if detailed else layers[-1]


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Within it the network is in evaluation mode; afterwards every module has its previous mode."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
