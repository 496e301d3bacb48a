"""ELMo: what each direction sees, words by their spelling, and classifiers that start from a trained one."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch

from mlrun.networks.text.elmo import ELMo, ELMoClassifier, ELMoLanguageModel
from tests.test_models import trained

VOCABULARY = ["<pad>", "<unk>", "<bos>", "<eos>", "array", "arrays", "tensor", "axis", "naïve", "a" * 40]


@pytest.fixture
def elmo():
    torch.manual_seed(0)
    return ELMo(VOCABULARY, width=8, characters=4, filters=(4, 4, 4), longest=8).eval()


def test_each_direction_sees_its_side_only(elmo):
    ids = torch.tensor([[4, 5, 6, 7, 8, 9]])
    changed = ids.clone()
    changed[0, 3] = 4
    forwards, backwards = elmo.directions(ids)
    other_forwards, other_backwards = elmo.directions(changed)
    for depth in (1, 2):
        assert torch.equal(forwards[depth][:, :3], other_forwards[depth][:, :3])
        assert torch.equal(backwards[depth][:, 4:], other_backwards[depth][:, 4:])
        assert not torch.allclose(forwards[depth][:, 3:], other_forwards[depth][:, 3:])
        assert not torch.allclose(backwards[depth][:, :4], other_backwards[depth][:, :4])


def test_padding_changes_nothing(elmo):
    short, padded = torch.tensor([[4, 6, 8]]), torch.tensor([[4, 6, 8, 0, 0], [4, 5, 6, 7, 8]])
    torch.testing.assert_close(elmo(padded)[:1, :, :3], elmo(short))
    classifier = ELMoClassifier(elmo, len(VOCABULARY), 3).eval()
    torch.testing.assert_close(classifier(padded)[:1], classifier(short))


def test_words_depend_on_their_spelling_only(elmo):
    other = ELMo(["tensor", "array"], width=8, characters=4, filters=(4, 4, 4), longest=8).eval()
    other.load_state_dict(elmo.state_dict())  # of a model with another vocabulary
    torch.testing.assert_close(other.words(torch.tensor([[1, 0]])), elmo.words(torch.tensor([[4, 6]])))


def test_large_weights_of_the_characters_do_not_saturate_the_directions(elmo):
    """Saturated LSTMs give every word of every text the same vector."""
    with torch.no_grad():
        elmo.projection.weight.mul_(100)
        layers = elmo(torch.tensor([[4, 6, 7, 8]]))[0]
    assert layers[1].abs().max() < 0.9  # 0.48; without the norm 0.99


def test_the_loss_is_that_of_both_directions(elmo):
    model = ELMoLanguageModel(elmo, len(VOCABULARY)).eval()
    ids = torch.tensor([[4, 5, 6, 7]])
    forwards, backwards = elmo.directions(ids)
    shares = [model.softmax.log_prob(states[-1][0]) for states in (forwards, backwards)]
    expected = [-shares[0][t, ids[0, t + 1]] for t in range(3)] + [-shares[1][t + 1, ids[0, t]] for t in range(3)]
    assert float(model.loss(ids).detach()) == pytest.approx(float(torch.stack(expected).mean().detach()), rel=1e-5)


def test_a_classifier_starts_from_a_trained_one(tmp_path):
    random = np.random.default_rng(0)
    with open(tmp_path / "texts.csv", "w", newline="") as file:
        rows = [(" ".join(random.choice(VOCABULARY[4:8], 6)), "ab"[at % 2]) for at in range(60)]
        csv.writer(file).writerows([("text", "label"), *rows])
    sizes = {"width": 8, "characters": 4, "filters": "[4,4]", "longest": 8}
    small = ["trainer.threads=1", "trainer.max_epochs=1"]
    source, _ = trained(
        tmp_path / "run", "model=elmo", "dataset.packages=[filelock]", "dataset.steps_per_epoch=2", *small, "model.preprocessor.tokenizer.size=300",
        *[f"model.network.elmo.{name}={value}" for name, value in sizes.items()],
    )  # fmt: skip
    source.save(tmp_path / "run" / "model")
    start = [
        "model=text_elmo", "dataset=labelled_text", f"dataset.path={tmp_path / 'texts.csv'}", *small, f"model.init_from={tmp_path / 'run'}",
        "model.freeze=[elmo]", *[f"model.network.elmo.{name}={value}" for name, value in sizes.items()],
    ]  # fmt: skip
    learner, _ = trained(tmp_path / "classifier", *start)
    for (name, ours), (_, theirs) in zip(
        learner.task.network.elmo.named_parameters(), source.task.network.elmo.named_parameters(), strict=True
    ):
        assert torch.equal(ours, theirs) and not ours.requires_grad, name
    assert bool((learner.task.network.mixture != 0).any())  # the mixture is trained
