"""What the R-CNN family shares: regions of an image are classified and their boxes corrected.

Girshick, Donahue, Darrell and Malik 2014, arXiv:1311.2524 (R-CNN); Girshick 2015, arXiv:1504.08083 (Fast R-CNN).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.networks.vision import ops

CODE_UNIT = (0.1, 0.1, 0.2, 0.2)  # typical size of the codes of boxes: the head predicts multiples of it


class RegionHead(nn.Module):
    """Hidden linear layers on the flattened features of a region, then class scores and a correction of its box.

    Args:
        features: of a region.
        num_classes: without the background, which is class 0 here.
        hidden: widths of the hidden layers.
    """

    def __init__(self, features: int, num_classes: int, hidden: Sequence[int]):
        super().__init__()
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(features, width), nn.ReLU()]
            features = width
        self.layers = nn.Sequential(*layers)
        self.classes = nn.Linear(features, 1 + num_classes)
        self.boxes = nn.Linear(features, 4)
        nn.init.normal_(self.classes.weight, std=0.01)
        nn.init.normal_(self.boxes.weight, std=0.001)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(regions, channels, rows, columns) -> class scores (regions, 1 + classes), codes (regions, 4)."""
        x = self.layers(x.flatten(1))
        return self.classes(x), self.boxes(x)


class RegionDetector(nn.Module):
    """Base of the R-CNN family. A subclass proposes regions and computes their features.

    Args:
        sampled: regions of an image in a training step.
        positive: largest share of them that overlap an object.
        overlap: least IoU with an object of a region of its class.
    """

    head: RegionHead
    unit: Tensor

    def __init__(self, sampled: int = 32, positive: float = 0.5, overlap: float = 0.5):
        super().__init__()
        self.sampled, self.positives, self.overlap = sampled, max(1, round(sampled * positive)), overlap
        self.register_buffer("unit", torch.tensor(CODE_UNIT))

    def features(self, pixel_values: Tensor) -> Tensor:
        """What regions are cut from: (batch, channels, height, width)."""
        raise NotImplementedError

    def pooled(self, features: Tensor, regions: Tensor, images: Tensor) -> Tensor:
        """Features (regions, channels, rows, columns) of regions (regions, 4) in pixels of images (regions,)."""
        raise NotImplementedError

    def proposals(self, features: Tensor, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Proposed regions (batch, n, 4) in pixels, and which of them are real (batch, n)."""
        raise NotImplementedError

    # --- training ----------------------------------------------------------------------------------------------------

    def loss(self, pixel_values: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor]) -> dict[str, Tensor]:
        """Loss terms. boxes: per image (objects, 4); labels: per image (objects,) int64."""
        features = self.features(pixel_values)
        with torch.no_grad():
            proposed, real = self.proposals(features, pixel_values)
        return self.region_loss(features, proposed, real, boxes, labels)

    def region_loss(
        self, features: Tensor, proposed: Tensor, real: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """Cross-entropy of sampled regions, and the smooth L1 distance of the codes of those that overlap an object."""
        regions, images, classes, targets = self.sample(proposed, real, boxes, labels)
        scores, codes = self.head(self.pooled(features, regions, images))
        inside = classes > 0
        wanted = ops.encode_boxes(targets[inside], regions[inside]) / self.unit
        count = max(1, len(classes))
        return {
            "class": F.cross_entropy(scores, classes, reduction="sum") / count,
            "box": F.smooth_l1_loss(codes[inside], wanted, beta=1.0, reduction="sum") / count,
        }

    @torch.no_grad()
    def sample(
        self, proposed: Tensor, real: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Regions for a training step, drawn from the proposals and the true boxes: those that overlap an object, and others.

        Returns:
            regions (n, 4), images (n,), classes (n,) with 0 for the background, true boxes (n, 4).
        """
        table, there = ops.padded(boxes)
        proposed, real = torch.cat([proposed, table], 1), torch.cat([real, there], 1)
        if not table.shape[1]:
            best, match = torch.zeros_like(proposed[..., 0]), torch.zeros_like(proposed[..., 0], dtype=torch.int64)
            table = proposed.new_zeros(len(proposed), 1, 4)
        else:
            best, match = ops.paired_iou(proposed[:, :, None], table[:, None]).max(2)
        classes = torch.zeros_like(there, dtype=torch.int64)
        classes[there] = 1 + torch.cat(list(labels))
        inside = real & (best >= self.overlap)
        chosen, valid = drawn(inside, self.positives)
        # the background fills up what objects leave
        other, other_valid = drawn(real & ~inside, self.sampled)
        other_valid &= torch.arange(other.shape[1], device=other.device) < self.sampled - valid.sum(1, keepdim=True)
        place = torch.cat([chosen, other], 1)
        valid = torch.cat([valid, other_valid], 1)
        image = torch.arange(len(place), device=place.device)[:, None].expand_as(place)[valid]
        place = place[valid]
        target = match[image, place]
        label = classes[image, target] if classes.shape[1] else torch.zeros_like(target)
        return proposed[image, place], image, torch.where(inside[image, place], label, 0), table[image, target]

    # --- prediction --------------------------------------------------------------------------------------------------

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, channels, height, width) -> boxes (batch, n, 4), scores (batch, n) and labels (batch, n) of all proposals."""
        features = self.features(pixel_values)
        return self.classified(features, *self.proposals(features, pixel_values), pixel_values.shape[2:])

    def classified(
        self, features: Tensor, proposed: Tensor, real: Tensor, size: Sequence[int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Corrected boxes (batch, n, 4), scores (batch, n) and labels (batch, n) of proposals. size: height and width of the images."""
        image = torch.arange(len(proposed), device=proposed.device)[:, None].expand_as(real)[real]
        scores, codes = self.head(self.pooled(features, proposed[real], image))
        chance, label = scores.float().softmax(1)[:, 1:].max(1)
        boxes = ops.clip(ops.decode_boxes(codes.float() * self.unit, proposed[real]), *size)
        all_boxes, all_scores = torch.zeros_like(proposed), torch.zeros_like(real, dtype=torch.float32)
        all_labels = torch.zeros_like(real, dtype=torch.int64)
        all_boxes[real], all_scores[real], all_labels[real] = boxes, chance, label
        return all_boxes, all_scores, all_labels

    def detect(
        self, pixel_values: Tensor, least_score: float, nms_iou: float, most: int
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Boxes, labels and scores of the objects of each image, see `ops.select_objects`."""
        boxes, scores, labels = self(pixel_values)
        return ops.select_objects(boxes, scores, labels, least_score, nms_iou, most)


def drawn(candidates: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Up to `count` random candidates of each row. candidates: (batch, n) bool.

    Returns:
        Their places (batch, min(count, n)), and which of those are candidates.
    """
    chance = torch.rand(candidates.shape, device=candidates.device).masked_fill(~candidates, -1.0)
    values, places = chance.topk(min(count, candidates.shape[1]), dim=1)
    return places, values >= 0
