"""Augmentation: each step against its definition, seeds, and that only training batches change."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from mlrun.data.augment.images import (
    Affine,
    Blur,
    ColourJitter,
    Crop,
    CutMix,
    Erase,
    FancyPCA,
    Flip,
    Mixup,
    Noise,
    grey,
)
from mlrun.data.datasets.images import Digits
from mlrun.data.resizing import resize
from tests.data.through import encoded, loader, spec

STEPS = [
    Flip(),
    Flip(vertical=True),
    Crop(2),
    Affine(20, (0.8, 1.2), 0.1),
    ColourJitter(hue=0.1),
    Noise(0.2),
    Blur(),
    Erase(1.0),
]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def x():
    return torch.rand(16, 3, 12, 10, generator=generator(5))


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_a_step_changes_images_within_range_and_repeats_with_its_seed(step, x):
    before = x.clone()
    changed = step(x, generator(1))
    assert torch.equal(x, before), "the step wrote into its input"
    assert changed.shape == x.shape and changed.dtype == x.dtype and changed.min() >= 0 and changed.max() <= 1
    assert not torch.equal(changed, x)
    assert torch.equal(changed, step(x, generator(1))) and not torch.equal(changed, step(x, generator(2)))


def test_flip_mirrors_about_half_of_the_images():
    x = torch.rand(400, 1, 4, 4)
    changed = Flip()(x, generator())
    mirrored = (changed == x.flip(3)).flatten(1).all(1)
    same = (changed == x).flatten(1).all(1)
    assert (mirrored ^ same).all() and 150 < mirrored.sum() < 250


def test_crop_is_a_window_of_the_padded_image(x):
    padded = torch.nn.functional.pad(x, [2] * 4)
    for image, whole in zip(Crop(2)(x, generator()), padded):
        windows = [whole[:, top : top + 12, left : left + 10] for top in range(5) for left in range(5)]
        assert any(torch.equal(image, window) for window in windows)


def test_affine_by_a_quarter_turn_is_rot90_whatever_the_shape():
    x = torch.rand(1, 1, 9, 9)
    step = Affine(degrees=0)
    step.degrees = 90
    drawn = torch.rand(1, generator=generator(3))
    turned = step(x, generator(3))
    angle = float(-np.pi / 2 + np.pi * drawn)
    expected = _rotated(x[0, 0].numpy(), angle)
    np.testing.assert_allclose(turned[0, 0].numpy()[2:7, 2:7], expected[2:7, 2:7], atol=1e-5)


def _rotated(image, angle):
    """Turned counter-clockwise about its centre, bilinear: an independent pixel-by-pixel computation."""
    height, width = image.shape
    result = np.zeros_like(image)
    cos, sin = np.cos(angle), np.sin(angle)
    for row in range(height):
        for column in range(width):
            u, v = column - (width - 1) / 2, row - (height - 1) / 2
            source_x, source_y = cos * u - sin * v + (width - 1) / 2, sin * u + cos * v + (height - 1) / 2
            left, top = int(np.floor(source_x)), int(np.floor(source_y))
            for r, c in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
                if 0 <= r < height and 0 <= c < width:
                    result[row, column] += image[r, c] * (1 - abs(source_x - c)) * (1 - abs(source_y - r))
    return result


def test_affine_keeps_shapes_of_images_that_are_not_square():
    x = torch.zeros(1, 1, 40, 20)
    x[0, 0, 15:25, 5:15] = 1  # a square stays one: its area does not change when it turns
    for seed in range(5):
        assert Affine(45)(x, generator(seed)).sum() == pytest.approx(100, rel=0.02)


def test_affine_enlarges_and_shifts():
    x = torch.zeros(1, 1, 40, 40)
    x[0, 0, 15:25, 15:25] = 1
    assert Affine(0, (1.5, 1.5))(x, generator()).sum() == pytest.approx(225, rel=0.02)
    moved = Affine(0, (1, 1), 0.2)(x, generator(1))
    assert moved.sum() == pytest.approx(100, rel=0.02) and (moved - x).abs().sum() > 20


def test_colour_jitter_without_amount_changes_nothing_and_hue_keeps_brightness(x):
    torch.testing.assert_close(ColourJitter(0, 0, 0, 0)(x, generator()), x, atol=1e-6, rtol=0)
    middling = 0.4 + 0.2 * x
    turned = ColourJitter(0, 0, 0, 0.5)(middling, generator())
    assert not torch.allclose(turned, middling, atol=0.02)
    torch.testing.assert_close(grey(turned), grey(middling), atol=2e-3, rtol=0)


def test_blur_keeps_the_mean_of_a_wide_image_and_smooths_it():
    x = torch.rand(4, 2, 40, 40)
    blurred = Blur((1.0, 1.0))(x, generator())
    assert blurred.mean() == pytest.approx(float(x.mean()), abs=0.01) and blurred.std() < 0.5 * x.std()


def test_noise_has_at_most_the_asked_deviation():
    x = torch.full((200, 1, 8, 8), 0.5)
    spread = (Noise(0.1)(x, generator()) - x).flatten(1).std(1)
    assert 0.03 < spread.mean() < 0.07 and spread.max() < 0.13


def test_erase_takes_out_one_rectangle_of_the_asked_area():
    x = torch.ones(200, 2, 32, 32)
    erased = Erase(1.0, area=(0.1, 0.2), ratio=(0.5, 2.0))(x, generator()) == 0
    shares = erased[:, 0].float().mean(dim=(1, 2))
    assert torch.equal(erased[:, 0], erased[:, 1]) and 0.08 < shares.min() and shares.max() < 0.23
    for mask in erased[:, 0]:
        assert torch.equal(mask, mask.any(1)[:, None] & mask.any(0)[None, :])
    untouched = (Erase(0.25)(x, generator()) == 1).flatten(1).all(1)
    assert 130 < untouched.sum() < 170


def test_fancy_pca_by_its_definition():
    rng = np.random.default_rng(0)
    images = (rng.random((50, 3, 6, 6)) * np.array([1, 0.5, 0.2])[:, None, None]).astype(np.float32)
    images[:, 1] += 0.4 * images[:, 0]
    step = FancyPCA(0.1)
    step.fit(iter([images[:20], images[20:]]))
    values, vectors = np.linalg.eigh(np.cov(images.transpose(1, 0, 2, 3).reshape(3, -1), bias=True))
    drawn = 0.1 * torch.randn(50, 3, generator=generator(4)).numpy()
    expected = np.stack([sum(a[i] * values[i] * vectors[:, i] for i in range(3)) for a in drawn])
    shift = step(torch.from_numpy(images) * 0.5 + 0.2, generator(4)).numpy() - (images * 0.5 + 0.2)
    sign = np.sign((step.directions.numpy() * vectors).sum(0))  # an eigenvector's sign is free
    expected = np.stack([sum(s * a[i] * values[i] * vectors[:, i] for i, s in enumerate(sign)) for a in drawn])
    np.testing.assert_allclose(shift, np.broadcast_to(expected[:, :, None, None], shift.shape), atol=1e-5)


@pytest.mark.parametrize("step", [Mixup(1.0), CutMix(1.0)], ids=["mixup", "cutmix"])
def test_labels_are_mixed_in_the_share_of_the_pixels(step):
    classes = torch.arange(8)
    x = classes.float().view(8, 1, 1, 1).expand(8, 1, 20, 20) / 10
    y = torch.eye(8)
    for seed in range(5):
        mixed, shares = step(x, y, generator(seed))
        torch.testing.assert_close(shares.sum(1), torch.ones(8))
        torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), (shares * classes / 10).sum(1), atol=1e-4, rtol=0)


def digits(**options):
    return Digits("classification", "digits", 1, batch_size=100, **options)


def batches(data, part="train", shuffle=True):
    found = loader(data, part, shuffle=shuffle)
    return [(batch["pixel_values"].clone(), batch["labels"].clone()) for batch in found]


def test_only_training_batches_change():
    plain, augmented = digits(), digits(augment=[Noise(0.5)])
    assert not torch.equal(batches(plain)[0][0], batches(augmented)[0][0])
    assert torch.equal(batches(plain)[0][1], batches(augmented)[0][1])
    for part in ("train", "val", "test"):
        for (x, _), (same, _) in zip(batches(plain, part, False), batches(augmented, part, False)):
            assert torch.equal(x, same), part


@pytest.mark.parametrize("normalize", ["standardize", "unit", "none"])
@pytest.mark.parametrize("size", [None, 12])
def test_a_step_that_does_nothing_leaves_what_the_network_sees(normalize, size):
    options = dict(normalize=normalize, image_size=size)
    for (x, y), (same, z) in zip(batches(digits(**options)), batches(digits(augment=[Flip(0.0)], **options))):
        torch.testing.assert_close(x, same, atol=1e-5, rtol=1e-5)
        assert torch.equal(y, z)


def test_augmentation_repeats_with_the_seed_and_after_resuming_in_an_epoch():
    steps = [Crop(1), Noise(0.3), Mixup()]
    whole = loader(digits(augment=steps), "train", shuffle=True)
    first, second = ([batch["pixel_values"] for batch in whole] for _ in range(2))
    assert not torch.equal(first[0], second[0])
    again = loader(digits(augment=steps), "train", shuffle=True)
    list(again)
    iterator = iter(again)
    for _ in range(4):
        next(iterator)
    resumed = loader(digits(augment=steps), "train", shuffle=True)
    resumed.load_state_dict(again.state_dict())
    rest = [batch["pixel_values"] for batch in resumed]
    assert len(rest) == len(second) - 4 and all(torch.equal(a, b) for a, b in zip(rest, second[4:]))


@pytest.mark.parametrize("size", [(28, 28), (8, 5), (3, 12), (9, 7)])
def test_resizing_by_matrix_products_is_interpolation(size):
    x = torch.rand(4, 3, 9, 7)
    shrinks = size[0] < 9 or size[1] < 7
    expected = functional.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=shrinks)
    torch.testing.assert_close(resize(x, size), expected, atol=1e-6, rtol=0)


def test_images_are_resized_per_batch_as_by_the_transform():
    data = digits(image_size=20)
    assert spec(data)["image_shape"] == [1, 20, 20]
    x, _ = batches(data, "test", False)[0]
    assert x.shape == (100, 1, 20, 20)
    np.testing.assert_allclose(x.numpy(), encoded(data, "test")["pixel_values"][:100], atol=1e-5)
    assert loader(data, "train").columns[0].values.shape[1:] == (1, 8, 8), "the set as a whole stays small"


def test_only_smaller_images_are_enlarged():
    assert spec(digits(enlarge_to=6))["image_shape"] == [1, 8, 8]
    assert spec(digits(enlarge_to=16))["image_shape"] == [1, 16, 16]
    assert spec(digits(enlarge_to=16, image_size=12))["image_shape"] == [1, 12, 12]
