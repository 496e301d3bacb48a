"""Environments from gymnasium: data that are collected by acting. The parts of such a dataset are episodes, each with its own seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Observation
from mlrun.data.module import DataModule
from mlrun.errors import DataError

if TYPE_CHECKING:
    import gymnasium
    import torch

    from mlrun.data.predictions import Predictions
    from mlrun.data.preprocess.preprocessor import Preprocessor

OBSERVATION = "observation"  # the name of the only feature
STREAMS = {"train": 0, "val": 1, "test": 2}  # the seeds of the parts never coincide
TOGETHER = 50  # evaluation episodes that are played side by side
FIRST = 5  # episodes whose first observations serve as examples of a part
Policy = Callable[[np.ndarray], np.ndarray]  # raw observations (rows, ...) -> actions (rows,)


class Environment(DataModule):
    """One environment, created anew for training, validation and test.

    Args:
        id: gymnasium's name; "module:Name-v0" imports a module of your own first.
        options: arguments of the environment, e.g. {is_slippery: false}.
        num_envs: how many are stepped together in training.
        vectorization: "auto" uses the environment's own vectorized form if it has one, else "sync"; "async" uses processes.
        max_episode_steps: an episode is truncated there; null: the environment's own limit.
        val_episodes, test_episodes: greedy episodes that choose the checkpoint and that give the final metric.

    Raises:
        DataError: unknown id or options, continuous actions, or observations that are neither numbers nor states.
    """

    def __init__(
        self,
        id: str,
        problem: str,
        name: str,
        seed: int,
        options: dict[str, Any] | None = None,
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
        self._observation: Observation | None = None
        self._episodes: dict[str, Episodes] = {}

    def make(self, **options: Any) -> gymnasium.Env:
        """A new environment. Raises DataError."""
        import gymnasium

        limit = {} if self.max_episode_steps is None else {"max_episode_steps": self.max_episode_steps}
        try:
            return gymnasium.make(self.id, disable_env_checker=True, **limit, **{**self.options, **options})
        except (gymnasium.error.Error, ImportError, TypeError, ValueError, KeyError, AssertionError) as error:
            message = " ".join(str(error).split())
            raise DataError(f"dataset.id={self.id}: gymnasium cannot make this environment: {message}") from error

    def prepare(self) -> None:
        if self._observation is not None:
            return
        environment = self.make()
        self._num_actions, observation = self._check(environment)
        self._try(environment, observation)
        self._registered = environment.spec
        self.limit = self._registered.max_episode_steps
        environment.close()
        if self.limit is None:
            raise DataError(
                f"dataset.id={self.id}: its episodes have no time limit, so a bad policy might never finish one; set dataset.max_episode_steps, for example to 500"
            )
        self._observation = observation

    def _check(self, environment: gymnasium.Env) -> tuple[int, Observation]:
        """Number of actions, and what is observed."""
        from gymnasium import spaces

        actions, observations = environment.action_space, environment.observation_space
        if not isinstance(actions, spaces.Discrete):
            raise DataError(
                f"dataset.id={self.id}: its actions are {_described(actions)}, and the methods here choose one of finitely many. "
                f"Environments that fit: {', '.join(_fitting(self.name))}"
            )
        if actions.start != 0 or isinstance(observations, spaces.Discrete) and observations.start != 0:
            raise DataError(
                f"dataset.id={self.id}: its actions and states must be numbered from 0; wrap the environment "
                f"(gymnasium.wrappers.TransformAction, TransformObservation) and register it"
            )
        if isinstance(observations, spaces.Discrete):
            return int(actions.n), Observation([], int(observations.n))
        if isinstance(observations, spaces.Box):
            return int(actions.n), Observation([int(size) for size in observations.shape] or [1])
        raise DataError(
            f"dataset.id={self.id}: its observations are {_described(observations)}; arrays of numbers and numbered "
            f"states can be learned from. Wrap the environment (gymnasium.wrappers.FlattenObservation) and register it."
        )

    def _try(self, environment: gymnasium.Env, expected: Observation) -> None:
        """Takes a step, which shows most mistakes in an environment of one's own. Raises DataError."""
        try:
            first = environment.reset(seed=0)[0]
            step: Any = environment.step(0)
            second, reward, *_ = step
        except Exception as error:
            message = " ".join(str(error).split())
            raise DataError(
                f"dataset.id={self.id}: its first step failed: {type(error).__name__}: {message}"
            ) from error
        for observation in (first, second):
            wrong = _mistake(np.asarray(observation), expected, environment.observation_space)
            if wrong:
                raise DataError(f"dataset.id={self.id}: {wrong}")
        if np.ndim(reward) or not np.isfinite(reward):
            raise DataError(
                f"dataset.id={self.id}: the reward of its first step is {reward!r}; it must be a finite number"
            )

    @property
    def observation(self) -> Observation:
        """What is observed before each step."""
        self.prepare()
        return self._observation

    @property
    def features(self) -> dict[str, Feature]:
        return {OBSERVATION: self.observation}

    @property
    def spec(self) -> dict[str, Any]:
        self.prepare()
        return {"num_actions": self._num_actions, "num_outputs": self._num_actions}

    @property
    def sizes(self) -> dict[str, int]:
        """Part -> number of greedy episodes."""
        return dict(self.episode_counts)

    @property
    def source(self) -> str:
        import gymnasium

        return f"gymnasium {gymnasium.__version__} {self.id}"

    @property
    def digest(self) -> str:
        """Hash of the environment's name, version and settings."""
        description = json.dumps([self.source, self.options, self.max_episode_steps], sort_keys=True, default=str)
        return hashlib.blake2b(description.encode(), digest_size=8).hexdigest()

    def examples(self, part: str) -> Examples:
        """The first observations of some episodes of a part."""
        environment = self.make()
        rows = np.stack([np.asarray(environment.reset(seed=seed)[0]) for seed in self.seeds(part, FIRST)])
        environment.close()
        return self.as_examples(rows)

    def as_examples(self, observations: np.ndarray) -> Examples:
        """Raw observations (rows, ...) in the form in which a learner is asked."""
        return Examples({OBSERVATION: observations}, self.features)

    def policy(self, predict: Callable[[Examples], Predictions]) -> Policy:
        """The greedy policy of a learner, by its `predict`, which gives `ActionPredictions`."""
        return lambda observations: predict(self.as_examples(observations)).answers()

    def seeds(self, part: str, count: int | None = None) -> list[int]:
        """A seed for each episode of a part."""
        sequence = np.random.SeedSequence([self.seed, STREAMS[part]])
        return [int(word) for word in sequence.generate_state(count or self.episode_counts[part])]

    def episodes(self, part: str) -> Episodes:
        """The episodes of "val" or "test"; the same object at each call, which keeps its environments."""
        self.prepare()
        return self._episodes.setdefault(part, Episodes(self, self.seeds(part)))

    def loader(  # type: ignore[override]
        self,
        part: str,
        preprocessor: Preprocessor,
        device: torch.device | str = "cpu",
        shuffle: bool = False,
        shard: tuple[int, int] = (0, 1),
    ) -> Episodes | None:
        """The part's `Episodes` as the only batch; None for training, which a task feeds from a `stream`."""
        return None if part == "train" else self.episodes(part)

    def stream(self, preprocessor: Preprocessor) -> Stream:
        """Seeded environments for training."""
        self.prepare()
        return Stream(self, preprocessor)

    def make_vector(self) -> gymnasium.vector.VectorEnv:
        """`num_envs` new environments that are stepped together. Raises DataError."""
        import gymnasium

        options: dict[str, Any] = dict(self.options)
        if self.max_episode_steps is not None:
            options["max_episode_steps"] = self.max_episode_steps
        own = self.vectorization == "auto" and self._registered.vector_entry_point is not None and not self.options
        if own:
            options["vectorization_mode"] = "vector_entry_point"
        else:
            options["vectorization_mode"] = "sync" if self.vectorization == "auto" else self.vectorization
            options["vector_kwargs"] = {"copy": False} if self.vectorization != "async" else {}
            options["disable_env_checker"] = True
        vector = gymnasium.make_vec(self._registered.id, num_envs=self.num_envs, **options)
        if vector.metadata.get("autoreset_mode") is not gymnasium.vector.AutoresetMode.NEXT_STEP:
            raise DataError(
                f"dataset.id={self.id}: a vectorized environment must reset in the step after an episode's end"
            )
        return vector

    @cached_property
    def table(self) -> TransitionTable | None:
        """The environment's transition probabilities, where it publishes all of them."""
        environment = self.make()
        inner: Any = environment.unwrapped
        # a user's wrapper may change rewards or states, and the table does not show that
        known = not _own_wrappers(environment) and hasattr(inner, "P") and hasattr(inner, "initial_state_distrib")
        fickle = getattr(inner, "fickle_passenger", False)  # Taxi's fickle passenger is not in its table
        if not known or fickle or self.observation.num_states is None:
            return None
        return TransitionTable.read(inner.P, inner.initial_state_distrib)


@dataclass(frozen=True)
class Played:
    """Finished episodes. returns: (episodes,) undiscounted; lengths: (episodes,) steps."""

    returns: np.ndarray
    lengths: np.ndarray


class Episodes:
    """Episodes with fixed seeds: every policy meets the same starts and the same chance. As a loader it yields itself, once."""

    def __init__(self, data: Environment, seeds: list[int]):
        self.data, self.seeds = data, seeds
        self._environments: list[gymnasium.Env] = []

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Episodes]:
        yield self

    def play(self, policy: Policy) -> Played:
        """Plays one episode per seed to its end."""
        while len(self._environments) < min(TOGETHER, len(self.seeds)):
            self._environments.append(self.data.make())
        returns, lengths = np.zeros(len(self.seeds)), np.zeros(len(self.seeds), dtype=np.int64)
        waiting = iter(enumerate(self.seeds))
        playing: list[list[Any]] = []  # [environment, episode, observation]
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

    Attributes:
        observations: (num_envs, *input_shape) float32, what the network is fed; valid until the next `step`.
        resets: (num_envs,) bool. Where an episode has ended, `observations` holds its last observation, and the next step only
            begins a new episode: such a row is not a transition. (gymnasium's NEXT_STEP mode: the last observation of a truncated
            episode is there to bootstrap from.)
        finished: (return, length) of episodes that ended since the list was last cleared.
        continues: whether `restore` resumes the episodes under way. The state of environments in other processes is not known
            (`vectorization: async`): they begin new episodes, other ones than at the start of the training.
    """

    def __init__(self, data: Environment, preprocessor: Preprocessor):
        self.data, self.preprocessor, self.num_envs = data, preprocessor, data.num_envs
        self.vector = data.make_vector()
        self.continues = data.vectorization != "async"
        self.taken = 0  # steps of each environment since training began
        self.returns, self.lengths = np.zeros(self.num_envs), np.zeros(self.num_envs, dtype=np.int64)
        self.finished: list[tuple[float, int]] = []
        self.begin(seed=data.seeds("train", 1)[0])

    def begin(self, seed: int | None = None) -> None:
        """Begins new episodes in all environments. seed: of their random generators; None: they keep their state."""
        self._see(self.vector.reset(seed=seed)[0])
        self.resets = np.zeros(self.num_envs, dtype=bool)
        self.returns[:], self.lengths[:] = 0, 0

    def _see(self, observations: np.ndarray) -> None:
        self.raw = observations
        self.observations = next(iter(self.preprocessor.encode(self.data.as_examples(observations)).values()))

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """actions (num_envs,) -> rewards float32, terminated, truncated (num_envs,); all zero in a row that reset."""
        observations, rewards, terminated, truncated, _ = self.vector.step(actions)
        self.taken += 1
        self._see(observations)
        self.returns += rewards
        self.lengths += ~self.resets
        self.resets = terminated | truncated
        if self.resets.any():
            for i in np.flatnonzero(self.resets):
                self.finished.append((float(self.returns[i]), int(self.lengths[i])))
            self.returns[self.resets], self.lengths[self.resets] = 0, 0
        return np.asarray(rewards, dtype=np.float32), terminated, truncated

    def state(self) -> dict[str, Any]:
        """Plain containers and tensors, from which `restore` resumes exactly, where it `continues`."""
        finished = [list(pair) for pair in self.finished]
        if not self.continues:
            return {"taken": self.taken, "finished": finished}
        from mlrun.data.environments.state import capture, encode  # imports torch, which tables do without

        own = {name: encode(np.asarray(getattr(self, name))) for name in ("raw", "resets", "returns", "lengths")}
        return {"vector": capture(self.vector), "own": own, "taken": self.taken, "finished": finished}

    def restore(self, state: dict[str, Any]) -> None:
        """Resumes where `state` was taken."""
        self.finished = [(earned, length) for earned, length in state["finished"]]
        self.taken = state.get("taken", 0)
        if not self.continues:
            self.begin(seed=self.data.seeds("train", 1)[0] + self.taken)
            return
        from mlrun.data.environments.state import decode, restore

        restore(self.vector, state["vector"])
        self._see(decode(state["own"]["raw"], None))
        for name in ("resets", "returns", "lengths"):
            setattr(self, name, decode(state["own"][name], None))


@dataclass(frozen=True)
class TransitionTable:
    """The dynamics of a finite environment: outcome k of action a in state s.

    probability, reward: (states, actions, outcomes) float64; next_state: int64; terminated: bool; start: (states,) probabilities.
    Unused outcomes have probability 0.
    """

    probability: np.ndarray
    next_state: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    start: np.ndarray

    @classmethod
    def read(
        cls, transitions: dict[int, dict[int, list[tuple[float, int, float, bool]]]], start: Any
    ) -> TransitionTable:
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


def _mistake(observation: np.ndarray, expected: Observation, space: gymnasium.Space) -> str:
    """What is wrong with an observation; empty if it is as its space says."""
    if expected.num_states is not None:
        fits = observation.size == 1 and observation.item() in range(expected.num_states)
        return "" if fits else f"it observes the state {observation.tolist()}, and its observation_space is {space}"
    if observation.shape != space.shape:
        return f"it observes an array of shape {list(observation.shape)}, and its observation_space is {space}"
    if not np.isfinite(observation).all():
        return "it observes values that are not finite numbers"
    return ""


def _own_wrappers(environment: gymnasium.Env) -> list[str]:
    """Wrappers of an environment besides those that `gymnasium.make` adds to every one."""
    from gymnasium import Wrapper

    found = []
    while isinstance(environment, Wrapper):
        found.append(type(environment).__name__)
        environment = environment.env
    return [name for name in found if name not in ("TimeLimit", "OrderEnforcing", "PassiveEnvChecker")]


def _described(space: gymnasium.Space) -> str:
    kind = type(space).__name__
    return f"continuous ({space})" if kind == "Box" else f"of the kind {kind}"


def _fitting(but: str) -> list[str]:
    from mlrun.config.catalogue import datasets_for

    return [name for name in datasets_for(["control"], {"num_actions"}) if name != but]
