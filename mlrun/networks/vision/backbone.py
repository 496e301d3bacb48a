"""The convolutional layers of an image network as a backbone for detection and segmentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.networks.layers.shapes import output_shape
from mlrun.networks.vision.cnn import GlobalPool

PARTS = ("stem", "stages", "pools", "body")  # of the image networks; the others come after the maps
NOMINAL = 256  # height and width for which strides are found: real ones may not be divisible by them
ENDS = (nn.Flatten, GlobalPool, nn.AdaptiveAvgPool2d)


class Backbone(nn.Module):
    """Maps of an image network at some strides: for each the deepest layer whose map has that resolution.

    The layers keep the names that they have in the network, so that weights of a classifier can be loaded (`model.init_from`). Layers
    behind the deepest map are removed.

    Args:
        network: an image network with the parts `body`, or `stem` and `stages`.
        image_shape: (channels, height, width) of its input.
        strides: image pixels per pixel of a map, ascending.

    Raises:
        ValueError: the network has no map of such a stride.
    """

    def __init__(self, network: nn.Module, image_shape: Sequence[int], strides: Sequence[int]):
        super().__init__()
        for name in PARTS:
            if isinstance(part := getattr(network, name, None), nn.Module):
                self.add_module(name, part)
        if not list(self.children()):
            raise ValueError(f"{type(network).__name__} cannot be a backbone: it has none of {', '.join(PARTS)}")
        shape: tuple[int, ...] = (image_shape[0], NOMINAL, NOMINAL)
        depths: dict[int, int] = {}
        channels: dict[int, int] = {}
        layers = list(self._layers())
        for depth, (_, _, layer) in enumerate(layers):
            if isinstance(layer, ENDS):
                break
            shape = output_shape(layer, shape)
            stride = round(NOMINAL / shape[1])
            depths[stride], channels[stride] = depth, shape[0]
        absent = [stride for stride in strides if stride not in depths]
        if absent:
            raise ValueError(
                f"{type(network).__name__} has no maps of stride {absent[0]}, only {', '.join(map(str, sorted(depths)))}"
            )
        self.strides = list(strides)
        self.channels = [channels[stride] for stride in strides]
        self._ends = {depths[stride] for stride in strides}
        for parent, key, _ in layers[max(self._ends) + 1 :]:
            setattr(parent, key, nn.Identity())
        self._depth = max(self._ends) + 1

    def forward(self, x: Tensor) -> list[Tensor]:
        """(batch, channels, height, width) -> a map (batch, channels, height / stride, width / stride) for each stride."""
        maps = []
        for depth, (_, _, layer) in zip(range(self._depth), self._layers()):
            x = layer(x)
            if depth in self._ends:
                maps.append(x)
        return maps

    def _layers(self) -> Iterator[tuple[nn.Module, str, nn.Module]]:
        """(parent, name, layer) of all layers, in order."""
        parts = dict(self.named_children())
        pools = parts.get("pools")
        after = dict(pools.named_children()) if pools is not None else {}
        for name, part in parts.items():
            if isinstance(part, nn.ModuleList) and pools is not None:
                if part is pools:  # each pool follows a stage
                    continue
                for at, stage in part.named_children():
                    yield from _inside(part, at, stage)
                    if at in after:
                        yield pools, at, after[at]
            else:
                yield from _inside(self, name, part)


def _inside(parent: nn.Module, name: str, module: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """(parent, name, layer) of the layers of a module, or the module itself if it is not a sequence."""
    if not isinstance(module, (nn.Sequential, nn.ModuleList)):
        yield parent, name, module
        return
    for key, child in module.named_children():
        yield from _inside(module, key, child)


class FeaturePyramid(nn.Module):
    """Maps of different strides with the same number of channels, each informed by the coarser ones (Lin et al. 2017, arXiv:1612.03144).

    Args:
        channels: of the maps, from fine to coarse.
        width: channels of the results.
    """

    def __init__(self, channels: Sequence[int], width: int):
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(count, width, 1) for count in channels)
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps (batch, channels, height, width), from fine to coarse -> the same with `width` channels."""
        found: list[Tensor] = []
        above: Tensor | None = None
        for level in reversed(range(len(maps))):
            own = self.lateral[level](maps[level])
            above = own if above is None else own + F.interpolate(above, size=own.shape[2:], mode="nearest")
            found.insert(0, self.smooth[level](above))
        return found


def convolved(channels: int, width: int, kernel: int = 3) -> nn.Sequential:
    """A convolution that keeps the size, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(width), nn.ReLU()
    )


def flat_scores(scores: Tensor, anchors: int) -> Tensor:
    """(batch, anchors * values, rows, columns) -> (batch, rows * columns * anchors, values), in the order of `ops.grid_anchors`."""
    batch, _, rows, columns = scores.shape
    return (
        scores.view(batch, anchors, -1, rows, columns)
        .permute(0, 3, 4, 1, 2)
        .reshape(batch, rows * columns * anchors, -1)
    )
