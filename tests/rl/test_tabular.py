"""Tabular control against exact solutions: a linear system, closed forms, and each other."""

from __future__ import annotations

import numpy as np
import pytest

from mlrun.errors import ConfigError
from mlrun.estimators.controller import ControllerLearner
from mlrun.estimators.monte_carlo import MonteCarlo
from mlrun.estimators.q_learning import QLearning
from mlrun.estimators.sarsa import Sarsa
from mlrun.estimators.tabular import SimulatedTable
from mlrun.estimators.value_iteration import ValueIteration
from mlrun.evaluation.evaluator import make_evaluators
from mlrun.generation.annealing import Exponential, Linear
from mlrun.predictions.learner import features_of
from mlrun.report import silent

METHODS = (QLearning, Sarsa, MonteCarlo)


class Nobody:
    def __getattr__(self, name):
        return lambda *arguments, **options: None


def greedy(table):
    return lambda states: table.argmax(axis=1)[states]


def solved(data, **options):
    method = ValueIteration(data.observation.num_states, data.spec["num_actions"], **options)
    method.begin(data)
    method.learn_epoch()
    return method.table


def learned(method, data, seed=1, epsilon=Linear(1.0, 0.05, 0.5), **options):
    controller = method(data.observation.num_states, data.spec["num_actions"], seed, epsilon, **options)
    controller.begin(data)
    online = [controller.learn_epoch() for _ in range(controller.epochs)]
    return controller.table, online


@pytest.mark.parametrize("id", ["FrozenLake-v1", "Taxi-v4"])
def test_value_iteration_solves_the_bellman_equations(environment, id):
    """Its policy's value by a direct linear solve of the environment's own table, which no action anywhere improves."""
    data, discount = environment(id), 0.95
    table = solved(data, discount=discount, tolerance=1e-12)
    transitions = data.make().unwrapped.P
    states, policy = len(table), table.argmax(axis=1)
    system, reward = np.eye(states), np.zeros(states)
    for s in range(states):
        for probability, to, gain, terminated in transitions[s][int(policy[s])]:
            reward[s] += probability * gain
            if not terminated:
                system[s, to] -= discount * probability
    value = np.linalg.solve(system, reward)
    np.testing.assert_allclose(table.max(axis=1), value, atol=1e-9)
    for s in range(states):
        for a, outcomes in transitions[s].items():
            q = sum(p * (gain + discount * value[to] * (not terminated)) for p, to, gain, terminated in outcomes)
            assert q <= value[s] + 1e-9
            assert table[s, a] == pytest.approx(q, abs=1e-9)


def test_value_iteration_needs_a_table(environment):
    with pytest.raises(ConfigError, match="test/Corridor-v0 does not state its transition probabilities"):
        solved(environment("test/Corridor-v0"))


@pytest.mark.parametrize("method", METHODS)
def test_values_of_a_corridor(environment, method):
    """Going right from cell s reaches the reward after 4 - s steps: Q = discount^(3 - s). Wrong sign, discount or end: another number.

    The table begins at 1, so that the worth of the last cell, in which nothing is ever done, would be seen.
    """
    data = environment("test/Corridor-v0")
    options = dict(
        epsilon=Linear(1.0, 0.0, 0.9), epochs=1, steps_per_epoch=8000, discount=0.9, step_size=0.5, step_size_decay=0.0
    )
    table, _ = learned(method, data, initial_value=1.0, **options)
    np.testing.assert_allclose(table[:4, 1], 0.9 ** np.array([3, 2, 1, 0]), atol=1e-3)
    assert (table[:4].argmax(axis=1) == 1).all()
    assert (table[4] == 1).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_time_limit_is_no_end(environment, method):
    """Reward 1 a step for ever is worth 1 / (1 - discount), although every episode is cut after 10 steps."""
    table, _ = learned(
        method,
        environment("test/Endless-v0"),
        epsilon=Linear(0.5, 0.0, 0.3),
        epochs=1,
        steps_per_epoch=6000,
        discount=0.8,
        step_size=0.3,
        step_size_decay=0.0,
    )
    assert table[0, 1] == pytest.approx(5.0, abs=0.05)


@pytest.mark.parametrize(
    "method, epsilon",
    [(QLearning, Linear(1.0, 0.05, 0.5)), (Sarsa, Linear(1.0, 0.0, 0.9)), (MonteCarlo, Linear(1.0, 0.0, 0.9))],
)
def test_slippery_lake_as_well_as_value_iteration(environment, success_probability, method, epsilon):
    data = environment("FrozenLake-v1", options={"is_slippery": True})
    best = success_probability(data, solved(data).argmax(axis=1))
    table, _ = learned(method, data, epsilon=epsilon)
    assert best == pytest.approx(0.74, abs=0.01)
    assert success_probability(data, table.argmax(axis=1)) >= best - 0.03


@pytest.mark.parametrize("method, epsilon", [(QLearning, Linear(1.0, 0.05, 0.5)), (Sarsa, Linear(1.0, 0.0, 0.9))])
def test_taxi_as_well_as_value_iteration(environment, method, epsilon):
    data = environment("Taxi-v4", test_episodes=1000)
    episodes = data.episodes("test")
    best = episodes.play(greedy(solved(data))).returns.mean()
    table, _ = learned(method, data, epsilon=epsilon)
    assert episodes.play(greedy(table)).returns.mean() >= best - 0.2
    assert best > 7.5


def test_cliff_q_learning_walks_the_edge_and_sarsa_keeps_away(environment):
    """Sutton and Barto 2018, example 6.6: with epsilon 0.1 the optimal way earns less while learning than the safe one."""
    data = environment("CliffWalking-v1", max_episode_steps=200, test_episodes=1)
    options = dict(
        epsilon=Linear(0.1, 0.1, 1.0),
        epochs=5,
        steps_per_epoch=30_000,
        discount=1.0,
        step_size=0.1,
        step_size_decay=0.0,
    )
    edge, online_edge = learned(QLearning, data, **options)
    safe, online_safe = learned(Sarsa, data, **options)
    play = data.episodes("test").play
    assert play(greedy(edge)).returns.tolist() == [-13]
    assert -19 <= play(greedy(safe)).returns[0] <= -15
    assert online_edge[-1]["return"] < -40 < -30 < online_safe[-1]["return"]


def test_the_simulated_table_is_the_environment(environment):
    """Frequencies of what follows, drawn from the table and seen in the environment, by the same policy."""
    import random

    data = environment("FrozenLake-v1")
    world = SimulatedTable(data.table, data.limit, random.Random(1))
    drawn, seen = np.zeros(16), np.zeros(16)
    lengths = []
    real = data.make()
    real.reset(seed=1)
    for _episode in range(3000):
        state, over, length = world.reset(), False, 0
        while not over:
            state, _, terminated, truncated = world.step(state, 2)
            over, length = terminated or truncated, length + 1
        drawn[state] += 1
        lengths.append(length)
        (state, _), over = real.reset(), False
        while not over:
            state, _, terminated, truncated, _ = real.step(2)
            over = terminated or truncated
        seen[state] += 1
    np.testing.assert_allclose(drawn / 3000, seen / 3000, atol=0.05)
    assert max(lengths) <= 100


def test_the_same_seed_learns_the_same(environment):
    data = environment("FrozenLake-v1")
    options = dict(epochs=2, steps_per_epoch=5000)
    assert np.array_equal(learned(QLearning, data, 3, **options)[0], learned(QLearning, data, 3, **options)[0])
    assert not np.array_equal(learned(QLearning, data, 3, **options)[0], learned(QLearning, data, 4, **options)[0])


@pytest.mark.parametrize("id", ["FrozenLake-v1", "test/Corridor-v0"])
def test_a_resumed_training_is_the_same_as_an_uninterrupted_one(environment, tmp_path, id):
    """A new learner resumes from `last.json` after two of four epochs: the same history and the same table. With and without published
    transitions."""
    data = environment(id, val_episodes=20)
    states, actions = data.observation.num_states, data.spec["num_actions"]

    def learner():
        controller = QLearning(states, actions, 1, Linear(), epochs=4, steps_per_epoch=2000)
        recipe = {"model": {}, **features_of(data)}
        return ControllerLearner(controller, np.array(controller.table), make_evaluators(["episodes"]), recipe)

    class Stops(silent.Progress):
        def epoch(self, epoch, metrics):
            if epoch == 3:  # before this epoch's checkpoint is written
                raise KeyboardInterrupt

    whole, killed, resumed = learner(), learner(), learner()
    whole.fit(data, Nobody(), tmp_path / "whole", silent.Progress())
    with pytest.raises(KeyboardInterrupt):
        killed.fit(data, Nobody(), tmp_path / "killed", Stops())
    resumed.fit(
        data,
        Nobody(),
        tmp_path / "resumed",
        silent.Progress(),
        resume=tmp_path / "killed" / "checkpoints" / "last.json",
    )
    assert resumed.training.history == whole.training.history
    assert len(whole.training.history["val/return"]) == 4
    assert np.array_equal(resumed.table, whole.table) and resumed.training.best_epoch == whole.training.best_epoch
    assert np.array_equal(resumed.controller.table, whole.controller.table)


def test_epsilon_schedules():
    assert [Linear(1.0, 0.2, 0.5)(p) for p in (0, 0.25, 0.5, 1)] == pytest.approx([1.0, 0.6, 0.2, 0.2])
    assert [Exponential(1.0, 0.01, 1.0)(p) for p in (0, 0.5, 1)] == pytest.approx([1.0, 0.1, 0.01])
