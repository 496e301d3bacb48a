"""`mlrun evaluate RUN`: what the stored model of a run is worth."""

import argparse

from mlrun.errors import UserError

SUMMARY = "metrics of a run's stored model, on as many fresh episodes as wanted"


def run(argv: "list[str]") -> int:
    parser = argparse.ArgumentParser(prog="mlrun evaluate", description=f"Prints {SUMMARY}.")
    parser.add_argument("run", help="a run directory or an MLflow run id")
    parser.add_argument("--episodes", type=int, help="greedy episodes to play (environments)")
    parser.add_argument("--seed", type=int, help="of the episodes; without it those that the run itself was measured by, and more of them")
    arguments = parser.parse_args(argv)
    from mlrun.report.numbers import number
    from mlrun.stored import open_data, open_run

    cfg, learner = open_run(arguments.run)
    settings = {}
    if arguments.episodes is not None or arguments.seed is not None:
        if cfg["dataset"].get("problem") != "control":
            raise UserError(f"{arguments.run}: --episodes and --seed are for environments, and this run learned from {cfg['dataset']['name']}")
        if arguments.seed is not None:
            cfg["seed"] = arguments.seed
        if arguments.episodes is not None:
            settings["test_episodes"] = arguments.episodes
    data = open_data(cfg, **settings)
    metrics = {f"test/{name}": value for name, value in learner.evaluate(data, "test").items()}
    width = max(map(len, metrics))
    for name, value in metrics.items():
        print(f"{name:<{width}}  {number(value)}")
    return 0
