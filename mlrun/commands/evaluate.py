"""`mlrun evaluate RUN`: metrics of a run's stored model."""

from __future__ import annotations

from pathlib import Path

from mlrun.commands import RunParser
from mlrun.errors import UserError
from mlrun.predictions.query import seed

SUMMARY = "evaluate a stored model on any split of its data, or on other data"


def run(argv: list[str]) -> int:
    """Runs the command."""
    parser = RunParser(
        "evaluate",
        "Prints metrics of a stored model on any split of its data, or on other data. Logs them as a nested child run in MLflow.",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        help="other data: dataset=csv dataset.path=FILE ...; or other settings of the run's dataset: dataset.path=FILE",
    )
    parser.add_argument("--part", help="train, train_dev, val or test (default); other data: all rows by default")
    parser.add_argument("--figures", type=Path, metavar="DIR", help="directory for the figures")
    parser.add_argument("--episodes", type=int, help="greedy episodes to play (environments)")
    parser.add_argument(
        "--seed",
        type=seed,
        help="seed of the episodes (default: the episodes of the run's own evaluation)",
    )
    arguments = parser.parse_args(argv)
    import tempfile

    from mlrun.experiment.reference_classifier import reference_for
    from mlrun.experiment.result import draw
    from mlrun.experiment.run import run as train
    from mlrun.experiment.stored import Record, open_data, open_part, open_run
    from mlrun.report.numbers import number
    from mlrun.report.view import figures

    cfg, learner = open_run(arguments.run, arguments.trust)
    acts = any(feature.kind == "observation" for feature in learner.inputs.values())
    if acts:
        settings = {} if arguments.episodes is None else {"test_episodes": arguments.episodes}
        cfg["seed"] = cfg["seed"] if arguments.seed is None else arguments.seed
        data, part = open_data(cfg, **settings), "test"
    else:
        if arguments.episodes is not None or arguments.seed is not None:
            raise UserError(
                f"{arguments.run}: --episodes and --seed are for environments, and this run was trained on {cfg['dataset']['name']}"
            )
        data, part = open_part(cfg, learner, arguments.part, arguments.overrides)
    params = {
        "part": part,
        "rows": data.sizes.get(part),
        "overrides": " ".join(arguments.overrides),
        "source": data.source,
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        Record(arguments.run, cfg, "evaluation", f"evaluate {part}", params) as tracked,
    ):
        evaluation = learner.evaluate(data, part, reference_for(cfg, data, train))
        metrics = {f"{part}/{name}": value for name, value in evaluation.metrics.items()}
        tracked.metrics(metrics)
        directory = arguments.figures or Path(folder)
        draw(figures(learner, data, evaluation), directory)
        tracked.artifact(directory, "figures")
        width = max(map(len, metrics))
        if params["rows"] and not acts:  # in an environment they are episodes
            print(f"{'rows':<{width}}  {params['rows']:,}")
        for name, value in metrics.items():
            print(f"{name:<{width}}  {number(value)}")
    return 0
