"""Jobs that fail in every way: the others run on, the reasons are reported, and `resume` runs only what is missing."""

from __future__ import annotations

import csv
import math
import re

import pytest

from mlrun.commands import resume
from mlrun.config.hydra_internals import parse_override
from mlrun.sweep.job import Job
from mlrun.sweep.journal import Journal
from mlrun.sweep.record import draw

pytestmark = pytest.mark.long

REASONS = {
    "raise": ("failed", "RuntimeError: the sky fell"),
    "abort": ("failed", "aborted (SIGABRT)"),
    "kill": ("killed", "killed by another process (SIGKILL"),
    "slow": ("failed", "exceeded its time limit of 12 s"),
    "memory": ("failed", "out of memory"),
}
COMMAND = [
    "-m", "model=naive_bayes", "dataset=trouble", "dataset.way=raise,abort,kill,slow,memory", "seed=1,2,3,4",
    "tracking.experiment=trouble",
    "hydra.sweep.dir=outputs/trouble", "hydra.launcher.timeout=12",
]  # fmt: skip


@pytest.fixture(scope="module")
def broken(workspace):
    """20 jobs; those with seed 1 fail, each in its way."""
    return workspace.mlrun(*COMMAND, BAD_SEED="1")


def way_and_seed(entry):
    values = dict(override.split("=") for override in entry["overrides"])
    return values["dataset.way"], values["seed"]


def test_the_others_finish_and_reasons_are_reported(workspace, broken):
    status, out, err = broken
    assert status == 1, err
    assert "Traceback" not in err
    jobs = workspace.jobs("outputs/trouble").values()
    assert sum(job["state"] == "finished" for job in jobs) == 15
    for job in jobs:
        way, seed = way_and_seed(job)
        if seed == "1":
            state, reason = REASONS[way]
            assert (job["state"], reason in job["reason"]) == (state, True), job
            event = next(line for line in out.splitlines() if f"job {job['number']} {state}" in line)
            assert reason in event and f"outputs/trouble/{job['number']}/output.log" in event
            assert re.search(rf"^{state}: job {job['number']} .*{re.escape(reason)}", out, re.M)  # once more at the end
    assert "sweep: 4 failed, 1 killed, 15 finished" in out
    assert "resume: mlrun resume outputs/trouble" in out


def test_mlflow_knows_how_every_job_ended(workspace, broken):
    children, (parent_status, parent_tags) = workspace.children("trouble")
    assert len(children) == 20 and parent_status == "FAILED"
    for status, tags in children:
        wanted = "FINISHED" if tags["seed"] != "1" else ("KILLED", "FAILED")
        assert status in wanted and tags["mlflow.parentRunId"]
    ended = [tags["mlrun.ended"] for _, tags in children if tags["seed"] == "1"]
    assert any("SIGABRT" in reason for reason in ended) and any("time limit" in reason for reason in ended)
    assert parent_tags["counts"] == "4 failed, 1 killed, 15 finished"


def test_resume_runs_just_the_broken_ones_into_their_runs(workspace, broken):
    before = {job["number"]: job for job in workspace.jobs("outputs/trouble").values()}
    status, out, err = workspace.mlrun("resume", "outputs/trouble")
    assert status == 0, out + err
    started = re.findall(r"job (\d+) started", out)
    assert sorted(map(int, started)) == sorted(number for number, job in before.items() if job["state"] != "finished")
    after = workspace.jobs("outputs/trouble")
    assert len(after) == 20 and all(job["state"] == "finished" for job in after.values())
    for number, job in before.items():
        if job["run_id"]:
            assert after[number]["run_id"] == job["run_id"]
    children, (parent_status, _) = workspace.children("trouble")
    assert parent_status == "FINISHED"
    assert len(children) == 20 and {status for status, _ in children} == {"FINISHED"}
    assert not any("error" in tags or "mlrun.ended" in tags for _, tags in children)
    with open(workspace.path / "outputs/trouble/sweep.csv") as file:
        assert len(list(csv.DictReader(file))) == 20
    (parent,) = [run for run, _, tags in workspace.runs("trouble") if tags.get("mlrun.kind") == "sweep"]
    artifacts = {path.name for path in workspace.path.glob(f"mlruns/**/{parent}/artifacts/**/*")}
    assert {"sweep.csv", "sweep.png"} <= artifacts


def test_a_sweep_is_not_overwritten(workspace, broken):
    status, _out, err = workspace.mlrun(*COMMAND)
    assert status == 2 and "already holds a sweep" in err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["hydra.sweep.subdir=same"], "jobs 0 and 1 would both write to"),
        (["hydra.sweep.subdir=."], "would write to the directory of the sweep"),
        (["hydra.sweeper.max_batch_size=many"], "hydra.sweeper.max_batch_size=many: must be"),
        (["hydra.sweeper.params=3"], "hydra.sweeper.params=3: must be"),
    ],
)
def test_impossible_settings_of_a_sweep_start_nothing(workspace, arguments, message):
    status, out, err = workspace.mlrun("-m", "model=knn", "dataset=trouble", "seed=1,2", *arguments)
    assert status == 2 and message in err and "started" not in out, out + err


def test_results_that_are_not_numbers_are_not_drawn(tmp_path):
    def job(number, value):
        return Job(number, [f"seed={number}"], None, "", tmp_path, state="finished", monitor="val/r2", returned=value)

    assert draw([job(1, math.nan), job(2, math.inf), job(3, 0.5)], tmp_path, "mlrun -m") == []
    assert draw([job(1, math.nan), job(2, 0.4), job(3, 0.5)], tmp_path, "mlrun -m") == [tmp_path / "sweep.png"]


def test_a_directory_with_quotation_marks_resumes(tmp_path, monkeypatch):
    directory, given = tmp_path / "it's here, (1)", []
    Journal(directory).update(argv=["-m", "seed=1,2"], cwd=str(tmp_path))
    monkeypatch.setattr("mlrun.commands._application.hydra_application", lambda argv: given.extend(argv) or 0)
    monkeypatch.chdir(tmp_path)
    assert resume.run([str(directory)]) == 0
    (word,) = [word for word in given if word.startswith("hydra.sweep.dir=")]
    assert parse_override(word).value() == str(directory)
