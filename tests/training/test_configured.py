"""Callbacks, loggers and further evaluators that only the configuration names, as docs/howto.md shows them."""

from __future__ import annotations

import csv
import importlib

import numpy as np
import pytest

from mlrun.config.explain import explain
from mlrun.errors import ConfigError
from mlrun.evaluation.evaluator import Better, Evaluator

TINY = ("model=mlp", "dataset=iris", "model.network.hidden=[4]", "trainer.max_epochs=2")


class WorstClass(Evaluator):
    """The lowest recall of any class."""

    metrics = {"worst_recall": Better.LARGER}
    every_epoch = False

    def begin(self, subject):
        super().begin(subject)
        self.truth, self.predicted = [], []

    def update(self, batch, examples, predictions):
        self.truth.append(examples[self.subject.data.targets[0]])
        self.predicted.append(predictions.indices)

    def compute(self):
        truth, predicted = np.concatenate(self.truth), np.concatenate(self.predicted)
        return {"worst_recall": min(float(np.mean(predicted[truth == one] == one)) for one in np.unique(truth))}


def counter(epochs):
    """A callback that appends to a list, made by a function: the configuration may name any callable."""
    from lightning.pytorch.callbacks import Callback

    class Counter(Callback):
        def on_train_epoch_end(self, trainer, task):
            epochs.append(trainer.current_epoch + 1)

    return Counter()


EPOCHS: list[int] = []


def counting():
    return counter(EPOCHS)


def test_callbacks_and_loggers(experiment, workplace):
    epochs = importlib.import_module(
        "tests.training.test_configured"
    ).EPOCHS  # of the module that the configuration names
    epochs.clear()
    overrides = (
        *TINY,
        "+trainer.callbacks.count={_target_: tests.training.test_configured.counting}",
        "+trainer.loggers.csv={_target_: lightning.pytorch.loggers.CSVLogger, save_dir: logs, name: mine}",
    )
    assert explain(list(overrides)) == []
    result = experiment(*overrides)
    assert epochs == [1, 2]
    (path,) = workplace.glob("logs/mine/*/metrics.csv")
    rows = list(csv.DictReader(path.open()))
    assert [int(row["step"]) for row in rows] == [1, 2]
    assert float(rows[result.best_epoch - 1]["val/accuracy"]) == pytest.approx(result.metrics["val/accuracy"])
    plain = experiment(*TINY)
    assert plain.metrics == result.metrics  # Lightning's own loops, same numbers


def test_a_node_that_is_no_callback(experiment):
    with pytest.raises(
        ConfigError, match="trainer.callbacks.wrong: must be a node with the _target_ of a Lightning Callback"
    ):
        experiment(*TINY, "+trainer.callbacks.wrong={_target_: torch.nn.ReLU}")


@pytest.mark.parametrize("model", [("model=naive_bayes", "dataset=iris"), TINY])
def test_extra_evaluators_of_any_model(experiment, model):
    result = experiment(*model, "model.extra_evaluators=[tests.training.test_configured.WorstClass]")
    recalls = [value for name, value in result.metrics.items() if name.startswith("test/recall_")]
    assert result.metrics["test/worst_recall"] == pytest.approx(min(recalls))
    assert "test/accuracy" in result.metrics

    from mlrun import load

    assert load(result.directory).evaluate("test")["worst_recall"] == result.metrics["test/worst_recall"]
