"""Boxes, masks and points move with their image: what is drawn into the pixels is found again where the targets say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlrun.data.augment.images import Affine, Blur, ColourJitter, Crop, FancyPCA, Flip, Mixup, Noise
from mlrun.data.augment.mosaic import Mosaic
from mlrun.data.examples import Examples
from mlrun.data.features import Boxes, Mask, Photo, Points, Value
from mlrun.data.preprocess.boxes import BoxesEncoder
from mlrun.data.preprocess.masks import IGNORED
from mlrun.data.preprocess.preprocessor import FeaturePreprocessor
from mlrun.data.readers.objects import mirrored
from mlrun.errors import ConfigError

SIDE, ROWS = 40, 24
NAMES = ["left_eye", "right_eye", "nose"]
STEPS = {
    "flip": [Flip(1.0)],
    "flip_vertical": [Flip(1.0, vertical=True)],
    "crop": [Crop(6)],
    "scale": [Affine(degrees=0, scale=(0.7, 1.3), shift=0.15)],
    "both": [Flip(0.5), Affine(degrees=0, scale=(0.8, 1.2), shift=0.1)],
    "mosaic": [Mosaic(1.0)],
}


def scenes():
    """Images with one white rectangle each, its box, its mask, and points at three of its corners."""
    random = np.random.default_rng(3)
    pixels, objects, points = np.zeros((ROWS, 3, SIDE, SIDE), np.uint8), [], []
    for image in pixels:
        (left, top), (width, height) = random.integers(4, 18, 2), random.integers(8, 18, 2)
        image[:, top : top + height, left : left + width] = 255
        box = np.array([[left, top, left + width, top + height]], np.float32)
        objects.append({"boxes": box, "labels": np.array([random.integers(3)])})
        points.append([[left, top], [left + width, top], [left, top + height]])
    return pixels, objects, (pixels[:, 0] > 0).astype(np.uint8), np.array(points, np.float32)


def augmented(steps, target, feature, seed=0):
    """The batch of all scenes after the steps, pixels from 0 to 1."""
    pixels = scenes()[0]
    features = {"image": Photo(), "target": feature}
    examples = Examples({"image": pixels, "target": target}, features)
    made = FeaturePreprocessor({"image": features["image"]}, {"target": feature}, augment=steps, normalize="unit")
    made.fit(examples)
    encode, finish, is_random = made.deferred(examples, True, "cpu")
    assert is_random
    batch = {
        name: values if isinstance(values, list) else torch.as_tensor(values)
        for name, values in encode(examples).items()
    }
    batch = {name: [torch.as_tensor(one) for one in v] if isinstance(v, list) else v for name, v in batch.items()}
    return finish(batch, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", [name for name in STEPS if name != "mosaic"])
def test_boxes_are_where_the_objects_are(name):
    batch = augmented(STEPS[name], scenes()[1], Boxes(["a", "b", "c"]))
    checked = 0
    for image, boxes in zip(batch["pixel_values"], batch["boxes"]):
        bright = image[0] > 0.5
        rows, columns = torch.nonzero(bright.any(1)).flatten(), torch.nonzero(bright.any(0)).flatten()
        if len(boxes):
            seen = torch.tensor([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()
            torch.testing.assert_close(boxes[0], seen, atol=0.75, rtol=0)
            checked += 1
        else:
            assert bright.float().mean() < 0.1
    assert checked >= ROWS * 3 // 4
    before = torch.tensor(np.concatenate([one["boxes"] for one in scenes()[1]]))
    moved = [(one[0] - old).abs().max() for one, old in zip(batch["boxes"], before) if len(one)]
    assert max(moved) > 2, "nothing moved"
    assert all(len(one) == len(own) for one, own in zip(batch["boxes"], batch["labels"]))


def test_boxes_that_are_not_moved_are_found_out(monkeypatch):
    monkeypatch.setattr(BoxesEncoder, "follow", lambda self, batch, parts: None)
    with pytest.raises(AssertionError):
        test_boxes_are_where_the_objects_are("flip")


def test_a_mosaic_has_the_objects_of_its_four_images():
    batch = augmented(STEPS["mosaic"], scenes()[1], Boxes(["a", "b", "c"]))
    counts = [len(boxes) for boxes in batch["boxes"]]
    assert max(counts) >= 3 and sum(counts) > ROWS
    for image, boxes in zip(batch["pixel_values"], batch["boxes"]):
        for left, top, right, bottom in boxes.tolist():
            inside = image[0, int(np.ceil(top)) : int(bottom), int(np.ceil(left)) : int(right)]
            assert not inside.numel() or inside.mean() > 0.8
    classes = {tuple(sorted(own.tolist())) for own in batch["labels"]}
    assert len(classes) > 3


@pytest.mark.parametrize("name", STEPS)
def test_masks_are_where_the_objects_are(name):
    batch = augmented(STEPS[name], scenes()[2], Mask(["background", "object"]))
    seen, masks = batch["pixel_values"][:, 0] > 0.5, batch["labels"]
    counted = masks != IGNORED
    wrong = ((masks == 1) != seen) & counted
    assert wrong.sum() / counted.sum() < (0.02 if name in ("scale", "both", "mosaic") else 1e-9)
    assert counted.float().mean() > 0.6
    assert not seen[~counted].any(), "what is outside the source is black and does not count"


@pytest.mark.parametrize("name", ["flip", "flip_vertical", "crop", "scale", "both"])
def test_points_are_where_the_objects_are(name):
    batch = augmented(STEPS[name], scenes()[3], Points(NAMES))
    boxes = augmented(STEPS[name], scenes()[1], Boxes(["a", "b", "c"]))["boxes"]
    points = batch["points"] * SIDE
    for own, box in zip(points, boxes):
        if own.isnan().any() or not len(box):
            continue
        corners = torch.stack([own.amin(0), own.amax(0)]).flatten()
        torch.testing.assert_close(corners, box[0], atol=1e-3, rtol=0)


def test_left_and_right_are_exchanged_in_mirror_images():
    points = scenes()[3]
    found = augmented([Flip(1.0)], points, Points(NAMES, [1, 0, 2]))["points"] * SIDE
    torch.testing.assert_close(found[:, 1, 0], SIDE - torch.tensor(points[:, 0, 0]))
    torch.testing.assert_close(found[:, 2, 0], SIDE - torch.tensor(points[:, 2, 0]))
    turned = augmented([Flip(1.0), Flip(1.0, vertical=True)], points, Points(NAMES, [1, 0, 2]))["points"] * SIDE
    torch.testing.assert_close(turned[:, 0, 0], SIDE - torch.tensor(points[:, 0, 0]))


def test_names_of_left_and_right():
    assert mirrored(["left_eye", "right_eye", "nose"]) == mirrored(["EyeLeft", "eyeRight", "bright spot"]) == [1, 0, 2]
    assert mirrored(["nose", "mouth"]) is None


def test_points_outside_are_not_visible():
    found = augmented([Affine(degrees=0, scale=(1.6, 1.6))], scenes()[3], Points(NAMES))["points"]
    assert found.isnan().any() and not found.isnan().all()
    visible = found[~found.isnan()]
    assert (visible >= 0).all() and (visible <= 1).all()


def test_steps_that_would_make_targets_wrong_are_refused():
    with pytest.raises(ConfigError, match="Mixup mixes classes; this dataset's target is boxes"):
        augmented([Mixup()], scenes()[1], Boxes(["a", "b", "c"]))
    with pytest.raises(ConfigError, match="Mosaic joins images; this dataset's target is points"):
        augmented([Mosaic()], scenes()[3], Points(NAMES))
    values = np.arange(float(len(scenes()[1])))
    with pytest.raises(ConfigError, match="Flip moves or hides pixels, and the target is a value"):
        augmented([Noise(), Flip()], values, Value())
    coloured = augmented([ColourJitter(hue=0.5), Noise(), Blur(), FancyPCA()], values, Value())
    plain = augmented([Noise(std=0.0)], values, Value())
    assert coloured["labels"].equal(plain["labels"]) and not coloured["pixel_values"].equal(plain["pixel_values"])


def test_turned_boxes_contain_the_objects():
    batch = augmented([Affine(degrees=25)], scenes()[1], Boxes(["a", "b", "c"]))
    for image, boxes in zip(batch["pixel_values"], batch["boxes"]):
        rows, columns = torch.nonzero(image[0] > 0.6, as_tuple=True)
        left, top, right, bottom = boxes[0].tolist()
        assert columns.min() >= left - 1 and columns.max() <= right and rows.min() >= top - 1 and rows.max() <= bottom
