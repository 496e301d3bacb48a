"""Each schedule's curve, drawn over real optimizer steps, against its closed form written in numpy."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from mlrun.config.compose import CONF
from mlrun.errors import ConfigError
from mlrun.training.optimization import Optimization

LR, EPOCHS, STEPS_PER_EPOCH = 0.2, 24, 5
STEPS = EPOCHS * STEPS_PER_EPOCH
SGD = {"_target_": "torch.optim.SGD", "lr": LR}


def node(name, **settings):
    return OmegaConf.to_container(OmegaConf.load(CONF / "scheduler" / f"{name}.yaml")) | settings


def schedule(name, optim=SGD, total_steps=STEPS, total_epochs=EPOCHS, mode="min", **settings):
    optimization = Optimization(optim, node(name, **settings))
    optimizer = optimization.optimizer(torch.nn.Linear(2, 1))
    return optimizer, optimization.scheduler(optimizer, total_steps, total_epochs, "val/loss", mode)


def draw(name, key="lr", epochs=EPOCHS, **settings):
    """The learning rate in force during every optimizer step."""
    optimizer, config = schedule(name, **settings)
    curve = []
    for _ in range(epochs):
        for _ in range(STEPS_PER_EPOCH):
            value = optimizer.param_groups[0][key]
            curve.append(value[0] if key == "betas" else value)
            optimizer.step()
            if config["interval"] == "step":
                config["scheduler"].step()
        if config["interval"] == "epoch":
            config["scheduler"].step()
    return np.array(curve)


t = np.arange(STEPS)  # steps done
e = t // STEPS_PER_EPOCH  # epochs done


def warmup(w, decay, final=0.0):
    progress = (t - w) / (STEPS - w)
    return np.where(t < w, (t + 1) / w, final + (1 - final) * decay(progress))


def cos_between(a, b, p):
    return b + (a - b) * (1 + np.cos(np.pi * p)) / 2


def one_cycle(a, top, b, share=0.3):
    end = share * STEPS - 1
    return np.where(t <= end, cos_between(a, top, t / end), cos_between(top, b, (t - end) / (STEPS - 1 - end)))


CLOSED_FORMS = [
    ("inverse_time", {"rate": 0.3}, LR / (1 + 0.3 * e)),
    ("exponential", {"gamma": 0.9}, LR * 0.9**e),
    ("exponential", {"gamma": 0.9, "interval": "step"}, LR * 0.9**t),
    ("inverse_sqrt_epoch", {"k": 0.7}, LR * 0.7 / np.sqrt(e + 1)),
    ("inverse_sqrt_step", {"k": 2.0}, LR * 2.0 / np.sqrt(t + 1)),
    ("step", {"step_size": 7, "gamma": 0.1}, LR * 0.1 ** (e // 7)),
    ("manual", {"milestones": [3, 8], "values": [0.5, 2.0]}, LR * np.where(e < 3, 1.0, np.where(e < 8, 0.5, 2.0))),
    ("manual", {"milestones": [0, 8], "values": [0.5, 0.03], "absolute": True}, np.where(e < 8, 0.5, 0.03)),
    ("cosine", {}, LR * (1 + np.cos(np.pi * e / EPOCHS)) / 2),
    ("cosine", {"interval": "step", "eta_min": 0.05}, 0.05 + (LR - 0.05) * (1 + np.cos(np.pi * t / STEPS)) / 2),
    ("linear_decay", {}, LR * np.minimum(1, 2 - 2 * t / STEPS)),
    (
        "linear_decay",
        {"start": 0.25, "final": 0.1},
        LR * np.where(t < STEPS / 4, 1, 1 - 0.9 * (t - STEPS / 4) / (STEPS * 0.75)),
    ),
    ("warmup_linear", {"warmup": 10}, LR * warmup(10, lambda p: 1 - p)),
    ("warmup_linear", {"warmup": 0.25, "final": 0.1}, LR * warmup(STEPS // 4, lambda p: 1 - p, 0.1)),
    ("warmup_cosine", {"warmup": 0.1}, LR * warmup(STEPS // 10, lambda p: (1 + np.cos(np.pi * p)) / 2)),
    # 1 and 1.0 are one step, not the whole run
    ("warmup_cosine", {"warmup": 1.0}, LR * warmup(1, lambda p: (1 + np.cos(np.pi * p)) / 2)),
    ("warmup_inverse_sqrt", {"warmup": 20}, LR * np.minimum((t + 1) / 20, np.sqrt(20 / (t + 1)))),
    ("one_cycle", {}, one_cycle(0.04 * LR, LR, 4e-6 * LR)),
]


@pytest.mark.parametrize(("name", "settings", "expected"), CLOSED_FORMS, ids=lambda v: v if isinstance(v, str) else "")
def test_curve_is_its_closed_form(name, settings, expected):
    np.testing.assert_allclose(draw(name, **settings), expected, rtol=1e-6, atol=1e-12)


def test_every_schedule_has_a_closed_form_here():
    names = {path.stem for path in (CONF / "scheduler").glob("*.yaml")}
    assert names == {name for name, _, _ in CLOSED_FORMS} | {"none", "plateau"}


def test_none_is_no_schedule():
    assert schedule("none")[1] is None


def test_the_transformer_paper():
    """Vaswani et al. 2017, equation 3, from its own numbers."""
    d_model, w = 512, 30
    s = t + 1
    paper = d_model**-0.5 * np.minimum(s**-0.5, s * w**-1.5)
    curve = draw("warmup_inverse_sqrt", optim=SGD | {"lr": (d_model * w) ** -0.5}, warmup=w)
    np.testing.assert_allclose(curve, paper, rtol=1e-9)


@pytest.mark.parametrize(
    ("optim", "key"),
    [({"_target_": "torch.optim.Adam"}, "betas"), ({"_target_": "torch.optim.RMSprop", "momentum": 0.5}, "momentum")],
)
def test_one_cycle_moves_the_momentum_that_there_is(optim, key):
    np.testing.assert_allclose(draw("one_cycle", key, optim=optim), one_cycle(0.95, 0.85, 0.95), rtol=1e-6)


def test_one_cycle_gives_no_momentum_to_an_optimizer_without():
    assert set(draw("one_cycle", "momentum")) == {0}
    assert set(draw("one_cycle", "betas", optim={"_target_": "torch.optim.Adam", "betas": [0, 0.99]})) == {0}


@pytest.mark.parametrize("total", [1, 2, 3, 5, 10])
def test_short_runs(total):
    """A debug run has one step; a warm-up that ends exactly at the first step must not divide by zero."""
    cases = {"one_cycle": (0.3, 0.1, 0.2), "warmup_cosine": (0.1,), "warmup_linear": (0.5,)}
    for name, share in [(name, share) for name, shares in cases.items() for share in shares]:
        optimizer, config = schedule(name, total_steps=total, warmup=share)
        for _ in range(total):
            assert 0 < optimizer.param_groups[0]["lr"] <= LR
            optimizer.step()
            config["scheduler"].step()


@pytest.mark.parametrize(("mode", "better"), [("min", -1.0), ("max", 1.0)])
def test_plateau_waits_and_reduces(mode, better):
    optimizer, config = schedule("plateau", mode=mode, patience=2, factor=0.1)
    assert (config["monitor"], config["interval"]) == ("val/loss", "epoch")
    rates = []
    for value in [1, 1 + better, 1 + 2 * better, *[1.0 + 2 * better] * 4]:
        config["scheduler"].step(value)
        rates.append(optimizer.param_groups[0]["lr"])
    np.testing.assert_allclose(rates, [LR] * 5 + [LR / 10] * 2)


def test_each_group_keeps_its_own_scale():
    net = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)])
    groups = [{"params": net[0], "lr": 0.01}, {"params": net[1]}]
    for name in ("warmup_cosine", "one_cycle", "inverse_time", "step", "cosine"):
        optimization = Optimization(SGD, node(name))
        optimizer = optimization.optimizer(groups)
        scheduler = optimization.scheduler(optimizer, STEPS, EPOCHS)["scheduler"]
        for _ in range(12):
            first, second = (group["lr"] for group in optimizer.param_groups)
            assert first == pytest.approx(second * 0.01 / LR)
            optimizer.step()
            scheduler.step()


def test_absolute_values_hold_for_every_group():
    net = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)])
    optimization = Optimization(SGD, node("manual", milestones=[0], values=[0.3], absolute=True))
    optimizer = optimization.optimizer([{"params": net[0], "lr": 0.01}, {"params": net[1]}])
    optimization.scheduler(optimizer, STEPS, EPOCHS)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.3, 0.3])


@pytest.mark.parametrize("name", sorted({name for name, _, _ in CLOSED_FORMS} | {"plateau"}))
def test_state_is_plain_and_restores_the_curve(name):
    """Resume: torch.load reads only plain containers, and the second half of the curve is the same."""
    half = 11

    def advance(optimizer, config, steps):
        rates = []
        for i in range(steps):
            optimizer.step()
            config["scheduler"].step(*([float(i)] if name == "plateau" else []))
            rates.append(optimizer.param_groups[0]["lr"])
        return rates

    optimizer, config = schedule(name)
    advance(optimizer, config, half)
    file = io.BytesIO()
    torch.save([optimizer.state_dict(), config["scheduler"].state_dict()], file)
    file.seek(0)
    states = torch.load(file, weights_only=True)
    resumed, resumed_config = schedule(name)
    resumed.load_state_dict(states[0])
    resumed_config["scheduler"].load_state_dict(states[1])
    assert advance(resumed, resumed_config, half) == advance(optimizer, config, half)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("manual", {"milestones": [3], "values": [1.0, 2.0]}, "1 milestones, but 2 values"),
        ("manual", {"milestones": [8, 3], "values": [1.0, 2.0]}, "must increase"),
        ("one_cycle", {"total_steps": None}, "set trainer.max_epochs"),
        ("warmup_cosine", {"total_steps": float("inf")}, "set trainer.max_epochs"),
        ("warmup_inverse_sqrt", {"total_steps": -1}, "set trainer.max_epochs"),
        ("cosine", {"total_epochs": -1}, "set trainer.max_epochs"),
        ("one_cycle", {"warmup": 1.5}, "warmup=1.5"),
        ("warmup_linear", {"final": 2.0}, "final=2.0"),
        ("linear_decay", {"start": 1.0}, "start=1.0"),
        ("step", {"interval": "batch"}, "scheduler.interval=batch"),
        ("plateau", {"factor": 1.5}, "Factor should be < 1.0"),
    ],
)
def test_settings_that_do_not_fit_are_one_clear_line(name, settings, message):
    with pytest.raises(ConfigError, match=message) as error:
        schedule(name, **settings)
    assert "\n" not in str(error.value)


def test_a_warmup_longer_than_the_run_is_said():
    with pytest.warns(UserWarning, match="never decays"):
        schedule("warmup_linear", warmup=4000)


def test_open_end_suits_schedules_that_need_no_length():
    schedule("warmup_inverse_sqrt", warmup=20, total_steps=float("inf"))
    schedule("exponential", total_epochs=-1)
