"""submitit in place of the pool: nested runs, reported failures, resuming. Needs the extra [slurm]."""

from __future__ import annotations

import importlib.util

import pytest


def needs(package, extra):
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed: pip install 'mlrun[{extra}]'")


LOCAL = [
    "hydra/launcher=submitit_local",
    "hydra.launcher.timeout_min=5",
]  # the executor of submitit_slurm, without the cluster


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("submitit", LOCAL), marks=needs("submitit", "slurm")),
    ],
)
def broken(request, workspace):
    """A sweep of three jobs of which one raises."""
    name, launcher = request.param
    command = ["-m", *launcher, "model=naive_bayes", "dataset=trouble", "dataset.way=raise", "seed=1,2,3"]
    command += [f"tracking.experiment={name}", f"hydra.sweep.dir=outputs/{name}"]
    return name, workspace.mlrun(*command, BAD_SEED="2", timeout=240), workspace.jobs(f"outputs/{name}")


def test_children_are_nested_and_a_failure_is_reported(workspace, broken):
    name, (status, out, err), jobs = broken
    assert status == 1, out + err
    assert {number: job["state"] for number, job in jobs.items()} == {0: "finished", 1: "failed", 2: "finished"}, (
        out + err
    )
    assert "RuntimeError: the sky fell" in out and "2 finished" in out and f"resume: mlrun resume outputs/{name}" in out
    children, (parent, tags) = workspace.children(name)
    assert parent == "FAILED" and sorted(status for status, _ in children) == ["FAILED", "FINISHED", "FINISHED"]
    assert tags["counts"] == "1 failed, 2 finished"


def test_resume_runs_the_broken_job_alone(workspace, broken):
    name, _, before = broken
    status, out, err = workspace.mlrun("resume", f"outputs/{name}", timeout=240)
    assert status == 0, out + err
    after = workspace.jobs(f"outputs/{name}")
    assert {job["state"] for job in after.values()} == {"finished"} and [
        after[number]["attempts"] for number in range(3)
    ] == [1, 2, 1]
    assert [after[number]["run_id"] for number in range(3)] == [before[number]["run_id"] for number in range(3)]
    children, (parent, _) = workspace.children(name)
    assert parent == "FINISHED" and [status for status, _ in children] == ["FINISHED"] * 3
