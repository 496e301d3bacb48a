"""What mlrun uses of Optuna beyond its documented interface. Every function works without it, if Optuna then knows less."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial, Trial

CONSTRAINTS = "constraints"  # attribute of a trial: numbers above 0 mark it as infeasible


def set_violations(study: optuna.Study, trial: Trial, violations: Mapping[str, float]) -> None:
    """Tells Optuna by how much a running trial violates each constraint, so that its samplers and `best_trial` take that into account.

    Optuna 5 has a public method. Optuna 4 reads a system attribute that only its storage can set. Where neither exists, a user
    attribute keeps the numbers for `violations_of`, and Optuna regards the trial as feasible.

    Args:
        violations: constraint -> number that is above 0 if the constraint is violated.
    """
    if not violations:
        return
    if hasattr(trial, "set_constraint"):
        for constraint, value in violations.items():
            trial.set_constraint(constraint, value)
        return
    try:
        set_system_attribute(study, trial, CONSTRAINTS, list(violations.values()))
    except AttributeError:
        trial.set_user_attr(CONSTRAINTS, list(violations.values()))


def violations_of(trial: FrozenTrial) -> list[float]:
    """The numbers that `set_violations` has given to a trial, whichever way it took; empty if none."""
    if hasattr(trial, "constraints"):
        return list(trial.constraints.values()) or trial.user_attrs.get(CONSTRAINTS, [])
    return trial.system_attrs.get(CONSTRAINTS) or trial.user_attrs.get(CONSTRAINTS, [])


def set_system_attribute(study: optuna.Study, trial: Trial, key: str, value: Any) -> None:
    """Sets a system attribute of a running trial. Raises AttributeError if Optuna's storage no longer has such a method."""
    study._storage.set_trial_system_attr(trial._trial_id, key, value)
