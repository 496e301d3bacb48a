"""The lean loops do what Lightning's own do: the same numbers, the same hooks in the same order with the same counters."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from mlrun.training import lightning_internals as loops

HOOKS = (
    "on_train_batch_start", "on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step", "on_train_batch_end",
    "on_validation_batch_start", "on_validation_batch_end", "on_train_epoch_end",
)  # fmt: skip


class Learner(LightningModule):
    def __init__(self, logs=False, returns="tensor", optimizer=torch.optim.Adam, schedule=True):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 3))
        self.logs, self.returns, self.optimizer, self.schedule = logs, returns, optimizer, schedule
        self.rates = []

    def training_step(self, batch, batch_index):
        x, y = batch
        loss = F.cross_entropy(self.network(x), y)
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        if self.logs:
            self.log("loss", loss, on_step=True, on_epoch=True)
        if self.returns == "nothing now and then" and batch_index % 3 == 1:
            return None
        return loss if self.returns == "tensor" else {"loss": loss, "more": y.sum()}

    def validation_step(self, batch, batch_index):
        self.log("val", F.cross_entropy(self.network(batch[0]), batch[1]))

    def configure_optimizers(self):
        optimizer = self.optimizer(self.parameters(), lr=0.05)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.97)
        return {
            "optimizer": optimizer,
            **({"lr_scheduler": {"scheduler": schedule, "interval": "step"}} if self.schedule else {}),
        }


class Record(Callback):
    def __init__(self):
        self.seen = []

    def note(self, hook, trainer, arguments):
        loop = trainer.fit_loop.epoch_loop
        facts = (
            trainer.global_step,
            loop.batch_progress.state_dict(),
            loop.automatic_optimization.optim_progress.state_dict(),
        )
        outputs = arguments[0] if hook == "on_train_batch_end" else {}
        self.seen.append(
            (
                hook,
                facts,
                loop.val_loop.batch_progress.state_dict(),
                {name: value.item() for name, value in outputs.items()},
            )
        )


def _recorder(hook):
    return lambda self, trainer, task, *arguments: self.note(hook, trainer, arguments)


for name in HOOKS:
    setattr(Record, name, _recorder(name))


class StopAt(Callback):
    def on_train_batch_end(self, trainer, task, outputs, batch, index):
        trainer.should_stop = trainer.should_stop or (trainer.current_epoch == 1 and index == 3)


def fit(lean, learner=(), callbacks=(), **settings):
    """(the trained module, what a callback saw, what was logged)"""
    torch.manual_seed(3)
    task, record = Learner(**dict(learner)), Record()
    x = torch.randn(60, 4)
    rows = TensorDataset(x, (x.sum(1) > 0).long())
    quiet = dict(
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
    )
    trainer = Trainer(max_epochs=3, accelerator="cpu", callbacks=[record, *callbacks], **quiet, **settings)
    if lean:
        loops.install_lean_loops(trainer)
        assert isinstance(trainer.fit_loop.epoch_loop, loops.TrainingLoop)
    trainer.fit(task, DataLoader(rows, 8), DataLoader(rows, 20))
    return task, record.seen, {name: value.item() for name, value in trainer.callback_metrics.items()}


CASES = {
    "plain": ({}, {}),
    "clipped": ({}, {"gradient_clip_val": 0.1}),
    "logged in the step": ({"logs": True}, {}),
    "a dictionary": ({"returns": "dictionary"}, {}),
    "no loss": ({"returns": "nothing now and then"}, {}),
    "no schedule": ({"schedule": False, "optimizer": torch.optim.SGD}, {}),
    "bfloat16": ({}, {"precision": "bf16-mixed"}),
    "stopped": ({}, {"callbacks": [StopAt()]}),
    "accumulated": ({}, {"accumulate_grad_batches": 2}),
    "a closure called often": ({"optimizer": torch.optim.LBFGS, "schedule": False}, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_as_lightning_does_it(case):
    learner, settings = CASES[case]
    lean, seen, logged = fit(True, learner, **settings)
    own, expected, expected_logged = fit(False, learner, **settings)
    assert seen == expected
    assert logged == expected_logged
    assert lean.rates == own.rates
    for ours, theirs in zip(lean.state_dict().values(), own.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_lean_step_is_used_where_it_can_be(monkeypatch):
    """Of eight batches in three epochs all but the last of each; where accumulation asks for more than it does, none."""
    steps = []
    run = loops.TrainingLoop._run
    monkeypatch.setattr(
        loops.TrainingLoop, "_run", lambda self, fetcher: steps.append(self.trainer.global_step) or run(self, fetcher)
    )
    own = []
    advance = loops._TrainingEpochLoop.advance
    monkeypatch.setattr(
        loops._TrainingEpochLoop,
        "advance",
        lambda self, fetcher: own.append(self.trainer.global_step) or advance(self, fetcher),
    )
    fit(True)
    assert (steps, own) == ([0, 8, 16], [7, 15, 23])
    steps.clear(), own.clear()
    fit(True, accumulate_grad_batches=2)
    assert not steps and len(own) == 24
