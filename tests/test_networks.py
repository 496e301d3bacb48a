"""Networks through Lightning: they learn, they stop, they are repeatable; a broken one is noticed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlrun.errors import ConfigError
from mlrun.predictions.learner import load_learner, make_learner
from mlrun.report import silent
from tests.test_models import Nobody, prepared, shuffle_labels, trained


def accuracy(learner, data):
    return learner.evaluate(data, "test").metrics["accuracy"]


def test_a_saved_network_predicts_the_same(tmp_path):
    for overrides in (
        ["model=mlp", "model.network.norm=batch", "model.network.dropout=0.2"],
        ["model=linear"],
        ["model=mlp", "dataset=diabetes"],
    ):
        learner, data = trained(tmp_path, *overrides, "trainer.max_epochs=2")
        learner.save(tmp_path / "model")
        x = data.examples("test")
        again = load_learner(tmp_path / "model").predict(x)
        np.testing.assert_array_equal(learner.predict(x).answers(), again.answers())


LEARNED = 0.83  # digits: reached by the worst of five seeds with 0.95, missed with frozen hidden layers with 0.70


def test_the_mlp_learns_digits(tmp_path):
    assert accuracy(*trained(tmp_path, "model=mlp", "trainer.max_epochs=10")) >= LEARNED


def test_a_shuffled_label_is_noticed(tmp_path):
    cfg, data = prepared("model=mlp", "trainer.max_epochs=10")
    shuffle_labels(data)
    learner = make_learner(cfg, data)
    learner.fit(data, Nobody(), tmp_path, silent.Progress())
    assert accuracy(learner, data) < 0.5


def test_a_detached_gradient_is_noticed(tmp_path):
    cfg, data = prepared("model=mlp", "trainer.max_epochs=10", "model.network.hidden=[32]", "model.network.init=small")
    learner = make_learner(cfg, data)
    network = learner.task.network
    network.forward = lambda x: network.head(network.body(x.flatten(1)).detach())
    learner.fit(data, Nobody(), tmp_path, silent.Progress())
    assert accuracy(learner, data) < LEARNED


@pytest.mark.parametrize(
    "options",
    [
        ["activation=sigmoid"],
        ["activation=tanh", "init=xavier"],
        ["activation=leaky_relu", "init=he"],
        ["norm=layer"],
        ["norm=batch"],
        ["dropout=0.3"],
    ],
)
def test_every_form_of_the_mlp_learns(options, tmp_path):
    assert (
        accuracy(
            *trained(
                tmp_path,
                "model=mlp",
                "trainer.max_epochs=12",
                "optim.lr=0.003",
                *[f"model.network.{option}" for option in options],
            )
        )
        >= LEARNED
    )


def test_classes_by_least_squares(tmp_path):
    learner, data = trained(tmp_path, "model=mlp", "model.loss=mse", "trainer.max_epochs=12")
    assert accuracy(learner, data) >= LEARNED
    predictions = learner.evaluate(data, "test").predictions
    np.testing.assert_allclose(predictions.probabilities.sum(1), 1, atol=1e-5)
    with pytest.raises(ConfigError, match="cross_entropy"):
        make_learner(*prepared("model=mlp", "model.loss=cross_entropy", "dataset=diabetes"))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_linear_network_ends_at_the_normal_equation(seed, tmp_path):
    descended, data = trained(tmp_path, "model=linear", "dataset=diabetes", f"seed={seed}")
    solved, _ = trained(tmp_path, "model=linear_regression", "dataset=diabetes", f"seed={seed}")
    assert descended.evaluate(data, "test").metrics["rmse"] == pytest.approx(
        solved.evaluate(data, "test").metrics["rmse"], rel=0.01
    )


def test_same_seed_same_weights(tmp_path):
    one, _ = trained(tmp_path, "model=mlp", "model.network.dropout=0.5", "trainer.max_epochs=2")
    torch.rand(7)  # what was drawn before must not matter
    two, _ = trained(tmp_path, "model=mlp", "model.network.dropout=0.5", "trainer.max_epochs=2")
    other, _ = trained(tmp_path, "model=mlp", "model.network.dropout=0.5", "trainer.max_epochs=2", "seed=2")
    for a, b, c in zip(one.task.parameters(), two.task.parameters(), other.task.parameters(), strict=True):
        assert torch.equal(a, b) and not torch.equal(a, c)


def test_the_best_epoch_is_kept_or_the_last(tmp_path):
    options = ["model=mlp", "optim=sgd", "optim.lr=2.0", "trainer.max_epochs=8"]  # too fast: it gets better and worse
    best, data = trained(tmp_path, *options)
    points = dict(best.training.history["val/accuracy"])
    assert best.evaluate(data, "val").metrics["accuracy"] == pytest.approx(max(points.values()))
    assert points[best.training.best_epoch] == max(points.values())
    last, data = trained(tmp_path, *options, "trainer.keep=last")
    assert last.evaluate(data, "val").metrics["accuracy"] == pytest.approx(points[8])


def test_the_trainers_settings(tmp_path):
    stopped, _ = trained(
        tmp_path, "model=mlp", "optim.lr=1e-8", "trainer.early_stopping_patience=2", "trainer.max_epochs=50"
    )
    assert len(stopped.training.history["val/accuracy"]) < 50
    timed, _ = trained(tmp_path, "model=mlp", "trainer.max_time=00:00:00:01", "trainer.max_epochs=100000")
    assert len(timed.training.history["val/accuracy"]) < 100000
    debugged, _ = trained(tmp_path, "model=mlp", "trainer=debug")
    assert debugged.trainer.global_step == 1
    accumulated, data = trained(tmp_path, "model=mlp", "trainer.accumulate_grad_batches=4", "trainer.max_epochs=1")
    assert accumulated.trainer.global_step == -(-len(data.loader("train", accumulated.preprocessor)) // 4)


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_clipped_gradients_make_small_steps(algorithm, tmp_path):
    options = [
        "model=linear",
        "optim=sgd",
        "optim.lr=1.0",
        "scheduler=none",
        "trainer.max_epochs=1",
        f"trainer.gradient_clip_algorithm={algorithm}",
    ]
    cfg, data = prepared(*options, "trainer.gradient_clip_val=1e-6")
    learner = make_learner(cfg, data)
    before = [parameter.clone() for parameter in learner.task.parameters()]
    learner.fit(data, Nobody(), tmp_path, silent.Progress())
    moved = max((new - old).abs().max().item() for old, new in zip(before, learner.task.parameters(), strict=True))
    assert 0 < moved < 1e-4


def test_penalties_shrink_the_weights(tmp_path):
    def size(*options):
        learner, _ = trained(tmp_path, "model=mlp", "trainer.max_epochs=5", *options)
        return sum(
            parameter.abs().sum().item() for name, parameter in learner.task.named_parameters() if "weight" in name
        )

    plain = size()
    assert size("trainer.l2=0.1") < 0.8 * plain
    assert size("trainer.l1=0.01") < 0.5 * plain


def test_the_logged_rate_is_the_one_that_an_epoch_was_trained_with(tmp_path):
    learner, _ = trained(
        tmp_path,
        "model=mlp",
        "optim=sgd",
        "optim.lr=0.1",
        "scheduler=step",
        "scheduler.step_size=1",
        "scheduler.gamma=0.5",
        "trainer.max_epochs=3",
    )
    assert dict(learner.training.history["lr"]) == pytest.approx({1: 0.1, 2: 0.05, 3: 0.025})


def test_values_far_from_zero_keep_their_digits(tmp_path):
    rows = "\n".join(f"{i / 10},{1.7e9 + i}" for i in range(300))
    (tmp_path / "big.csv").write_text(f"x,y\n{rows}\n")
    learner, data = trained(
        tmp_path, "model=linear", "dataset=csv", f"dataset.path={tmp_path / 'big.csv'}", "trainer.max_epochs=3"
    )
    x = data.examples("test")
    rmse = float(np.sqrt(np.mean((learner.predict(x).answers() - x["value"]) ** 2)))
    assert learner.evaluate(data, "test").metrics["rmse"] == pytest.approx(rmse, rel=1e-4) and rmse > 0.1
    assert len(set(learner.predict(x).answers())) == len(x)


@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "bf16-mixed"])
def test_every_precision_ends_in_a_model(precision, tmp_path):
    learner, data = trained(
        tmp_path, "model=mlp", "dataset=iris", f"trainer.precision={precision}", "trainer.max_epochs=30"
    )
    assert accuracy(learner, data) > 0.6
    assert len(learner.predict(data.examples("test"))) == 30


@pytest.mark.parametrize("scheduler", ["plateau", "one_cycle", "warmup_cosine"])
def test_schedules_through_the_command(scheduler, tmp_path):
    learner, _ = trained(tmp_path, "model=mlp", f"scheduler={scheduler}", "trainer.max_epochs=4")
    assert len(learner.training.history["lr"]) == 4


@pytest.mark.parametrize("preset, published", [("softmax", 0.823), ("mlp", 0.845)])
def test_published_numbers_on_fashion_mnist(preset, published, tmp_path, fashion_mnist, monkeypatch):
    """Of the last three epochs the best, because at these rates a single one swings by two points. An MLP whose hidden layer is frozen reaches 0.742."""
    monkeypatch.setenv("MLRUN_DATA_DIR", str(fashion_mnist))
    cfg, data = prepared(f"experiment=fashion_mnist/{preset}")
    learner, reached = make_learner(cfg, data), []

    class Measured(silent.Progress):
        def epoch(self, epoch, metrics):
            reached.append(accuracy(learner, data))

    learner.fit(data, Nobody(), tmp_path, Measured())
    assert max(reached[-3:]) == pytest.approx(published, abs=0.03)
