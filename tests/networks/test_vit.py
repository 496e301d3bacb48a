"""The Vision Transformer: its size in the paper, positions for other images, attention rollout, and that it learns."""

from __future__ import annotations

import pytest
import torch

from mlrun.experiment.stored import open_run
from mlrun.networks.text.attention import kept_weights
from mlrun.networks.vision.vit import ViT
from tests.test_models import trained

SMALL = {"patch": 4, "width": 16, "heads": 2, "layers": 2}


@pytest.mark.parametrize(
    ("width", "heads", "parameters"), [(192, 3, 5_717_416), (384, 6, 22_050_664), (768, 12, 86_567_656)]
)
def test_the_models_of_the_papers_have_their_parameters(width, heads, parameters):
    """ViT-Ti/16 and ViT-S/16 of DeiT (Touvron et al. 2021) and ViT-B/16, as timm publishes them."""
    with torch.device("meta"):
        network = ViT([3, 224, 224], 1000, patch=16, width=width, heads=heads, layers=12)
    # there the class token has a position besides its vector
    assert sum(p.numel() for p in network.parameters()) == parameters - width


def test_patches_are_read_in_place():
    """A patch is a linear layer on its pixels, and exchanging two patches exchanges their vectors but for the positions."""
    network = ViT([1, 8, 8], 3, **SMALL, positions="sinusoidal", pooling="mean")
    x = torch.randn(2, 1, 8, 8)
    by_hand = x.unfold(2, 4, 4).unfold(3, 4, 4).flatten(4) @ network.patches.weight.flatten(1).T + network.patches.bias
    torch.testing.assert_close(network.patches(x), by_hand[:, 0].permute(0, 3, 1, 2))
    assert network.grid(x).shape == (2, 16, 2, 2)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
@pytest.mark.parametrize("pooling", ["class", "mean"])
def test_images_of_another_size(positions, pooling):
    network = ViT([3, 16, 16], 5, **SMALL, positions=positions, pooling=pooling)
    assert network(torch.randn(2, 3, 24, 32)).shape == (2, 5)
    assert network.rollout(torch.randn(2, 3, 24, 32)).shape == (2, 6, 8)
    with pytest.raises(ValueError, match="must divide"):
        network(torch.randn(2, 3, 15, 16))


def test_positions_are_interpolated_to_another_size():
    small, large = ViT([1, 8, 8], 2, **SMALL), ViT([1, 16, 16], 2, **SMALL)
    ramp = torch.linspace(0, 1, 2).expand(16, 2, 2)
    found = large.resized({"positions": ramp.clone(), "norm.weight": torch.ones(16)})
    assert found["positions"].shape == (16, 4, 4)
    assert (found["positions"].diff(dim=2) > 0).all() and found["positions"].diff(dim=1).abs().max() < 1e-6
    assert large.resized(small.state_dict()).keys() == small.state_dict().keys()


def test_rollout_multiplies_the_layers():
    network, x = ViT([1, 8, 8], 2, **SMALL).eval(), torch.randn(3, 1, 8, 8)
    with kept_weights(network) as attentions:
        network.encode(x)
        first, second = (layer.weights.mean(1) for layer in attentions)
    identity = torch.eye(5)
    expected = ((second + identity) / 2 @ (first + identity) / 2)[:, 0, 1:]
    torch.testing.assert_close(network.rollout(x).flatten(1), expected / expected.amax(1, keepdim=True))
    assert network.rollout(x).amax((1, 2)).tolist() == [1, 1, 1]


def test_it_learns_digits(tmp_path):
    learner, data = trained(tmp_path, "model=vit", "trainer.max_epochs=6", "model.network.layers=2", "augment=none")
    assert learner.evaluate(data, "test").metrics["accuracy"] >= 0.7  # .80 to .88 with four seeds


def test_weights_start_a_run_with_larger_images(experiment, capsys):
    small = ["model=vit", "trainer.max_epochs=1", "model.network.layers=1", "model.network.width=16"]
    first = experiment(*small)
    assert (first.directory / "figures" / "rollout.png").is_file()
    second = experiment(*small, "dataset.image_size=16", f"model.init_from={first.directory}")
    assert "19 tensors loaded from" in capsys.readouterr().err
    _, learner = open_run(str(second.directory))
    assert learner.task.network.positions.shape == (16, 8, 8)  # of 4x4 patches in the first run
