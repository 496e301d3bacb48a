"""Translator and discriminator of CycleGAN: shapes, ranges, sizes of the paper's form."""

from __future__ import annotations

import pytest
import torch

from mlrun.networks.generative.cyclegan import PatchDiscriminator, Translator


@pytest.mark.parametrize(
    "shape, options",
    [
        ([1, 8, 8], {"halvings": 1}),
        ([3, 32, 32], {}),
        ([3, 13, 18], {"norm": "batch"}),
        ([1, 8, 8], {"halvings": 0, "norm": "none"}),
    ],
)
def test_a_translation_has_the_shape_and_range_of_its_image(shape, options):
    translator = Translator(shape, **{"channels": 4, "blocks": 1, "kernel": 3, **options})
    out = translator(5 * torch.randn(2, *shape))
    assert out.shape == (2, *shape) and out.abs().max() <= 1


def test_the_papers_sizes():
    """Translators of 128-pixel images have 7.8 million weights (Isola's table), discriminators 2.76 million with 4x4 at the end, here 3x3."""
    translator = Translator([3, 128, 128])
    weights = sum(p.numel() for p in translator.parameters())
    assert 7.7e6 < weights < 7.9e6
    discriminator = PatchDiscriminator([3, 128, 128])
    assert discriminator(torch.zeros(1, 3, 128, 128)).shape == (1, 1, 16, 16)
    assert (
        sum(p.numel() for p in discriminator.parameters())
        == 3 * 64 * 16 + 64 + 64 * 128 * 16 + 128 + 128 * 256 * 16 + 256 + 256 * 512 * 9 + 512 + 512 * 9 + 1
    )


def test_a_discriminator_looks_at_patches():
    """A pixel far away changes nothing but what instance norm says of the whole image."""
    torch.manual_seed(0)
    discriminator = PatchDiscriminator([1, 64, 64], channels=4, halvings=2, norm="none")
    x = torch.randn(1, 1, 64, 64)
    other = x.clone()
    other[..., 60, 60] += 3
    changed = (discriminator(x) - discriminator(other)).abs()[0, 0] > 0
    assert not changed[:8, :8].any() and changed[-1, -1]
