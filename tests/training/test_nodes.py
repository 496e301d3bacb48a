"""One training over two machines, as torchrun starts it: two agents on the loopback interface."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from mlrun.data.readers.tensors import WEIGHTS, load_tensors
from mlrun.errors import UserError
from mlrun.experiment.processes import is_follower
from mlrun.training.checkpoints import Checkpoints
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.long

ENVIRONMENT = {
    **os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "MLFLOW_TRACKING_URI": "",
}  # fmt: skip
# batches of 16 leave 11 rows: the last batch is divided unevenly
COMMAND = [
    "model=mlp", "dataset=iris", "trainer.accelerator=cpu", "seed=1", "dataset.split={train: 91, val: 29, test: 30}", "dataset.batch_size=16",
    "trainer.max_epochs=2", "model.network.hidden=[16]",
]  # fmt: skip


@pytest.mark.parametrize(
    "environment, follows",
    [
        ({}, False),
        ({"LOCAL_RANK": "1"}, True),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, True),
        ({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "4"}, False),
        ({"RANK": "2", "LOCAL_RANK": "0", "WORLD_SIZE": "4"}, True),
        ({"SLURM_PROCID": "4", "SLURM_LOCALID": "0", "SLURM_STEP_NUM_TASKS": "8"}, True),
        ({"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_STEP_NUM_TASKS": "8"}, False),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, False),  # a batch script
    ],
)
def test_one_process_of_all_machines_records(environment, follows):
    assert is_follower(environment) == follows


def torchrun(workplace, *arguments):
    """(exit status, stdout, stderr) of both agents."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1", f"--master-port={free_port()}",
    ]  # fmt: skip
    agents = [
        subprocess.Popen(
            [*command, f"--node-rank={rank}", "-m", "mlrun", *arguments], cwd=workplace, env=ENVIRONMENT, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    outputs = [agent.communicate(timeout=120) for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], outputs
    return outputs


def as_torchrun(starter, workplace, *arguments):
    """Both processes with the variables that torchrun gives them, without its agents and their imports."""
    shared = {
        **ENVIRONMENT, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1",
        "GROUP_WORLD_SIZE": "2", "LOCAL_RANK": "0", "TORCHELASTIC_RUN_ID": "none",
    }  # fmt: skip
    with ThreadPoolExecutor(2) as pool:
        processes = [
            pool.submit(starter.run, arguments, workplace, {**shared, "RANK": str(rank), "GROUP_RANK": str(rank)}, 120)
            for rank in range(2)
        ]
    done = [process.result() for process in processes]
    assert [process.returncode for process in done] == [0, 0], [(process.stdout, process.stderr) for process in done]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_two_machines_make_the_updates_of_one_and_resume(workplace, experiment, starter):
    distributed = ["trainer.strategy=ddp", "trainer.num_nodes=2", "trainer.devices=1"]
    (out, _), (other, _) = torchrun(workplace, *COMMAND, *distributed, "hydra.run.dir=outputs/nodes")
    assert "test/accuracy" in out and "accuracy" not in other
    assert [path.name for path in (workplace / "outputs").iterdir()] == ["nodes"]
    with sqlite3.connect(workplace / "mlflow.db") as database:
        assert database.execute("select status from runs").fetchall() == [("FINISHED",)]
    single = dict(experiment(*COMMAND).metrics)
    assert measured(workplace) == pytest.approx(without_speed(single), rel=1e-4)
    as_torchrun(starter, workplace, "resume", "outputs/nodes", "trainer.max_epochs=4")
    longer = dict(experiment(*COMMAND, "trainer.max_epochs=4").metrics)
    assert measured(workplace) == pytest.approx(without_speed(longer), rel=1e-4)


# without batch norm, whose statistics are those of each process
CLIP = [
    "model=clip", "seed=1", "trainer.accelerator=cpu", "trainer.max_epochs=1", "optim=sgd", "optim.lr=0.5", "scheduler=none", "dataset.side=32",
    "dataset.size=[12,20]", "dataset.scenes=60", "dataset.split={train: 43, val: 7, test: 10}", "dataset.batch_size=16", "model.evaluators=[cross_retrieval]",
    "model.network.image_encoder.channels=[8]", "+model.network.image_encoder.norm=null", "model.network.text_encoder.layers=1",
]  # fmt: skip


@pytest.mark.parametrize(
    "objective", [[], ["model.objective=sigmoid", "model.network.bias=-10"]], ids=["softmax", "sigmoid"]
)
def test_clip_on_two_processes_takes_the_steps_of_one(workplace, experiment, starter, objective):
    """Each process compares its rows with those of both, and gradients flow back to both; a batch of 16 leaves 11 rows."""
    as_torchrun(
        starter, workplace, *CLIP, *objective, "trainer.strategy=ddp", "trainer.num_nodes=2", "trainer.devices=1", "hydra.run.dir=outputs/nodes"
    )  # fmt: skip
    single = experiment(*CLIP, *objective)
    assert measured(workplace)["train/loss"] == pytest.approx(single.metrics["train/loss"], rel=1e-5)
    ours, both = (
        load_tensors(directory / "model" / WEIGHTS, False)
        for directory in (single.directory, workplace / "outputs" / "nodes")
    )
    for name, tensor in ours.items():
        torch.testing.assert_close(both[name], tensor, rtol=1e-5, atol=1e-5, msg=name)


def measured(workplace):
    return without_speed(json.loads((workplace / "outputs" / "nodes" / "metrics.json").read_text()))


def without_speed(metrics):
    return {name: value for name, value in metrics.items() if name != "train/steps_per_second"}


@pytest.mark.parametrize("theirs, refused", [((3, False), False), ((2, False), True), (None, True)])
def test_processes_that_would_resume_from_different_epochs_are_refused(monkeypatch, theirs, refused):
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    monkeypatch.setattr(
        "torch.distributed.all_gather_object", lambda found, mine: found.__setitem__(slice(2), [mine, theirs])
    )
    checkpoints = SimpleNamespace(resumed={"epochs": 3, "within_epoch": False})
    with pytest.raises(UserError, match="checkpoints of different epochs") if refused else nullcontext():
        Checkpoints._check_same_start(checkpoints)
