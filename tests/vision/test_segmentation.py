"""Segmentation, landmarks and several labels: losses and metrics by their definitions, upsampling, thresholds."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mlrun.data.features import Labels, Mask
from mlrun.data.predictions import LabelsPredictions, MaskPredictions, PointsPredictions
from mlrun.data.preprocess.masks import IGNORED
from mlrun.errors import ConfigError
from mlrun.evaluation.landmarks import normalized_errors
from mlrun.evaluation.multi_label import MultiLabel
from mlrun.evaluation.segmentation import Segmentation as SegmentationEvaluator
from mlrun.networks.vision.cnn import CNN
from mlrun.networks.vision.fcn import FCN
from mlrun.networks.vision.unet import UNet
from mlrun.networks.vision.upsampling import Enlarge, TransposedUpsampling
from mlrun.tasks.landmarks import Landmarks
from mlrun.tasks.multi_label import best_threshold
from mlrun.tasks.segmentation import Segmentation, soft_dice

random = np.random.default_rng(0)


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_a_new_transposed_convolution_is_bilinear_interpolation(factor):
    x = torch.randn(2, 3, 6, 7)
    found = TransposedUpsampling(3, 3, factor, groups=3)(x)
    expected = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    inside = slice(factor, -factor)  # at the edge one continues the image, the other sees zeros
    torch.testing.assert_close(found[..., inside, inside], expected[..., inside, inside])
    assert (
        Enlarge(3, 5, factor, "transposed")(x).shape
        == Enlarge(3, 5, factor, "bilinear")(x).shape
        == (2, 5, 6 * factor, 7 * factor)
    )


@pytest.mark.parametrize("upsampling", ["transposed", "bilinear"])
@pytest.mark.parametrize("size", [(32, 32), (37, 50)])
def test_scores_have_the_size_of_the_image(size, upsampling):
    shape = [1, *size]
    for network in (
        FCN(shape, 4, CNN(shape, 1, channels=[4, 4, 8, 8]), [8], upsampling),
        FCN(shape, 4, CNN(shape, 1, channels=[4, 4, 8, 8]), [2, 4, 8], upsampling),
        UNet(shape, 4, CNN(shape, 1, channels=[4, 4, 8]), [1, 2, 4], 1, upsampling),
        UNet(shape, 4, CNN(shape, 1, channels=[4, 4, 8]), [2, 4], 2, upsampling),
    ):
        scores = network(torch.randn(2, *shape))
        assert scores.shape == (2, 4, *size)
        scores.sum().backward()
        assert all(parameter.grad is not None for parameter in network.parameters())


def test_losses_by_their_definitions():
    scores, truth = torch.randn(2, 3, 5, 4, dtype=torch.float64), torch.randint(0, 3, (2, 5, 4))
    truth[0, 0] = IGNORED
    chances, known = scores.softmax(1), truth != IGNORED
    own = chances.gather(1, truth.masked_fill(~known, 0)[:, None])[:, 0]
    focal = (-((1 - own) ** 2) * own.log())[known].mean()
    dice = []
    for label in range(3):
        wanted, share = (truth == label).double(), chances[:, label] * known
        dice.append(2 * (share * wanted).sum() / (share.sum() + wanted.sum()))
    expected = {"cross_entropy": -own.log()[known].mean(), "focal": focal, "dice": 1 - torch.stack(dice).mean()}
    for name, value in expected.items():
        task = Segmentation(torch.nn.Identity(), 3, {name: 1.0})
        torch.testing.assert_close(getattr(task, f"_{name}")(scores, truth), value)
        empty = getattr(task, f"_{name}")(scores.requires_grad_(), torch.full_like(truth, IGNORED))
        assert empty.item() == pytest.approx(0, abs=1e-9)
    weighted = Segmentation(torch.nn.Identity(), 3, weights=[1.0, 5.0])
    weights = torch.where(truth == 1, 5.0, 1.0)[known]
    value = weighted.double()._cross_entropy(scores, truth)
    torch.testing.assert_close(value, -(weights * own.log()[known]).sum() / weights.sum())
    assert soft_dice(F.one_hot(truth.masked_fill(~known, 0), 3).movedim(-1, 1).double(), truth).item() == pytest.approx(
        1
    )
    with pytest.raises(ConfigError, match="give weights of some of"):
        Segmentation(torch.nn.Identity(), 3, {"dise": 1.0})


class Known:
    """A subject of an evaluation with these targets."""

    targets = ("target",)
    in_training = False

    def __init__(self):
        self.data = self


def measured(evaluator, feature, truth, found):
    evaluator.prepare(feature)
    evaluator.begin(Known())
    evaluator.update({}, {"target": truth}, found)
    return evaluator.compute()


def test_overlap_of_masks_and_what_a_shift_costs():
    truth = np.zeros((6, 32, 32), np.uint8)
    for mask in truth:
        top, left = random.integers(4, 14, 2)
        mask[top : top + 12, left : left + 10] = random.integers(1, 3)
    truth[:, :2] = 9
    feature = Mask(["ground", "one", "two"], 9)
    right = measured(
        SegmentationEvaluator(), feature, truth, MaskPredictions(feature.classes, np.where(truth == 9, 1, truth), 9)
    )
    assert right["miou"] == right["dice"] == right["pixel_accuracy"] == 1
    shifted = np.where(np.roll(truth, 2, 2) == 9, 0, np.roll(truth, 2, 2))
    moved = measured(SegmentationEvaluator(), feature, truth, MaskPredictions(feature.classes, shifted, 9))
    counted = truth != 9
    expected = []
    for label in range(3):
        one, other = (truth == label) & counted, (shifted == label) & counted
        expected.append((one & other).sum() / (one | other).sum())
    assert moved["miou"] == pytest.approx(np.mean(expected)) and moved["miou"] < 0.85
    assert moved["iou_one"] == pytest.approx(expected[1])
    assert moved["dice_foreground"] == pytest.approx(np.mean([2 * iou / (1 + iou) for iou in expected[1:]]))


def test_distances_of_points():
    truth = np.array([[[0, 0], [3, 4], [np.nan, np.nan]], [[0, 0], [6, 8], [3, 4]]])
    found = np.nan_to_num(truth, nan=50.0) + [1, 0]
    np.testing.assert_allclose(normalized_errors(found, truth), [1 / 5, 1 / 10])
    assert np.isnan(normalized_errors(found[:1], np.full((1, 3, 2), np.nan))).all()
    np.testing.assert_allclose(normalized_errors(found[:, :1], truth[:, :1], np.array([50.0, 20.0])), [1 / 50, 1 / 20])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nowhere = PointsPredictions(["a", "b", "c"], found).mistakes(np.full((2, 3, 2), np.nan))
    assert nowhere.tolist() == [0, 0]


@pytest.mark.parametrize("loss", ["squared", "l1", "wing"])
def test_points_that_are_not_visible_cost_nothing(loss):
    mean = [[0.2, 0.3], [0.6, 0.7]]
    task = Landmarks(torch.nn.Flatten(), mean, loss)
    batch = {"pixel_values": torch.zeros(3, 4), "points": torch.tensor([mean] * 3)}
    assert task.loss(batch).value.item() == pytest.approx(0, abs=1e-6)
    batch["points"][0, 0] = torch.nan
    assert task.loss(batch).value.item() == pytest.approx(0, abs=1e-6)
    batch["points"][1, 1] += 0.05
    near = task.loss(batch).value.item()
    batch["points"][1, 1] += 0.2
    assert 0 < near < task.loss(batch).value.item()
    assert torch.isfinite(task.loss({**batch, "points": torch.full((3, 2, 2), torch.nan)}).value)
    task.preprocessor = None
    torch.testing.assert_close(task.predict(batch)["points"], torch.tensor([mean] * 3))


def test_thresholds_with_the_largest_f1():
    from sklearn.metrics import f1_score

    for _ in range(10):
        chances, present = random.random(30).round(1), random.random(30) < 0.3
        threshold = best_threshold(chances, present)
        best = max(f1_score(present, chances >= at, zero_division=0) for at in np.append(chances, 1.1))
        assert f1_score(present, chances >= threshold, zero_division=0) == pytest.approx(best)
    assert best_threshold(chances, np.zeros(30, dtype=bool)) == 0.5


def test_metrics_of_several_labels_equal_those_of_scikit_learn():
    from sklearn.metrics import average_precision_score, f1_score

    truth, chances = random.random((80, 4)) < 0.3, random.random((80, 4))
    truth[:, 3] = False
    thresholds = np.array([0.3, 0.5, 0.6, 0.7])
    found = measured(MultiLabel(), Labels(list("abcd")), truth, LabelsPredictions(list("abcd"), chances, thresholds))
    expected = [average_precision_score(truth[:, at], chances[:, at]) for at in range(3)]
    assert found["map"] == pytest.approx(np.mean(expected)) and found["average_precision_b"] == pytest.approx(
        expected[1]
    )
    assert found["f1_micro"] == pytest.approx(f1_score(truth, chances >= thresholds, average="micro"))
    assert found["f1_macro"] == pytest.approx(f1_score(truth, chances >= thresholds, average="macro", zero_division=0))
    assert np.isnan(found["average_precision_d"])
