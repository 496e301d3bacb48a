"""`mlrun predict RUN`: lets the stored model of a run act."""

import argparse
import csv
from pathlib import Path

import numpy as np

from mlrun.errors import UserError

SUMMARY = "let a run's stored model play: a GIF of an episode and a table of transitions"


def run(argv: "list[str]") -> int:
    parser = argparse.ArgumentParser(prog="mlrun predict", description="Plays greedy episodes; writes episode.gif (the first one) and transitions.csv.")
    parser.add_argument("run", help="a run directory or an MLflow run id")
    parser.add_argument("--episodes", type=int, default=1)
    parser.add_argument("--seed", type=int, help="of the episodes; without it those that the run itself was measured by")
    parser.add_argument("--output", type=Path, default=Path("."), help="directory to write into")
    arguments = parser.parse_args(argv)
    from mlrun.report.control import record
    from mlrun.report.numbers import number
    from mlrun.stored import open_data, open_run

    cfg, learner = open_run(arguments.run)
    if cfg["dataset"].get("problem") != "control":
        raise UserError(f"{arguments.run}: this run learned from {cfg['dataset']['name']}; only models of environments can play")
    if arguments.seed is not None:
        cfg["seed"] = arguments.seed
    data = open_data(cfg, test_episodes=arguments.episodes)
    arguments.output.mkdir(parents=True, exist_ok=True)
    table = arguments.output / "transitions.csv"
    returns = write_transitions(table, data, learner.predict)
    print(f"{table}: {len(returns)} episodes, mean return {number(float(np.mean(returns)))}")
    film = record(data, learner.predict)
    if film is None:
        raise UserError("no picture of an episode: this environment cannot draw itself here (is pygame-ce installed?)")
    film.save(arguments.output / "episode.gif")
    print(f"{arguments.output / 'episode.gif'}: {film.told}")
    return 0


def write_transitions(path: Path, data, policy) -> "list[float]":
    """One row per step of the test episodes. Returns the undiscounted returns."""
    environment = data.make()
    returns = []
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        count = int(np.prod(environment.observation_space.shape)) or 1
        names = ["state"] if count == 1 else [f"observation_{i}" for i in range(count)]
        following = [f"next_{name}" for name in names]
        writer.writerow(["episode", "step", *names, "action", "reward", *following, "terminated", "truncated"])
        for episode, seed in enumerate(data.seeds("test")):
            observation, _ = environment.reset(seed=seed)
            step, earned, over = 0, 0.0, False
            while not over:
                action = int(policy(np.asarray(observation)[None])[0])
                before = np.ravel(observation).tolist()
                observation, reward, terminated, truncated, _ = environment.step(action)
                writer.writerow([episode, step, *before, action, float(reward), *np.ravel(observation).tolist(), terminated, truncated])
                step, earned, over = step + 1, earned + float(reward), terminated or truncated
            returns.append(earned)
    environment.close()
    return returns
