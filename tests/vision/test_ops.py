"""Operations on boxes and regions against brute force, with degenerate boxes and empty images; against torchvision where it can be imported."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlrun.networks.vision import ops

CASES = 2000
random = np.random.default_rng(0)


def boxes_of(count, whole=False):
    """Random boxes in a small image, so that many overlap; some have no area, some are inverted."""
    corners = random.uniform(-2, 12, (count, 2))
    sizes = random.uniform(0.5, 8, (count, 2)) if whole else random.uniform(-1, 8, (count, 2))
    made = np.concatenate([corners, corners + sizes], 1)
    if not whole and count:
        made[random.random(count) < 0.15] = np.tile(random.integers(0, 10, 2), 2)  # a point
        made = np.where(random.random(made.shape) < 0.2, made.round(), made)  # sides in common
    return made


def brute_iou(one, other):
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1]) for box in (one, other)]
    union = sum(areas) - width * height
    return width * height / union if union > 0 else 0.0


def brute_nms(boxes, scores, groups, threshold):
    kept = []
    for place in sorted(range(len(boxes)), key=lambda at: (-scores[at], at)):
        if all(groups[at] != groups[place] or brute_iou(boxes[at], boxes[place]) <= threshold for at in kept):
            kept.append(place)
    return kept


def test_overlap_equals_brute_force():
    first, second = boxes_of(CASES), boxes_of(CASES)
    expected = [brute_iou(one, other) for one, other in zip(first, second)]
    found = ops.paired_iou(torch.tensor(first), torch.tensor(second))
    np.testing.assert_allclose(found, expected, atol=1e-9)
    table = ops.iou(torch.tensor(first[:40]), torch.tensor(second[:50]))
    np.testing.assert_allclose(
        table, [[brute_iou(one, other) for other in second[:50]] for one in first[:40]], atol=1e-9
    )
    assert ops.iou(torch.zeros(0, 4), torch.zeros(3, 4)).shape == (0, 3)
    assert not ops.iou(torch.ones(2, 4), torch.ones(2, 4)).any()


def test_generalized_and_complete_overlap_by_their_definitions():
    for one, other in zip(boxes_of(CASES, whole=True), boxes_of(CASES, whole=True)):
        iou = brute_iou(one, other)
        low, high = np.minimum(one[:2], other[:2]), np.maximum(one[2:], other[2:])
        area = np.prod(high - low)
        sides = [box[2:] - box[:2] for box in (one, other)]
        union = sum(np.prod(side) for side in sides) / (1 + iou)
        centers = [(box[:2] + box[2:]) / 2 for box in (one, other)]
        v = 4 / np.pi**2 * (np.arctan(sides[0][0] / sides[0][1]) - np.arctan(sides[1][0] / sides[1][1])) ** 2
        alpha = v / (1 - iou + v) if v > 0 else 0.0
        distance = ((centers[0] - centers[1]) ** 2).sum() / ((high - low) ** 2).sum()
        pair = torch.tensor(one), torch.tensor(other)
        assert ops.giou(*pair).item() == pytest.approx(iou - (area - union) / area, abs=1e-9)
        assert ops.ciou(*pair).item() == pytest.approx(iou - distance - alpha * v, abs=1e-6)
        if random.random() < 0.95:
            continue
        found = torch.tensor(one, requires_grad=True)
        ops.ciou(found, pair[1]).backward()
        assert torch.isfinite(found.grad).all()


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7])
def test_suppression_equals_brute_force(threshold):
    for case in range(CASES // 20):
        count = int(random.integers(0, 40))
        boxes, groups = boxes_of(count), random.integers(0, 3, count)
        scores = random.random(count).round(1 if case % 2 else 6)  # some are equal
        given = torch.tensor(boxes).view(-1, 4), torch.tensor(scores)
        assert ops.nms(*given, threshold, torch.tensor(groups)).tolist() == brute_nms(boxes, scores, groups, threshold)
        alone = np.zeros(count)
        assert ops.nms(*given, threshold).tolist() == brute_nms(boxes, scores, alone, threshold)


def test_suppression_across_blocks_and_without_boxes():
    count = 3 * ops.BLOCK + 17
    boxes, scores = boxes_of(count), random.random(count)
    expected = brute_nms(boxes, scores, np.zeros(count), 0.5)
    assert ops.nms(torch.tensor(boxes), torch.tensor(scores), 0.5).tolist() == expected
    assert ops.nms(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []


def test_objects_of_a_batch_equal_those_of_each_image():
    boxes, scores = (
        torch.tensor(boxes_of(6 * 50)).view(6, 50, 4),
        torch.rand(6, 50, generator=torch.Generator().manual_seed(1)),
    )
    labels = torch.tensor(random.integers(0, 2, (6, 50)))
    scores[3] = 0.0  # an image without objects
    found = ops.select_objects(boxes, scores, labels, 0.2, 0.4, most=7)
    for image, (kept, own, sure) in enumerate(zip(*found)):
        whole = ops.nms(boxes[image], scores[image], 0.4, labels[image])
        whole = whole[scores[image][whole] >= 0.2][:7]
        assert torch.equal(kept, boxes[image][whole]) and torch.equal(own, labels[image][whole])
        assert torch.equal(sure, scores[image][whole])
    assert not len(found[0][3])


def test_boxes_are_coded_and_decoded():
    boxes, anchors = torch.tensor(boxes_of(CASES, whole=True)), torch.tensor(boxes_of(CASES, whole=True))
    torch.testing.assert_close(ops.decode_boxes(ops.encode_boxes(boxes, anchors), anchors), boxes)
    box, anchor = torch.tensor([2.0, 2, 6, 4]), torch.tensor([0.0, 0, 4, 4])
    torch.testing.assert_close(
        ops.encode_boxes(box, anchor), torch.tensor([0.5, 0.25, 0.0, np.log(0.5)], dtype=torch.float32)
    )
    assert torch.isfinite(ops.encode_boxes(torch.zeros(4), torch.zeros(4))).all()
    assert torch.isfinite(ops.decode_boxes(torch.full((4,), 1e4), anchor)).all()
    assert ops.clip(torch.tensor([-3.0, -1, 50, 20]), 10, 30).tolist() == [0, 0, 30, 10]


def test_anchors_lie_around_the_cells_in_the_order_of_the_scores():
    sizes = torch.tensor([[2.0, 4], [6, 6]])
    anchors = ops.grid_anchors(sizes, 2, 3, 8.0).view(2, 3, 2, 4)
    for row in range(2):
        for column in range(3):
            for place, (width, height) in enumerate(sizes.tolist()):
                x, y = 8 * column + 4, 8 * row + 4
                assert anchors[row, column, place].tolist() == [
                    x - width / 2,
                    y - height / 2,
                    x + width / 2,
                    y + height / 2,
                ]


def bilinear(values, y, x):
    height, width = values.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    down, right = min(top + 1, height - 1), min(left + 1, width - 1)
    across = [(1 - (x - left)) * values[row, left] + (x - left) * values[row, right] for row in (top, down)]
    return (1 - (y - top)) * across[0] + (y - top) * across[1]


def brute_align(maps, box, image, rows, columns, scale, samples):
    left, top, right, bottom = (side * scale - 0.5 for side in box)
    height, width = (bottom - top) / rows, (right - left) / columns
    steps = (np.arange(samples) + 0.5) / samples
    return np.array([[[np.mean([bilinear(channel, top + (row + down) * height, left + (column + across) * width)
                                for down in steps for across in steps])
                       for column in range(columns)] for row in range(rows)] for channel in maps[image]])  # fmt: skip


def brute_pool(maps, box, image, rows, columns, scale):
    def half_up(value):
        return int(np.floor(value + 0.5))

    left, top, right, bottom = (half_up(side * scale) for side in box)
    height, width = max(bottom - top + 1, 1) / rows, max(right - left + 1, 1) / columns
    pooled = np.zeros((maps.shape[1], rows, columns))
    for row in range(rows):
        for column in range(columns):
            y = [
                min(max(int(edge) + top, 0), maps.shape[2])
                for edge in (np.floor(row * height), np.ceil((row + 1) * height))
            ]
            x = [
                min(max(int(edge) + left, 0), maps.shape[3])
                for edge in (np.floor(column * width), np.ceil((column + 1) * width))
            ]
            part = maps[image][:, y[0] : y[1], x[0] : x[1]]
            if part.size:
                pooled[:, row, column] = part.max((1, 2))
    return pooled


@pytest.mark.parametrize("size", [2, (3, 1)])
def test_regions_equal_brute_force(size):
    rows, columns = (size, size) if isinstance(size, int) else size
    maps = random.normal(size=(3, 2, 6, 5))
    count, scale = 60, 0.5
    boxes, images = boxes_of(count), random.integers(0, 2, count)  # the last image has no region
    given = torch.tensor(maps), torch.tensor(boxes), torch.tensor(images), size
    aligned, pooled = ops.roi_align(*given, scale, samples=2), ops.roi_pool(*given, scale)
    for place, (box, image) in enumerate(zip(boxes, images)):
        np.testing.assert_allclose(aligned[place], brute_align(maps, box, image, rows, columns, scale, 2), atol=1e-9)
        np.testing.assert_allclose(pooled[place], brute_pool(maps, box, image, rows, columns, scale), atol=1e-9)


def test_no_regions_and_gradients_of_regions():
    maps = torch.randn(2, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    none = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    for pool in (ops.roi_align, ops.roi_pool):
        assert pool(maps, *none, 2).shape == (0, 3, 2, 2)
    boxes, images = torch.tensor(boxes_of(5, whole=True)), torch.tensor([0, 0, 1, 0, 1])
    assert torch.autograd.gradcheck(lambda x: ops.roi_align(x, boxes, images, 2, 0.5), maps)


def test_torchvision_gives_the_same():
    try:
        from torchvision import ops as published
    except Exception as error:  # its wheel may not suit the installed torch
        pytest.skip(f"torchvision cannot be imported: {error}")
    boxes, scores = torch.tensor(boxes_of(500, whole=True)), torch.rand(500, dtype=torch.float64)
    assert torch.equal(ops.nms(boxes, scores, 0.5), published.nms(boxes, scores, 0.5))
    torch.testing.assert_close(ops.iou(boxes, boxes), published.box_iou(boxes, boxes))
    images = torch.randint(0, 2, (500,))
    maps, regions = torch.randn(2, 4, 8, 8, dtype=torch.float64), torch.cat([images[:, None].double(), boxes], 1)
    torch.testing.assert_close(
        ops.roi_align(maps, boxes, images, 3, 0.5, 2), published.roi_align(maps, regions, 3, 0.5, 2, aligned=True)
    )
    torch.testing.assert_close(ops.roi_pool(maps, boxes, images, 3, 0.5), published.roi_pool(maps, regions, 3, 0.5))
