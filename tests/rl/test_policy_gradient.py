"""Advantages against sums by hand, losses against formulas, learning on problems whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mlrun.networks.mlp import MLP
from mlrun.report import silent
from mlrun.tasks.policy_gradient import PPO, PolicyGradient, advantage_estimates
from tests.rl.test_dqn import Nobody, learner_of


def by_hand(rewards, values, terminated, truncated, discount, gae_lambda, t):
    """The sum of the definition (Schulman et al. 2016, equation 16), for one environment."""
    total, weight = 0.0, 1.0
    for k in range(t, len(rewards)):
        following = 0.0 if terminated[k] else values[k + 1]
        total += weight * (rewards[k] + discount * following - values[k])
        if terminated[k] or truncated[k]:
            break
        weight *= discount * gae_lambda
    return total


@pytest.mark.parametrize("gae_lambda", [0.0, 0.8, 1.0])
def test_advantages(gae_lambda):
    random = np.random.default_rng(0)
    steps, envs = 40, 3
    rewards, values = (
        random.normal(size=(steps, envs)).astype(np.float32),
        random.normal(size=(steps + 1, envs)).astype(np.float32),
    )
    ends = random.random((2, steps, envs)) < 0.1
    terminated, truncated = ends[0], ends[1] & ~ends[0]
    found = advantage_estimates(rewards, values, terminated, truncated, 0.9, gae_lambda)
    for t in range(steps):
        for env in range(envs):
            expected = by_hand(
                rewards[:, env], values[:, env], terminated[:, env], truncated[:, env], 0.9, gae_lambda, t
            )
            assert found[t, env] == pytest.approx(expected, abs=1e-4)


def test_advantage_of_a_whole_episode_is_reward_to_go_less_baseline():
    rewards = np.array([[1.0], [2.0], [4.0]], dtype=np.float32)
    values = np.array([[0.5], [0.25], [0.125], [100.0]], dtype=np.float32)
    over, never = np.array([[False], [False], [True]]), np.zeros((3, 1), dtype=bool)
    terminated = advantage_estimates(rewards, values, over, never, 0.5, 1.0)
    assert terminated[:, 0].tolist() == [3.0 - 0.5, 4.0 - 0.25, 4.0 - 0.125]
    cut = advantage_estimates(rewards, values, never, over, 0.5, 1.0)  # goes on with the value 100 of its last state
    assert cut[:, 0].tolist() == [3.0 + 12.5 - 0.5, 4.0 + 25.0 - 0.25, 4.0 + 50.0 - 0.125]


def test_policy_gradient_is_that_of_the_formula():
    torch.manual_seed(0)
    task = PolicyGradient(
        MLP([3], 4, hidden=[]), MLP([3], 1, hidden=[]), normalize_advantages=False, entropy_weight=0.1, value_weight=0.5
    )
    x, actions, advantages, returns = torch.randn(6, 3), torch.randint(4, (6,)), torch.randn(6), torch.randn(6)
    losses = task.losses(x, actions, advantages, returns)
    policy = torch.distributions.Categorical(logits=task.network(x))
    expected = (
        -(policy.log_prob(actions) * advantages).mean()
        + 0.5 * (task.critic(x)[:, 0] - returns).square().mean()
        - 0.1 * policy.entropy().mean()
    )
    torch.testing.assert_close(losses["loss"], expected)


def test_clipped_objective():
    """Beyond 1 +- clip a probability is pushed back, never further away (Schulman et al. 2017, equation 7)."""
    task = PPO(nn.Identity(), nn.Identity(), clip=0.2)
    ratio = torch.tensor([0.5, 1.0, 1.5, 0.5, 1.0, 1.5])
    advantage = torch.tensor([1.0, 1.0, 1.0, -1.0, -1.0, -1.0])
    new = ratio.log().requires_grad_()
    loss = task.policy_loss(new, advantage, torch.zeros(6))
    assert float(loss) == pytest.approx(-(0.5 + 1.0 + 1.2 - 0.8 - 1.0 - 1.5) / 6)
    loss.backward()
    assert (new.grad != 0).tolist() == [True, True, False, False, True, True]


TINY = ["dataset=gymnasium", "model.network.hidden=[]", "model.critic.hidden=[]", "optim.lr=0.05", "scheduler=none", "model.steps_per_epoch=1024",
        "model.discount=0.8", "dataset.val_episodes=2", "dataset.test_episodes=2"]  # fmt: skip


@pytest.mark.parametrize("model", ["reinforce", "a2c", "ppo"])
def test_the_corridor_is_learned_and_valued(tmp_path, model):
    """To the right in every cell; the critic knows discount^(3 - s). Against a wrong sign of the reward, the policy would stay."""
    learner, data = learner_of(
        f"model={model}", *TINY, "dataset.id=test/Corridor-v0", "trainer.max_epochs=12", "trainer.keep=last"
    )
    learner.fit(data, Nobody(), tmp_path, silent.Progress())
    assert learner.predict(data.as_examples(np.arange(4))).answers().tolist() == [1, 1, 1, 1]
    assert learner.evaluate(data, "test").metrics["episode_length"] == 4
    with torch.inference_mode():
        values = learner.task.critic(torch.eye(5))[:4, 0].numpy()
    np.testing.assert_allclose(values, 0.8 ** np.array([3, 2, 1, 0]), atol=0.15)


@pytest.mark.parametrize("model", ["reinforce", "a2c", "ppo"])
def test_a_time_limit_is_no_end(tmp_path, model):
    """Reward 1 for ever is worth 1 / (1 - 0.8) = 5, although episodes are cut after 10 steps."""
    learner, data = learner_of(
        f"model={model}",
        *TINY,
        "dataset.id=test/Endless-v0",
        "trainer.max_epochs=16",
        "trainer.keep=last",
        "model.max_grad_norm=null",
    )
    learner.fit(data, Nobody(), tmp_path, silent.Progress())
    assert learner.predict(data.as_examples(np.zeros(1))).answers().tolist() == [1]
    with torch.inference_mode():
        assert float(learner.task.critic(torch.ones(1, 1))) == pytest.approx(5.0, abs=0.4)


def test_ppo_balances_the_pole(tmp_path):
    """15,360 steps: of six seeds the worst reaches 188, a random policy 20."""
    learner, data = learner_of("model=ppo", "trainer.max_epochs=4", "model.steps_per_epoch=3840", "scheduler=none")
    learner.fit(data, Nobody(), tmp_path, silent.Progress())
    assert learner.evaluate(data, "test").metrics["return"] > 100


@pytest.mark.parametrize("model", ["reinforce", "a2c"])
def test_steps_that_only_begin_an_episode_are_not_learned_from(tmp_path, monkeypatch, model):
    """The last cell is seen once an episode is over, and nothing that is done there does anything."""
    learner, data = learner_of(f"model={model}", *TINY, "dataset.id=test/Corridor-v0", "trainer.max_epochs=1")
    update, rows = type(learner.task).update, []

    def recorded(self, observations, actions, advantages, returns):
        rows.append(observations.argmax(1))
        return update(self, observations, actions, advantages, returns)

    monkeypatch.setattr(type(learner.task), "update", recorded)
    learner.fit(data, Nobody(), tmp_path, silent.Progress())
    assert set(torch.cat(rows).tolist()) == {0, 1, 2, 3}


def test_the_return_in_training_is_that_of_the_episodes_learned_from(tmp_path):
    """In CartPole a step earns 1: all returns together are the steps. Short second episodes of environments that wait do not count."""
    learner, data = learner_of(
        "model=reinforce",
        "dataset.num_envs=4",
        "dataset.val_episodes=1",
        "model.steps_per_epoch=500",
        "trainer.max_epochs=1",
    )
    learner.fit(data, Nobody(), tmp_path, silent.Progress())
    (steps,), (earned,) = (
        [value for _, value in learner.training.history[f"train/{name}"]] for name in ("steps", "return")
    )
    episodes = steps / earned
    assert episodes == pytest.approx(4 * round(episodes / 4), abs=1e-4)


@pytest.mark.parametrize("model", ["a2c", "dqn"])
def test_an_epoch_has_its_steps_whatever_a_round_is(tmp_path, model):
    """A round is at least one step of each environment."""
    learner, data = learner_of(
        f"model={model}", "dataset.num_envs=8", "dataset.val_episodes=1", "model.steps_per_epoch=64", "model.steps_per_round=1", "trainer.max_epochs=1",
    )  # fmt: skip
    learner.fit(data, Nobody(), tmp_path, silent.Progress())
    assert learner.training.history["train/steps"] == [(1, 64)]
