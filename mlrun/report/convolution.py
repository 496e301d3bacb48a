"""Figures of convolutional networks: filters, feature maps, Grad-CAM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mlrun.networks.vision.activation_maps import convolutions, feature_maps, grad_cam
from mlrun.report.images import TINT, as_image, mosaic_figure
from mlrun.report.style import DIVERGING, shorten, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def convolution_figures(
    network: torch.nn.Module, images: torch.Tensor, y: np.ndarray, class_names: Sequence[Any]
) -> Iterator[tuple[str, Figure]]:
    """Yields (name, figure). images: (rows, channels, height, width) float, network input; y: (rows,) classes."""
    found = convolutions(network)
    if not found:
        return
    name, first = found[0]
    if min(first.kernel_size) > 1:
        yield "filters", filters(first.weight.detach().cpu().numpy(), f"Filters of the first convolution ({name})")
    x = images[:1]
    yield (
        "feature_maps",
        maps(x[0].cpu().numpy(), feature_maps(network, x, first)[0].cpu().numpy(), f"Feature maps of {name}"),
    )
    with torch.no_grad():
        training = network.training
        network.eval()
        predicted = network(images).argmax(1)
        network.train(training)
    cams = grad_cam(network, images, predicted).cpu().numpy()
    yield "grad_cam", cam_figure(images.cpu().numpy(), cams, np.asarray(y), predicted.cpu().numpy(), class_names)


@styled
def filters(weights: np.ndarray, title: str = "Filters", limit: int = 64) -> Figure:
    """Filters (filters, channels, height, width); three channels in colour, others as the mean over channels."""
    shown: list[np.ndarray] = []
    for weight in weights[:limit]:
        if len(weight) == 3:
            low, high = weight.min(), weight.max()
            shown.append(((weight - low) / max(high - low, 1e-12)).transpose(1, 2, 0))
        else:
            mean = weight.mean(axis=0)
            shown.append(mean / max(np.abs(mean).max(), 1e-12))
    in_colour = shown[0].ndim == 3
    captions = [str(at) for at in range(len(shown))]
    cmap, limits = (None, (0, 1)) if in_colour else (DIVERGING, (-1, 1))
    return mosaic_figure(shown, captions, title, cmap=cmap, limits=limits, tile=0.75)


@styled
def maps(image: np.ndarray, activations: np.ndarray, title: str = "Feature maps", limit: int = 31) -> Figure:
    """An image (channels, height, width), then its feature maps (maps, height', width'), each on its own scale."""
    side = activations.shape[1:]
    pixels = as_image(image, image.shape)
    pixels = pixels if pixels.ndim == 2 else pixels.mean(axis=2)
    rows, columns = (np.linspace(0, have - 1, want).round().astype(int) for have, want in zip(pixels.shape, side))
    tiles = [pixels[rows][:, columns], *activations[:limit]]
    tiles = [(tile - tile.min()) / max(tile.max() - tile.min(), 1e-12) for tile in tiles]
    title += f", {limit} of {len(activations)}" if len(activations) > limit else ""
    return mosaic_figure(tiles, ["input", *map(str, range(len(tiles) - 1))], title, limits=(0, 1), tile=0.9)


@styled
def cam_figure(
    images: np.ndarray,
    cams: np.ndarray,
    y: np.ndarray,
    predicted: np.ndarray,
    class_names: Sequence[Any],
    title: str = "Grad-CAM: regions that support the predicted class",
) -> Figure:
    """Images (rows, channels, height, width) with activation maps (rows, height, width) from 0 to 1 overlaid in red."""
    shown = overlaid(images, cams)
    captions = [
        f"true {shorten(class_names[true], 14)}\n→ {shorten(class_names[guess], 14)}"
        for true, guess in zip(y, predicted)
    ]
    return mosaic_figure(shown, captions, title, cmap=None, limits=(0, 1))


def overlaid(images: np.ndarray, maps: np.ndarray) -> list[np.ndarray]:
    """Images (rows, channels, height, width) in grey with maps (rows, height, width) from 0 to 1 in red: (height, width, 3) each."""
    low, high = images.min(), images.max()
    low -= TINT * (high - low) * (images.shape[1] != 3)
    shown = []
    for image, weights in zip(images, maps):
        grey = 1 - (image.mean(axis=0) - low) / max(high - low, 1e-12)  # dark on white, like the other figures
        if len(image) == 3:
            grey = 1 - grey
        weight = 0.6 * weights[..., None]
        shown.append((1 - weight) * grey[..., None] + weight * np.array([0.84, 0.15, 0.16]))
    return shown
