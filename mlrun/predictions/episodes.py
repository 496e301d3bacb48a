"""Episodes played by a stored model: an animation of the first, and a table of all transitions."""

from __future__ import annotations

import csv
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.environments.environment import OBSERVATION
from mlrun.errors import UserError
from mlrun.predictions.query import Query, seed, writing

if TYPE_CHECKING:
    from mlrun.data.environments.environment import Environment, Policy
    from mlrun.data.module import DataModule
    from mlrun.predictions.learner import Learner


class Episodes(Query):
    """Plays greedy episodes; writes `episode.gif` and `transitions.csv` into the directory `--output`."""

    name = "episodes"
    without_input = True

    def add_options(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--episodes", type=int, help="how many to play (default: 1); --output is the directory for the files"
        )
        parser.add_argument(
            "--seed", type=seed, help="seed of the episodes (default: the episodes of the run's own evaluation)"
        )

    def answer(
        self, learner: Learner, cfg: dict[str, Any], arguments: Namespace, open_data: Callable[..., DataModule]
    ) -> int:
        from mlrun.report.control import record
        from mlrun.report.numbers import number

        count = 1 if arguments.episodes is None else arguments.episodes
        if count < 1:
            raise UserError(f"--episodes {count}: give at least 1")
        chosen = cfg["seed"] if arguments.seed is None else arguments.seed
        data: Any = open_data({**cfg, "seed": chosen}, test_episodes=count)
        policy = data.policy(learner.predict)
        folder = Path(arguments.output or ".")
        table, picture = folder / "transitions.csv", folder / "episode.gif"
        with writing("--output", table):
            returns = write_transitions(table, data, policy)
        print(f"{table}: {len(returns)} episodes, mean return {number(sum(returns) / len(returns))}")
        film = record(data, policy)
        if film is None:
            raise UserError("this environment cannot be rendered here (is pygame-ce installed?)")
        with writing("--output", picture):
            film.save(picture)
        print(f"{picture}: {film.caption}")
        return 0


def write_transitions(path: Path, data: Environment, policy: Policy) -> list[float]:
    """Plays the test episodes and writes one row per step. Returns the undiscounted return of each episode."""
    environment = data.make()
    returns = []
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        names = [column for column, _ in data.observation.columns(OBSERVATION)]
        names = names or [f"{OBSERVATION}_{place}" for place in range(int(np.prod(data.observation.shape)))]
        following = [f"next_{name}" for name in names]
        writer.writerow(["episode", "step", *names, "action", "reward", *following, "terminated", "truncated"])
        for episode, seed in enumerate(data.seeds("test")):
            observation, _ = environment.reset(seed=seed)
            step, earned, over = 0, 0.0, False
            while not over:
                before = np.ravel(observation).tolist()
                action = int(policy(np.asarray(observation)[None])[0])
                observation, reward, terminated, truncated, _ = environment.step(action)
                after = np.ravel(observation).tolist()
                writer.writerow([episode, step, *before, action, float(reward), *after, terminated, truncated])
                step, earned, over = step + 1, earned + float(reward), terminated or truncated
            returns.append(earned)
    environment.close()
    return returns
