"""Training by rewards: the rewards themselves, advantages, and what policy gradients make more probable."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mlrun.config.compose import compose
from mlrun.data.preprocess.tokenizer import PAD
from mlrun.errors import ConfigError
from mlrun.generation import decoding
from mlrun.generation.rewards import ExactMatch, SentenceBleu, SumIsRight
from mlrun.networks.text.transformer import Transformer
from mlrun.predictions.learner import make_learner
from mlrun.report import silent
from mlrun.tasks.text_reinforcement import token_log_probabilities
from mlrun.tasks.translation import beginning
from tests.test_models import Nobody, prepared

ONE_DIGIT = [
    "model=text_reinforce", "dataset.digits=1", "dataset.rows=40", "dataset.split={train: 32, val: 4, test: 4}", "dataset.batch_size=32",
    "model.network.width=32", "model.network.hidden=64", "model.network.layers=1", "trainer.threads=1",
]  # fmt: skip


def test_rewards_of_texts():
    assert ExactMatch()(["", ""], ["a  b", "a"], ["a b", "b"]).tolist() == [1, 0]
    assert SumIsRight()(["12+3", "12+3", "?"], ["15", "16", "1"], ["", "", ""]).tolist() == [1, 0, 0]
    bleu = SentenceBleu()(["", ""], ["the cat sat on the mat", "dogs"], ["the cat sat on the mat", "a cat"])
    assert bleu[0] == pytest.approx(1) and bleu[1] < 0.1


def test_log_probabilities_are_those_of_decoding():
    torch.manual_seed(0)
    network = Transformer(9, 9, width=16, heads=2, layers=1, dropout=0.0).eval()
    source = torch.tensor([[4, 5, 3], [6, 3, 0]])
    made = decoding.sample(
        network, network.encode(source), beginning(source), 6, generator=torch.Generator().manual_seed(0)
    )
    own = token_log_probabilities(network, source, made.tokens)
    total = torch.where(made.tokens != PAD, own, 0.0).sum(1)
    torch.testing.assert_close(total, made.log_probability, atol=1e-5, rtol=0)


def test_the_policy_is_what_texts_are_sampled_from():
    """A network whose first token has probabilities 1/4, 3/4: at temperature 1/2 these are 1/10 and 9/10."""
    scores = torch.full((1, 1, 9), -math.inf)
    scores[0, 0, 4:6] = torch.tensor([0.25, 0.75]).log()
    found = [
        token_log_probabilities(lambda *_: scores, torch.tensor([[4]]), torch.tensor([[4]]), at) for at in (1.0, 0.5)
    ]
    assert [float(one.exp()) for one in found] == pytest.approx([0.25, 0.1])


class Starts:
    """A reward of texts that begin with a digit."""

    def __init__(self, digit="7"):
        self.digit = digit

    def __call__(self, sources, texts, references):
        return np.array([text.startswith(self.digit) for text in texts], dtype=np.float32)


@pytest.mark.parametrize("advantage", ["group", "self_critical", "mean"])
def test_what_is_rewarded_becomes_more_probable(advantage, tmp_path):
    cfg, data = prepared(
        *ONE_DIGIT, "model.reward._target_=tests.translation.test_rewards.Starts", f"model.advantage={advantage}", "model.likelihood_epochs=0",
        "model.reward_lr=0.01", "trainer.max_epochs=12", "trainer.keep=last", "model.kl=0",
    )  # fmt: skip
    learner = make_learner(cfg, data)
    learner.fit(data, Nobody(), tmp_path, silent.Progress())
    rewards = [value for _, value in learner.training.history["train/reward"]]
    assert rewards[-1] > 0.8 > 0.4 > rewards[0]


def test_likelihood_comes_first_and_the_divergence_holds_back(tmp_path):
    found = {}
    for kl in (0.0, 100.0):
        cfg, data = prepared(
            *ONE_DIGIT, "model.reward._target_=tests.translation.test_rewards.Starts", "model.likelihood_epochs=2", f"model.kl={kl}",
            "model.reward_lr=0.01", "trainer.max_epochs=8", "trainer.keep=last",
        )  # fmt: skip
        learner = make_learner(cfg, data)
        learner.fit(data, Nobody(), tmp_path / str(kl), silent.Progress())
        history = learner.training.history
        assert [epoch for epoch, _ in history["train/kl"]] == [3, 4, 5, 6, 7, 8]  # the first two have no reward
        found[kl] = history["train/kl"][-1][1]
        assert math.isfinite(found[kl])
    assert found[100.0] < found[0.0] / 3


def test_faulty_settings_are_refused():
    for setting, message in (
        ("model.advantage=best", "choose one of"),
        ("model.group=1", "at least 2"),
        ("model.kl=-1", "must not be negative"),
        ("model.temperature=0", "must be positive"),
    ):
        with pytest.raises(ConfigError, match=message):
            make_learner(*prepared(*ONE_DIGIT, setting))
    assert compose(ONE_DIGIT).model.likelihood_epochs > 0


def test_rewards_train_few_parameters_of_a_run(tmp_path):
    """The divergence is from the model of the run: at first none, and its tensors are in every checkpoint."""
    learner = make_learner(*(made := prepared(*ONE_DIGIT, "trainer.max_epochs=1", "model.likelihood_epochs=1")))
    learner.fit(made[1], Nobody(), tmp_path / "source", silent.Progress())
    learner.save(tmp_path / "source" / "model")
    cfg, data = prepared(
        *ONE_DIGIT, f"model.init_from={tmp_path / 'source'}", "model.init_only=[encoder, decoder]", "model.adapt=[{lora: 2}]",
        "model.likelihood_epochs=0", "model.reward_lr=0.01", "trainer.max_epochs=2", "trainer.keep=last",
    )  # fmt: skip
    learner = make_learner(cfg, data)
    learner.fit(data, Nobody(), tmp_path / "rewarded", silent.Progress())
    assert learner.training.history["train/kl"][0][1] == 0
    kept = torch.load(tmp_path / "rewarded" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(kept[f"initial.{name}"], value) for name, value in learner.task.initial.state_dict().items())
