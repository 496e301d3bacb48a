"""Environment steps of DQN and PPO on CartPole through mlrun, against plain single-file PyTorch scripts of the same settings.

Both sides step gymnasium's own vectorized CartPole, run on one thread and make the same number of updates on batches of the same
size. mlrun's time is that of its training epochs: with metrics and Lightning, without validation and checkpoints, which the scripts do not have.
"""

from __future__ import annotations

import tempfile
import time
from collections import deque
from pathlib import Path

import numpy as np

from benchmarks.comparison import Row, interleave

ENVS, ROUND, ROUNDS, EPOCHS = 8, 256, 10, 5
STEPS = ROUND * ROUNDS * (EPOCHS - 1)  # the first epoch warms up, and DQN does not learn before step 1000
SETTINGS = [
    "trainer=cpu",
    f"trainer.max_epochs={EPOCHS}",
    f"model.steps_per_epoch={ROUND * ROUNDS}",
    "dataset.val_episodes=1",
    "dataset.test_episodes=1",
]


def compare() -> list[Row]:
    import torch

    torch.set_num_threads(1)
    rows = []
    for name, model, peer in (("DQN", "dqn", plain_dqn), ("PPO", "ppo", plain_ppo)):
        times = interleave(lambda: through_mlrun(model), peer, pairs=5)
        ours, theirs = (STEPS / sorted(seconds)[len(seconds) // 2] for seconds in times)
        rows.append(
            Row(f"{name} on CartPole, {STEPS:,} steps", *times, limit=1.0, note=f"{ours:,.0f} / {theirs:,.0f} steps/s")
        )
    return rows


def through_mlrun(model: str) -> float:
    """Seconds of the epochs after the first."""
    from mlrun.config.compose import compose
    from mlrun.config.instantiate import build, plain
    from mlrun.predictions.learner import make_learner
    from mlrun.report import silent

    cfg = plain(compose([f"model={model}", *SETTINGS]))
    data = build(cfg["dataset"], {"seed": 1, "data_dir": None, "name": "cartpole"})
    data.prepare()
    learner = make_learner(cfg, data)

    class Nobody:
        def metrics(self, *arguments, **options):
            pass

    with tempfile.TemporaryDirectory() as folder:
        learner.fit(data, Nobody(), Path(folder), silent.Progress())
    history = learner.training.history
    steps = [0.0, *(value for _, value in history["train/steps"])]
    return sum(
        (b - a) / rate for (a, b), (_, rate) in zip(zip(steps[1:], steps[2:]), history["train/steps_per_second"][1:])
    )


def plain_dqn() -> float:
    """Seconds of a script in the manner of cleanrl's dqn.py, for several environments and 3-step returns."""
    import gymnasium
    import torch
    from torch import nn
    from torch.nn import functional as F

    def make():
        return nn.Sequential(nn.Linear(4, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 2))

    torch.manual_seed(1)
    random = np.random.default_rng(1)
    envs = gymnasium.make_vec("CartPole-v1", num_envs=ENVS)
    network, target = make(), make()
    target.load_state_dict(network.state_dict())
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    size, n_step, discount, total = 100_000, 3, 0.99, ROUND * ROUNDS * EPOCHS
    store = {
        "x": np.zeros((size, 4), np.float32), "a": np.zeros(size, np.int64), "r": np.zeros(size, np.float32),
        "next": np.zeros((size, 4), np.float32), "w": np.zeros(size, np.float32),
    }  # fmt: skip
    filled = 0
    recent = [deque() for _ in range(ENVS)]
    x, _ = envs.reset(seed=1)
    resets = np.zeros(ENVS, dtype=bool)
    for step in range(0, total, ENVS):
        if step == ROUND * ROUNDS:
            start = time.perf_counter()
        epsilon = max(0.04, 1 - 0.96 * step / (0.16 * 48_640))
        actions = random.integers(0, 2, ENVS)
        greedy = random.random(ENVS) >= epsilon
        if greedy.any():
            with torch.no_grad():
                actions = np.where(greedy, network(torch.from_numpy(x)).argmax(1).numpy(), actions)
        following, rewards, terminated, truncated, _ = envs.step(actions)
        for i in range(ENVS):
            if resets[i]:
                continue
            recent[i].append((x[i], actions[i], rewards[i]))
            over = terminated[i] or truncated[i]
            while recent[i] and (len(recent[i]) == n_step or over):
                place = filled % size
                store["x"][place], store["a"][place] = recent[i][0][0], recent[i][0][1]
                store["r"][place] = sum(discount**k * r for k, (_, _, r) in enumerate(recent[i]))
                store["next"][place], store["w"][place] = (
                    following[i],
                    0 if terminated[i] else discount ** len(recent[i]),
                )
                filled += 1
                recent[i].popleft()
        x, resets = following, terminated | truncated
        if (step + ENVS) % ROUND == 0 and step + ENVS >= 1000:
            target.load_state_dict(network.state_dict())
            for _ in range(ROUND // 2):
                rows = random.integers(0, min(filled, size), 64)
                bx, ba, br, bn, bw = (torch.from_numpy(store[key][rows]) for key in ("x", "a", "r", "next", "w"))
                with torch.no_grad():
                    goal = br + bw * target(bn).max(1).values
                loss = F.smooth_l1_loss(network(bx).gather(1, ba[:, None]).squeeze(1), goal)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), 10)
                optimizer.step()
    return time.perf_counter() - start


def plain_ppo() -> float:
    """Seconds of a script in the manner of cleanrl's ppo.py."""
    import gymnasium
    import torch
    from torch import nn
    from torch.distributions import Categorical

    def make(outputs):
        return nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs))

    torch.manual_seed(1)
    envs = gymnasium.make_vec("CartPole-v1", num_envs=ENVS)
    actor, critic = make(2), make(1)
    parameters = [*actor.parameters(), *critic.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    length, discount, gae_lambda = ROUND // ENVS, 0.98, 0.8
    xs, actions = torch.zeros(length, ENVS, 4), torch.zeros(length, ENVS, dtype=torch.int64)
    logs, rewards, values = torch.zeros(length, ENVS), torch.zeros(length, ENVS), torch.zeros(length + 1, ENVS)
    terms, overs, valid = (torch.zeros(length, ENVS, dtype=torch.bool) for _ in range(3))
    x, _ = envs.reset(seed=1)
    resets = np.zeros(ENVS, dtype=bool)
    for update in range(ROUNDS * EPOCHS):
        if update == ROUNDS:
            start = time.perf_counter()
        for t in range(length):
            with torch.no_grad():
                xs[t] = torch.from_numpy(x)
                policy = Categorical(logits=actor(xs[t]))
                actions[t] = policy.sample()
                logs[t], values[t] = policy.log_prob(actions[t]), critic(xs[t]).squeeze(1)
            valid[t] = torch.from_numpy(~resets)
            x, r, terminated, truncated, _ = envs.step(actions[t].numpy())
            resets = terminated | truncated
            rewards[t], terms[t], overs[t] = torch.from_numpy(r), torch.from_numpy(terminated), torch.from_numpy(resets)
        with torch.no_grad():
            values[length] = critic(torch.from_numpy(x)).squeeze(1)
            advantages, last = torch.zeros(length, ENVS), torch.zeros(ENVS)
            for t in reversed(range(length)):
                delta = rewards[t] + discount * values[t + 1] * ~terms[t] - values[t]
                last = advantages[t] = delta + discount * gae_lambda * ~overs[t] * last
            returns = advantages + values[:-1]
        bx, ba, bl, badv, bret = (v.flatten(0, 1)[valid.flatten()] for v in (xs, actions, logs, advantages, returns))
        for _ in range(20):
            order = torch.randperm(len(ba))
            for begin in range(0, len(ba), 256):
                rows = order[begin : begin + 256]
                policy = Categorical(logits=actor(bx[rows]))
                ratio = (policy.log_prob(ba[rows]) - bl[rows]).exp()
                adv = (badv[rows] - badv[rows].mean()) / (badv[rows].std() + 1e-8)
                loss = -torch.min(ratio * adv, ratio.clamp(0.8, 1.2) * adv).mean()
                loss = (
                    loss
                    + 0.5 * (critic(bx[rows]).squeeze(1) - bret[rows]).square().mean()
                    - 0.0 * policy.entropy().mean()
                )
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(parameters, 0.5)
                optimizer.step()
    return time.perf_counter() - start
