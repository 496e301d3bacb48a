"""Environments to act in, from gymnasium: data that come by acting. Parts are episodes, each with a seed of its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from mlrun.data.module import DataModule
from mlrun.data.spec import Spec
from mlrun.errors import DataError

STREAMS = {"train": 0, "val": 1, "test": 2}  # seeds of the parts never meet
TOGETHER = 50  # evaluation episodes that are played side by side


class Environment(DataModule):
    """One kind of environment, made anew for training, validation and test.

    Args:
        id: as gymnasium knows it; "module:Name-v0" imports a module of your own first.
        options: arguments of the environment, e.g. {is_slippery: false}.
        num_envs: how many are stepped together in training.
        vectorization: "auto" takes the environment's own vectorized form if it has one, else "sync"; "async" uses processes.
        max_episode_steps: an episode is cut (truncated) there; null: the environment's own limit.
        val_episodes, test_episodes: greedy episodes that choose the checkpoint and that give the final metric.

    Raises DataError for an unknown id, unknown options, continuous actions, or observations that are neither numbers nor states.
    """

    def __init__(
        self,
        id: str,
        problem: str,
        name: str,
        seed: int,
        options: dict | None = None,
        num_envs: int = 8,
        vectorization: Literal["auto", "sync", "async"] = "auto",
        max_episode_steps: int | None = None,
        val_episodes: int = 20,
        test_episodes: int = 100,
    ):
        super().__init__(problem, name, seed)
        for key, value in {"num_envs": num_envs, "val_episodes": val_episodes, "test_episodes": test_episodes}.items():
            if not isinstance(value, int) or value < 1:
                raise DataError(f"dataset.{key}={value}: give a whole number of at least 1")
        self.id, self.options = id, dict(options or {})
        self.num_envs, self.vectorization, self.max_episode_steps = num_envs, vectorization, max_episode_steps
        self.episode_counts = {"val": val_episodes, "test": test_episodes}
        self._facts = None

    def make(self, **options):
        """A new environment. Raises DataError."""
        import gymnasium

        limit = {} if self.max_episode_steps is None else {"max_episode_steps": self.max_episode_steps}
        try:
            return gymnasium.make(self.id, disable_env_checker=True, **limit, **{**self.options, **options})
        except (gymnasium.error.Error, ImportError, TypeError, ValueError, KeyError, AssertionError) as error:
            message = " ".join(str(error).split())
            raise DataError(f"dataset.id={self.id}: gymnasium cannot make this environment: {message}") from error

    def prepare(self):
        if self._facts is None:
            environment = self.make()
            facts, self._registered = self._check(environment), environment.spec
            self.limit = self._registered.max_episode_steps
            environment.close()
            if self.limit is None:
                raise DataError(
                    f"dataset.id={self.id}: its episodes have no time limit, so a bad policy might play for ever; set dataset.max_episode_steps=500 or so"
                )
            self._facts = facts

    def _check(self, environment) -> dict:
        from gymnasium import spaces

        actions, observations = environment.action_space, environment.observation_space
        if not isinstance(actions, spaces.Discrete):
            raise DataError(
                f"dataset.id={self.id}: its actions are {_described(actions)}, and the methods here choose one of finitely many. "
                f"Environments that fit: {', '.join(_fitting(self.name))}"
            )
        if actions.start != 0 or getattr(observations, "start", 0) != 0:
            raise DataError(f"dataset.id={self.id}: actions and states must be numbered from 0")
        facts = {"num_actions": int(actions.n), "num_outputs": int(actions.n)}
        if isinstance(observations, spaces.Discrete):
            shape = [int(observations.n)]
            facts["num_states"] = int(observations.n)
        elif isinstance(observations, spaces.Box):
            shape = [int(size) for size in observations.shape]
        else:
            raise DataError(
                f"dataset.id={self.id}: its observations are {_described(observations)}; arrays of numbers and numbered "
                f"states can be learned from. Wrap the environment (gymnasium.wrappers.FlattenObservation) and register it."
            )
        return {**facts, "input_shape": shape, "observation_shape": shape}

    @cached_property
    def spec(self):
        self.prepare()
        return Spec(self.problem, dict(self._facts), labels=list(range(self._facts["num_actions"])), target="action")

    @property
    def sizes(self):
        """Part -> number of greedy episodes."""
        return dict(self.episode_counts)

    @property
    def source(self):
        import gymnasium

        return f"gymnasium {gymnasium.__version__} {self.id}"

    @property
    def digest(self):
        """Hash of what the environment is, its version included."""
        import hashlib
        import json

        told = json.dumps([self.source, self.options, self.max_episode_steps], sort_keys=True, default=str)
        return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()

    @property
    def transform(self):
        return Observations(self.spec.facts["input_shape"], self.spec.facts.get("num_states"))

    def example(self, part):
        """The first observations of some episodes, (rows, ...) as the environment gives them."""
        environment = self.make()
        rows = np.stack([np.asarray(environment.reset(seed=seed)[0]) for seed in self.seeds(part, 5)])
        environment.close()
        return rows

    def seeds(self, part, count=None) -> list[int]:
        """A seed for each episode of a part."""
        sequence = np.random.SeedSequence([self.seed, STREAMS[part]])
        return [int(word) for word in sequence.generate_state(count or self.episode_counts[part])]

    def loader(self, part, device="cpu", shuffle=False, shard=(0, 1)):
        """The part's `Episodes` as the only batch; training is fed by a `stream` of the task's."""
        self.prepare()
        return None if part == "train" else Episodes(self, self.seeds(part))

    def stream(self) -> Stream:
        """Environments for training, seeded."""
        self.prepare()
        return Stream(self)

    def make_vector(self):
        import gymnasium

        limit = {} if self.max_episode_steps is None else {"max_episode_steps": self.max_episode_steps}
        own = self.vectorization == "auto" and self._registered.vector_entry_point is not None and not self.options
        settings = {"vectorization_mode": "vector_entry_point"} if own else {
            "vectorization_mode": "sync" if self.vectorization == "auto" else self.vectorization,
            "vector_kwargs": {"copy": False} if self.vectorization != "async" else {},
        }  # fmt: skip
        if not own:
            limit["disable_env_checker"] = True
        vector = gymnasium.make_vec(self._registered.id, num_envs=self.num_envs, **settings, **limit, **self.options)
        if vector.metadata.get("autoreset_mode") is not gymnasium.vector.AutoresetMode.NEXT_STEP:
            raise DataError(
                f"dataset.id={self.id}: a vectorized environment must reset in the step after an episode's end"
            )
        return vector

    @cached_property
    def table(self) -> TransitionTable | None:
        """The environment's own transition probabilities, where it states them all."""
        environment = self.make()
        inner = environment.unwrapped
        known = hasattr(inner, "P") and hasattr(inner, "initial_state_distrib") and "num_states" in self.spec.facts
        if not known or getattr(inner, "fickle_passenger", False):  # Taxi's fickle passenger is not in its table
            return None
        return TransitionTable.read(inner.P, inner.initial_state_distrib)


class Observations:
    """From what an environment gives to what a network is fed: numbers as float32, a state as one-hot row.

    shape: of one row for the network; num_states: how many states there are, None where observations are arrays.
    """

    target_mean, target_std = 0.0, 1.0

    def __init__(self, shape, num_states=None):
        self.shape, self.num_states = list(shape), num_states

    def __call__(self, x):
        """(rows, ...) -> (rows, *shape) float32."""
        x = np.asarray(x)
        if self.num_states is None:
            return np.ascontiguousarray(x.reshape(len(x), *self.shape), dtype=np.float32)
        rows = np.zeros((len(x), self.num_states), dtype=np.float32)
        rows[np.arange(len(x)), x.reshape(len(x), -1)[:, 0].astype(np.int64)] = 1.0
        return rows

    @property
    def state(self):
        return {"kind": "observations", "shape": self.shape, "num_states": self.num_states}


@dataclass(frozen=True)
class Played:
    """Episodes that were played to their end: (episodes,) each."""

    returns: np.ndarray
    lengths: np.ndarray

    def metrics(self) -> dict[str, float]:
        """Mean and spread of the undiscounted return, and the mean number of steps."""
        return {
            "return": float(self.returns.mean()),
            "return_std": float(self.returns.std()),
            "episode_length": float(self.lengths.mean()),
        }


class Episodes:
    """Episodes with given seeds: the same starts and the same chance for whoever plays them. As a loader it yields itself, once."""

    def __init__(self, data: Environment, seeds: list[int]):
        self.data, self.seeds = data, seeds
        self._environments = []

    def __len__(self):
        return 1

    def __iter__(self):
        yield self

    def play(self, policy) -> Played:
        """policy: observations (rows, ...) as the environment gives them -> actions (rows,). One episode per seed."""
        while len(self._environments) < min(TOGETHER, len(self.seeds)):
            self._environments.append(self.data.make())
        returns, lengths = np.zeros(len(self.seeds)), np.zeros(len(self.seeds), dtype=np.int64)
        waiting = iter(enumerate(self.seeds))
        playing = []  # [environment, episode, observation]
        for environment in self._environments:
            episode, seed = next(waiting)
            playing.append([environment, episode, environment.reset(seed=seed)[0]])
        while playing:
            actions = policy(np.stack([np.asarray(observation) for _, _, observation in playing]))
            for place, action in zip(playing, actions.tolist()):
                environment, episode, _ = place
                observation, reward, terminated, truncated, _ = environment.step(action)
                returns[episode] += reward
                lengths[episode] += 1
                place[2] = observation
                if terminated or truncated:
                    following = next(waiting, None)
                    if following is None:
                        place[0] = None
                    else:
                        place[1:] = [following[0], environment.reset(seed=following[1])[0]]
            playing = [place for place in playing if place[0] is not None]
        return Played(returns, lengths)


class Stream:
    """Environments stepped together without end, as a learner meets them in training.

    `observations`: (num_envs, *input_shape) float32, valid until the next `step`. `resets`: (num_envs,) bool, where an episode is
    over, `observations` holds its last observation, and the next step does nothing but begin a new one: such a row is no
    transition. (gymnasium's NEXT_STEP mode: the last observation of a truncated episode is there to bootstrap from.)
    """

    def __init__(self, data: Environment):
        self.transform, self.num_envs = data.transform, data.num_envs
        self.vector = data.make_vector()
        self.returns, self.lengths = np.zeros(self.num_envs), np.zeros(self.num_envs, dtype=np.int64)
        self.finished: list[tuple[float, int]] = []  # (return, length) of episodes that ended since last cleared
        self.begin(seed=data.seeds("train", 1)[0])

    def begin(self, seed: int | None = None) -> None:
        """New episodes everywhere; without a seed the environments' generators go on."""
        self._see(self.vector.reset(seed=seed)[0])
        self.resets = np.zeros(self.num_envs, dtype=bool)
        self.returns[:], self.lengths[:] = 0, 0

    def _see(self, observations) -> None:
        self.raw = observations
        self.observations = self.transform(observations)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """actions (num_envs,) -> rewards float32, terminated, truncated (num_envs,); all zero in a row that reset."""
        observations, rewards, terminated, truncated, _ = self.vector.step(actions)
        self._see(observations)
        self.returns += rewards
        self.lengths += ~self.resets
        self.resets = terminated | truncated
        if self.resets.any():
            for i in np.flatnonzero(self.resets):
                self.finished.append((float(self.returns[i]), int(self.lengths[i])))
            self.returns[self.resets], self.lengths[self.resets] = 0, 0
        return np.asarray(rewards, dtype=np.float32), terminated, truncated

    def state(self) -> dict:
        """Plain containers and tensors, from which `restore` goes on exactly."""
        from mlrun.data.environments.state import capture, encode

        own = {name: encode(np.asarray(getattr(self, name))) for name in ("raw", "resets", "returns", "lengths")}
        return {"vector": capture(self.vector), "own": own, "finished": [list(pair) for pair in self.finished]}

    def restore(self, state: dict) -> None:
        from mlrun.data.environments.state import decode, restore

        restore(self.vector, state["vector"])
        self._see(decode(state["own"]["raw"], None))
        for name in ("resets", "returns", "lengths"):
            setattr(self, name, decode(state["own"][name], None))
        self.finished = [tuple(pair) for pair in state["finished"]]


@dataclass(frozen=True)
class TransitionTable:
    """What happens in a finite environment: outcome k of action a in state s.

    probability, reward: (states, actions, outcomes) float64; next_state: int64; terminated: bool; start: (states,) probabilities.
    Unused outcomes have probability 0.
    """

    probability: np.ndarray
    next_state: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    start: np.ndarray

    @classmethod
    def read(cls, transitions: dict[int, dict[int, list[tuple]]], start: Any) -> TransitionTable:
        """From gymnasium's `env.unwrapped.P[state][action] = [(probability, next state, reward, terminated), ...]`."""
        states, actions = len(transitions), len(transitions[0])
        outcomes = max(len(cell) for row in transitions.values() for cell in row.values())
        shape = (states, actions, outcomes)
        table = cls(
            np.zeros(shape),
            np.zeros(shape, dtype=np.int64),
            np.zeros(shape),
            np.zeros(shape, dtype=bool),
            np.asarray(start, dtype=float),
        )
        for s, row in transitions.items():
            for a, cell in row.items():
                for k, (probability, next_state, reward, terminated) in enumerate(cell):
                    table.probability[s, a, k], table.next_state[s, a, k] = probability, next_state
                    table.reward[s, a, k], table.terminated[s, a, k] = reward, terminated
        return table


def _described(space) -> str:
    kind = type(space).__name__
    return f"continuous ({space})" if kind == "Box" else f"of the kind {kind}"


def _fitting(but: str) -> list[str]:
    from mlrun.config.catalogue import datasets_for

    return [name for name in datasets_for(["control"], {"num_actions"}) if name != but]
