"""`mlrun errors RUN`: the error-analysis sheet."""

from __future__ import annotations

import csv
from pathlib import Path

from mlrun.commands import RunParser
from mlrun.errors import UserError

SUMMARY = "a run's most confident mistakes, likely wrong labels, and error rates by class and by slices of each column"
COLUMNS, SHOWN = 60, 8  # most columns that are sliced; rows of each table that are printed


def run(argv: list[str]) -> int:
    parser = RunParser("errors", f"Prints and writes {SUMMARY} (CSV files, pictures of images).")
    parser.add_argument(
        "--part", help="train_dev, val or test (default: test); labels of train were learned and look right"
    )
    parser.add_argument(
        "--by", help=f"columns to slice by, such as age,city, also ones that were dropped; default: the first {COLUMNS}"
    )
    parser.add_argument("--output", type=Path, help="directory (default: errors in the run's directory, else here)")
    arguments = parser.parse_args(argv)

    from mlrun.evaluation.error_analysis import confident_mistakes, likely_mislabelled, slices
    from mlrun.experiment.stored import Record, open_part, open_run

    cfg, learner = open_run(arguments.run, arguments.trust)
    if cfg["dataset"].get("problem") == "control":
        raise UserError(f"{arguments.run}: learned from an environment, which has no right answers")
    data, part = open_part(cfg, learner, arguments.part)
    learner.evaluate(data, part)
    outcome = learner.outcome
    if outcome is None:
        raise UserError(f"{arguments.run}: {cfg['model']['name']} gives no answers that could be wrong")
    folder = arguments.output or (Path(arguments.run) if Path(arguments.run).is_dir() else Path()) / "errors"
    folder.mkdir(parents=True, exist_ok=True)
    rows, labels = data.rows(part), data.spec.class_names
    tables = {
        name: _rows(outcome, places, rows, labels, data)
        for name, places in (("mistakes", confident_mistakes(outcome)), ("mislabelled", likely_mislabelled(outcome)))
    }
    classes = []
    if outcome.problem == "classification":
        for place, name in enumerate(labels):
            of_class, said = outcome.y == place, outcome.predicted == place
            if of_class.any() or said.any():
                missed = float((outcome.predicted[of_class] != place).mean()) if of_class.any() else None
                false = float((outcome.y[said] != place).mean()) if said.any() else None
                classes.append((name, int(of_class.sum()), missed, false))
        classes.sort(key=lambda one: -(one[2] or 0))
    tables["classes"] = [("class", "rows", "missed", "wrong when predicted"), *classes]
    tables["slices"] = [
        ("column", "values", "rows", "error", "standard errors above all"),
        *slices(outcome, _columns(data, rows, arguments.by)),
    ]
    for name, table in tables.items():
        if len(table) > 1:
            with open(folder / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(table)
    _draw(data, outcome, rows, labels, folder)
    _show(part, outcome, tables)
    print(f"\n{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    with Record(arguments.run, cfg, "errors", f"errors {part}", {"part": part}) as tracked:
        tracked.metrics({"mistakes": len(tables["mistakes"]) - 1, "mislabelled": len(tables["mislabelled"]) - 1})
        tracked.artifact(folder, "errors")
    return 0


def _rows(outcome, places, rows, labels, data):
    """A table of chosen rows with what was given and what was said; the features of a small table too."""
    features = list(data.spec.feature_names) if data.columns is not None or len(data.spec.feature_names) <= 30 else []
    texts, names = getattr(data.content.x, "ndim", 2) == 1, data.content.names
    head = ["row", "true", "predicted"]
    if outcome.probabilities is not None:
        head += ["probability of predicted", "probability of true"]
    table = [(*head, *features, *["text"] * texts, *["file"] * bool(names))]
    x = data.take(rows[places]) if len(places) else []
    for at, place in enumerate(places):
        true, predicted = (
            labels[int(v)] if outcome.problem == "classification" else v
            for v in (outcome.y[place], outcome.predicted[place])
        )
        sure = (
            [
                round(float(outcome.probabilities[place, int(v)]), 6)
                for v in (outcome.predicted[place], outcome.y[place])
            ]
            if outcome.probabilities is not None
            else []
        )
        own = list(x.iloc[at] if hasattr(x, "iloc") else x[at].reshape(-1)) if features else [x[at]] if texts else []
        own += [names[rows[place]]] if names else []
        table.append((int(rows[place]), true, predicted, *sure, *own))
    return table


def _columns(data, rows, by: str | None) -> dict:
    if by:
        return {name: data.column(name)[rows] for name in by.split(",")}
    if getattr(data.content.x, "ndim", 0) != 2:
        return {}
    return {name: data.column(name)[rows] for name in list(data.spec.feature_names)[:COLUMNS]}


def _draw(data, outcome, rows, labels, folder) -> None:
    from mlrun.evaluation.error_analysis import confident_mistakes, likely_mislabelled
    from mlrun.report.figures import misclassified_images, save

    if len(data.spec.facts.get("image_shape", ())) != 3 or outcome.problem != "classification":
        return
    for name, places, title, order in (
        ("mistakes", confident_mistakes(outcome), "Mistakes", None),
        ("mislabelled", likely_mislabelled(outcome), "Likely mislabelled", "the likeliest first"),
    ):
        chosen = places[outcome.y[places] != outcome.predicted[places]]
        if len(chosen):
            images = data.take(rows[chosen])
            sure = None if outcome.probabilities is None else outcome.probabilities[chosen, outcome.predicted[chosen]]
            figure = misclassified_images(
                images,
                outcome.y[chosen],
                outcome.predicted[chosen],
                labels,
                images.shape[1:],
                confidence=sure,
                of_rows=len(outcome.y),
                title=title,
                order=order,
            )
            save(figure, folder / f"{name}.png")


def _show(part, outcome, tables) -> None:
    import numpy as np

    from mlrun.report.numbers import number

    if outcome.problem == "classification":
        print(
            f"{part}: {len(tables['mistakes']) - 1:,} of {len(outcome.y):,} wrong ({np.mean(outcome.y != outcome.predicted):.2%})"
        )
    else:
        print(
            f"{part}: rmse {number(float(np.sqrt(np.mean((outcome.y - outcome.predicted) ** 2))))} on {len(outcome.y):,} rows"
        )
    for name, title in (
        ("mistakes", "most confident mistakes"),
        ("mislabelled", "likely mislabelled"),
        ("classes", "classes"),
        ("slices", "slices, the worst first"),
    ):
        table = tables[name]
        if len(table) < 2:
            continue
        width = len(table[0])
        if name in ("mistakes", "mislabelled") and table[0][-1] not in ("text", "file"):
            width = 3 if outcome.probabilities is None else 5  # features of a table are in the file
        cells = [[_cell(value, number) for value in row[:width]] for row in table[: SHOWN + 1]]
        widths = [max(map(len, column)) for column in zip(*cells)]
        more = f" ({len(table) - 1 - SHOWN:,} more in {name}.csv)" if len(table) - 1 > SHOWN else ""
        print(f"\n{title}{more}")
        for row in cells:
            print("  " + "  ".join(cell.ljust(size) for cell, size in zip(row, widths)).rstrip())


def _cell(value, number) -> str:
    if value is None:
        return "–"
    is_float = isinstance(value, float) or hasattr(value, "dtype") and value.dtype.kind == "f"
    text = number(float(value)) if is_float else str(value)
    return text if len(text) <= 40 else text[:37] + "..."
