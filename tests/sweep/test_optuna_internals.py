"""What is used of Optuna beyond its documented interface: these tests fail when another version changes it."""

from __future__ import annotations

import optuna
import pytest

from mlrun.sweep.optuna_internals import CONSTRAINTS, set_system_attribute, set_violations, violations_of


class WithoutConstraints:
    """A running trial as another version of Optuna has it: without `set_constraint`, and perhaps without its number in the storage."""

    def __init__(self, trial, hidden=()):
        self._trial, self._hidden = trial, ("set_constraint", *hidden)

    def __getattr__(self, name):
        if name in self.__dict__["_hidden"]:
            raise AttributeError(name)
        return getattr(self._trial, name)


def tried(path, mark):
    """A study of three trials with the values 1, 2 and 3, of which the last violates a limit."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path / "study.journal")))
    study = optuna.create_study(storage=storage, direction="maximize")
    for value, violation in ((1.0, -0.5), (2.0, 0.0), (3.0, 0.25)):
        trial = study.ask()
        mark(study, trial, {"parameters<=50": violation, "predict_ms<=1": -1.0})
        study.tell(trial, value)
    return optuna.load_study(study_name=study.study_name, storage=storage)


WAYS = {
    "installed": set_violations,
    "storage": lambda study, trial, numbers: set_violations(study, WithoutConstraints(trial), numbers),
    "neither": lambda study, trial, numbers: set_violations(study, WithoutConstraints(trial, ["_trial_id"]), numbers),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_trial_remembers_its_violations(tmp_path, way):
    study = tried(tmp_path, WAYS[way])
    assert [violations_of(trial) for trial in study.trials] == [[-0.5, -1.0], [0.0, -1.0], [0.25, -1.0]]


@pytest.mark.parametrize("way", ["installed", "storage"])
def test_optuna_knows_which_trials_are_infeasible(tmp_path, way):
    assert tried(tmp_path, WAYS[way]).best_value == 2.0


def test_without_limits_nothing_is_violated(tmp_path):
    study = tried(tmp_path, lambda study, trial, numbers: set_violations(study, trial, {}))
    assert [violations_of(trial) for trial in study.trials] == [[], [], []] and study.best_value == 3.0


def test_a_system_attribute_can_be_set_through_the_storage(tmp_path):
    study = tried(tmp_path, lambda study, trial, numbers: set_system_attribute(study, trial, CONSTRAINTS, [1.0]))
    with pytest.raises(ValueError, match="feasible"):
        study.best_trial
