"""Environments as data: refusals, episodes with seeds, streams for training and their state."""

from __future__ import annotations

import json

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from mlrun.data.environments.environment import Environment, TransitionTable
from mlrun.data.environments.state import capture, restore
from mlrun.data.preprocess.preprocessor import load
from mlrun.errors import DataError


def test_what_networks_and_tables_may_ask_for(environment, preprocessor):
    cartpole = environment("CartPole-v1")
    assert {**cartpole.spec, **preprocessor(cartpole).spec} == {
        "num_actions": 2,
        "num_outputs": 2,
        "input_shape": [4],
        "observation_shape": [4],
    }
    lake = environment("FrozenLake8x8-v1")
    spec = {**lake.spec, **preprocessor(lake).spec}
    assert (spec["num_states"], spec["num_actions"], spec["input_shape"]) == (64, 4, [64])


def test_examples_are_first_observations(environment):
    data = environment("CartPole-v1")
    for part in ("train", "val", "test"):
        examples = data.examples(part)
        assert len(examples) == len(data.sample(part)) == 5 and not data.targets
        for row, seed in enumerate(data.seeds(part, 5)):
            assert np.array_equal(examples["observation"][row], data.make().reset(seed=seed)[0])
    assert environment("FrozenLake-v1").examples("train")["observation"].tolist() == [0] * 5


@pytest.mark.parametrize("id", ["CartPole-v1", "FrozenLake-v1"])
def test_a_stored_preprocessor_encodes_the_same(environment, preprocessor, id):
    data = environment(id)
    examples, fitted = data.examples("test"), preprocessor(data)
    stored = load(json.loads(json.dumps(fitted.state)))
    assert np.array_equal(stored.encode(examples)["observations"], fitted.encode(examples)["observations"])
    assert stored.spec == fitted.spec


@pytest.mark.parametrize(
    "options, words",
    [
        ({"id": "Pendulum-v1"}, ["continuous", "finitely many", "cartpole", "frozen_lake"]),
        ({"id": "CartPole-v9"}, ["CartPole-v9", "cannot make"]),
        ({"id": "nowhere_to_be_found:Some-v0"}, ["nowhere_to_be_found"]),
        ({"id": "FrozenLake-v1", "options": {"is_sliperry": True}}, ["is_sliperry"]),
        ({"id": "Blackjack-v1"}, ["observations are of the kind Tuple"]),
        ({"id": "CliffWalking-v1"}, ["no time limit", "dataset.max_episode_steps"]),
        ({"id": "CartPole-v1", "num_envs": 0}, ["dataset.num_envs=0"]),
        ({"id": "CartPole-v1", "test_episodes": 0}, ["dataset.test_episodes=0"]),
    ],
)
def test_refusals(environment, options, words):
    with pytest.raises(DataError) as refused:
        environment(**options)
    for word in words:
        assert word in str(refused.value)


class Mistaken(gymnasium.Env):
    """Observes, rewards and acts as its arguments say."""

    def __init__(self, observations, sees=0.0, reward=1.0):
        self.observation_space, self.action_space = observations, spaces.Discrete(2)
        self.sees, self.reward = sees, reward

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.sees, {}

    def step(self, action):
        return self.sees, self.reward() if callable(self.reward) else self.reward, True, False, {}


gymnasium.register("test/Mistaken-v0", entry_point=Mistaken, max_episode_steps=5)
ONE_NUMBER = spaces.Box(-1, 1, (1,))


@pytest.mark.parametrize(
    "options, words",
    [
        ({"observations": spaces.MultiDiscrete([2, 3])}, "observations are of the kind MultiDiscrete"),
        ({"observations": spaces.Discrete(3, start=1), "sees": 1}, "must be numbered from 0; wrap"),
        (
            {"observations": spaces.Discrete(4), "sees": 7},
            r"observes the state 7, and its observation_space is Discrete\(4\)",
        ),
        (
            {"observations": ONE_NUMBER, "sees": np.zeros(5)},
            r"observes an array of shape \[5\], and its observation_space is Box",
        ),
        ({"observations": ONE_NUMBER, "sees": np.array([np.nan])}, "observes values that are not finite"),
        ({"observations": ONE_NUMBER, "sees": np.zeros(1), "reward": np.zeros(1)}, "reward of its first step is array"),
        ({"observations": ONE_NUMBER, "sees": np.zeros(1), "reward": float("nan")}, "reward of its first step is nan"),
        (
            {"observations": ONE_NUMBER, "sees": np.zeros(1), "reward": lambda: 1 / 0},
            "first step failed: ZeroDivisionError: division",
        ),
    ],
)
def test_mistakes_of_an_environment_are_found_before_training(environment, options, words):
    with pytest.raises(DataError, match=f"dataset.id=test/Mistaken-v0: .*{words}"):
        environment("test/Mistaken-v0", options=options)


def test_a_single_number_is_observed(environment, preprocessor):
    data = environment("test/Mistaken-v0", options={"observations": spaces.Box(-1, 1, ()), "sees": np.float32(0.5)})
    assert data.stream(preprocessor(data)).observations.tolist() == [[0.5]] * 8
    assert data.episodes("test").play(lambda x: np.zeros(len(x))).returns.mean() == 1


def test_an_environment_of_ones_own(tmp_path, monkeypatch, environment, preprocessor):
    (tmp_path / "my_world.py").write_text(
        "import gymnasium\nfrom gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv\n"
        "gymnasium.register('Mine-v0', entry_point=FrozenLakeEnv, max_episode_steps=9)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    data = environment("my_world:Mine-v0", options={"map_name": "8x8"})
    assert data.observation.num_states == 64
    stream = data.stream(preprocessor(data))
    for _ in range(30):
        stream.step(np.zeros(8, dtype=np.int64))
    assert (
        max(length for _, length in stream.finished) == 9
        and data.episodes("test").play(lambda x: np.zeros(len(x))).lengths.max() == 9
    )


def test_one_hot_states(environment, preprocessor):
    data = environment("FrozenLake-v1")
    x = preprocessor(data).encode(data.as_examples(np.array([0, 3])))["observations"]
    assert x.dtype == np.float32 and x.argmax(axis=1).tolist() == [0, 3] and x.sum() == 2


def test_episodes_are_the_same_for_everyone_and_differ_between_parts(environment):
    data = environment("FrozenLake-v1", val_episodes=120, test_episodes=120)
    right = lambda states: np.full(len(states), 2)
    test = data.episodes("test")
    first = test.play(right)
    assert np.array_equal(first.lengths, test.play(right).lengths)
    assert np.array_equal(
        first.lengths, environment("FrozenLake-v1", test_episodes=120).episodes("test").play(right).lengths
    )
    assert not np.array_equal(first.lengths, data.episodes("val").play(right).lengths)
    assert not np.array_equal(
        first.lengths,
        Environment("FrozenLake-v1", "control", "x", 2, test_episodes=120).episodes("test").play(right).lengths,
    )
    seeds = [set(data.seeds(part, 200)) for part in ("train", "val", "test")]
    assert not (seeds[0] & seeds[1] or seeds[1] & seeds[2] or seeds[0] & seeds[2])


def test_an_episode_is_played_as_by_hand(environment):
    data = environment("CartPole-v1", test_episodes=70)
    lean = lambda x: (x[:, 2] > 0).astype(int)
    played = data.episodes("test").play(lean)
    for episode in (0, 49, 50, 69):
        world = data.make()
        observation, _ = world.reset(seed=data.seeds("test")[episode])
        earned, over = 0.0, False
        while not over:
            observation, reward, terminated, truncated, _ = world.step(int(observation[2] > 0))
            earned, over = earned + reward, terminated or truncated
        assert played.returns[episode] == earned == played.lengths[episode]


@pytest.mark.parametrize("id", ["CartPole-v1", "test/Corridor-v0"])
def test_stream_says_which_rows_are_transitions(environment, preprocessor, id):
    """After an end the last observation stands for one step, which earns nothing and begins a new episode. Both kinds of vectors."""
    data = environment(id, num_envs=3)
    stream = data.stream(preprocessor(data))
    ends, earned = 0, np.zeros(3)
    for _ in range(120):
        resets, before = stream.resets.copy(), stream.observations.copy()
        rewards, terminated, truncated = stream.step(np.ones(3, dtype=np.int64))
        assert (rewards[resets] == 0).all() and not (terminated | truncated)[resets].any()
        assert np.array_equal(stream.resets, terminated | truncated)
        if id == "test/Corridor-v0":
            assert (
                stream.observations.argmax(axis=1) == np.where(resets, 0, np.minimum(before.argmax(axis=1) + 1, 4))
            ).all()
        ends += int(stream.resets.sum())
        earned += rewards
    assert len(stream.finished) == ends > 20
    assert sum(result for result, _ in stream.finished) + stream.returns.sum() == earned.sum()
    if id == "test/Corridor-v0":
        assert set(stream.finished) == {(1.0, 4)}


@pytest.mark.parametrize(
    "id", ["CartPole-v1", "Acrobot-v1", "MountainCar-v0", "FrozenLake-v1", "Taxi-v4", "CliffWalking-v1"]
)
def test_a_restored_stream_resumes_exactly(environment, preprocessor, tmp_path, id):
    data = environment(id, num_envs=3, max_episode_steps=30)
    random = np.random.default_rng(0)
    actions = random.integers(0, data.spec["num_actions"], size=(90, 3))
    stream, other = data.stream(preprocessor(data)), data.stream(preprocessor(data))
    for row in actions[:50]:
        stream.step(row)
    torch.save(stream.state(), tmp_path / "state.pt")
    other.step(actions[0])
    other.restore(torch.load(tmp_path / "state.pt", weights_only=True))
    for row in actions[50:]:
        assert np.array_equal(stream.observations, other.observations)
        for one, two in zip(stream.step(row), other.step(row)):
            assert np.array_equal(one, two)
    assert stream.finished == other.finished


def test_environments_of_other_processes_begin_new_episodes(environment, preprocessor):
    """Their state is not known: what was observed before belongs to no step that follows."""
    data = environment("test/Corridor-v0", num_envs=2, vectorization="async")
    stream, other = data.stream(preprocessor(data)), data.stream(preprocessor(data))
    try:
        for _ in range(3):
            stream.step(np.ones(2, dtype=np.int64))
        assert stream.observations.argmax(1).tolist() == [3, 3]
        other.restore(stream.state())
        assert other.observations.argmax(1).tolist() == [0, 0] and not other.continues
        other.step(np.ones(2, dtype=np.int64))
        assert other.observations.argmax(1).tolist() == [1, 1]
    finally:
        stream.vector.close()
        other.vector.close()


def test_state_of_an_environment_is_plain(tmp_path):
    class Odd:
        def __init__(self, start):
            self.count, self.where, self.draw = start, np.arange(start, start + 3), np.random.default_rng(start)
            self.nested = {"a": [1, (2.5, None)], "b": np.float32(start)}
            self.function = lambda: 0

    one, other = Odd(1), Odd(2)
    one.draw.random(3)
    torch.save(capture(one), tmp_path / "state.pt")
    restore(other, torch.load(tmp_path / "state.pt", weights_only=True))
    assert other.count == 1 and other.where.tolist() == [1, 2, 3] and other.nested == one.nested
    assert other.draw.random() == one.draw.random()


def test_a_wrapped_environment_has_no_table(environment):
    """Its reward is not that of the table within."""

    def doubled():
        return gymnasium.wrappers.TransformReward(gymnasium.make("FrozenLake-v1"), lambda reward: 2 * reward)

    if "test/Doubled-v0" not in gymnasium.registry:
        gymnasium.register("test/Doubled-v0", entry_point=doubled)
    assert environment("FrozenLake-v1").table is not None
    assert environment("test/Doubled-v0").table is None


def test_transition_table_with_unequal_outcomes():
    table = TransitionTable.read(
        {0: {0: [(1.0, 1, 2.0, True)]}, 1: {0: [(0.25, 0, 0.0, False), (0.75, 1, 1.0, False)]}}, [1, 0]
    )
    assert table.probability.tolist() == [[[1, 0]], [[0.25, 0.75]]]
    assert table.reward[1, 0].tolist() == [0, 1] and table.terminated[0, 0].tolist() == [True, False]
