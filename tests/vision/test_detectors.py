"""Detectors: assignment and decoding by their definitions, batches without boxes, average precision, kinds of errors."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from mlrun.data.features import Boxes, Labels, Mask
from mlrun.data.predictions import BoxesPredictions
from mlrun.data.preprocess.anchors import cluster_sizes, size_overlap
from mlrun.evaluation.average_precision import average_precision
from mlrun.evaluation.classification import metric_names
from mlrun.evaluation.detection import Detection
from mlrun.evaluation.detection_errors import judge
from mlrun.evaluation.multi_label import MultiLabel
from mlrun.evaluation.segmentation import Segmentation
from mlrun.networks.vision import ops
from mlrun.networks.vision.backbone import Backbone
from mlrun.networks.vision.cnn import CNN
from mlrun.networks.vision.densenet import DenseNet
from mlrun.networks.vision.fast_rcnn import FastRCNN
from mlrun.networks.vision.faster_rcnn import FasterRCNN, assigned
from mlrun.networks.vision.googlenet import GoogLeNet
from mlrun.networks.vision.proposals import Windows
from mlrun.networks.vision.rcnn import RCNN
from mlrun.networks.vision.resnet import ResNet
from mlrun.networks.vision.vgg import VGG
from mlrun.networks.vision.yolo import YOLO

SHAPE, ANCHORS = [3, 48, 64], [[10.0, 10.0], [20.0, 14.0]]
random = np.random.default_rng(0)


def cnn(image_shape=SHAPE, num_outputs=1):
    return CNN(image_shape, num_outputs, channels=[8, 8, 8, 8], hidden=[])


MAKERS = {
    "yolo": lambda: YOLO(SHAPE, 3, ANCHORS, cnn(), hidden=8),
    "yolo_squared": lambda: YOLO(SHAPE, 3, ANCHORS, cnn(), hidden=8, box_loss="squared"),
    "faster_rcnn": lambda: FasterRCNN(SHAPE, 3, ANCHORS, cnn(), hidden=8, head=[8]),
    "faster_rcnn_pyramid": lambda: FasterRCNN(SHAPE, 3, ANCHORS, cnn(), strides=[4, 8], pyramid=8, hidden=8, head=[8]),
    "fast_rcnn": lambda: FastRCNN(SHAPE, 3, ANCHORS, cnn(), hidden=[8]),
    "fast_rcnn_max": lambda: FastRCNN(SHAPE, 3, ANCHORS, cnn(), hidden=[8], pooling="max", step=0.6),
    "rcnn": lambda: RCNN(SHAPE, 3, ANCHORS, partial(CNN, channels=[8, 8, 8], hidden=[]), crop=16, stride=4, hidden=[8], step=0.6),
}  # fmt: skip


def some_boxes(count):
    corner = torch.rand(count, 2) * torch.tensor([40.0, 28.0])
    return torch.cat([corner, corner + 8 + 12 * torch.rand(count, 2)], 1), torch.randint(0, 3, (count,))


@pytest.mark.parametrize("name", MAKERS)
def test_batches_without_a_box_and_images_without_one_train(name):
    torch.manual_seed(0)
    network = MAKERS[name]()
    x = torch.randn(3, *SHAPE)
    boxes, labels = zip(*(some_boxes(count) for count in (2, 0, 1)))
    nothing = [torch.zeros(0, 4)] * 3, [torch.zeros(0, dtype=torch.int64)] * 3
    for given in ((boxes, labels), nothing):
        network.zero_grad()
        value = sum(network.loss(x, *given).values())
        value.backward()
        assert torch.isfinite(value) and value > 0
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        assert gradients and all(torch.isfinite(one).all() for one in gradients)
    network.eval()
    with torch.no_grad():
        found = network.detect(x, 0.0, 0.5, 10)
    for kept, own, scores in zip(*found):
        assert len(kept) == len(own) == len(scores) <= 10 and (scores.diff() <= 0).all()
        assert (kept >= 0).all() and (kept[:, [0, 2]] <= 64).all() and (kept[:, [1, 3]] <= 48).all()


@pytest.mark.parametrize("name", ["yolo", "faster_rcnn_pyramid"])
def test_a_few_images_are_learned_by_heart(name):
    """Boxes and classes of the network's own answer are those that it was trained with."""
    torch.manual_seed(0)
    network = MAKERS[name]()
    x = torch.randn(4, *SHAPE)
    boxes, labels = zip(*(some_boxes(count) for count in (1, 2, 0, 1)))
    optimizer = torch.optim.Adam(network.parameters(), 0.005)
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 0.005 * (1 - step / 200)
        optimizer.zero_grad()
        sum(network.loss(x, boxes, labels).values()).backward()
        optimizer.step()
    with torch.no_grad():  # in training mode: batch norm of this batch
        found = network.detect(x, 0.5, 0.5, 10)
    for kept, own, true, label in zip(*found[:2], boxes, labels):
        assert (
            len(true) <= len(kept) <= 2 * len(true)
        )  # two refined proposals of an object may overlap too little for NMS
        if len(true):
            best, match = ops.iou(true, kept).max(1)
            assert best.min() > 0.5 and torch.equal(own[match], label)  # .69 to .94 and .99 with four seeds


def test_an_object_belongs_to_the_cell_of_its_center_and_the_most_similar_anchor():
    network = MAKERS["yolo"]()
    boxes = [torch.tensor([[0.0, 0, 11, 9]]), torch.zeros(0, 4), torch.tensor([[40.0, 30, 61, 45], [63.0, 47, 64, 48]])]
    labels = [torch.tensor([2]), torch.zeros(0, dtype=torch.int64), torch.tensor([0, 1])]
    image, place, box, label = network.assigned(boxes, labels, 6, 8)
    assert image.tolist() == [0, 2, 2] and label.tolist() == [2, 0, 1] and torch.equal(box, torch.cat(boxes))
    # (row, column, anchor)
    expected = [(0, 0, 0), (4, 6, 1), (5, 7, 0)]
    assert place.tolist() == [(row * 8 + column) * 2 + anchor for row, column, anchor in expected]


def exact_answer(network, box, label, rows=6, columns=8):
    """The maps of a YOLO network that says exactly this box and class."""
    _, place, _, _ = network.assigned([box[None]], [torch.tensor([label])], rows, columns)
    center, size = ops.centers_and_sizes(box)
    inside = center / network.stride - (center / network.stride).floor()
    values = torch.full((1, rows * columns * len(ANCHORS), 8), -20.0)
    values[0, place, :2] = torch.logit(inside)
    values[0, place, 2:4] = (size / network.anchors[place % len(ANCHORS)]).log()
    values[0, place, 4], values[0, place, 5 + label] = 20.0, 20.0
    return values.view(1, rows, columns, len(ANCHORS), 8).permute(0, 3, 4, 1, 2).flatten(1, 2)


@pytest.mark.parametrize("shuffled", [False, True])
def test_yolo_finds_the_box_that_its_maps_describe_unless_anchors_are_shuffled(shuffled, monkeypatch):
    network, box = MAKERS["yolo"]().eval(), torch.tensor([20.0, 11, 43, 24])
    maps = exact_answer(network, box, 1)
    monkeypatch.setattr(network, "_maps", lambda x: maps)
    if shuffled:
        network.anchors = network.anchors.flip(0)
    boxes, labels, scores = network.detect(torch.zeros(1, *SHAPE), 0.5, 0.5, 10)
    assert labels[0].tolist() == [1] and scores[0].item() > 0.99
    assert torch.allclose(boxes[0][0], box, atol=1e-3) != shuffled
    terms = network.loss(torch.zeros(1, *SHAPE), [box[None]], [torch.tensor([1])])
    assert (sum(terms.values()).item() < 0.01) != shuffled


def test_anchors_of_a_proposal_network_by_their_overlap():
    anchors = torch.tensor([[0.0, 0, 10, 10], [2, 0, 12, 10], [30, 30, 40, 40], [6, 0, 16, 10], [50, 50, 60, 60]])
    boxes = [torch.tensor([[0.0, 0, 10, 10], [33.0, 33, 45, 45]]), torch.zeros(0, 4)]
    wanted, match, _ = assigned(anchors, boxes)
    # the second one overlaps by 2/3; the third is the best of its object; the fourth has 0.25
    assert wanted[0].tolist() == [1, 1, 1, 0, 0] and match[0, :3].tolist() == [0, 0, 1]
    assert wanted[1].tolist() == [0] * 5


def test_windows_cover_the_image():
    regions, real = Windows([[10, 10], [30, 20]], 0.5)(torch.zeros(2, *SHAPE))
    assert regions.shape[:2] == real.shape and real.all()
    assert (regions[..., :2].amin((0, 1)) == 0).all() and regions[..., 2].max() == 64 and regions[..., 3].max() == 48
    targets, _ = some_boxes(200)
    assert ops.iou(targets, regions[0]).amax(1).mean() > 0.45


@pytest.mark.parametrize(
    "network",
    [
        CNN([3, 64, 64], 10),
        ResNet([3, 64, 64], 10, depth=8),
        ResNet([3, 64, 64], 10, depth=18, form="imagenet", stem="large", width=8),
        VGG([3, 64, 64], 10, width=0.03),
        DenseNet([3, 64, 64], 10, blocks=[2, 2, 2], growth=4),
        GoogLeNet([3, 64, 64], 10, width=0.0625),
    ],
    ids=["cnn", "resnet", "resnet18", "vgg", "densenet", "googlenet"],
)
def test_every_image_network_is_a_backbone(network):
    names = dict(network.named_parameters())
    backbone = Backbone(network, [3, 64, 64], [2, 4])
    maps = backbone(torch.zeros(2, 3, 64, 64))
    assert [one.shape for one in maps] == [
        (2, channels, *size) for channels, size in zip(backbone.channels, ((32, 32), (16, 16)))
    ]
    own = dict(backbone.named_parameters())
    assert own and all(names[name] is parameter for name, parameter in own.items())
    with pytest.raises(ValueError, match="has no maps of stride 3"):
        Backbone(network, [3, 64, 64], [3])


def test_typical_sizes_are_found_and_cover_better_than_fixed_ones():
    truth = np.array([[10, 12], [30, 20], [60, 80]])
    sizes = np.concatenate([one * random.uniform(0.9, 1.1, (50, 2)) for one in truth])
    found = cluster_sizes(random.permutation(sizes), 3)
    np.testing.assert_allclose(found, truth, rtol=0.06)
    fixed = np.array([[16, 16], [32, 32], [64, 64]])
    covered = [size_overlap(sizes, means).max(1).mean() for means in (found, fixed)]
    assert covered[0] > covered[1] + 0.1
    assert cluster_sizes(np.zeros((0, 2)), 3).shape == (0, 2) and len(cluster_sizes(np.ones((5, 2)) * 9, 3)) == 1


# --- what is measured ------------------------------------------------------------------------------------------------


def predictions(*images):
    """BoxesPredictions from lists of (box, label, score)."""
    parts = [list(zip(*one)) if one else [(), (), ()] for one in images]
    boxes, labels, scores = (
        [np.array(part[at], dtype=kind).reshape(shape) for part in parts]
        for at, kind, shape in ((0, np.float32, (-1, 4)), (1, np.int64, -1), (2, np.float64, -1))
    )
    return BoxesPredictions(["a", "b"], boxes, labels, scores)


def objects(*pairs):
    boxes, labels = zip(*pairs) if pairs else ((), ())
    return {"boxes": np.array(boxes, np.float32).reshape(-1, 4), "labels": np.array(labels, np.int64)}


ONE, TWO, FAR = (0, 0, 20, 20), (30, 30, 50, 50), (70, 70, 90, 90)


def test_average_precision_of_known_cases():
    truth = [objects((ONE, 0), (TWO, 0)), objects((ONE, 0)), objects()]
    perfect = predictions([(ONE, 0, 0.9), (TWO, 0, 0.8)], [(ONE, 0, 0.7)], [])
    assert average_precision(truth, perfect).ap50 == average_precision(truth, perfect).ap == pytest.approx(1)
    assert np.isnan(average_precision(truth, perfect).of_classes[0, 1]), "no object of the second class"
    # a wrong box before the others: precision 1/2, 2/3, 3/4, made non-increasing from the right
    early = predictions([(ONE, 0, 0.9), (TWO, 0, 0.8)], [(ONE, 0, 0.7)], [(FAR, 0, 0.99)])
    assert average_precision(truth, early).ap50 == pytest.approx(0.75, abs=0.01)
    # a wrong box after all others costs nothing; one that is missed costs its recall
    late = predictions([(ONE, 0, 0.9), (TWO, 0, 0.8), (FAR, 0, 0.01)], [], [])
    assert average_precision(truth, late).ap50 == pytest.approx(67 / 101, abs=0.001)
    assert average_precision(truth, predictions([], [], [])).ap50 == 0
    # an overlap of .6 counts at .5 and .6 of the ten thresholds, at most
    loose = predictions([((0, 0, 20, 12), 0, 0.9)], [], [])
    found = average_precision([objects((ONE, 0)), objects(), objects()], loose)
    assert found.ap50 == pytest.approx(1) and found.ap == pytest.approx(0.3, abs=0.11) and found.ap75 == 0


def test_boxes_in_crowds_are_neither_right_nor_wrong():
    """As COCO counts a crowd: a box of its class that lies in it does not count, another one does."""
    crowd = {"ignored_boxes": np.array([FAR], np.float32), "ignored_labels": np.array([0])}
    truth = [objects((ONE, 0)) | crowd]
    inside, wrong = ((72, 72, 80, 80), 0, 0.95), ((72, 72, 80, 80), 1, 0.95)
    assert average_precision(truth, predictions([(ONE, 0, 0.9), inside, inside])).ap50 == pytest.approx(1)
    assert average_precision([objects((ONE, 0))], predictions([(ONE, 0, 0.9), inside])).ap50 == pytest.approx(0.5)
    assert np.isnan(average_precision([objects() | crowd], predictions([inside])).ap50), "there is no object"
    found = predictions([(ONE, 0, 0.9), inside, wrong])
    assert [one.kind for one in judge(truth, found)] == ["background", "correct"]
    np.testing.assert_allclose(found.mistakes(truth), [1 - 2 / 3])


def test_classes_of_equal_names_in_metrics_have_their_own():
    assert metric_names("AP50", ["a/b", "a,b", "c"]) == ["AP50_a_b", "AP50_a_b__2", "AP50_c"]
    for evaluator, feature in (
        (Detection(), Boxes(["a/b", "a,b"])),
        (Segmentation(), Mask(["a/b", "a,b"])),
        (MultiLabel(), Labels(["a/b", "a,b"])),
    ):
        evaluator.prepare(feature)
        assert sum("a_b" in name for name in evaluator.metrics) == 2


def test_duplicates_lower_the_average_precision():
    """What suppression is for: without it every object is found several times."""
    truth = [objects((ONE, 0)), objects((TWO, 0))]
    twice = [[(ONE, 0, 0.9), ((1, 0, 21, 20), 0, 0.8)], [(TWO, 0, 0.6), ((31, 30, 51, 50), 0, 0.5)]]
    assert average_precision(truth, predictions(*twice)).ap50 < 0.9
    boxes, labels, scores = (torch.tensor(np.stack(part)) for part in
                             (predictions(*twice).boxes, predictions(*twice).labels, predictions(*twice).scores))  # fmt: skip
    kept = ops.select_objects(boxes, scores, labels, 0.05, 0.5)
    once = BoxesPredictions(["a", "b"], *([one.numpy() for one in part] for part in kept))
    assert average_precision(truth, once).ap50 == pytest.approx(1)


def test_kinds_of_errors():
    truth = [objects((ONE, 0), (TWO, 1), (FAR, 0))]
    found = predictions(
        [
            (ONE, 0, 0.9),
            ((1, 1, 20, 20), 0, 0.8),
            (TWO, 0, 0.7),
            ((70, 70, 78, 90), 0, 0.6),
            ((0, 70, 9, 79), 1, 0.5),
            (FAR, 0, 0.1),
        ]
    )
    judged = judge(truth, found)
    assert [one.kind for one in judged] == [
        "correct", "duplicate", "classification", "localization", "background", "missed", "missed"
    ]  # fmt: skip
    assert [(one.predicted, one.true) for one in judged[2:]] == [(0, 1), (0, 0), (1, None), (None, 1), (None, 0)]
    assert judge([objects()], predictions([])) == []
