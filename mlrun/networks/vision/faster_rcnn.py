"""Faster R-CNN: a network proposes the regions itself (Ren, He, Girshick and Sun 2015, arXiv:1506.01497)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.networks.vision import ops
from mlrun.networks.vision.backbone import Backbone, FeaturePyramid, convolved, flat_scores
from mlrun.networks.vision.regions import RegionDetector, RegionHead, drawn

SAMPLED, POSITIVE = 64, 32  # anchors of an image in a training step, and at most how many of an object
FAR, NEAR = 0.3, 0.6  # IoU below which an anchor is background, and from which it belongs to an object
PROPOSAL_IOU = 0.7  # of proposals that overlap by more, the one with the lower score is left out


class ProposalNetwork(nn.Module):
    """For each anchor of each cell: whether an object is there, and the code of its box.

    Args:
        channels: of the map.
        anchors: of a cell.
        hidden: channels of the 3x3 convolution.
    """

    def __init__(self, channels: int, anchors: int, hidden: int):
        super().__init__()
        self.anchors = anchors
        self.hidden = convolved(channels, hidden)
        self.objectness, self.codes = nn.Conv2d(hidden, anchors, 1), nn.Conv2d(hidden, 4 * anchors, 1)
        for layer in (self.objectness, self.codes):
            nn.init.normal_(layer.weight, std=0.01)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, channels, rows, columns) -> scores (batch, n), codes (batch, n, 4), n = rows * columns * anchors."""
        x = self.hidden(x)
        return flat_scores(self.objectness(x), self.anchors)[..., 0], flat_scores(self.codes(x), self.anchors)


class FasterRCNN(RegionDetector):
    """A backbone, a region proposal network on its maps, and the head of Fast R-CNN on the best proposals.

    Args:
        image_shape: (channels, height, width).
        num_classes: classes of objects.
        anchors: (width, height) of the anchors in pixels; with a pyramid they are divided among its levels by size.
        backbone: an image network.
        strides: of its maps. Several: a feature pyramid (Lin et al. 2017); a region is then cut from the finest one.
        pyramid: channels of the feature pyramid.
        hidden: channels of the proposal network.
        grid: rows and columns of a region's features.
        head: widths of the head's hidden layers.
        compared, proposed: proposals of an image with the highest scores that enter non-maximum suppression, and that remain.
        sampled, positive, overlap: see `RegionDetector`.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_classes: int,
        anchors: Sequence[Sequence[float]],
        backbone: nn.Module,
        strides: Sequence[int] = (4,),
        pyramid: int = 64,
        hidden: int = 64,
        grid: int = 5,
        head: Sequence[int] = (128,),
        compared: int = 150,
        proposed: int = 32,
        sampled: int = 16,
        positive: float = 0.5,
        overlap: float = 0.5,
    ):
        super().__init__(sampled, positive, overlap)
        if len(anchors) < len(strides):
            raise ValueError(f"{len(anchors)} anchors for {len(strides)} levels of the pyramid: at least one for each")
        self.strides, self.grid, self.compared, self.proposed = list(strides), grid, compared, proposed
        self.backbone = Backbone(backbone, image_shape, strides)
        channels = self.backbone.channels
        self.pyramid = FeaturePyramid(channels, pyramid) if len(strides) > 1 else None
        channels = [pyramid] * len(strides) if len(strides) > 1 else channels
        by_area = sorted(anchors, key=lambda size: size[0] * size[1])
        ends = [round(len(anchors) * level / len(strides)) for level in range(len(strides) + 1)]
        self.sizes = [by_area[start:end] for start, end in zip(ends, ends[1:])]
        self.propose = nn.ModuleList(
            ProposalNetwork(count, len(sizes), hidden) for count, sizes in zip(channels, self.sizes)
        )
        self.head = RegionHead(channels[0] * grid**2, num_classes, head)

    def features(self, pixel_values: Tensor) -> Tensor:
        """The finest map."""
        return self._maps(pixel_values)[0]

    def _maps(self, pixel_values: Tensor) -> list[Tensor]:
        maps = self.backbone(pixel_values)
        return maps if self.pyramid is None else self.pyramid(maps)

    def pooled(self, features: Tensor, regions: Tensor, images: Tensor) -> Tensor:
        """Regions of the finest map."""
        return ops.roi_align(features, regions, images, self.grid, 1 / self.strides[0])

    def _anchors(self, maps: Sequence[Tensor]) -> Tensor:
        """(n, 4) of all levels."""
        return torch.cat(
            [
                ops.grid_anchors(one.new_tensor(sizes), one.shape[2], one.shape[3], stride)
                for one, sizes, stride in zip(maps, self.sizes, self.strides)
            ]
        )

    def _scored(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Scores (batch, n) and codes (batch, n, 4) of all anchors."""
        found = [network(one) for network, one in zip(self.propose, maps)]
        return torch.cat([scores for scores, _ in found], 1), torch.cat([codes for _, codes in found], 1)

    def _best(self, scores: Tensor, codes: Tensor, anchors: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The proposals of each image: (batch, proposed, 4), and which are real."""
        scores, order = scores.detach().topk(min(self.compared, scores.shape[1]), dim=1)
        codes = codes.detach().gather(1, order[..., None].expand(-1, -1, 4))
        boxes = ops.clip(ops.decode_boxes(codes, anchors[order]), *size)
        kept, _, _ = ops.select_objects(
            boxes, scores.sigmoid(), torch.zeros_like(order), 0.0, PROPOSAL_IOU, self.proposed
        )
        return ops.padded(kept)

    def proposals(self, features: Tensor, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Of a single map."""
        return self._best(*self._scored([features]), self._anchors([features]), pixel_values.shape[2:])

    def loss(self, pixel_values: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor]) -> dict[str, Tensor]:
        """Loss terms of the proposal network and of the head, trained together."""
        maps = self._maps(pixel_values)
        anchors = self._anchors(maps)
        scores, codes = self._scored(maps)
        proposed, real = self._best(scores, codes, anchors, pixel_values.shape[2:])
        of_head = self.region_loss(maps[0], proposed, real, boxes, labels)
        return {**self._proposal_loss(scores, codes, anchors, boxes), **of_head}

    def _proposal_loss(
        self, scores: Tensor, codes: Tensor, anchors: Tensor, boxes: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        wanted, match, table = assigned(anchors, boxes)
        chosen, valid = drawn(wanted == 1, POSITIVE)
        other, other_valid = drawn(wanted == 0, SAMPLED)
        other_valid &= torch.arange(other.shape[1], device=other.device) < SAMPLED - valid.sum(1, keepdim=True)
        rows = torch.arange(len(scores), device=scores.device)[:, None]
        image, place = rows.expand_as(chosen)[valid], chosen[valid]
        all_images = torch.cat([image, rows.expand_as(other)[other_valid]])
        all_places = torch.cat([place, other[other_valid]])
        truth = (torch.arange(len(all_images), device=scores.device) < len(image)).to(scores.dtype)
        count = max(1, len(all_images))
        targets = ops.encode_boxes(table[image, match[image, place]], anchors[place])
        return {
            "objectness": F.binary_cross_entropy_with_logits(scores[all_images, all_places], truth, reduction="sum")
            / count,
            "proposal_box": F.smooth_l1_loss(codes[image, place], targets, beta=1 / 9, reduction="sum") / count,
        }

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, channels, height, width) -> boxes (batch, n, 4), scores (batch, n) and labels (batch, n) of all proposals."""
        maps = self._maps(pixel_values)
        proposed, real = self._best(*self._scored(maps), self._anchors(maps), pixel_values.shape[2:])
        return self.classified(maps[0], proposed, real, pixel_values.shape[2:])


@torch.no_grad()
def assigned(anchors: Tensor, boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Which anchors (n, 4) belong to an object: those that overlap it by NEAR, and its best ones.

    Returns:
        (batch, n): 1 for an object, 0 for background, -1 for anchors in between; (batch, n) number of the object; the boxes, see `ops.padded`.
    """
    table, there = ops.padded(boxes)
    if not table.shape[1]:
        nothing = torch.zeros(len(boxes), len(anchors), dtype=torch.int64, device=anchors.device)
        return nothing, nothing, anchors.new_zeros(len(boxes), 1, 4)
    overlaps = ops.paired_iou(anchors[None, :, None], table[:, None])  # (batch, n, objects)
    best, match = overlaps.max(2)
    wanted = torch.where(best >= NEAR, 1, torch.where(best < FAR, 0, -1))
    most = overlaps.amax(1, keepdim=True)
    is_best = (overlaps == most) & (most > 0) & there[:, None]
    wanted[is_best.any(2)] = 1
    match = torch.where(is_best.any(2), is_best.long().argmax(2), match)
    return wanted, match, table
