"""`mlrun diagnose RUN`: bias, variance, data mismatch, or overfitting to the dev set?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlrun.commands import RunParser
from mlrun.errors import UserError

if TYPE_CHECKING:
    from mlrun.evaluation.diagnosis import Gap

SUMMARY = "find the source of a run's error: bias, variance, data mismatch, overfitting to the dev set"


def run(argv: list[str]) -> int:
    """Runs the command."""
    parser = RunParser(
        "diagnose",
        "Evaluates the stored model on train, train_dev (if the run has dataset.split.train_dev), val and test; shows which gap is worth working on, and what to try.",
    )
    parser.add_argument(
        "--human",
        type=float,
        default=0.0,
        help="human-level or best known error: 0.01 is 1 %% (regression: an RMSE)",
    )
    arguments = parser.parse_args(argv)
    from mlrun.data.features import Label, Value
    from mlrun.evaluation.diagnosis import LEAST, diagnose
    from mlrun.experiment.stored import Record, open_data, open_run

    cfg, learner = open_run(arguments.run, arguments.trust)
    data = open_data(cfg, learner)
    if not isinstance(data.target, (Label, Value)):
        kind = "nothing" if data.target is None else f"a {data.target.kind}"
        raise UserError(
            f"{arguments.run}: a diagnosis needs a class or a number to predict, and {data.name} has {kind}"
        )
    classifies = isinstance(data.target, Label)
    if classifies and not 0 <= arguments.human < 1:
        raise UserError(f"--human {arguments.human}: an error rate is between 0 and 1, such as 0.01")
    errors, rows = {}, {}
    for part in ("train", "train_dev", "val", "test"):
        if data.sizes.get(part):
            metrics = learner.evaluate(data, part).metrics
            if not {"accuracy", "rmse"} & set(metrics):
                raise UserError(
                    f"{arguments.run}: the predictions of {cfg['model']['name']} cannot be compared with the target"
                )
            errors[part], rows[part] = (1 - metrics["accuracy"] if classifies else metrics["rmse"]), data.sizes[part]
    if "train" not in errors or "val" not in errors:
        raise UserError(
            f"{arguments.run}: a diagnosis compares train and val, and this run has no {'val' if 'train' in errors else 'train'} (dataset.split)"
        )
    least = LEAST if classifies else 0.05 * errors["val"]
    gaps = diagnose(errors, rows, arguments.human, least, data.draws_val_from_train)
    _show(errors, rows, gaps, arguments.human, classifies)
    with Record(arguments.run, cfg, "diagnosis", "diagnose", {"human": arguments.human}) as tracked:
        tracked.metrics(
            {
                **{f"{part}/error": value for part, value in errors.items()},
                **{f"gap/{gap.name.replace(' ', '_')}": gap.size for gap in gaps},
            }
        )
        tracked.tags({"diagnosis": ", ".join(gap.name for gap in gaps if gap.matters) or "none"})
    return 0


def _show(errors: dict[str, float], rows: dict[str, int], gaps: list[Gap], human: float, classifies: bool) -> None:
    from mlrun.report.numbers import number

    def shown(value: float) -> str:
        return f"{value:.2%}" if classifies else number(value)

    titles = {"train": "train", "train_dev": "train-dev", "val": "dev (val)", "test": "test"}
    print(f"{'':12}{'rows':>10}{'error' if classifies else 'rmse':>10}{'gap':>10}")
    print(f"{'human':12}{'':>10}{shown(human):>10}")
    for (part, error), gap in zip(errors.items(), gaps):
        mark = "*" if gap.matters else " "
        print(f"{titles[part]:12}{rows[part]:>10,}{shown(error):>10}{shown(gap.size):>10} {mark} {gap.name}")
    worth = sorted((gap for gap in gaps if gap.matters), key=lambda gap: -gap.size)
    print()
    for gap in worth:
        print(f"{gap.name}: try {gap.advice}" if " or " not in gap.name else f"{gap.name}: {gap.advice}")
    if not worth:
        print("no gap is large enough to be worth working on")
