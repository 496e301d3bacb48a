"""Mosaic: four images of a batch in one (Bochkovskiy, Wang and Liao 2020, arXiv:2004.10934, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mlrun.data.augment.images import uniform
from mlrun.data.augment.motion import Motion, Part, in_region, warped


class Mosaic(Motion):
    """Puts parts of four images around a random center, with probability p; three of them are other images of the batch.

    Args:
        p: probability for each image.
        scale: smallest and largest factor of the size of each part.
        center: smallest and largest place of the center, relative to width and height.
    """

    joins = True

    def __init__(self, p: float = 0.5, scale: Sequence[float] = (0.6, 1.1), center: Sequence[float] = (0.35, 0.65)):
        self.p, self.scale, self.center = p, scale, center

    def moved(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, list[Part]]:
        batch, _, height, width = x.shape
        chosen = uniform(generator, batch) < self.p
        across = uniform(generator, batch, self.center[0], self.center[1]) * width
        down = uniform(generator, batch, self.center[0], self.center[1]) * height
        made, parts = torch.zeros_like(x), []
        for quarter in range(4):
            right, low = quarter % 2, quarter // 2
            other = torch.randperm(batch, generator=generator)
            factor = uniform(generator, batch, self.scale[0], self.scale[1])
            source = torch.where(chosen & (quarter > 0), other, torch.arange(batch))
            # the corner of the image that meets the center: its left side if it lies to the right of it
            x_shift = across - factor * width * (1 - right)
            y_shift = down - factor * height * (1 - low)
            zero = torch.zeros(batch)
            matrix = torch.stack([torch.stack([factor, zero, x_shift], 1), torch.stack([zero, factor, y_shift], 1)], 1)
            edges = torch.stack(
                [
                    across if right else zero,
                    down if low else zero,
                    zero + width if right else across,
                    zero + height if low else down,
                ],
                1,
            )
            identity = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).expand(batch, -1, -1)
            everything = torch.tensor([0.0, 0.0, width, height] if quarter == 0 else [0.0] * 4).expand(batch, -1)
            part = Part(
                source,
                torch.where(chosen[:, None, None], matrix, identity),
                torch.where(chosen[:, None], edges, everything),
            )
            inside = in_region(part.region, height, width)[:, None].to(x.device)
            made = torch.where(inside, warped(x, part), made)
            parts.append(part)
        return made, parts
