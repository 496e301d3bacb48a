"""Boxes of a varying number of discs in an image: data, network, task and evaluator."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mlrun.data.features import Boxes, Image
from mlrun.data.row_data import ArrayData, Content
from mlrun.evaluation.evaluator import Better, Evaluator
from mlrun.tasks.task import Loss, Task

SIDE, CELL = 32, 4  # pixels of an image and of a cell


class Discs(ArrayData):
    """Grey images; a disc lies in a quarter of the image of its own."""

    def __init__(self, problem, name, seed, rows=500, **options):
        super().__init__(problem, name, seed, **options)
        self.count = rows

    def read(self):
        random = np.random.default_rng(0)
        pixels = random.normal(128, 8, (self.count, 1, SIDE, SIDE))
        y, x = np.mgrid[:SIDE, :SIDE] + 0.5
        objects = []
        for image in pixels:
            boxes, labels = [], []
            for quarter in np.flatnonzero(random.random(4) < 0.5):
                radius, kind = random.uniform(3, 6), int(random.integers(2))
                center = 16 * np.array(divmod(quarter, 2)) + random.uniform(radius, 16 - radius, 2)
                image[0][(y - center[0]) ** 2 + (x - center[1]) ** 2 < radius**2] += (110, -110)[kind]
                boxes.append([center[1] - radius, center[0] - radius, center[1] + radius, center[0] + radius])
                labels.append(kind)
            objects.append({"boxes": np.array(boxes, np.float32).reshape(-1, 4), "labels": np.array(labels, np.int64)})
        return Content(
            {"image": pixels.clip(0, 255).astype(np.uint8), "objects": objects},
            {"image": Image([1, SIDE, SIDE]), "objects": Boxes(["bright", "dark"])},
            "generated",
            ("objects",),
        )


class GridNetwork(nn.Module):
    """(batch, channels, height, width) -> objectness, distances to the sides and classes per cell, (batch, 5 + classes, rows, columns)."""

    def __init__(self, image_shape, num_classes, width):
        super().__init__()
        channels = [image_shape[0], width, width, width]
        steps = [
            nn.Sequential(nn.Conv2d(a, b, 3, s, 1), nn.BatchNorm2d(b), nn.ReLU())
            for a, b, s in zip(channels, channels[1:], (2, 2, 1))
        ]
        self.layers = nn.Sequential(
            *steps, nn.Conv2d(width, width, 3, 1, 1), nn.ReLU(), nn.Conv2d(width, 5 + num_classes, 1)
        )

    def forward(self, pixel_values):
        return self.layers(pixel_values)


class CenterDetection(Task):
    """Cross-entropy of objectness in every cell; of the cells with a center also of the class, and the L1 distance of the sides."""

    monitor = "f1"

    def __init__(self, network):
        super().__init__()
        self.network = network

    def loss(self, batch):
        scores = self.feed(batch)
        cells = [
            (image, *(((box[:2] + box[2:]) / 2 / CELL).long().flip(0).tolist()), box, int(label))
            for image, (boxes, labels) in enumerate(zip(batch["boxes"], batch["labels"]))
            for box, label in zip(boxes, labels)
        ]
        there = torch.zeros_like(scores[:, 0])
        value = 0.0
        for image, row, column, box, label in cells:
            there[image, row, column] = 1
            found = scores[image, :, row, column]
            value = (
                value
                + (self.sides(found, row, column) - box).abs().mean() / CELL
                + F.cross_entropy(found[5:], torch.tensor(label))
            )
        value = value / max(1, len(cells)) + 10 * F.binary_cross_entropy_with_logits(scores[:, 0], there)
        return Loss(value, len(scores))

    @staticmethod
    def sides(found, row, column):
        """Left, top, right, bottom in pixels from the scores (5 + classes, ...) of a cell."""
        center = torch.tensor([column, row, column, row]) * CELL + CELL / 2
        return center + found[1:5].exp() * CELL * torch.tensor([-1, -1, 1, 1])

    def predict(self, batch):
        outputs = {"boxes": [], "labels": [], "scores": []}
        for scores in self.feed(batch):
            rows, columns = torch.nonzero(scores[0] > 0, as_tuple=True)
            boxes = [self.sides(scores[:, row, column], int(row), int(column)) for row, column in zip(rows, columns)]
            outputs["boxes"].append(torch.stack(boxes) if boxes else torch.zeros(0, 4))
            outputs["labels"].append(scores[5:, rows, columns].argmax(0))
            outputs["scores"].append(scores[0, rows, columns].sigmoid())
        return outputs


class DetectionF1(Evaluator):
    """The mean over the images of F1 at an intersection over union of one half."""

    metrics = {"f1": Better.LARGER}

    def begin(self, subject):
        super().begin(subject)
        self.values = []

    def update(self, batch, examples, predictions):
        self.values.extend(1 - predictions.mistakes(examples["objects"]))

    def compute(self):
        return {"f1": float(np.mean(self.values))}
