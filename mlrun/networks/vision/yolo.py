"""YOLO: one pass over the image, every cell of a grid predicts boxes (Redmon and Farhadi 2016, arXiv:1612.08242, and 2018, arXiv:1804.02767)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.networks.vision import ops
from mlrun.networks.vision.backbone import Backbone, convolved, flat_scores

PRIOR = 0.01  # objectness of a cell before training (Lin et al. 2017, focal loss)


class YOLO(nn.Module):
    """A backbone, a 3x3 convolution, and for each cell and anchor: place, size, objectness, classes.

    The box of a cell (column, row) with an anchor of size (a, b): center ((sigmoid(x) + column) * stride, (sigmoid(y) + row) * stride), size
    (a * exp(w), b * exp(h)).

    Args:
        image_shape: (channels, height, width).
        num_classes: classes of objects.
        anchors: (width, height) of the anchors in pixels.
        backbone: an image network.
        stride: side of a cell in pixels.
        hidden: channels of the 3x3 convolution.
        box_loss: "ciou" (1 - CIoU), or "squared" errors of x, y, w and h as in the papers.
        ignored: cells without an object whose box overlaps one by more than this cost nothing.
        weights: of the loss terms: box, objectness, class.

    Raises:
        ValueError: there are no anchors, or the backbone has no map of that stride.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_classes: int,
        anchors: Sequence[Sequence[float]],
        backbone: nn.Module,
        stride: int = 8,
        hidden: int = 128,
        box_loss: Literal["ciou", "squared"] = "ciou",
        ignored: float = 0.6,
        weights: Sequence[float] = (2.0, 1.0, 1.0),
    ):
        super().__init__()
        if not len(anchors):
            raise ValueError(
                "there are no anchors: the training images have no boxes, or give anchors=[[WIDTH,HEIGHT], ...]"
            )
        self.num_classes, self.stride, self.box_loss, self.ignored = num_classes, stride, box_loss, ignored
        self.weights = list(weights)
        self.backbone = Backbone(backbone, image_shape, [stride])
        self.register_buffer("anchors", torch.tensor(anchors, dtype=torch.float32))
        self.neck = convolved(self.backbone.channels[0], hidden)
        self.head = nn.Conv2d(hidden, len(anchors) * (5 + num_classes), 1)
        nn.init.normal_(self.head.weight, std=0.01)
        bias = torch.zeros(len(anchors), 5 + num_classes)
        bias[:, 4] = -math.log((1 - PRIOR) / PRIOR)
        self.head.bias = nn.Parameter(bias.flatten())

    anchors: Tensor

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, rows * columns * anchors, 5 + classes): x, y, w, h, objectness, classes."""
        return self._flat(self._maps(pixel_values))

    def _maps(self, pixel_values: Tensor) -> Tensor:
        return self.head(self.neck(self.backbone(pixel_values)[0]))

    def _flat(self, maps: Tensor) -> Tensor:
        return flat_scores(maps, len(self.anchors))

    def _boxes(self, values: Tensor, rows: int, columns: int) -> Tensor:
        """(batch, n, 4) boxes in pixels of the output of `forward`."""
        references = ops.grid_anchors(self.anchors, rows, columns, self.stride)
        centers, sizes = ops.centers_and_sizes(references)
        centers = centers + (values[..., :2].sigmoid() - 0.5) * self.stride
        return ops.from_centers(centers, sizes * values[..., 2:4].clamp(max=ops.LARGEST_GROWTH).exp())

    def loss(self, pixel_values: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor]) -> dict[str, Tensor]:
        """Loss terms. boxes: per image (objects, 4); labels: per image (objects,) int64.

        An object belongs to the cell of its center and to the anchor whose size is most like its own.
        """
        maps = self._maps(pixel_values)
        rows, columns = maps.shape[2:]
        values = self._flat(maps)
        found = self._boxes(values, rows, columns)
        image, place, box, label = self.assigned(boxes, labels, rows, columns)
        own = values[image, place]
        count = max(1, len(box))

        wanted = torch.zeros_like(values[..., 4])
        wanted[image, place] = 1.0
        counted = torch.ones_like(wanted, dtype=torch.bool)
        table, _ = ops.padded(boxes)
        if table.shape[1]:
            with torch.no_grad():
                best = ops.paired_iou(found[:, :, None], table[:, None]).amax(2)
            counted = (best <= self.ignored) | (wanted > 0)
        objectness = F.binary_cross_entropy_with_logits(
            values[..., 4], wanted, counted.to(values.dtype), reduction="sum"
        )
        terms = {
            "box": self._box_loss(own, found[image, place], box, place),
            "objectness": objectness,
            "class": F.cross_entropy(own[:, 5:], label, reduction="sum"),
        }
        return {name: weight * term / count for weight, (name, term) in zip(self.weights, terms.items())}

    def _box_loss(self, own: Tensor, found: Tensor, box: Tensor, place: Tensor) -> Tensor:
        if self.box_loss == "ciou":
            return (1 - ops.ciou(found, box)).sum()
        centers, sizes = ops.centers_and_sizes(box)
        inside = centers / self.stride - (centers / self.stride).floor()
        growth = (sizes.clamp(min=1e-3) / self.anchors[place % len(self.anchors)]).log()
        return ((own[:, :2].sigmoid() - inside) ** 2).sum() + ((own[:, 2:4] - growth) ** 2).sum()

    def assigned(
        self, boxes: Sequence[Tensor], labels: Sequence[Tensor], rows: int, columns: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """For each object of the batch: its image (n,), its place (n,) among cells and anchors, its box (n, 4) and its label (n,)."""
        counts = torch.tensor([len(one) for one in boxes], device=boxes[0].device)
        image = torch.arange(len(boxes), device=counts.device).repeat_interleave(counts)
        box, label = torch.cat(list(boxes)), torch.cat(list(labels))
        centers, sizes = ops.centers_and_sizes(box)
        cell = (centers / self.stride).floor().long()
        column, row = cell[:, 0].clamp(0, columns - 1), cell[:, 1].clamp(0, rows - 1)
        same_center = ops.iou(ops.from_centers(sizes * 0, sizes), ops.from_centers(self.anchors * 0, self.anchors))
        anchor = same_center.argmax(1)
        return image, (row * columns + column) * len(self.anchors) + anchor, box, label

    def detect(
        self, pixel_values: Tensor, least_score: float, nms_iou: float, most: int
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Boxes, labels and scores of the objects of each image, see `ops.select_objects`. The score is objectness times class probability."""
        maps = self._maps(pixel_values)
        values = self._flat(maps).float()
        chance, label = values[..., 5:].softmax(-1).max(-1)
        boxes = ops.clip(self._boxes(values, *maps.shape[2:]), *pixel_values.shape[2:])
        return ops.select_objects(boxes, values[..., 4].sigmoid() * chance, label, least_score, nms_iou, most)
