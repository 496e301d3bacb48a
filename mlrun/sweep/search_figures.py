"""Figures of a search: the values of its trials, and the importance of each setting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from mlrun.report.style import BLUE, GREY, ORANGE, new_axes, new_figure, shorten, styled, text_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from optuna import Study


@styled
def history_figure(study: Study, metric: str) -> Figure:
    """The value of every trial, for pruned ones that of their last epoch, and the best so far. metric: its name."""
    from optuna.study import StudyDirection
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    values = {trial.number: trial.value for trial in trials if trial.value is not None}
    of_state = {trial.number: trial.state for trial in trials}
    done = [(number, value) for number, value in values.items() if of_state[number] == TrialState.COMPLETE]
    pruned = [(number, value) for number, value in values.items() if of_state[number] == TrialState.PRUNED]
    figure = new_figure(6.4, 3.8, f"{metric} of {len(trials)} trials")
    (axes,) = new_axes(figure, 0.8, 0.6, 0.3, 0.65)
    better = min if study.direction == StudyDirection.MINIMIZE else max
    best = [better(value for _, value in done[: index + 1]) for index in range(len(done))]
    if pruned:
        axes.plot(*zip(*pruned), "x", color=GREY, markersize=5, label=f"pruned ({len(pruned)})")
    axes.plot(*zip(*done), "o", color=BLUE, markersize=4, alpha=0.7, label=f"finished ({len(done)})")
    axes.step([number for number, _ in done], best, where="post", color=ORANGE, label="best so far")
    axes.set(xlabel="trial", ylabel=metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="best")
    return figure


@styled
def importance_figure(study: Study, metric: str) -> Figure | None:
    """Fraction of the metric's variance that each setting explains (PED-ANOVA, Watanabe et al. 2023); None if too few trials have finished."""
    import optuna

    try:
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        importance = optuna.importance.get_param_importances(study, evaluator=evaluator)
    except (ValueError, RuntimeError, ZeroDivisionError):  # fewer than two finished trials, or one value only
        return None
    if not importance:
        return None
    names = [shorten(name, 40) for name in importance]
    left = text_width(names) + 0.4
    figure = new_figure(left + 4.6, 1.4 + 0.35 * len(names), f"Importance of each setting for {metric}")
    (axes,) = new_axes(figure, left, 0.6, 0.3, 0.6)
    axes.barh(range(len(names)), list(importance.values()), height=0.65, color=BLUE)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel("fraction of the variance that the setting explains")
    return figure
