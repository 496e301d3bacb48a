"""Killed and resumed, a GAN makes the same samples: optimizers, schedules, noise and the average are in the checkpoint."""

from __future__ import annotations

import random
import signal
import time

import pytest
import torch

from mlrun.data.readers.tensors import load_tensors
from tests.life.conftest import begin, resume  # noqa: F401, fixtures

GAN = [
    "model=gan", "dataset.rows=2000", "trainer.max_epochs=30", "model.loss=wgan_gp", "model.discriminator_steps=2", "model.warmup=20",
    "model.discriminator_lr=2e-3", "scheduler=cosine", "scheduler.interval=step",
]  # fmt: skip


@pytest.mark.parametrize("options", [GAN], ids=["gan"])
def test_a_killed_run_makes_the_same_samples(workplace, begin, resume, options):  # noqa: F811
    whole = begin("whole", *options)
    whole.wait_for("epoch 1/")
    began = time.monotonic()
    assert whole.wait() == 0, whole.output
    seconds = time.monotonic() - began
    child = begin("killed", *options)
    child.wait_for("epoch 1/")
    time.sleep(random.Random(1).uniform(0.2, 0.6) * seconds)
    child.send(signal.SIGKILL)
    again = resume("killed")
    assert again.wait() == 0, again.output
    first, second = (load_tensors(workplace / name / "model" / "weights.safetensors") for name in ("whole", "killed"))
    assert any(name.startswith("ema.") for name in first)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (workplace / "whole" / "metrics.json").read_text() == (workplace / "killed" / "metrics.json").read_text()
    assert (workplace / "whole" / "figures" / "animation.gif").read_bytes() == (
        workplace / "killed" / "figures" / "animation.gif"
    ).read_bytes()
