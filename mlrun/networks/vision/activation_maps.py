"""What a convolutional network looks at: feature maps, and Grad-CAM."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def convolutions(network: nn.Module) -> list[tuple[str, nn.Conv2d]]:
    """(name, layer) of the two-dimensional convolutions, input first."""
    return [(name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)]


@torch.no_grad()
def feature_maps(network: nn.Module, x: Tensor, layer: nn.Module) -> Tensor:
    """What `layer` makes of x (batch, channels, height, width), in evaluation: (batch, maps, height', width')."""
    seen = []
    with _evaluating(network), layer.register_forward_hook(lambda module, inputs, output: seen.append(output)):
        network(x)
    return seen[0]


def grad_cam(network: nn.Module, x: Tensor, classes: Tensor, layer: nn.Module | None = None) -> Tensor:
    """Where the evidence for `classes` (batch,) lies in x (batch, channels, height, width): (batch, height, width), 0 to 1.

    Selvaraju et al. 2017, arXiv:1610.02391: relu(sum_k a_k A_k), A_k the maps of `layer`, a_k the mean gradient of the class
    score with respect to A_k; enlarged to the image. layer: else the last convolution.
    """
    if layer is None:
        layer = convolutions(network)[-1][1]
    seen = []
    with (
        _evaluating(network),
        torch.enable_grad(),
        layer.register_forward_hook(lambda module, inputs, output: seen.append(output)),
    ):
        scores = network(x.detach().requires_grad_())  # so that there is a gradient where all weights are frozen
        chosen = scores.gather(1, classes[:, None].to(scores.device)).sum()
        (gradient,) = torch.autograd.grad(chosen, seen[0])
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    cam = (weights * seen[0].detach()).sum(dim=1, keepdim=True).relu()
    cam = nn.functional.interpolate(cam, size=x.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    return cam / cam.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)


class _evaluating:
    """The network in evaluation, and afterwards as it was."""

    def __init__(self, network: nn.Module):
        self.network = network

    def __enter__(self):
        self.training = {module: module.training for module in self.network.modules()}
        self.network.eval()

    def __exit__(self, *error):
        for module, training in self.training.items():
            module.training = training
