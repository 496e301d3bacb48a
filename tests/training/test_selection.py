"""The best epoch: by the watched metric, then by the validation loss, then the later one."""

from __future__ import annotations

import math

import pytest
import torch

from mlrun.evaluation.selection import Selection, select
from tests.test_models import trained

NAN = math.nan
CASES = {  # metric watched, mode, (metric, val/loss or None) of each epoch -> the best epoch
    "the metric decides": ("max", [(0.8, 0.1), (0.9, 0.5), (0.7, 0.01)], 2),
    "a metric to minimize": ("min", [(0.8, 0.1), (0.9, 0.01), (0.7, 0.5)], 3),
    "the smaller loss on a tie": ("max", [(1.0, 0.5), (1.0, 0.2), (1.0, 0.3)], 2),
    "the smaller loss on a tie of minima": ("min", [(0.1, 0.5), (0.1, 0.2), (0.1, 0.3)], 2),
    "the later epoch on a tie of both": ("max", [(1.0, 0.2), (1.0, 0.2), (0.5, 0.1)], 2),
    "no validation loss": ("max", [(1.0, None), (1.0, None), (0.5, None)], 2),
    "a loss that is not a number is the largest": ("max", [(1.0, 0.5), (1.0, NAN)], 1),
    "NaN is worse than any number": ("max", [(NAN, 0.1), (-5.0, 9.0), (NAN, 0.0)], 2),
    "NaN alone: the smallest loss": ("min", [(NAN, 0.3), (NAN, 0.2), (NAN, 0.4)], 2),
    "NaN alone, also as a loss: the first": ("min", [(NAN, NAN), (NAN, NAN)], 1),
}


@pytest.mark.parametrize("case", CASES)
def test_the_rule(case):
    mode, epochs, best = CASES[case]
    history = {"val/x": [(epoch, value) for epoch, (value, _) in enumerate(epochs, 1)]}
    losses = [(epoch, loss) for epoch, (_, loss) in enumerate(epochs, 1) if loss is not None]
    history |= {"val/loss": losses} if losses else {}
    assert select(history, "val/x", mode).epoch == best
    # the same from tensors, in two parts with a state between them
    first = Selection("val/x", mode)
    for epoch in range(1, len(epochs) + 1):
        metrics = {name: torch.tensor(dict(points)[epoch]) for name, points in history.items() if epoch in dict(points)}
        second = Selection("val/x", mode)
        second.load_state_dict(first.state_dict())
        second.offer(epoch, metrics)
        first = second
    assert first.epoch == best


def test_the_loss_itself_is_watched():
    assert select({"val/loss": [(1, 0.5), (2, 0.2), (3, 0.2)]}, "val/loss", "min").epoch == 3


def test_without_validation_the_latest_epoch_is_the_best():
    selection = Selection(None, "max")
    assert selection.offer(1, {}) and selection.offer(2, {}) and selection.epoch == 2 and selection.value is None


def test_the_checkpoint_is_of_the_epoch_that_the_history_selects(tmp_path):
    """18 validation rows: many epochs have the same accuracy."""
    options = "dataset.split.train=90", "dataset.split.val=18", "dataset.split.test=30"
    learner, data = trained(
        tmp_path, "model=mlp", "dataset=wine", "trainer=cpu", "trainer.max_epochs=30", "seed=2", *options
    )
    history = learner.training.history
    best = select(history, "val/accuracy", "max")
    top = [epoch for epoch, value in history["val/accuracy"] if value == best.value]
    assert len(top) > 1 and best.epoch == min(reversed(top), key=dict(history["val/loss"]).get) != top[0]
    assert learner.training.best_epoch == best.epoch
    kept = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["mlrun"]
    assert kept["epochs"] == best.epoch and kept["best"] == best.state_dict()
    accuracy, loss = (learner.evaluate(data, "val").metrics[name] for name in ("accuracy", "log_loss"))
    assert accuracy == pytest.approx(best.value) and loss == pytest.approx(best.loss, rel=1e-4)
