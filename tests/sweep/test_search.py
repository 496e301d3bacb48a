"""The search space, and a search that is killed and started again."""

from __future__ import annotations

import json
import signal
import time

import optuna
import pytest
from omegaconf import OmegaConf

from mlrun.errors import ConfigError
from mlrun.sweep.search import best_yaml
from mlrun.sweep.space import parse_space

pytestmark = pytest.mark.long


def values(space, trials=200, **first):
    """Overrides that a random search tries."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found = []
    for _ in range(trials):
        trial = study.ask()
        found.append(dict(text.split("=", 1) for text in space.suggest(trial)))
        study.tell(trial, 0.0)
    return found


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.mark.parametrize(
    "text, check",
    [
        ("a,b", {"a", "b"}),
        ("choice([32],[64,32])", {"[32]", "[64,32]"}),
        ("range(16,65,16)", {"16", "32", "48", "64"}),
        ("int(interval(1,4))", {"1", "2", "3", "4"}),
        ("tag(log, int(interval(1,4)))", {"1", "2", "3", "4"}),
        ("range(0,1,0.25)", {"0", "0.25", "0.5", "0.75"}),
    ],
)
def test_discrete_settings(text, check):
    assert {chosen["x"] for chosen in values(parse_space({"x": text}, []))} == check
    assert {chosen["x"] for chosen in values(parse_space({}, [f"x={text}"]))} == check


def test_scales():
    space = parse_space(
        {"a": "interval(0, 1)", "b": "tag(log, interval(1e-4, 1))", "c": "tag(one_minus_log, interval(0.9, 0.9999))"},
        [],
    )
    tried = values(space, 400)
    for key, low, high, middle in (("a", 0, 1, 0.5), ("b", 1e-4, 1, 1e-2), ("c", 0.9, 0.9999, 1 - 10**-2.5)):
        numbers = sorted(float(chosen[key]) for chosen in tried)
        assert low <= numbers[0] and numbers[-1] <= high
        assert 0.4 < sum(number < middle for number in numbers) / 400 < 0.6, (
            key
        )  # half of them on each side, on the scale of the tag


def test_conditional_settings():
    space = parse_space(
        {"optim": "adam, momentum", "when optim=momentum": {"optim.momentum": "interval(0.5, 0.9)"}}, ["seed=3"]
    )
    for chosen in values(space):
        assert ("optim.momentum" in chosen) == (chosen["optim"] == "momentum") and chosen["seed"] == "3"
    assert {"optim.momentum" in chosen for chosen in values(space)} == {True, False}
    fixed = parse_space(
        {"optim": "adam, momentum", "when optim=momentum": {"optim.momentum": "interval(0.5, 0.9)"}},
        ["optim=adam", "a=1,2"],
    )
    assert [setting.key for setting in fixed.settings] == ["a"]


def test_combinations():
    space = parse_space({"optim": "adam, momentum", "when optim=momentum": {"m": "0.5, 0.9"}, "n": "range(1,3)"}, [])
    found = {tuple(sorted(chosen.items())) for chosen in space.combinations()}
    assert len(found) == len(space.combinations()) == 2 + 2 * 2
    assert (("n", 1), ("optim", "adam")) in found and (("m", "0.9"), ("n", 2), ("optim", "momentum")) in found


@pytest.mark.parametrize(
    "params, message",
    [
        ({"x": "tag(logg, interval(1,2))"}, "there is no tag 'logg'"),
        ({"x": "tag(log, interval(0,2))"}, "must begin above 0"),
        ({"x": "tag(one_minus_log, interval(0.5,1))"}, "must end below 1"),
        ({"x": "interval(2,1)"}, "is empty"),
        ({"x": "interval(1,inf)"}, "must have finite ends"),
        ({"when optim=sgd": {"x": "1,2"}}, "optim is not searched"),
        ({"optim": "adam,sgd", "when optim=momentum": {"x": "1,2"}}, "optim has the choices adam, sgd"),
        ({"when optim": {"x": "1,2"}}, "must be `when KEY=VALUE:`"),
    ],
)
def test_mistakes_in_the_space(params, message):
    with pytest.raises(ConfigError, match=message.replace("'", ".").replace("`", ".")):
        parse_space(params, [])


def test_best_is_a_preset():
    text = best_yaml(
        ["optim=sgd", "optim.lr=0.1", "model.network.hidden=[8,8]", "experiment=tune/mlp_digits"],
        {"optim", "model"},
        0.9,
        10,
    )
    cfg = OmegaConf.create(text)
    assert text.startswith("# @package _global_")
    assert cfg.defaults == ["tune/mlp_digits", {"override /optim": "sgd"}, "_self_"]
    assert cfg.optim.lr == 0.1 and cfg.model.network.hidden == [8, 8]


def test_best_has_the_values_of_hydras_grammar():
    """YAML reads some of it in another way: `{head:10}` is a mapping from `head:10` to nothing there."""
    overrides = [
        "model.lr_scale={head:10,body:0.1}",
        "model.adapt=[{freeze:first_2}]",
        "x='it\\'s, yes'",
        "+y=",
        "~optim.eps",
    ]
    cfg = OmegaConf.create(best_yaml(overrides, {"optim", "model"}, 0.9, 10))
    assert cfg.model == {"lr_scale": {"head": 10, "body": 0.1}, "adapt": [{"freeze": "first_2"}]}
    assert cfg.x == "it's, yes" and cfg.y == "" and "optim" not in cfg


def test_large_whole_numbers_and_numbers_near_one_are_written_exactly():
    space = parse_space({"a": "range(1000,3000001,1000)", "b": "tag(one_minus_log, interval(0.9, 0.99999999))"}, [])
    samples = {text for overrides in space.samples() for text in overrides}
    assert {"a=1000", "a=3000000", "b=0.9", "b=0.99999999"} <= samples
    assert all(0.9 <= float(chosen["b"]) < 1 for chosen in values(space))


SEARCH = [
    "-m", "hydra/sweeper=optuna", "model=knn", "dataset=trouble", "model.classifier.p=interval(1.0,3.0)", "hydra.sweeper.n_trials=8",
    "tracking.experiment=search", "hydra.sweep.dir=outputs/search", "hydra.launcher.slots=2",
]  # fmt: skip


def study_of(workspace, sweep="search", study="study", path=None):
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path = workspace.path / (path or f"outputs/{sweep}/study.journal")
    return optuna.load_study(study_name=study, storage=JournalStorage(JournalFileBackend(str(path))))


def test_a_killed_search_ends_at_its_number_of_trials(workspace):
    process = workspace.start(*SEARCH, "dataset.hold=0.3")
    while "[3/8]" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.5)
    before = [trial.state.name for trial in study_of(workspace).trials]
    assert "RUNNING" in before and before.count("COMPLETE") < 8
    status, out, err = workspace.mlrun("resume", "outputs/search")
    assert status == 0, out + err
    study = study_of(workspace)
    states = [trial.state.name for trial in study.trials]
    assert states.count("COMPLETE") == 8 and "RUNNING" not in states and "WAITING" not in states
    assert states.count("FAIL") == before.count("RUNNING")  # those that were cut off, each tried again
    jobs = workspace.jobs("outputs/search")
    assert len(jobs) == 8 and {job["state"] for job in jobs.values()} == {"finished"}
    children, (parent, _tags) = workspace.children("search")
    assert parent == "FINISHED" and len(children) == 8 and {status for status, _ in children} == {"FINISHED"}
    best = max(job["objective"] for job in jobs.values())
    assert (
        study.best_value == best and f"{best:g}" in (workspace.path / "outputs/search/experiment/best.yaml").read_text()
    )
    status, out, err = workspace.mlrun("--config-dir", "outputs/search", "experiment=best", "--cfg", "job")
    assert status == 0, err
    wanted = next(job for job in jobs.values() if job["objective"] == best)
    assert any(text.split("=")[1] in out for text in wanted["overrides"] if ".p=" in text)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ["hydra.sweeper.sampler=tpee", "seed=1,2"],
            "hydra.sweeper.sampler=tpee: must be one of tpe, random, grid, cmaes",
        ),
        (["model.classifier.n_neighbors=1,many"], "n_neighbors=many: must be"),
        (["seed=1"], "nothing to search over"),
        (["seed=1,2", "select.subject_to=fast"], "give a metric and its limit"),
        (["seed=1,2", "select.subject_to=predict_ms<=1.2.3"], "give a metric and its limit"),
        (["seed=1,2", "select.maximize="], "name the metric, such as select.maximize=val/loss"),
        (["seed=1,2", "select.maximize=test/accuracy"], "choose by a metric of the val part"),
        (["hydra.sweeper.sampler=grid", "model.classifier.p=interval(1,2)"], "a grid needs choices or a range"),
        (
            ["hydra.sweeper.storage='mysql://me:secret-word@host/study'", "model.classifier.p=1,2"],
            "storage=mysql://me:***@host/study: the sweep's files would keep the password",
        ),
    ],
)
def test_mistakes_are_reported_before_the_start(workspace, arguments, message):
    before = (
        sorted(path.name for path in (workspace.path / "outputs").iterdir())
        if (workspace.path / "outputs").exists()
        else []
    )
    status, _out, err = workspace.mlrun("-m", "hydra/sweeper=optuna", "model=knn", "dataset=trouble", *arguments)
    assert status == 2 and message in err and "Traceback" not in err, err
    assert before == (sorted(path.name for path in (workspace.path / "outputs").iterdir()) if before else [])


def test_a_grid_sampler_tries_everything_once(workspace):
    status, out, err = workspace.mlrun(
        "-m", "hydra/sweeper=optuna", "hydra.sweeper.sampler=grid", "model=knn", "dataset=trouble", "model.classifier.n_neighbors=range(1,4)",
        "seed=1,2", "tracking.experiment=grid", "hydra.sweep.dir=outputs/grid",
    )  # fmt: skip
    assert status == 0, out + err
    tried = [tuple(job["overrides"]) for job in workspace.jobs("outputs/grid").values()]
    assert len(tried) == len(set(tried)) == 6 and json.dumps(tried)


def test_a_trial_that_breaks_a_limit_is_never_the_best(workspace):
    """The widest network learns best, and is refused."""
    command = [
        "-m", "hydra/sweeper=optuna", "hydra.sweeper.sampler=grid", "hydra.sweeper.pruner=none", "hydra.launcher.slots=1", "model=mlp", "dataset=trouble",
        "trainer.max_epochs=8", "trainer.accelerator=cpu", "optim.lr=0.02", "model.network.hidden=[1],[4],[64]", "tracking.experiment=limits",
        "select.minimize=val/loss",
    ]  # fmt: skip
    status, out, err = workspace.mlrun(
        *command, "select.subject_to=parameters<=50,predict_ms<1e4", "hydra.sweep.dir=outputs/limits"
    )
    assert status == 0, out + err
    trials = {trial.params["model.network.hidden"]: trial for trial in study_of(workspace, "limits").trials}
    assert trials["[64]"].value < trials["[4]"].value < trials["[1]"].value
    assert OmegaConf.load(workspace.path / "outputs/limits/experiment/best.yaml").model.network.hidden == [4]
    assert study_of(workspace, "limits").best_trial.params == trials["[4]"].params
    _, (_, tags) = workspace.children("limits")
    assert tags["best.model.network.hidden"] == "[4]" and tags["best.metric"] == "val/loss"
    status, out, err = workspace.mlrun(*command, "select.subject_to=parameters<5", "hydra.sweep.dir=outputs/none")
    assert (
        status != 0
        and "no trial is within the limits" in out
        and not (workspace.path / "outputs/none/experiment/best.yaml").exists()
    )


def test_a_resumed_search_keeps_its_earlier_trials(workspace):
    """Every trial beyond the limit is better than the first, which stays the best: in MLflow, in sweep.csv and in the preset."""
    status, out, err = workspace.mlrun(
        "-m", "hydra/sweeper=optuna", "hydra.sweeper.sampler=grid", "model=knn", "dataset=trouble", "model.classifier.n_neighbors=40,1",
        "~dataset.hold", "model.lr_scale={head:1}", "seed=1", "select.subject_to=train/accuracy<0.99", "hydra.launcher.slots=1",
        "tracking.experiment=kept", "hydra.sweep.dir=outputs/kept",
    )  # fmt: skip
    assert status == 0, out + err
    assert "experiment=best '~dataset.hold'" in out
    limited = [job for job in workspace.jobs("outputs/kept").values() if job["overrides"][-1].endswith("=40")]
    _, (_, before) = workspace.children("kept")
    table = (workspace.path / "outputs/kept/sweep.csv").read_text()
    assert len(table.splitlines()) == 3 and before["best.run_id"] == limited[0]["run_id"]
    status, out, err = workspace.mlrun("resume", "outputs/kept")
    assert status == 0 and "sweep: 2 finished" in out, out + err
    children, (parent, after) = workspace.children("kept")
    assert parent == "FINISHED" and len(children) == 2
    assert (workspace.path / "outputs/kept/sweep.csv").read_text() == table
    assert {key: after[key] for key in before if key.startswith("best.")} == {
        key: value for key, value in before.items() if key.startswith("best.")
    }
    assert (after["counts"], after["jobs"]) == ("2 finished", "2")
    # a search that cannot resume leaves the run as it was
    status, _, err = workspace.mlrun("resume", "outputs/kept", "hydra.sweeper.direction=minimize")
    assert status == 2 and "its search is to maximize" in err, err
    assert workspace.children("kept")[1][0] == "FINISHED"


def test_a_study_belongs_to_one_search(workspace):
    common = [
        "-m",
        "hydra/sweeper=optuna",
        "dataset=trouble",
        "hydra.sweeper.storage=one.journal",
        "hydra.sweeper.n_trials=1",
    ]
    status, out, err = workspace.mlrun(*common, "model=knn", "model.classifier.n_neighbors=1,5")
    assert status == 0, out + err
    status, _, err = workspace.mlrun(*common, "model=naive_bayes", "seed=1,2")
    assert status == 2 and "that of another search (dataset=trouble model=knn)" in err and "study_name" in err, err
    status, _, err = workspace.mlrun(*common, "model=naive_bayes", "seed=1,2", "hydra.sweeper.storage=foo://bar")
    assert status == 2 and "storage=foo://bar: the study cannot be opened" in err, err


def test_a_metric_that_no_trial_measures_ends_the_search(workspace):
    status, out, err = workspace.mlrun(
        "-m", "hydra/sweeper=optuna", "model=knn", "dataset=trouble", "seed=1,2", "select.maximize=val/acuracy", "hydra.sweeper.n_trials=9",
        "hydra.launcher.slots=1",
    )  # fmt: skip
    assert status == 2 and "val/acuracy: no trial has measured this metric — did you mean 'val/accuracy'?" in err, err
    assert "sweep: 1 finished" in out


def test_a_grid_has_no_best_to_select(workspace):
    status, _, err = workspace.mlrun("-m", "model=knn", "seed=1,2", "select.subject_to=predict_ms<=1")
    assert status == 2 and "hydra/sweeper=optuna" in err


def test_cmaes_learns_from_its_first_trials(workspace):
    pytest.importorskip("cmaes", reason="cmaes is not installed: pip install 'mlrun[cmaes]'")
    status, out, err = workspace.mlrun(
        "-m", "hydra/sweeper=optuna", "hydra.sweeper.sampler=cmaes", "hydra.sweeper.n_trials=8", "hydra.sweeper.seed=1", "model=knn",
        "dataset=trouble", "model.classifier.p=interval(1,4)", "model.classifier.n_neighbors=int(interval(1,20))", "seed=1",
        "tracking.experiment=cmaes", "hydra.sweep.dir=outputs/cmaes",
    )  # fmt: skip
    assert status == 0, out + err
    trials = study_of(workspace, "cmaes").trials
    assert len(trials) == 8 and {trial.state.name for trial in trials} == {"COMPLETE"}
    assert (
        sum(any(key.startswith("cma:") for key in trial.system_attrs) for trial in trials) >= 2
    )  # drawn from its distribution, not at random


def test_successive_halving_ends_trials_that_learn_nothing(workspace):
    rates = ["1e-9", "0.01", "1e-8", "0.02", "1e-7", "0.03"]
    status, out, err = workspace.mlrun(
        "-m", "hydra/sweeper=optuna", "hydra.sweeper.sampler=grid", "hydra.sweeper.pruner=halving", "hydra.sweeper.n_warmup_epochs=1",
        "hydra.launcher.slots=1", "model=mlp", "dataset=trouble", "trainer.max_epochs=12", "trainer.accelerator=cpu", f"optim.lr={','.join(rates)}",
        "tracking.experiment=halving", "hydra.sweep.dir=outputs/halving",
    )  # fmt: skip
    assert status == 0, out + err
    jobs = workspace.jobs("outputs/halving").values()
    states = {
        float(override.split("=")[1]): job["state"]
        for job in jobs
        for override in job["overrides"]
        if override.startswith("optim.lr=")
    }
    assert len(states) == 6 and states[0.01] == "finished"
    assert {states[1e-8], states[1e-7]} == {"pruned"}  # after a better one has been seen
    assert all(job["epoch"] < 12 and "pruned after epoch" in job["reason"] for job in jobs if job["state"] == "pruned")


def test_two_sweeps_share_a_study(workspace):
    """As two machines would: neither waits for the other, and both stop at the number of trials of the study."""
    command = [
        "-m", "hydra/sweeper=optuna", "hydra.sweeper.storage=shared.journal", "hydra.sweeper.study_name=shared", "hydra.sweeper.n_trials=4",
        "hydra.sweeper.sampler=random", "hydra.sweeper.seed=1", "hydra.launcher.slots=1", "model=knn", "dataset=trouble", "dataset.hold=0.3",
        "model.classifier.p=interval(1,4)", "tracking.experiment=shared",
    ]  # fmt: skip
    processes = [workspace.start(*command, f"hydra.sweep.dir=outputs/shared{number}") for number in range(2)]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, out + err
    jobs = [list(workspace.jobs(f"outputs/shared{number}").values()) for number in range(2)]
    study = study_of(workspace, study="shared", path="shared.journal")
    assert all(jobs) and sum(map(len, jobs)) == len(study.trials)
    assert 4 <= len(study.trials) <= 5  # both may ask for the last one at the same time
    points = [override for each in jobs for job in each for override in job["overrides"] if ".p=" in override]
    assert len(set(points)) == len(points)  # the same seed on both, but no trial twice
    assert {job["state"] for each in jobs for job in each} == {"finished"}
