"""Private interfaces of Lightning: in one file, with what they must do, and what happens with a version that is not known."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

import mlrun
from mlrun.config.compose import compose
from mlrun.config.instantiate import plain
from mlrun.errors import ConfigError
from mlrun.training import lightning_internals as internals
from mlrun.training.trainer import _notify_once, build_trainer
from tests.test_models import trained

SOURCES = Path(mlrun.__file__).parent
PUBLIC = {
    "lightning.pytorch", "lightning.pytorch.callbacks", "lightning.pytorch.loggers", "lightning.pytorch.plugins.precision", "lightning.pytorch.profilers",
    "lightning.pytorch.strategies",
}  # fmt: skip


class Line(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch, batch_index):
        return self.layer(batch[0]).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader(**options):
    return DataLoader(TensorDataset(torch.randn(12, 2)), batch_size=4, **options)


def settings(*overrides):
    return plain(compose(["trainer=cpu", *overrides])["trainer"])


def fit(trainer, task=None, **options):
    trainer.fit(task or Line(), loader(**options))
    return trainer


def quiet(callback, **options):
    return Trainer(
        accelerator="cpu", callbacks=[callback], logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, **options,
    )  # fmt: skip


def private_uses(path):
    """What a source file uses of Lightning beyond its public modules and the public attributes of a trainer."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "lightning":
            names = [alias.name for alias in node.names if alias.name.startswith("_")]
            if node.module not in PUBLIC or names:
                yield f"{path.name}:{node.lineno} imports {node.module}.{', '.join(names) or '...'}"
        elif isinstance(node, ast.Import):
            yield from (
                f"{path.name}:{node.lineno} imports {alias.name}"
                for alias in node.names
                if alias.name.partition(".")[0] == "lightning" and alias.name not in PUBLIC
            )
        elif isinstance(node, ast.Attribute):
            owner = getattr(node.value, "id", getattr(node.value, "attr", None))
            if owner == "trainer" and (node.attr.startswith("_") or node.attr.endswith("_loop")):
                yield f"{path.name}:{node.lineno} uses trainer.{node.attr}"


def test_they_are_used_in_one_file_only():
    found = {path.relative_to(SOURCES).as_posix(): list(private_uses(path)) for path in SOURCES.rglob("*.py")}
    assert found.pop("training/lightning_internals.py"), "the search finds nothing"
    assert not [use for uses in found.values() for use in uses]


def test_the_installed_version_is_known():
    """Fails for a new version: read its loops against the lean ones, then raise `KNOWN`."""
    assert internals.known(), f"Lightning {internals.installed()}"


def test_the_number_of_epochs_can_be_set_before_the_optimizer_is_made():
    class Longer(Callback):
        def setup(self, trainer, task, stage):
            internals.set_max_epochs(trainer, 5)

    class Task(Line):
        def configure_optimizers(self):
            self.planned = self.trainer.max_epochs, self.trainer.estimated_stepping_batches
            return super().configure_optimizers()

    task = Task()
    trainer = fit(quiet(Longer(), max_epochs=2), task)
    assert task.planned == (5, 15) and trainer.current_epoch == 5 and trainer.global_step == 15


def test_a_trainer_that_refuses_the_number_of_epochs_is_an_error_that_names_the_setting():
    class Fixed:
        max_epochs = 2

    with pytest.raises(ConfigError, match="set trainer.max_epochs=5"):
        internals.set_max_epochs(Fixed(), 5)


class Restart(Callback):
    """Restarts the iteration after setting the global generator, as resuming does, and notes the rows of the first batch."""

    def on_train_start(self, trainer, task):
        torch.manual_seed(7)
        self.restarted = internals.restart_training_iterator(trainer)

    def on_train_batch_start(self, trainer, task, batch, batch_index):
        self.rows = batch[0].clone()
        trainer.should_stop = True


def test_the_iterator_is_restarted_with_the_generators_as_they_are_then():
    """torch's DataLoader draws its order from the global generator when it is iterated."""
    data = torch.arange(24.0).reshape(12, 2)
    rows = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        restart = Restart()
        quiet(restart, max_epochs=1).fit(Line(), DataLoader(TensorDataset(data), batch_size=4, shuffle=True))
        assert restart.restarted
        rows.append(restart.rows)
    assert torch.equal(*rows)
    torch.manual_seed(7)
    (first,) = next(iter(DataLoader(TensorDataset(data), batch_size=4, shuffle=True)))
    assert torch.equal(rows[0], first)


def test_with_an_unknown_version_the_iterator_stays_and_the_caller_learns_of_it(monkeypatch):
    monkeypatch.setattr(internals, "installed", lambda: "9.0.0")
    restart = Restart()
    fit(quiet(restart, max_epochs=1))
    assert restart.restarted is False and len(restart.rows) == 4


# --- trainer.fast_loop ------------------------------------------------------------------------------------------------


def lean(trainer):
    return isinstance(trainer.fit_loop.epoch_loop, internals.TrainingLoop)


@pytest.mark.parametrize("value, expected", [("auto", True), ("true", True), ("false", False)])
def test_the_loops_that_the_setting_names(tmp_path, value, expected):
    trainer = build_trainer(settings(f"trainer.fast_loop={value}", "trainer.max_epochs=1"), [], tmp_path)
    assert lean(trainer) == expected
    assert lean(fit(trainer)) == expected and trainer.global_step == 3


@pytest.mark.parametrize("length", ["max_epochs=2", "max_steps=21"])
def test_both_loops_learn_the_same(tmp_path, length):
    """Bit for bit, with dropout, clipping, penalties, a schedule of steps and a training that ends within an epoch of 16 batches."""
    options = [
        "model=mlp", "dataset=digits", "dataset.batch_size=32", "dataset.split.train=512", "model.network.hidden=[16]",
        "model.network.dropout=0.2", "scheduler=one_cycle", "scheduler.interval=step", "trainer.l2=0.001",
        "trainer.gradient_clip_val=0.5", "trainer.threads=1", f"trainer.{length}",
    ]  # fmt: skip
    fast, _ = trained(tmp_path / "fast", *options, "trainer=cpu", "trainer.fast_loop=true")
    own, _ = trained(tmp_path / "own", *options, "trainer=cpu", "trainer.fast_loop=false")
    assert lean(fast.trainer) and not lean(own.trainer)
    assert fast.training.history == own.training.history
    for ours, theirs in zip(fast.task.state_dict().values(), own.task.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_with_an_unknown_version_lightnings_own_loops_train_and_one_line_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(internals, "installed", lambda: "9.0.0")
    monkeypatch.setattr("mlrun.training.trainer.installed", lambda: "9.0.0")
    _notify_once.cache_clear()
    for _ in range(2):
        trainer = fit(build_trainer(settings("trainer.max_epochs=1"), [], tmp_path))
        assert not lean(trainer) and trainer.global_step == 3
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and "9.0.0" in said[0] and "Lightning's own" in said[0]
    with pytest.raises(ConfigError, match="trainer.fast_loop=true: Lightning 9.0.0"):
        build_trainer(settings("trainer.fast_loop=true"), [], tmp_path)


def test_fast_loop_true_is_refused_where_it_is_not_possible(tmp_path):
    with pytest.raises(ConfigError, match="trainer.fast_loop=true: the precision is 64-true"):
        build_trainer(settings("trainer.fast_loop=true", "trainer.precision=64-true"), [], tmp_path)

    class Manual(Line):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

    class Closures(Line):
        def configure_optimizers(self):
            return torch.optim.LBFGS(self.parameters())

    class Transfers(Line):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            return batch

    for task, options, reason in (
        (Line(), ["trainer.accumulate_grad_batches=2"], "gradients are accumulated"),
        (Manual(), [], "Manual performs its own updates"),
        (Closures(), [], "LBFGS, which may call its closure more than once"),
        (Transfers(), [], "Transfers overrides on_after_batch_transfer"),
    ):
        trainer = build_trainer(settings("trainer.fast_loop=true", *options), [], tmp_path)
        with pytest.raises(ConfigError, match=f"trainer.fast_loop=true: .*{reason}"):
            fit(trainer, task)
    fit(build_trainer(settings("trainer.max_epochs=1", "trainer.accumulate_grad_batches=2"), [], tmp_path))
