"""Views draw the figures of a model. One file per view in `mlrun/report/views`; a model's YAML lists them.

`figures: [labels]` refers to the `View` in `mlrun/report/views/labels.py`. A custom view is given by its dotted path, or with settings
as a node with `_target_`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from mlrun.config.instantiate import build
from mlrun.errors import ConfigError

if TYPE_CHECKING:
    from mlrun.data.module import DataModule
    from mlrun.predictions.learner import Evaluation, Learner

# of a model whose YAML lists none; a view draws nothing if it does not apply
DEFAULT = ("labels", "values", "importance", "clusters", "components")


class View:
    """Figures of one kind.

    The figures that `draw` and `epoch` yield are written as NAME.png. An object with a method `save(path)` writes itself, and returns its
    path if that differs.
    """

    part: str | None = (
        None  # the split that its figures show, if that is not the evaluated one; "": no rows of the data
    )
    parts: Mapping[str, str] = {}  # the same for single figures, by name
    of_predictions = False  # True if it draws only predictions, so that it can draw those of several folds together

    def draw(self, learner: Learner, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
        """Yields (file name without suffix, matplotlib Figure) of a trained model and its evaluation on a part of the data."""
        yield from ()

    def epoch(self, task: Any, epoch: int, last: bool) -> Iterator[tuple[str, Any]]:
        """Yields the same after an epoch of training, counted from 1; `task.data` is available."""
        yield from ()

    @property
    def state(self) -> dict[str, Any]:
        """State that survives an interruption of training: plain containers and tensors."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes a `state`."""


def make_views(model: Mapping[str, Any]) -> list[View]:
    """The views of a model's YAML. Raises ConfigError for an unknown name."""
    listed = model.get("figures")
    return [_view(entry, f"model.figures[{at}]") for at, entry in enumerate(DEFAULT if listed is None else listed)]


def figures(learner: Learner, data: DataModule, evaluation: Evaluation) -> Iterator[tuple[str, Any]]:
    """All figures of a trained model: learning curves, then those of its views."""
    from mlrun.report.captions import captioned
    from mlrun.report.figures import learning_curves

    training, model = learner.training, learner.recipe["model"]
    predicted = None if evaluation.predictions is None else len(evaluation.predictions)
    about = subject(model, data, evaluation.part, predicted)
    if len(next(iter(training.history.values()), ())) > 1:
        figure = learning_curves(training.history, learner.monitor, learner.mode, training.best_epoch)
        yield "learning_curves", captioned(figure, "learning_curves", about.partition(", ")[0])
    for view in learner.views:
        for name, figure in view.draw(learner, data, evaluation):
            part = view.parts.get(name, view.part)
            yield name, captioned(figure, name, about if part is None else subject(model, data, part))


def title(model: Mapping[str, Any], data: DataModule) -> str:
    """`mlp on digits`."""
    return f"{model.get('name') or 'model'} on {data.display_name.replace(', ', ' and ')}"


def subject(model: Mapping[str, Any], data: DataModule, part: str, rows: int | None = None) -> str:
    """`mlp on digits, test split, 359 rows`. part: "": no rows of the data. rows: None: those of the part."""
    rows = data.sizes.get(part) if rows is None else rows
    if not part:
        return title(model, data)
    unit = ("episode" if hasattr(data, "observation") else "row") + "s" * (rows != 1)
    counted = f", {rows:,} {unit}" if rows else ""
    return f"{title(model, data)}, {part} split{counted}"


def _view(entry: Any, path: str) -> View:
    if isinstance(entry, Mapping):
        return build(dict(entry), path=path)
    return build({"_target_": entry if "." in entry else _by_name(entry, path)}, path=path)


def _by_name(name: str, path: str) -> str:
    known = [module.name for module in iter_modules([str(Path(__file__).with_name("views"))])]
    if name not in known:
        near = get_close_matches(name, known, 1)
        raise ConfigError(f"{path}={name}: there is no such view" + (f" — did you mean '{near[0]}'?" if near else ""))
    module = import_module(f"mlrun.report.views.{name}")
    (own,) = [
        one
        for one in vars(module).values()
        if inspect.isclass(one) and issubclass(one, View) and one.__module__ == module.__name__
    ]
    return f"{own.__module__}.{own.__qualname__}"
