"""`mlrun errors RUN`: error analysis."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mlrun.commands import RunParser
from mlrun.data.spreadsheet import safe_rows
from mlrun.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from mlrun.data.row_data import RowData
    from mlrun.predictions.learner import Evaluation, Learner

SUMMARY = "list confident mistakes and likely label errors; error rates by class and subgroup"
COLUMNS, SHOWN = 60, 8  # most columns that are sliced; most rows of a table that are printed
FEATURES = 30  # a mistake is listed with the features of its row if there are at most this many
Table = list[tuple[Any, ...]]


def run(argv: list[str]) -> int:
    """Runs the command."""
    parser = RunParser(
        "errors",
        "Lists the most confident mistakes, likely label errors, and error rates by class and subgroup. Writes CSV files, and pictures for images.",
    )
    parser.add_argument(
        "--part",
        help="train_dev, val or test (default: test); label errors in train have been learned and cannot be found",
    )
    parser.add_argument(
        "--by", help=f"columns to slice by, such as age,city, dropped columns included (default: the first {COLUMNS})"
    )
    parser.add_argument("--output", type=Path, help="directory (default: errors in the run's directory, else here)")
    arguments = parser.parse_args(argv)

    from mlrun.data.row_data import RowData
    from mlrun.evaluation.error_analysis import confident_mistakes, likely_mislabelled, slices
    from mlrun.experiment.stored import Record, open_part, open_run

    cfg, learner = open_run(arguments.run, arguments.trust)
    data, part = open_part(cfg, learner, arguments.part)
    if not data.targets:
        raise UserError(f"{arguments.run}: its dataset {data.name} has no target to compare predictions with")
    found = learner.evaluate(data, part)
    if found.predictions is None or found.predictions.kind != data.target.kind or not isinstance(data, RowData):
        raise UserError(
            f"{arguments.run}: the predictions of {cfg['model']['name']} cannot be compared with the target"
        )
    folder = arguments.output or (Path(arguments.run) if Path(arguments.run).is_dir() else Path()) / "errors"
    folder.mkdir(parents=True, exist_ok=True)
    truth = found.examples[data.targets[0]]
    mistakes, mislabelled = confident_mistakes(found.predictions, truth), likely_mislabelled(found.predictions, truth)
    tables = {"mistakes": _rows(found, mistakes, data), "mislabelled": _rows(found, mislabelled, data)}
    tables["classes"] = [("class", "rows", "missed", "wrong when predicted"), *_classes(found, truth, data)]
    tables["slices"] = [
        ("column", "values", "rows", "error", "standard errors above all"),
        *slices(found.predictions, truth, _columns(data, data.rows(part), arguments.by)),
    ]
    further = {name: table for one in found.evaluators.values() for name, table in one.error_tables().items()}
    for name, table in {**tables, **further}.items():
        if len(table) > 1:
            with open(folder / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(safe_rows(table))
    _draw(learner, found, truth, data, {"mistakes": mistakes, "mislabelled": mislabelled}, folder)
    _show(part, found, truth, {**tables, **further})
    print(f"\n{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    with Record(arguments.run, cfg, "errors", f"errors {part}", {"part": part}) as tracked:
        tracked.metrics({"mistakes": len(tables["mistakes"]) - 1, "mislabelled": len(tables["mislabelled"]) - 1})
        tracked.artifact(folder, "errors")
    return 0


def _rows(found: Evaluation, places: np.ndarray, data: RowData) -> Table:
    """A table of the chosen rows: true and predicted values, and the features if there are few."""
    from mlrun.data.predictions import LabelPredictions
    from mlrun.experiment.crossvalidation import written

    predictions: Any = found.predictions
    target: Any = data.target
    truth = found.examples[data.targets[0]]
    sure = isinstance(predictions, LabelPredictions) and predictions.probabilities is not None
    confidence = None if sure else predictions.confidence()
    head = ["row", "true", "predicted"]
    head += ["probability of predicted", "probability of true"] if sure else ["confidence"] * (confidence is not None)
    names = [name for name in data.inputs if len(getattr(data.features[name], "names", ())) <= FEATURES]
    names = [name for name in names if data.features[name].kind in ("row", "vector", "text")]
    files = data.content.names
    table: Table = [(*head, *(column for name in names for column in _head(data, name)), *["file"] * bool(files))]
    rows = data.rows(found.part)
    numbers = data.source_rows(rows)
    answers = predictions.columns()
    for place in places:
        if isinstance(predictions, LabelPredictions):
            said = [target.names[int(truth[place])], target.names[int(predictions.indices[place])]]
        else:
            said = [written(target, truth[place]), _answer(answers, int(place))]
        if sure:
            chances = predictions.probabilities[place]
            said += [round(float(chances[int(at)]), 6) for at in (predictions.indices[place], truth[place])]
        elif confidence is not None:
            said.append(round(float(confidence[place]), 6))
        own = [value for name in names for value in _values(found, name, int(place))]
        table.append((int(numbers[place]), *said, *own, *([files[rows[place]]] if files else [])))
    return table


def _answer(answers: Mapping[str, Any], place: int) -> Any:
    """The prediction of a row; of several values all of them."""
    own = {
        name.removeprefix("prediction_"): values[place]
        for name, values in answers.items()
        if name.startswith("prediction_")
    }
    return (
        json.dumps({name: float(value) for name, value in own.items()}, ensure_ascii=False)
        if own
        else next(iter(answers.values()))[place]
    )


def _head(data: RowData, name: str) -> list[str]:
    return list(getattr(data.features[name], "names", ())) or [name]


def _values(found: Evaluation, name: str, place: int) -> list[Any]:
    value = found.examples[place][name]
    if isinstance(value, str):
        return [value]
    return list(found.examples.features[name].describe(value).values() if hasattr(value, "iloc") else value.reshape(-1))


def _classes(found: Evaluation, truth: np.ndarray, data: RowData) -> Table:
    """For each class its rows, its miss rate and its false discovery rate; the most missed first."""
    from mlrun.data.predictions import LabelPredictions

    if not isinstance(found.predictions, LabelPredictions):
        return []
    table, predicted = [], found.predictions.indices
    for place, name in enumerate(cast(Any, data.target).names):
        of_class, said = truth == place, predicted == place
        if of_class.any() or said.any():
            missed = float((predicted[of_class] != place).mean()) if of_class.any() else None
            false = float((truth[said] != place).mean()) if said.any() else None
            table.append((name, int(of_class.sum()), missed, false))
    return sorted(table, key=lambda one: -(one[2] or 0))


def _columns(data: RowData, rows: np.ndarray, by: str | None) -> dict[str, np.ndarray]:
    if by:
        return {name: data.column(name)[rows] for name in by.split(",")}
    tables: list[Any] = [data.features[name] for name in data.inputs if data.features[name].kind in ("row", "vector")]
    return {name: data.column(name)[rows] for feature in tables for name in feature.names[:COLUMNS]}


def _draw(
    learner: Learner, found: Evaluation, truth: np.ndarray, data: RowData, places: dict[str, np.ndarray], folder: Path
) -> None:
    import numpy as np

    from mlrun.data.features import Image
    from mlrun.data.predictions import LabelPredictions
    from mlrun.report.figures import misclassified_images, save

    image = next((name for name in data.inputs if isinstance(data.features[name], Image)), None)
    predictions = found.predictions
    if image is None:
        return
    if not isinstance(predictions, LabelPredictions):
        for view in learner.views:
            for name, figure in view.draw(learner, data, found):
                if name.startswith("worst"):
                    save(figure, folder / f"{name}.png")
        return
    confidence = predictions.confidence()
    for name, title, order in (
        ("mistakes", "Mistakes", None),
        ("mislabelled", "Likely mislabelled", "the likeliest first"),
    ):
        chosen = places[name][truth[places[name]] != predictions.indices[places[name]]]
        if len(chosen):
            images = np.asarray(found.examples.take(chosen)[image])
            figure = misclassified_images(
                images,
                truth[chosen],
                predictions.indices[chosen],
                cast(Any, data.target).names,
                images.shape[1:],
                confidence=None if confidence is None else confidence[chosen],
                of_rows=len(truth),
                title=title,
                order=order,
            )
            save(figure, folder / f"{name}.png")


def _show(part: str, found: Evaluation, truth: Any, tables: dict[str, Table]) -> None:
    import numpy as np

    from mlrun.data.predictions import SeveralValuesPredictions, ValuePredictions
    from mlrun.report.console import is_terminal
    from mlrun.report.numbers import number
    from mlrun.report.tables import aligned

    room = shutil.get_terminal_size().columns - 2 if is_terminal() else None
    size = found.predictions.mistakes(truth)
    if isinstance(found.predictions, ValuePredictions):
        print(f"{part}: rmse {number(float(np.sqrt(np.mean(size**2))))} on {len(size):,} rows")
    elif isinstance(found.predictions, SeveralValuesPredictions):
        share = number(float(np.sqrt(np.mean(size**2))))
        print(f"{part}: rmse {share} in standard deviations of the targets, on {len(size):,} rows")
    else:
        wrong = int((size > 0).sum())
        print(f"{part}: {wrong:,} of {len(size):,} wrong ({wrong / len(size):.2%})")
    titles = {
        "mistakes": "most confident mistakes",
        "mislabelled": "likely mislabelled",
        "classes": "classes",
        "slices": "slices, the worst first",
    }
    for name, table in tables.items():
        title = titles.get(name, name)
        if len(table) < 2:
            continue
        width = len(table[0])
        if name in ("mistakes", "mislabelled") and table[0][-1] not in ("text", "file"):
            width = 3 + sum(column.startswith("probability of") or column == "confidence" for column in table[0])
        cells = [[_cell(value, number) for value in row[:width]] for row in table[: SHOWN + 1]]
        more = f" ({len(table) - 1 - SHOWN:,} more in {name}.csv)" if len(table) - 1 > SHOWN else ""
        print(f"\n{title}{more}")
        for line in aligned(cells, [True] * width, room):
            print(f"  {line}")


def _cell(value: Any, number: Any) -> str:
    if value is None:
        return "–"
    is_float = isinstance(value, float) or hasattr(value, "dtype") and value.dtype.kind == "f"
    text = number(float(value)) if is_float else " ".join(str(value).split())
    return text if len(text) <= 40 else text[:37] + "..."
