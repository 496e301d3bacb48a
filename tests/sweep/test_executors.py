"""What every executor does: the same sweeps on this machine's pool and on a Ray cluster, and their results compared."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import time

import pytest
from omegaconf import OmegaConf

from tests.sweep.raylets import RAY, Cluster
from tests.sweep.test_interruption import jobs_of, recorded, start, wait_until

pytestmark = pytest.mark.long

BATCH = [
    "-m", "model=naive_bayes", "dataset=trouble", "dataset.way=raise,kill,slow", "seed=1,2,3", "hydra.launcher.timeout=15",
    "hydra.job.env_copy=[BAD_SEED]",
]  # fmt: skip
REASONS = {
    "raise": ("failed", "RuntimeError: the sky fell"),
    "kill": ("killed", "killed by another process (SIGKILL"),
    "slow": ("failed", "exceeded its time limit of 15 s"),
}


SLOW_TASK = '''
import os, time
from mlrun.tasks.supervised import Supervised

class Steady(Supervised):
    """Notes every epoch, and takes its time."""

    def on_train_epoch_start(self):
        with open(f"epochs_{os.environ['MLRUN_TEST']}.txt", "a") as file:
            file.write(f"{self.trainer.default_root_dir} {self.current_epoch + 1}\\n")
        time.sleep(0.3)
        super().on_train_epoch_start()
'''


@pytest.fixture(scope="module")
def cluster():
    made = Cluster()
    yield made
    made.close()


@pytest.fixture(scope="module", params=["pool", pytest.param("ray", marks=RAY)])
def executor(request):
    """(name, what selects it on the command line)."""
    if request.param == "pool":
        return "pool", ["hydra.launcher.slots=2"]
    return "ray", request.getfixturevalue("cluster").arguments


@pytest.fixture(scope="module")
def broken(workspace, executor):
    """Nine jobs; those with seed 1 fail, each in its way."""
    name, arguments = executor
    options = [f"tracking.experiment=shared_{name}", f"hydra.sweep.dir=outputs/shared_{name}"]
    return workspace.mlrun(*BATCH, *arguments, *options, BAD_SEED="1", timeout=150)


def measured(workspace, sweep):
    """Of every job: what was set, how it ended, and its metrics."""
    with open(workspace.path / "outputs" / sweep / "sweep.csv") as file:
        rows = list(csv.DictReader(file))
    kept = ("dataset.way", "seed", "state", "objective", "reason")
    return sorted(
        [(key, value) for key, value in row.items() if key in kept or key.startswith(("val/", "test/", "train/"))]
        for row in rows
    )


def test_failures_are_reported_and_the_others_finish(workspace, executor, broken):
    name, _ = executor
    status, out, err = broken
    assert status == 1 and "Traceback" not in err, out + err
    jobs = workspace.jobs(f"outputs/shared_{name}").values()
    assert len(jobs) == 9 and sum(job["state"] == "finished" for job in jobs) == 6, out + err
    for job in jobs:
        settings = dict(override.split("=") for override in job["overrides"])
        if settings["seed"] == "1":
            state, reason = REASONS[settings["dataset.way"]]
            assert (job["state"], reason in job["reason"]) == (state, True), job
            event = next(line for line in out.splitlines() if f"job {job['number']} {state}" in line)
            assert reason in event and f"outputs/shared_{name}/{job['number']}/output.log" in event
        assert re.search(r"cpu \d+$", job["slots"][0])
    children, (parent, tags) = workspace.children(f"shared_{name}")
    assert parent == "FAILED" and tags["counts"] == "2 failed, 1 killed, 6 finished"
    assert sorted(status for status, _ in children) == ["FAILED"] + ["FINISHED"] * 6 + ["KILLED"] * 2


def test_resume_runs_the_broken_ones_and_the_table_is_that_of_the_pool(workspace, executor, broken):
    name, _ = executor
    before = workspace.jobs(f"outputs/shared_{name}")
    status, out, err = workspace.mlrun("resume", f"outputs/shared_{name}", BAD_SEED="", timeout=150)
    assert status == 0, out + err
    after = workspace.jobs(f"outputs/shared_{name}")
    again = [number for number, job in before.items() if job["state"] != "finished"]
    assert sorted(map(int, re.findall(r"job (\d+) started", out))) == sorted(again)
    assert [after[number]["attempts"] for number in sorted(after)] == [
        1 + (number in again) for number in sorted(after)
    ]
    children, (parent, _) = workspace.children(f"shared_{name}")
    assert parent == "FINISHED" and [status for status, _ in children] == ["FINISHED"] * 9
    if name != "pool" and (workspace.path / "outputs" / "shared_pool").exists():
        assert measured(workspace, f"shared_{name}") == measured(workspace, "shared_pool")


def test_what_was_complete_does_not_run_again(workspace, executor, broken):
    """As if the sweep had been killed after a job was done and before it knew that."""
    name, _ = executor
    folder = workspace.path / "outputs" / f"shared_{name}"
    lines = [json.loads(line) for line in (folder / "jobs.jsonl").read_text().splitlines()]
    done = next(line for line in reversed(lines) if line["state"] == "finished")
    kept = [line for line in lines if not (line["number"] == done["number"] and line["state"] == "finished")]
    (folder / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))
    model = folder / str(done["number"]) / "model"
    before = model.stat().st_mtime_ns
    status, out, err = workspace.mlrun("resume", str(folder), BAD_SEED="", timeout=150)
    after = workspace.jobs(folder)[done["number"]]
    assert status == 0 and after["state"] == "finished", out + err
    assert after["attempts"] == done["attempts"] + 1 and model.stat().st_mtime_ns == before
    assert after["result"]["metrics"] == done["result"]["metrics"] and after["objective"] == done["objective"]


def test_nothing_starts_if_a_job_is_wrong(workspace, executor):
    _, arguments = executor
    status, _, err = workspace.mlrun(
        "-m",
        *arguments,
        "model=knn",
        "dataset=trouble",
        "model.classifier.n_neighbors=3,0.5",
        "hydra.sweep.dir=outputs/wrong",
    )
    assert status == 2 and "n_neighbors=0.5" in err and not (workspace.path / "outputs" / "wrong").exists(), err


def test_ctrl_c_closes_the_runs(workspace, executor):
    name, arguments = executor
    sweep = f"stopped_{name}"
    process = start(
        workspace, "-m", *arguments, "model=naive_bayes", "dataset=trouble", "dataset.way=slow", "seed=1,2", "hydra.launcher.slots=2",
        "dataset.hold=0.1", "hydra.job.env_copy=[BAD_SEED]", f"tracking.experiment={sweep}", f"hydra.sweep.dir=outputs/{sweep}",
        running=2, BAD_SEED="1",
    )  # fmt: skip
    assert wait_until(lambda: recorded(workspace, sweep, 2), 60)
    assert wait_until(lambda: workspace.jobs(f"outputs/{sweep}")[1]["state"] == "finished", 60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err, out + err
    assert f"resume: mlrun resume outputs/{sweep}" in out
    children, (parent, _) = workspace.children(sweep)
    assert parent == "KILLED" and sorted(status for status, _ in children) == ["FINISHED", "KILLED"]


def test_a_search_prunes(workspace, executor):
    name, arguments = executor
    rates = ["1e-9", "0.01", "1e-8", "0.02", "1e-7", "0.03"]
    sweep = f"pruned_{name}"
    status, out, err = workspace.mlrun(
        "-m", *arguments, "hydra/sweeper=optuna", "hydra.sweeper.sampler=grid", "hydra.sweeper.pruner=halving", "hydra.sweeper.n_warmup_epochs=1",
        "hydra.launcher.slots=1", "model=mlp", "dataset=trouble", "trainer.max_epochs=12", "trainer.accelerator=cpu", f"optim.lr={','.join(rates)}",
        f"tracking.experiment={sweep}", f"hydra.sweep.dir=outputs/{sweep}", timeout=150,
    )  # fmt: skip
    assert status == 0, out + err
    jobs = workspace.jobs(f"outputs/{sweep}").values()
    states = {
        float(override.split("=")[1]): job["state"]
        for job in jobs
        for override in job["overrides"]
        if override.startswith("optim.lr=")
    }
    assert len(states) == 6 and states[0.01] == "finished" and {states[1e-8], states[1e-7]} == {"pruned"}
    assert all("pruned after epoch" in job["reason"] and job["epoch"] < 12 for job in jobs if job["state"] == "pruned")


def test_a_search_keeps_its_limits(workspace, executor):
    """The nearest neighbour alone is right on every training row, and is refused."""
    name, arguments = executor
    sweep = f"limits_{name}"
    status, out, err = workspace.mlrun(
        "-m", *arguments, "hydra/sweeper=optuna", "hydra.sweeper.sampler=grid", "model=knn", "dataset=trouble", "model.classifier.n_neighbors=40,1",
        "seed=1", "select.subject_to=train/accuracy<0.99", f"tracking.experiment={sweep}", f"hydra.sweep.dir=outputs/{sweep}", timeout=150,
    )  # fmt: skip
    assert status == 0, out + err
    accepted = {job["overrides"][-1]: job["accepted"] for job in workspace.jobs(f"outputs/{sweep}").values()}
    assert sorted(accepted.values()) == [False, True], accepted
    best = OmegaConf.load(workspace.path / "outputs" / sweep / "experiment" / "best.yaml")
    assert best.model.classifier.n_neighbors == 40


def test_a_job_resumes_from_the_checkpoint_in_mlflow(workspace, executor):
    """The sweep is killed, and the directories of its jobs are lost with their machine."""
    name, arguments = executor
    sweep = f"uploaded_{name}"
    workspace.add_python("steady.py", SLOW_TASK)
    command = [
        "-m", *arguments, "model=mlp", "model._target_=steady.Steady", "dataset=trouble", "trainer.accelerator=cpu", "trainer.max_epochs=8",
        "trainer.upload_checkpoints=2", "seed=1,2", "hydra.job.env_copy=[MLRUN_TEST]",
    ]  # fmt: skip
    process = start(
        workspace,
        *command,
        f"tracking.experiment={sweep}",
        f"hydra.sweep.dir=outputs/{sweep}",
        MLRUN_TEST=sweep,
    )
    folder, notes = workspace.path / "outputs" / sweep, workspace.path / f"epochs_{sweep}.txt"

    def trained(job):
        lines = (line.split() for line in notes.read_text().splitlines())
        return [int(epoch) for place, epoch in lines if place.endswith(f"/{job}")]

    def uploaded(job):
        run_id = json.loads((folder / str(job) / "run.json").read_text()).get("run_id")
        return run_id and list(workspace.path.glob(f"**/{run_id}/artifacts/checkpoints/last.ckpt"))

    assert wait_until(lambda: notes.exists() and all(trained(job) and uploaded(job) for job in (0, 1)), 60)
    process.kill()
    process.wait()
    assert wait_until(lambda: not jobs_of(process), 20)
    begun = [len(trained(job)) for job in (0, 1)]
    for job in (0, 1):
        shutil.rmtree(folder / str(job))
    status, out, err = workspace.mlrun("resume", str(folder), MLRUN_TEST=sweep, timeout=120)
    assert status == 0, out + err
    jobs = workspace.jobs(folder)
    assert [(job["state"], job["attempts"]) for job in jobs.values()] == [("finished", 2)] * 2
    for job in (0, 1):
        again = trained(job)[begun[job] :]
        assert again[0] in (3, 5, 7) and again == list(range(again[0], 9)), again
    status, out, err = workspace.mlrun(
        *command, f"tracking.experiment={sweep}_whole", f"hydra.sweep.dir=outputs/{sweep}_whole", MLRUN_TEST="whole"
    )
    assert status == 0, out + err
    whole = workspace.jobs(f"outputs/{sweep}_whole")
    for number, job in jobs.items():
        assert job["result"]["metrics"] == whole[number]["result"]["metrics"]


# --- a cluster alone -----------------------------------------------------------------------------------------------


EPOCHS = 14  # long enough that every machine still has a job when all have written a checkpoint


@RAY
def test_a_job_of_a_lost_machine_resumes_elsewhere(workspace, cluster):
    """One of three raylets is killed: its jobs train their remaining epochs on the others, and the results are those of the pool."""
    workspace.add_python("steady.py", SLOW_TASK)
    command = [
        "-m", "model=mlp", "model._target_=steady.Steady", "dataset=trouble", "trainer.accelerator=cpu", f"trainer.max_epochs={EPOCHS}", "seed=1,2,3,4,5,6",
        "hydra.job.env_copy=[MLRUN_TEST]",
    ]  # fmt: skip
    process = start(
        workspace,
        *command,
        *cluster.arguments,
        "tracking.experiment=lost",
        "hydra.sweep.dir=outputs/lost",
        running=5,
        MLRUN_TEST="lost",
    )
    last = workspace.path / "outputs" / "lost"
    assert wait_until(lambda: len(list(last.glob("*/checkpoints/last.ckpt"))) == 5, 60)
    cluster.kill_a_node()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    assert re.search(r"job \d waiting: its machine \S+ was lost", out), out
    jobs = workspace.jobs("outputs/lost")
    assert {job["state"] for job in jobs.values()} == {"finished"}
    lost = [number for number, job in jobs.items() if job["attempts"] == 2]
    assert len(lost) == 1 and "was lost" in jobs[lost[0]]["reason"]
    epochs = [line.split() for line in (workspace.path / "epochs_lost.txt").read_text().splitlines()]
    trained = [int(epoch) for folder, epoch in epochs if folder.rstrip("/").endswith(f"/{lost[0]}")]
    assert (
        set(trained) == set(range(1, EPOCHS + 1)) and EPOCHS <= len(trained) <= EPOCHS + 1
    )  # at most the epoch that was cut off is repeated
    status, out, err = workspace.mlrun(
        *command,
        "tracking.experiment=kept",
        "hydra.sweep.dir=outputs/kept",
        "hydra.launcher.slots=2",
        MLRUN_TEST="kept",
    )
    assert status == 0, out + err
    whole = workspace.jobs("outputs/kept")
    for number, job in jobs.items():
        assert job["result"]["metrics"] == whole[number]["result"]["metrics"]
    children, (parent, _) = workspace.children("lost")
    assert parent == "FINISHED" and [status for status, _ in children] == ["FINISHED"] * 6


@RAY
def test_a_killed_driver_leaves_no_job_and_its_sweep_resumes(workspace, cluster):
    workspace.add_python("steady.py", SLOW_TASK)
    process = start(
        workspace, "-m", *cluster.arguments, "model=mlp", "model._target_=steady.Steady", "dataset=trouble", "trainer.accelerator=cpu",
        "trainer.max_epochs=10", "seed=1,2,3", "hydra.job.env_copy=[MLRUN_TEST]", "tracking.experiment=driver", "hydra.sweep.dir=outputs/driver",
        running=3, MLRUN_TEST="driver",
    )  # fmt: skip
    assert wait_until(lambda: len(list((workspace.path / "outputs/driver").glob("*/checkpoints/last.ckpt"))) == 3, 60)
    process.kill()
    process.wait()
    notes = workspace.path / "epochs_driver.txt"
    time.sleep(2)
    before = notes.read_text()
    time.sleep(1)
    assert notes.read_text() == before  # nobody trains any more
    status, out, err = workspace.mlrun("resume", "outputs/driver", MLRUN_TEST="driver", timeout=120)
    assert status == 0, out + err
    jobs = workspace.jobs("outputs/driver")
    assert [(job["state"], job["attempts"]) for job in jobs.values()] == [("finished", 2)] * 3
    for number in jobs:
        trained = [line.split()[1] for line in notes.read_text().splitlines() if line.split()[0].endswith(f"/{number}")]
        assert 10 <= len(trained) <= 11 and set(map(int, trained)) == set(range(1, 11))


@RAY
def test_the_code_is_shipped(workspace, cluster):
    workspace.add_python("shipped.py", '''
        import os, pathlib
        from trouble import Trouble

        class Shipped(Trouble):
            def read(self):
                pathlib.Path(os.environ["MLRUN_TEST"]).write_text(os.getcwd())
                return super().read()
    ''')  # fmt: skip
    place = workspace.path / "place.txt"
    status, out, err = workspace.mlrun(
        "-m", *cluster.arguments, "hydra.launcher.ship=true", "model=naive_bayes", "dataset=trouble", "dataset._target_=shipped.Shipped", "seed=1",
        "hydra.job.env_copy=[MLRUN_TEST]", "tracking.experiment=ship", "hydra.sweep.dir=outputs/ship", MLRUN_TEST=str(place),
    )  # fmt: skip
    assert status == 0, out + err
    assert "working_dir" in place.read_text() and place.read_text() != str(workspace.path)
    assert not os.path.exists(os.path.join(place.read_text(), "outputs"))


@RAY
def test_a_cluster_through_rays_client(workspace, cluster):
    command = [
        "-m", "hydra/launcher=ray", f"hydra.launcher.address=ray://127.0.0.1:{cluster.client_port}", "hydra.launcher.ship=true", "model=naive_bayes",
        "dataset=trouble", "seed=2,3", "tracking.experiment=client", "hydra.sweep.dir=outputs/client",
    ]  # fmt: skip
    for _ in range(3):  # on a busy machine, the process behind Ray's proxy may start too late for it
        status, out, err = workspace.mlrun(*command)
        if "Initialization failure from server" not in err:
            break
    assert status == 0, out + err
    assert [job["state"] for job in workspace.jobs("outputs/client").values()] == ["finished"] * 2
