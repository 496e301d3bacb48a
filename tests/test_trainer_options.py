"""trainer.compile, profile and channels_last: they change how fast, not what is learned."""

from __future__ import annotations

import copy
import platform
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from mlrun.predictions.learner import load_learner
from mlrun.training.compiling import compiled
from tests.conftest import REPOSITORY
from tests.test_models import Nobody, prepared, trained

SHORT = (  # 16 batches of one size
    "model=mlp", "dataset=digits", "trainer=cpu", "trainer.max_epochs=1", "trainer.threads=1", "dataset.batch_size=32", "dataset.split.train=512"
)  # fmt: skip


@pytest.fixture
def fresh_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def test_a_compiled_network_learns_the_same(tmp_path, fresh_compiler, monkeypatch, capfd):
    """Captured and differentiated by the compiler, but not translated to C++, which takes half a minute."""
    from torch._dynamo.utils import counters

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    counters.clear()
    learner, _data = trained(tmp_path, *SHORT, "trainer.compile=true")
    assert counters["stats"]["unique_graphs"] == 1
    assert "could not be compiled" not in capfd.readouterr().err
    plain, _ = trained(tmp_path / "plain", *SHORT)
    for ours, theirs in zip(learner.task.state_dict().values(), plain.task.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    assert "forward" not in vars(learner.task.network)  # evaluation and saving see the network itself


def test_a_copy_of_a_compiled_network_uses_its_own_weights(fresh_compiler, monkeypatch):
    """As the target network of deep Q-learning, which is copied while the network trains."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    task = torch.nn.Module()
    task.network = torch.nn.Linear(3, 2).train()
    x = torch.randn(4, 3)
    with compiled(task, True):
        copied = copy.deepcopy(task.network)
        before = task.network(x)
        with torch.no_grad():
            copied.weight.zero_()
        torch.testing.assert_close(copied(x), copied.bias.expand(4, 2))
        torch.testing.assert_close(task.network(x), before)


def test_without_a_compiler_it_goes_on_and_says_so_once(tmp_path, fresh_compiler, monkeypatch, capfd):
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (str(tmp_path / "no-compiler"),))
    learner, _ = trained(tmp_path, *SHORT, "trainer.compile=true")
    assert capfd.readouterr().err.count("mlrun: trainer.compile: MLP could not be compiled; it trains uncompiled") == 1
    plain, _ = trained(tmp_path / "plain", *SHORT)
    for ours, theirs in zip(learner.task.state_dict().values(), plain.task.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


class Artifacts(Nobody):
    def __init__(self):
        self.sent = []

    def artifact(self, path, folder=None):
        self.sent.append((path, folder))


@pytest.mark.parametrize(("epochs", "steps"), [(2, 20), (1, 8)])
def test_a_profile_is_recorded(tmp_path, epochs, steps):
    from mlrun.predictions.learner import make_learner
    from mlrun.report import silent

    cfg, data = prepared(*SHORT, f"trainer.max_epochs={epochs}", "trainer.profile=true")
    learner, run = make_learner(cfg, data), Artifacts()
    learner.fit(data, run, tmp_path, silent.Progress())
    text = (tmp_path / "profile" / "operators.txt").read_text()
    assert text.startswith(f"{steps} steps of training\n") and "aten::addmm" in text
    assert (tmp_path / "profile" / "trace.json.gz").stat().st_size > 1000
    assert (tmp_path / "profile", "profile") in run.sent


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_layout_of_channels(tmp_path, channels_last):
    """A saved network lies in memory as it was trained, so that it answers the same to the last digit."""
    learner, data = trained(
        tmp_path,
        "model=cnn",
        "dataset=digits",
        "trainer=cpu",
        "trainer.max_epochs=1",
        f"trainer.channels_last={channels_last}",
    )

    def weights(task):
        return [
            layer.weight
            for layer in task.modules()
            if isinstance(layer, torch.nn.Conv2d) and layer.weight.shape[1] > 1 and layer.kernel_size > (1, 1)
        ]

    learner.save(tmp_path / "model")
    loaded = load_learner(tmp_path / "model")
    for task in (learner.task, loaded.task):
        assert weights(task) and all(
            weight.is_contiguous(memory_format=torch.channels_last) == channels_last for weight in weights(task)
        )
    x = data.examples("test").take(slice(0, 64))
    assert (learner.predict(x).probabilities == loaded.predict(x).probabilities).all()


NARROW = """
import sys, torch
from mlrun.networks.vision.resnet import ResNet
from mlrun.training.hardware import lay_out_channels
torch.set_num_threads(1)
network = ResNet((1, 8, 8), 10, depth=8, width=4)
lay_out_channels(network)
for _ in range(20):
    network(torch.randn(64, 1, 8, 8)).sum().backward()
"""


def test_a_narrow_shortcut_keeps_torchs_layout():
    """With channels last, oneDNN's gradient of a 1x1 convolution of stride 2 on four channels destroys the heap where only AVX2 exists."""
    done = subprocess.run([sys.executable, "-c", NARROW], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr


FAULTS = """
import resource, torch
from mlrun.training.hardware import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
keep_freed_memory()
faults()
print(first, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_used_again():
    """Ten times 64 MiB: without the setting each page is faulted in anew each time."""
    output = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent
    ).stdout
    before, after = map(int, output.split())
    assert before > 100 and after < before / 10
