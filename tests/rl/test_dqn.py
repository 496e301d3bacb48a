"""Replay and DQN against sums by hand, known values, and themselves after a stop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mlrun.config.compose import compose
from mlrun.config.instantiate import build, plain
from mlrun.data.environments.replay import Replay
from mlrun.errors import ConfigError
from mlrun.generation.annealing import Linear
from mlrun.networks.control.dueling import DuelingMLP
from mlrun.predictions.learner import make_learner
from mlrun.report import silent
from mlrun.tasks.dqn import DQN


class Nobody:
    def __getattr__(self, name):
        return lambda *arguments, **options: None


def learner_of(*overrides):
    cfg = plain(compose(["trainer.accelerator=cpu", *overrides]))
    data = build(cfg["dataset"], {"seed": cfg["seed"], "data_dir": None, "name": cfg["dataset"]["name"]})
    data.prepare()
    return make_learner(cfg, data), data


def filled(capacity, steps, envs=3, seed=0):
    """A replay of random steps, and the steps as they came: dicts by (time, environment)."""
    random = np.random.default_rng(seed)
    replay = Replay(capacity, envs, [1])
    replay.begin(np.zeros((envs, 1), dtype=np.float32))
    log, resets = [], np.zeros(envs, dtype=bool)
    for time in range(steps):
        ends = random.random((2, envs)) < 0.15
        terminated, truncated = ends[0] & ~resets, ends[1] & ~ends[0] & ~resets
        rewards = np.where(resets, 0, random.random(envs)).astype(np.float32)
        following = np.full((envs, 1), time + 1, dtype=np.float32) + 1000 * np.arange(envs, dtype=np.float32)[:, None]
        replay.append(random.integers(0, 4, envs), rewards, terminated, truncated, ~resets, following)
        log.append((rewards, terminated, truncated, ~resets))
        resets = terminated | truncated
    return replay, log


@pytest.mark.parametrize("capacity, steps, n_step", [(600, 100, 1), (600, 100, 3), (60, 200, 1), (60, 200, 4)])
def test_replay_draws_what_happened(capacity, steps, n_step):
    """Returns, ends and next observations of n steps, summed by hand; before and after the ring is full."""
    replay, log = filled(capacity, steps)
    seen = replay.sample(2000, n_step, 0.9, np.random.default_rng(1))
    times = set()
    for row in range(2000):
        place = int(seen.observations[row])
        env, t = divmod(place, 1000) if place >= 1000 else (0, place)
        if t == 0:
            continue  # all environments begin with observation 0
        assert log[t][3][env], "a row that only reset was drawn"
        returns, weight, k = 0.0, 1.0, 0
        while True:
            rewards, terminated, truncated, _ = log[t + k]
            returns += 0.9**k * rewards[env]
            k += 1
            if terminated[env] or truncated[env] or k == n_step:
                weight = 0.0 if terminated[env] else 0.9**k
                break
        assert float(seen.returns[row]) == pytest.approx(returns, abs=1e-5)
        assert float(seen.weights[row]) == pytest.approx(weight, abs=1e-6)
        assert int(seen.next_observations[row]) == t + k + 1000 * env
        times.add(t)
    oldest = max(1, steps - capacity // 3)
    drawable = {t for t in range(oldest, steps - n_step + 1) if log[t][3].any()}
    assert times == drawable


def test_replay_restores():
    replay, _ = filled(60, 200)
    other = Replay(60, 3, [1])
    other.restore(replay.state())
    for one, two in zip(
        replay.sample(50, 2, 0.9, np.random.default_rng(1)), other.sample(50, 2, 0.9, np.random.default_rng(1))
    ):
        assert torch.equal(one, two)
    assert len(other) == len(replay) == 60


def task_with(online, target, **options):
    """A DQN whose network and target network are tables: one-hot rows pick their rows."""

    def table(values):
        layer = nn.Linear(2, 2, bias=False)
        layer.weight.data = torch.tensor(values).T.contiguous()
        return layer

    task = DQN(table(online), Linear(), **options)
    task._target = [table(target)]
    return task


def test_targets():
    online, target = [[1.0, 2.0], [3.0, 0.0]], [[10.0, 20.0], [30.0, 40.0]]
    states, returns, weights = torch.eye(2), torch.tensor([1.0, 1.0]), torch.tensor([0.5, 0.0])
    assert task_with(online, target).targets(returns, states, weights).tolist() == [11.0, 1.0]
    assert task_with(online, target, target_period=None).targets(returns, states, weights).tolist() == [2.0, 1.0]
    double = task_with(online, target, double=True).targets(returns, states, torch.tensor([0.5, 0.5]))
    assert double.tolist() == [
        11.0,
        16.0,
    ]  # in state 1 the network prefers action 0, which the target network values at 30


def test_dueling_head():
    network = DuelingMLP([3], 4, hidden=[8])
    x = torch.randn(5, 3)
    q, features = network(x), network.body(x)
    torch.testing.assert_close(q.mean(dim=1, keepdim=True), network.value(features))
    torch.testing.assert_close(
        q - q.mean(1, keepdim=True), network.head(features) - network.head(features).mean(1, keepdim=True)
    )


SMALL = ["model=dqn", "model.n_step=1", "model.network.hidden=[]", "optim.lr=0.02", "dataset=gymnasium", "model.discount=0.8", "model.learning_starts=100",
         "model.steps_per_round=40", "model.updates_per_round=40", "model.target_period=80", "model.steps_per_epoch=2000", "trainer.max_epochs=3",
         "dataset.val_episodes=2", "dataset.test_episodes=2"]  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["model.n_step=3"],
        ["model.double=true"],
        ["model.network._target_=mlrun.networks.control.dueling.DuelingMLP"],
    ],
)
def test_values_of_a_corridor(tmp_path, options):
    """Q = discount^(3 - s) for going right; a linear network of one-hot cells is a table. Wrong sign, discount or end: another number."""
    learner, data = learner_of(*SMALL, "dataset.id=test/Corridor-v0", "model.epsilon.end=0.3", *options)
    learner.fit(data, Nobody(), tmp_path, silent.Progress())
    if "model.n_step=3" not in options:  # several steps of an exploring policy are worth less than the best
        q = learner.predict(data.as_examples(np.arange(5))).scores
        np.testing.assert_allclose(q[:4, 1], 0.8 ** np.array([3, 2, 1, 0]), atol=0.04)
    assert learner.evaluate(data, "test").metrics == {"return": 1.0, "return_std": 0.0, "episode_length": 4.0}
    assert learner.predict(data.as_examples(np.arange(4))).answers().tolist() == [1, 1, 1, 1]


def test_a_time_limit_is_no_end(tmp_path):
    learner, data = learner_of(*SMALL, "dataset.id=test/Endless-v0", "optim.lr=0.05", "trainer.keep=last")
    learner.fit(data, Nobody(), tmp_path, silent.Progress())
    assert learner.predict(data.as_examples(np.zeros(1, dtype=int))).scores[0, 1] == pytest.approx(5.0, abs=0.3)


QUICK = ["model=dqn", "trainer.keep=last", "model.network.hidden=[32]", "model.steps_per_epoch=500", "model.learning_starts=200", "model.updates_per_round=20",
         "trainer.max_epochs=4", "dataset.val_episodes=4", "dataset.test_episodes=4", "dataset.num_envs=5", "scheduler=step", "scheduler.step_size=1"]  # fmt: skip


def steady(history):
    return {name: points for name, points in history.items() if name != "train/steps_per_second"}


@pytest.mark.parametrize("model", ["dqn", "ppo", "reinforce"])
def test_a_resumed_training_is_the_same_as_an_uninterrupted_one(tmp_path, model):
    """A new learner resumes from `last.ckpt` after two of four epochs: the same curve to the last digit."""
    options = (
        QUICK
        if model == "dqn"
        else ["dataset=cartpole", f"model={model}", *QUICK[1:2], *QUICK[6:]] + ["model.steps_per_epoch=512"]
    )

    class Stops(silent.Progress):
        def epoch(self, epoch, metrics):
            if epoch == 3:
                raise RuntimeError("killed")

    whole, data = learner_of(*options)
    whole.fit(data, Nobody(), tmp_path / "whole", silent.Progress())
    killed, data = learner_of(*options)
    with pytest.raises(RuntimeError, match="killed"):
        killed.fit(data, Nobody(), tmp_path / "killed", Stops())
    resumed, data = learner_of(*options)
    torch.manual_seed(99)
    resumed.fit(
        data,
        Nobody(),
        tmp_path / "resumed",
        silent.Progress(),
        resume=tmp_path / "killed" / "checkpoints" / "last.ckpt",
    )
    assert steady(resumed.training.history) == steady(whole.training.history)
    for one, two in zip(whole.task.state_dict().values(), resumed.task.state_dict().values()):
        assert torch.equal(one, two)


def test_the_same_seed_learns_the_same(tmp_path):
    one, data = learner_of(*QUICK)
    one.fit(data, Nobody(), tmp_path / "1", silent.Progress())
    two, data = learner_of(*QUICK)
    torch.manual_seed(5)
    np.random.seed(5)
    two.fit(data, Nobody(), tmp_path / "2", silent.Progress())
    assert steady(one.training.history) == steady(two.training.history)


@pytest.mark.parametrize("setting", ["trainer.gradient_clip_val=1", "trainer.accumulate_grad_batches=2"])
def test_what_lightning_cannot_do_here_is_refused(tmp_path, setting):
    learner, data = learner_of(*QUICK, setting)
    with pytest.raises(ConfigError, match=setting.split("=")[0]):
        learner.fit(data, Nobody(), tmp_path, silent.Progress())


def test_a_replay_without_any_transition_is_not_drawn_from():
    """Both environments have just begun an episode, and the row before is forgotten."""
    replay, none = Replay(2, 2, [1]), np.zeros(2, dtype=bool)
    replay.begin(np.zeros((2, 1), dtype=np.float32))
    assert not replay.holds(1)
    replay.append(np.zeros(2), np.ones(2), none, ~none, ~none, np.ones((2, 1), dtype=np.float32))
    assert replay.holds(1) and not replay.holds(2)
    replay.append(np.zeros(2), np.zeros(2), none, none, none, np.zeros((2, 1), dtype=np.float32))
    assert not replay.holds(1)


def test_a_replay_too_small_for_its_steps_is_refused_and_a_late_start_is_told(tmp_path, capsys):
    def fit(*overrides):
        learner, data = learner_of(
            "model=dqn", "model.steps_per_epoch=256", "dataset.val_episodes=1", "trainer.max_epochs=1", *overrides
        )
        learner.fit(data, Nobody(), tmp_path, silent.Progress())

    with pytest.raises(
        ConfigError, match=r"replay_size=100: for 8 .* 12 steps of each, fewer than model.n_step=50; set .*=400"
    ):
        fit("model.n_step=50", "model.replay_size=100")
    capsys.readouterr()
    fit()
    assert "learning_starts=1000: the run ends after 256 environment steps" in capsys.readouterr().err


def test_a_replay_that_is_cut_sums_no_rewards_over_the_gap():
    replay, no, yes = Replay(10, 1, [1]), np.array([False]), np.array([True])
    replay.begin(np.array([[0.0]], dtype=np.float32))
    for time in range(2):
        replay.append(np.zeros(1), np.ones(1), no, no, yes, np.array([[time + 1.0]], dtype=np.float32))
    replay.cut(np.array([[10.0]], dtype=np.float32))
    for time in range(3):
        replay.append(np.zeros(1), np.full(1, 100.0), no, no, yes, np.array([[time + 11.0]], dtype=np.float32))
    drawn = replay.sample(200, 3, 1.0, np.random.default_rng(0))
    found = set(
        zip(*(part.flatten().tolist() for part in (drawn.observations, drawn.returns, drawn.next_observations)))
    )
    assert found == {(0.0, 2.0, 2.0), (1.0, 1.0, 2.0), (10.0, 300.0, 13.0)}
