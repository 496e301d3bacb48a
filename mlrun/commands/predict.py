"""`mlrun predict RUN`: lets the stored model of a run act."""

import argparse
from pathlib import Path

from mlrun.errors import UserError

SUMMARY = "let a run's stored model play: a GIF of an episode and a table of transitions"


def run(argv: "list[str]") -> int:
    parser = argparse.ArgumentParser(prog="mlrun predict", description="Plays greedy episodes; writes episode.gif (the first one) and transitions.csv.")
    parser.add_argument("run", help="a run directory or an MLflow run id")
    parser.add_argument("--episodes", type=int, default=1)
    parser.add_argument("--seed", type=int, help="of the episodes; without it those that the run itself was measured by")
    parser.add_argument("--output", type=Path, default=Path("."), help="directory to write into")
    arguments = parser.parse_args(argv)
    from mlrun.report.control import record, write_transitions
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
    print(f"{table}: {len(returns)} episodes, mean return {number(sum(returns) / len(returns))}")
    film = record(data, learner.predict)
    if film is None:
        raise UserError("no picture of an episode: this environment cannot draw itself here (is pygame-ce installed?)")
    film.save(arguments.output / "episode.gif")
    print(f"{arguments.output / 'episode.gif'}: {film.told}")
    return 0
