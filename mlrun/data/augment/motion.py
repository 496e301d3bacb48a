"""How augmentation moves pixels, so that boxes, masks and points can move with them.

Places are in pixels: the upper left corner of an image is (0, 0), the center of its first pixel (0.5, 0.5).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

VISIBLE = 0.4  # least share of an object's box that has to remain in the image


@dataclass
class Part:
    """A part of every image of an augmented batch, and where it comes from.

    Args:
        source: (batch,) row of the batch that it was taken from.
        matrix: (batch, 2, 3), takes a place (x, y, 1) in the source to its place in the new image.
        region: (batch, 4) left, top, right and bottom of the part in the new image.
    """

    source: Tensor
    matrix: Tensor
    region: Tensor

    @classmethod
    def whole(cls, matrix: Tensor, height: int, width: int) -> Part:
        """Whole images, each moved by its own matrix (batch, 2, 3)."""
        batch = len(matrix)
        return cls(torch.arange(batch), matrix, torch.tensor([[0.0, 0.0, width, height]]).expand(batch, -1))


class Motion:
    """An augmentation step that moves pixels. A subclass writes `moved`."""

    def moved(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, list[Part]]:
        """The moved images, (batch, channels, height, width), and their parts, on the CPU."""
        raise NotImplementedError

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return self.moved(x, generator)[0]


def shifted(x: Tensor, y: Tensor, flip_x: Tensor | float = 1.0, flip_y: Tensor | float = 1.0) -> Tensor:
    """(batch, 2, 3) matrices that translate by x and y (batch,), after a multiplication by `flip_x` and `flip_y`."""
    zero = torch.zeros_like(x)
    across, down = zero + flip_x, zero + flip_y
    return torch.stack([torch.stack([across, zero, x], 1), torch.stack([zero, down, y], 1)], 1)


def inverse(matrix: Tensor) -> Tensor:
    """The matrices (batch, 2, 3) of the opposite motion."""
    bottom = matrix.new_tensor([0.0, 0.0, 1.0]).expand(len(matrix), 1, 3)
    return torch.linalg.inv(torch.cat([matrix, bottom], 1))[:, :2]


def moved_points(points: Tensor, matrix: Tensor) -> Tensor:
    """Places (n, points, 2) moved by matrices (n, 2, 3)."""
    return points @ matrix[:, :, :2].transpose(1, 2) + matrix[:, None, :, 2]


def moved_boxes(boxes: Tensor, matrix: Tensor) -> Tensor:
    """The smallest upright boxes (n, 4) around boxes (n, 4) moved by matrices (n, 2, 3)."""
    corners = moved_points(boxes[:, [0, 1, 2, 1, 0, 3, 2, 3]].view(-1, 4, 2), matrix)
    return torch.cat([corners.amin(1), corners.amax(1)], 1)


def visible(boxes: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
    """(boxes (n, 4) cut to regions (n, 4), (n,) whether enough of each box remains)."""
    cut = torch.cat([torch.maximum(boxes[:, :2], region[:, :2]), torch.minimum(boxes[:, 2:], region[:, 2:])], 1)
    left, whole = ((one[:, 2:] - one[:, :2]).clamp(min=0).prod(1) for one in (cut, boxes))
    return cut, (left > 0) & (left >= VISIBLE * whole)


def warped(x: Tensor, part: Part) -> Tensor:
    """Images (batch, channels, height, width) of the part, bilinear, black outside the source; the region is not cut."""
    height, width = x.shape[2:]
    back = inverse(part.matrix)
    # to coordinates from -1 to 1 on both sides
    half = torch.tensor([width / 2, height / 2])
    linear = back[:, :, :2] * half / half[:, None]
    shift = (back[:, :, :2] @ half + back[:, :, 2]) / half - 1
    grid = F.affine_grid(torch.cat([linear, shift[..., None]], 2).to(x), list(x.shape), align_corners=False)
    source = x if torch.equal(part.source, torch.arange(len(x))) else x[part.source.to(x.device)]
    return F.grid_sample(source, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def warped_mask(mask: Tensor, part: Part, outside: int) -> Tensor:
    """Masks (batch, height, width) of the part: the class of the nearest pixel, `outside` where there is none; the region is not cut."""
    height, width = mask.shape[1:]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    places = torch.stack([x, y], -1).view(1, -1, 2).expand(len(mask), -1, -1)
    column, row = moved_points(places, inverse(part.matrix)).floor().long().unbind(-1)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    source = part.source[:, None].to(mask.device)
    row, column, inside = (
        one.to(mask.device) for one in (row.clamp(0, height - 1), column.clamp(0, width - 1), inside)
    )
    return torch.where(inside, mask[source, row, column], outside).view_as(mask)


def in_region(region: Tensor, height: int, width: int) -> Tensor:
    """(batch, height, width) bool: pixels whose center lies in regions (batch, 4)."""
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    across = (x >= region[:, :1]) & (x < region[:, 2:3])
    down = (y >= region[:, 1:2]) & (y < region[:, 3:])
    return down[:, :, None] & across[:, None, :]
