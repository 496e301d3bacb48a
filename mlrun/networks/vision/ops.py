"""Operations on boxes and regions of images, vectorized, on any device.

Boxes are (..., 4): left, top, right, bottom in pixels; the upper left corner of the image is (0, 0), and the first pixel reaches from 0 to 1.
A box whose right side is left of its left side, or whose bottom is above its top, has no area and overlaps nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = 256  # boxes that non-maximum suppression compares with each other at once
POOLED_REGIONS = 64  # regions that `roi_pool` copies maps for at once
LARGEST_GROWTH = math.log(1000 / 16)  # of a side in `decode_boxes`, so that a bad prediction does not overflow


# --- overlap ---------------------------------------------------------------------------------------------------------


def area(boxes: Tensor) -> Tensor:
    """(..., 4) -> (...)."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of every box of `first` (n, 4) with every one of `second` (m, 4) -> (n, m). 0 where both have no area."""
    return _ratio(*_overlap(first[:, None], second[None, :]))


def paired_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of (..., 4) and (..., 4), box by box -> (...)."""
    return _ratio(*_overlap(first, second))


def _overlap(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """(intersection, union) of boxes that broadcast."""
    corner = torch.maximum(first[..., :2], second[..., :2])
    opposite = torch.minimum(first[..., 2:], second[..., 2:])
    shared = (opposite - corner).clamp(min=0).prod(-1)
    return shared, area(first) + area(second) - shared


def _ratio(shared: Tensor, union: Tensor) -> Tensor:
    return torch.where(union > 0, shared / union.clamp(min=torch.finfo(union.dtype).tiny), 0.0)


def giou(first: Tensor, second: Tensor) -> Tensor:
    """Generalized IoU of (..., 4) and (..., 4), box by box, from -1 to 1 (Rezatofighi et al. 2019, arXiv:1902.09630).

    IoU minus the share of the smallest enclosing box that neither covers.
    """
    shared, union = _overlap(first, second)
    enclosing = _enclosing(first, second).prod(-1)
    return _ratio(shared, union) - _ratio(enclosing - union, enclosing)


def ciou(first: Tensor, second: Tensor) -> Tensor:
    """Complete IoU of (..., 4) and (..., 4), box by box (Zheng et al. 2020, arXiv:1911.08287, equations 7 to 11).

    IoU minus the squared distance of the centers relative to the diagonal of the enclosing box, minus a term for the aspect ratios.
    """
    overlap = paired_iou(first, second)
    (one, one_size), (other, other_size) = (centers_and_sizes(boxes) for boxes in (first, second))
    diagonal = (_enclosing(first, second) ** 2).sum(-1)
    tiny = torch.finfo(overlap.dtype).eps
    distance = ((one - other) ** 2).sum(-1) / diagonal.clamp(min=tiny)
    angles = [torch.atan2(size[..., 0], size[..., 1].clamp(min=tiny)) for size in (one_size, other_size)]
    ratio = 4 / math.pi**2 * (angles[0] - angles[1]) ** 2
    with torch.no_grad():
        weight = ratio / (1 - overlap + ratio).clamp(min=tiny)
    return overlap - distance - weight * ratio


def _enclosing(first: Tensor, second: Tensor) -> Tensor:
    """(..., 2): width and height of the smallest box around two."""
    corner = torch.minimum(first[..., :2], second[..., :2])
    return (torch.maximum(first[..., 2:], second[..., 2:]) - corner).clamp(min=0)


# --- non-maximum suppression -----------------------------------------------------------------------------------------


def nms(boxes: Tensor, scores: Tensor, threshold: float, groups: Tensor | None = None) -> Tensor:
    """Greedy non-maximum suppression: of boxes that overlap by more than `threshold`, only the one with the highest score stays.

    Args:
        boxes: (n, 4).
        scores: (n,). Of equal scores the earlier box wins.
        threshold: intersection over union.
        groups: (n,) integers, such as classes or images; boxes of different groups do not suppress each other. None: one group.

    Returns:
        Indices of the boxes that stay, the highest score first.
    """
    order = scores.argsort(descending=True, stable=True)
    kept = [order[:0]]
    while len(order):
        block, order = order[:BLOCK], order[BLOCK:]
        block = block[_undefeated(_suppresses(boxes, block, block, threshold, groups))]
        kept.append(block)
        if len(order):
            order = order[~_suppresses(boxes, block, order, threshold, groups).any(0)]
    return torch.cat(kept)


def _suppresses(boxes: Tensor, first: Tensor, second: Tensor, threshold: float, groups: Tensor | None) -> Tensor:
    overlapping = iou(boxes[first], boxes[second]) > threshold
    return overlapping if groups is None else overlapping & (groups[first][:, None] == groups[second][None, :])


def _undefeated(overlapping: Tensor) -> Tensor:
    """(..., n) bool: which of boxes in order of their scores stay. overlapping: (..., n, n), whether two boxes may not both stay.

    A box stays unless one before it stays and overlaps it. Applying that sentence to all boxes at once settles at least one more box each time,
    usually nearly all.
    """
    removes = overlapping.triu(1)
    stays = torch.ones(removes.shape[:-1], dtype=torch.bool, device=removes.device)
    while True:
        after = ~(removes & stays[..., None]).any(-2)
        if torch.equal(after, stays):
            return stays
        stays = after


def select_objects(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    least_score: float,
    threshold: float,
    most: int = 100,
    compared: int = 300,
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """The objects of each image among scored boxes, by non-maximum suppression within each class, for all images at once.

    Args:
        boxes: (batch, n, 4).
        scores, labels: (batch, n).
        least_score: boxes below it are left out.
        threshold: intersection over union beyond which the box with the lower score is left out.
        most: objects of an image.
        compared: boxes of an image with the highest scores, among which the suppression takes place.

    Returns:
        boxes (objects, 4), labels (objects,) and scores (objects,) of each image, the highest score first.
    """
    scores, order = scores.topk(min(compared, scores.shape[1]), dim=1)
    boxes, labels = boxes.gather(1, order[..., None].expand(-1, -1, 4)), labels.gather(1, order)
    overlapping = paired_iou(boxes[:, :, None], boxes[:, None]) > threshold
    stays = _undefeated(overlapping & (labels[:, :, None] == labels[:, None])) & (scores >= least_score)
    stays &= stays.cumsum(1) <= most
    counts = stays.sum(1).tolist()
    found = (values[stays].split(counts) for values in (boxes, labels, scores))
    kept_boxes, kept_labels, kept_scores = (list(parts) for parts in found)
    return kept_boxes, kept_labels, kept_scores


def padded(boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Lists of boxes (objects, 4) as one tensor (batch, most objects, 4), filled up with empty boxes, and (batch, most objects) which are real."""
    counts = torch.tensor([len(one) for one in boxes], device=boxes[0].device)
    most = int(counts.max()) if len(counts) else 0
    real = torch.arange(most, device=counts.device) < counts[:, None]
    table = boxes[0].new_zeros(len(boxes), most, 4)
    table[real] = torch.cat(list(boxes))
    return table, real


# --- coding ----------------------------------------------------------------------------------------------------------


def centers_and_sizes(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """(..., 4) -> centers and sizes, (..., 2) each, x before y."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]


def from_centers(centers: Tensor, sizes: Tensor) -> Tensor:
    """The inverse of `centers_and_sizes`."""
    return torch.cat([centers - sizes / 2, centers + sizes / 2], -1)


def encode_boxes(boxes: Tensor, references: Tensor, smallest: float = 1e-3) -> Tensor:
    """Boxes (..., 4) relative to references (..., 4): (dx, dy) in units of the reference's size, and the logarithms of the ratios of the sizes
    (Girshick et al. 2014, R-CNN, appendix C). smallest: size in pixels at which sides are clipped."""
    (center, size), (origin, unit) = (centers_and_sizes(one) for one in (boxes, references))
    unit = unit.clamp(min=smallest)
    return torch.cat([(center - origin) / unit, (size.clamp(min=smallest) / unit).log()], -1)


def decode_boxes(codes: Tensor, references: Tensor) -> Tensor:
    """The inverse of `encode_boxes`."""
    origin, unit = centers_and_sizes(references)
    sizes = unit * codes[..., 2:].clamp(max=LARGEST_GROWTH).exp()
    return from_centers(origin + codes[..., :2] * unit, sizes)


def clip(boxes: Tensor, height: float, width: float) -> Tensor:
    """The part of boxes (..., 4) inside the image."""
    limits = boxes.new_tensor([width, height, width, height])
    return torch.minimum(boxes.clamp(min=0), limits)


def grid_anchors(sizes: Tensor, rows: int, columns: int, stride: float) -> Tensor:
    """Anchor boxes around the centers of the cells of a grid -> (rows * columns * anchors, 4), row by row, then cell by cell.

    Args:
        sizes: (anchors, 2) widths and heights.
        rows, columns: of the grid.
        stride: side of a cell in pixels.
    """
    down, across = (torch.arange(count, device=sizes.device) + 0.5 for count in (rows, columns))
    y, x = torch.meshgrid(down * stride, across * stride, indexing="ij")
    centers = torch.stack([x, y], -1).view(-1, 1, 2).expand(-1, len(sizes), -1)
    return from_centers(centers, sizes.expand(len(centers), -1, -1)).reshape(-1, 4).to(sizes.dtype)


# --- regions ---------------------------------------------------------------------------------------------------------


def roi_align(
    maps: Tensor, boxes: Tensor, images: Tensor, size: int | Sequence[int], scale: float = 1.0, samples: int = 2
) -> Tensor:
    """RoI align: the mean of bilinear samples in each cell of a grid laid over a region (He et al. 2017, arXiv:1703.06870).

    The same as torchvision's with `aligned=True`.

    Args:
        maps: (batch, channels, height, width).
        boxes: (regions, 4) in pixels of the image.
        images: (regions,) int64, the row of `maps` that each region is cut from.
        size: rows and columns of the grid.
        scale: size of the maps relative to the image, 1 / stride.
        samples: points per cell and axis.

    Returns:
        (regions, channels, rows, columns).
    """
    rows, columns = (size, size) if isinstance(size, int) else size
    batch, channels, height, width = maps.shape
    if not len(boxes):
        return maps.new_zeros(0, channels, rows, columns)
    boxes = boxes.to(maps.dtype) * scale
    x = _sampled(boxes[:, 0], boxes[:, 2], columns * samples)  # (regions, points)
    y = _sampled(boxes[:, 1], boxes[:, 3], rows * samples)
    inside = ((y >= -1) & (y <= height))[:, :, None] & ((x >= -1) & (x <= width))[:, None, :]
    grid = torch.stack(torch.broadcast_tensors((2 * x + 1)[:, None, :] / width - 1, (2 * y + 1)[:, :, None] / height - 1), -1)  # fmt: skip
    # the regions of an image below each other, so that each map is read in place
    place, most = _places(images, batch)
    table = maps.new_zeros(batch, most, rows * samples, columns * samples, 2)
    table[images, place] = grid
    found = F.grid_sample(maps, table.flatten(1, 2), mode="bilinear", padding_mode="border", align_corners=False)
    found = found.view(batch, channels, most, rows * samples, columns * samples).transpose(1, 2)[images, place]
    found = found * inside[:, None]
    return found.view(len(boxes), channels, rows, samples, columns, samples).mean((3, 5))


def _sampled(low: Tensor, high: Tensor, points: int) -> Tensor:
    """(regions, points) coordinates of pixel centers from `low` to `high` (regions,), evenly spaced."""
    steps = (torch.arange(points, device=low.device, dtype=low.dtype) + 0.5) / points
    return torch.lerp(low[:, None], high[:, None], steps) - 0.5


def _places(images: Tensor, batch: int) -> tuple[Tensor, int]:
    """(the number of each region among those of its image, the largest number of regions of an image)."""
    counts = images.bincount(minlength=batch)
    order = images.argsort(stable=True)
    place = torch.empty_like(images)
    place[order] = torch.arange(len(images), device=images.device) - (counts.cumsum(0) - counts)[images[order]]
    return place, int(counts.max())


def roi_pool(maps: Tensor, boxes: Tensor, images: Tensor, size: int | Sequence[int], scale: float = 1.0) -> Tensor:
    """RoI pooling: the largest value in each cell of a grid laid over a region, in whole pixels (Girshick 2015, arXiv:1504.08083).

    A cell outside the map is 0. Arguments and result as in `roi_align`; the same as torchvision's.
    """
    rows, columns = (size, size) if isinstance(size, int) else size
    _, channels, height, width = maps.shape
    corners = (boxes.to(maps.dtype) * scale + 0.5).floor()  # half pixels away from zero
    down = _cells(corners[:, 1], corners[:, 3], rows, height)  # (regions, rows, height) bool
    across = _cells(corners[:, 0], corners[:, 2], columns, width)
    pooled = [maps.new_zeros(0, channels, rows, columns)]
    for chosen in torch.arange(len(boxes), device=boxes.device).split(POOLED_REGIONS):
        region = maps[images[chosen]]
        strips = torch.stack([_largest(region, down[chosen, row, None, :, None], 2) for row in range(rows)], 2)
        cells = [_largest(strips, across[chosen, column, None, None, :], 3) for column in range(columns)]
        pooled.append(torch.stack(cells, 3))
    return torch.nan_to_num(torch.cat(pooled), neginf=0.0)


def _cells(low: Tensor, high: Tensor, count: int, size: int) -> Tensor:
    """(regions, count, size): which pixels belong to each of `count` cells from `low` to `high`, both included."""
    step = ((high - low + 1).clamp(min=1) / count)[:, None]
    number = torch.arange(count, device=low.device, dtype=low.dtype)
    start = (number * step).floor() + low[:, None]
    end = ((number + 1) * step).ceil() + low[:, None]
    pixel = torch.arange(size, device=low.device, dtype=low.dtype)
    return (pixel >= start[..., None]) & (pixel < end[..., None])


def _largest(values: Tensor, inside: Tensor, axis: int) -> Tensor:
    return values.masked_fill(~inside, -torch.inf).amax(axis)
