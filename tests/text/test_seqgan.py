"""SeqGAN: the oracle's likelihood, the generator's, rewards of beginnings, and training by rewards."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlrun.data.datasets.oracle import Oracle
from mlrun.networks.text.language_models import RecurrentLanguageModel
from mlrun.predictions.learner import make_learner
from mlrun.report import silent
from mlrun.tasks.seqgan import SeqGan
from tests.test_models import Nobody, prepared

SMALL = [
    "model=seqgan",
    "dataset.rows=600",
    "dataset.vocabulary=20",
    "dataset.length=5",
    "dataset.width=8",
    "optim.lr=0.02",
    "trainer.threads=1",
]


def test_the_oracle_scores_what_it_draws():
    oracle = Oracle(6, width=4, seed=1)
    drawn = oracle.draw(20000, 2, np.random.default_rng(0))
    pairs = np.array([(a, b) for a in range(6) for b in range(6)])
    expected = np.exp(-2 * oracle.nll(pairs))
    assert expected.sum() == pytest.approx(1, abs=1e-4)
    counts = np.bincount(drawn[:, 0] * 6 + drawn[:, 1], minlength=36) / len(drawn)
    np.testing.assert_allclose(counts, expected, atol=0.02)


@pytest.fixture
def task():
    torch.manual_seed(0)
    made = SeqGan(RecurrentLanguageModel(7, 8, 8), torch.nn.Module(), length=4, rollouts=500).eval()
    made.random = torch.Generator().manual_seed(0)
    return made


def test_samples_have_the_probability_that_the_generator_says(task):
    symbols = task.sampled(4000, torch.Generator().manual_seed(1))
    assert symbols.shape == (4000, 4) and symbols.min() >= 1  # never the padding
    first = torch.tensor([[symbol] for symbol in range(1, 7)])
    expected = torch.exp(-task.nll(first))
    assert float(expected.sum()) == pytest.approx(1, abs=1e-5)
    counts = torch.bincount(symbols[:, 0], minlength=7)[1:] / 4000
    torch.testing.assert_close(counts, expected.detach(), atol=0.03, rtol=0)


def test_the_reward_of_a_beginning_is_that_of_its_completions(task):
    task._real = lambda symbols: (symbols[:, -1] == 3).float()
    beginning = torch.tensor([[2, 4, 5, 3]])
    rewards = task.rewards(beginning)
    assert rewards[0, -1] == 1
    scores = task._without_padding(task.generator(torch.tensor([[0, 2, 4, 5]]), None)[0])[0, -1]
    assert float(rewards[0, 2]) == pytest.approx(float(scores.softmax(-1)[3]), abs=0.07)  # one symbol is left to draw


def test_likelihood_then_rewards_bring_the_samples_nearer_to_the_oracle(tmp_path):
    cfg, data = prepared(
        *SMALL,
        "model.likelihood_epochs=2",
        "model.discriminator_epochs=1",
        "trainer.max_epochs=5",
        "model.rollouts=2",
        "trainer.keep=last",
    )
    learner = make_learner(cfg, data)
    learner.fit(data, Nobody(), tmp_path, silent.Progress())
    history = learner.training.history
    oracle = [value for _, value in history["val/nll_oracle"]]
    assert oracle[1] < oracle[0] and oracle[-1] < oracle[1] + 0.1
    assert [epoch for epoch, _ in history["train/reward"]] == [4, 5]
    scores = learner.predict(data.examples("test")).scores
    assert scores.shape == (60,) and (scores < 0).all()


@pytest.mark.parametrize("option", ["rollouts", "discriminator_steps"])
def test_at_least_one_completion_and_one_step(option):
    with pytest.raises(ValueError, match=f"{option}=0: must be at least 1"):
        SeqGan(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1), 4, **{option: 0})
