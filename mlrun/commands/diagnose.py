"""`mlrun diagnose RUN`: is it bias, variance, other data, or too much looking at dev?"""

from __future__ import annotations

from mlrun.commands import RunParser
from mlrun.errors import UserError

SUMMARY = "where a run's error comes from (bias, variance, data mismatch, over-fitting to dev), and what to try next"


def run(argv: list[str]) -> int:
    parser = RunParser(
        "diagnose",
        "Measures the stored model on train, train_dev (if the run has dataset.split.train_dev), val and test, and says which gap is worth work.",
    )
    parser.add_argument(
        "--human",
        type=float,
        default=0.0,
        help="error of people on this task, or the best known: 0.01 is 1 %% (values: an RMSE)",
    )
    arguments = parser.parse_args(argv)
    from mlrun.data.features import Label, Value
    from mlrun.evaluation.diagnosis import LEAST, diagnose
    from mlrun.experiment.stored import Record, open_data, open_run

    cfg, learner = open_run(arguments.run, arguments.trust)
    data = open_data(cfg)
    if not isinstance(data.target, (Label, Value)):
        kind = "nothing" if data.target is None else f"a {data.target.kind}"
        raise UserError(
            f"{arguments.run}: errors are told apart for classes and values, and {data.name} has {kind} to predict"
        )
    classifies = isinstance(data.target, Label)
    if classifies and not 0 <= arguments.human < 1:
        raise UserError(f"--human {arguments.human}: an error rate is between 0 and 1, such as 0.01")
    errors, rows = {}, {}
    for part in ("train", "train_dev", "val", "test"):
        if data.sizes.get(part):
            metrics = learner.evaluate(data, part).metrics
            if not {"accuracy", "rmse"} & set(metrics):
                raise UserError(f"{arguments.run}: {cfg['model']['name']} gives no answers that could be wrong")
            errors[part], rows[part] = (1 - metrics["accuracy"] if classifies else metrics["rmse"]), data.sizes[part]
    if "train" not in errors or "val" not in errors:
        raise UserError(
            f"{arguments.run}: a diagnosis compares train and val, and this run has no {'val' if 'train' in errors else 'train'} (dataset.split)"
        )
    gaps = diagnose(errors, rows, arguments.human, LEAST if classifies else 0.05 * errors["val"])
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


def _show(errors, rows, gaps, human, classifies) -> None:
    from mlrun.report.numbers import number

    def said(value):
        return f"{value:.2%}" if classifies else number(value)

    shown = {"train": "train", "train_dev": "train-dev", "val": "dev (val)", "test": "test"}
    print(f"{'':12}{'rows':>10}{'error' if classifies else 'rmse':>10}{'gap':>10}")
    print(f"{'human':12}{'':>10}{said(human):>10}")
    for (part, error), gap in zip(errors.items(), gaps):
        mark = "*" if gap.matters else " "
        print(f"{shown[part]:12}{rows[part]:>10,}{said(error):>10}{said(gap.size):>10} {mark} {gap.name}")
    worth = sorted((gap for gap in gaps if gap.matters), key=lambda gap: -gap.size)
    print()
    for gap in worth:
        print(f"{gap.name}: try {gap.advice}" if " or " not in gap.name else f"{gap.name}: {gap.advice}")
    if not worth:
        print("no gap is larger than chance and worth work")
