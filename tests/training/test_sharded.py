"""`trainer.strategy=fsdp`: two processes with half a network each train as one with all of it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mlrun.data.readers.tensors import WEIGHTS, load_tensors
from mlrun.errors import ConfigError
from mlrun.networks.sharding import gather, release, shard
from tests.training.test_nodes import as_torchrun, measured, without_speed

pytestmark = pytest.mark.long

SHARDED = ["trainer.strategy=fsdp", "trainer.num_nodes=2", "trainer.devices=1", "hydra.run.dir=outputs/nodes"]
GPT = [
    "model=gpt", "dataset.context_length=32", "dataset.batch_size=8", "trainer.accelerator=cpu", "trainer.max_epochs=2", "trainer.max_steps=12",
    "model.network.width=16", "model.network.heads=2", "model.figures=[]", "optim=sgd", "optim.lr=0.1", "seed=1",  # Adam would turn the rounding of a gradient of 0 into a step
]  # fmt: skip
# a decoder that stops after fewer tokens in one process than in the other
TRANSLATION = [
    "model=transformer", "scheduler=none", "dataset.rows=300", "dataset.split={train: 200, val: 51, test: 49}", "trainer.accelerator=cpu", "trainer.max_epochs=1",
    "model.network.width=16", "model.figures=[]", "seed=1",
]  # fmt: skip


@pytest.fixture
def group():
    """Of two processes, the first; the other one does not exist, and sums are those of the first."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    torch.distributed.init_process_group("fake", rank=0, world_size=2, store=FakeStore())
    yield torch.distributed.init_device_mesh("cpu", (2,))
    torch.distributed.destroy_process_group()


class Blocks(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.hidden(x))

    def hidden(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def sizes(owner):
    return [
        parameter.to_local().numel() if hasattr(parameter, "to_local") else parameter.numel()
        for parameter in owner.parameters()
    ]


def test_a_process_has_half_of_every_parameter(group):
    owner = nn.Module()
    owner.network = Blocks()
    shard(owner, group)
    assert sizes(owner) == [32, 4, 32, 4, 16, 2]
    owner.network(torch.zeros(3, 8)).sum().backward()
    assert all(parameter.grad.to_local().numel() == size for parameter, size in zip(owner.parameters(), sizes(owner)))
    assert owner.network.hidden(torch.zeros(3, 8)).shape == (3, 8)  # gathered for methods other than forward, too


def test_all_of_it_is_there_until_it_is_released(group):
    owner = nn.Module()
    owner.network = Blocks()
    shard(owner, group)
    owner.network(torch.zeros(3, 8))
    gather(owner)
    with torch.inference_mode():
        owner.network(torch.zeros(3, 8))
    assert sizes(owner) == [64, 8, 64, 8, 32, 4]
    release(owner)
    assert sizes(owner) == [32, 4, 32, 4, 16, 2]


def test_a_single_number_cannot_be_divided(group):
    owner = nn.Module()
    owner.network, owner.own = Blocks(), nn.Parameter(torch.zeros(3))
    owner.network.scale = nn.Parameter(torch.tensor(1.0))
    with pytest.raises(ConfigError, match=r"fsdp: cannot divide own, network.scale: .* use trainer\.strategy=ddp"):
        shard(owner, group)


def test_two_processes_make_the_updates_of_one(workplace, experiment, starter):
    as_torchrun(starter, workplace, *GPT, *SHARDED)
    single = experiment(*GPT)
    assert measured(workplace) == pytest.approx(without_speed(single.metrics), rel=1e-4)
    ours, both = (
        load_tensors(directory / "model" / WEIGHTS, False)
        for directory in (single.directory, workplace / "outputs" / "nodes")
    )
    for name, tensor in ours.items():
        torch.testing.assert_close(both[name], tensor, rtol=1e-4, atol=1e-5, msg=name)


def test_validation_that_generates_texts_ends_and_training_resumes(workplace, experiment, starter):
    as_torchrun(starter, workplace, *TRANSLATION, *SHARDED)
    assert measured(workplace) == pytest.approx(without_speed(experiment(*TRANSLATION).metrics), rel=1e-4)
    as_torchrun(starter, workplace, "resume", "outputs/nodes", "trainer.max_epochs=2")
    longer = experiment(*TRANSLATION, "trainer.max_epochs=2")
    assert measured(workplace) == pytest.approx(without_speed(longer.metrics), rel=1e-4)


def test_smaller_batches_are_refused(experiment):
    with pytest.raises(ConfigError, match="trainer.auto_batch=true: does not work with trainer.strategy=fsdp"):
        experiment("model=mlp", "dataset=iris", "trainer.strategy=fsdp", "trainer.auto_batch=true")
