"""An exception in a constructor is an error of the configuration: one line with its key, exit status 2, no traceback."""

from __future__ import annotations

import os
import sys

import pytest

from mlrun.errors import ConfigError
from tests.conftest import REPOSITORY

OWN_CODE = """
from torch import nn

class Net(nn.Module):
    def __init__(self, input_shape, num_outputs, kind="narrow", width=4):
        super().__init__()
        assert width > 0, "no width"
        if width > 100:
            raise RuntimeError("this is too much for my computer")
        self.layers = nn.Linear(input_shape[0], {"narrow": 1, "wide": 2}[kind] * width)

class Data:
    def __init__(self, problem, name, seed, columns=()):
        self.first = columns[0]
"""
OWN_MODEL = """# Mine.
fits: [classification]
_target_: mlrun.tasks.supervised.Supervised
defaults:
  - override /dataset@_global_.dataset: iris
network: {_target_: mine.Net, kind: narrow, width: 4}
"""
OWN_DATASET = """# Mine.
_target_: mine.Data
problem: classification
facts: [input_shape, num_outputs]
columns: []
"""
GPT, TRANSFORMER = "mlrun.networks.text.gpt.GPT", "mlrun.networks.text.transformer.Transformer"
COMMANDS = {
    "model=gpt model.network.heads=0": f"model.network: {GPT} cannot be built with heads=0: integer modulo by zero",
    "model=transformer model.network.heads=0": (
        f"model.network: {TRANSFORMER} cannot be built with heads=0: integer modulo by zero"
    ),
    "model=mine model.network.kind=broad": (
        "model.network: mine.Net cannot be built with kind=broad: KeyError: 'broad' (mine.py, line 10)"
    ),
}


def write_own_files(directory):
    (directory / "mine.py").write_text(OWN_CODE)
    for group, text in (("model", OWN_MODEL), ("dataset", OWN_DATASET)):
        (directory / "conf" / group).mkdir(parents=True)
        (directory / "conf" / group / "mine.yaml").write_text(text)


@pytest.fixture(scope="module")
def results(tmp_path_factory, starter):
    """Finished processes and their directories."""

    def run(line):
        directory = tmp_path_factory.mktemp("run")
        write_own_files(directory)
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        environment.pop("MLFLOW_TRACKING_URI", None)
        done = starter.run(line.split(), directory, environment, timeout=240)
        return done, directory

    return {line: run(line) for line in COMMANDS}


@pytest.mark.parametrize("line", COMMANDS)
def test_a_network_that_cannot_be_built(results, line):
    done, directory = results[line]
    assert done.returncode == 2, done.stderr
    assert done.stderr == f"mlrun: {COMMANDS[line]}\n"
    (trace,) = directory.glob("outputs/*/error.txt")  # for the author of the network
    assert "Traceback" in trace.read_text() and line.split("=")[1].split()[0] in trace.read_text()


@pytest.mark.parametrize(
    "overrides, message",
    [
        ("model=mine model.network.width=0", "model.network: mine.Net cannot be built with width=0: AssertionError: no width (mine.py, line 7)"),
        ("model=mine model.network.width=101", "model.network: mine.Net cannot be built with width=101: this is too much for my computer (mine.py, line 9)"),
        ("model=vae model.beta=-1", "model: mlrun.tasks.vae.VAE cannot be built: beta=-1: must be at least 0"),
        ("model=knn dataset=mine", "dataset: mine.Data cannot be built with columns=[]: IndexError: list index out of range (mine.py, line 14)"),
        ("model=linear dataset=iris optim=sgd +optim.nesterov=true", "optim: torch.optim.SGD cannot be built with nesterov=true: Nesterov momentum requires a momentum and zero dampening"),
        ("model=linear dataset=iris scheduler=manual scheduler.values=[1.0]", "scheduler: mlrun.training.schedules.manual cannot be built with milestones=[10, 15], values=[1.0]: "),
        ("model=mlp dataset=iris optim.betas=[2,3]", "optim: torch.optim.Adam cannot be built with betas=[2.0, 3.0]: Invalid beta parameter"),
    ],
)  # fmt: skip
def test_tasks_datasets_optimizers_and_schedules(experiment, workplace, monkeypatch, overrides, message):
    write_own_files(workplace)
    monkeypatch.syspath_prepend(workplace)
    sys.modules.pop("mine", None)
    try:
        with pytest.raises(ConfigError) as error:
            experiment(*overrides.split())
    finally:
        sys.modules.pop("mine", None)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)
