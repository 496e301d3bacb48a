"""What is seen of a learned behaviour: returns, values and policy over the state space, an episode as film."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlrun.report.numbers import number
from mlrun.report.style import BLUE, INK, ORANGE, SEQUENTIAL, new_axes, new_figure, styled

MAX_STEPS, FILM_WIDTH, FILM_RATE = 1000, 300, 25  # of a film: steps, pixels, pictures per second
ARROWS = {"FrozenLake": "←↓→↑", "CliffWalking": "↑→↓←"}  # the meaning of the actions, by the environment's name


def control_figures(data, outcome, policy: Callable, table: np.ndarray | None = None, values: Callable | None = None):
    """Yields (name, Figure or Film).

    outcome: `Played` test episodes; policy: observations (rows, ...) -> actions (rows,); table: Q (states, actions) or None;
    values: observations (rows, ...) -> Q (rows, actions), drawn where observations are two numbers.
    """
    yield "test_returns", return_histogram(outcome.returns)
    environment = data.make()
    grid = getattr(environment.unwrapped, "desc", None), getattr(environment.unwrapped, "shape", None)
    if table is not None:
        if (layout := _grid(data.id, *grid, len(table))) is not None:
            yield "policy", grid_policy(table, *layout)
        elif len(table) <= 1000:
            yield "q_table", q_table(table)
    elif (
        values is not None
        and data.spec.facts["input_shape"] == [2]
        and np.isfinite(environment.observation_space.low).all()
    ):
        yield "values", value_map(values, environment.observation_space.low, environment.observation_space.high)
    environment.close()
    film = record(data, policy)
    if film is not None:
        yield "episode", film


@styled
def return_histogram(returns):
    """Undiscounted returns of the greedy test episodes, (episodes,)."""
    figure = new_figure(6.0, 3.8, f"Returns of {len(returns)} greedy episodes")
    axes = new_axes(figure, 0.75, 0.6, 0.25, 0.85)[0]
    axes.hist(returns, bins=min(40, max(10, len(np.unique(returns)))), color=BLUE)
    axes.axvline(returns.mean(), color=ORANGE)
    axes.set_title(f"mean {number(float(returns.mean()))}, standard deviation {number(float(returns.std()))}")
    axes.set_xlabel("return")
    axes.set_ylabel("episodes")
    return figure


def _grid(name: str, desc, shape, states: int):
    """(rows, columns, letters or None, arrows) of a walk on a grid whose states are its cells; None for others."""
    arrows = next((arrows for start, arrows in ARROWS.items() if start in name), None)
    if arrows is None:
        return None
    if desc is not None and np.size(desc) == states:
        return (*desc.shape, np.asarray(desc, dtype="U1"), arrows)
    return (*shape, None, arrows) if shape is not None and np.prod(shape) == states else None


@styled
def grid_policy(table, rows, columns, letters=None, arrows="←↓→↑"):
    """Each cell with the value of its best action as colour, the four values at its sides, and the action as arrow.

    table: (rows * columns, 4). letters: (rows, columns), drawn into the corner: start, frozen, hole, goal.
    A cell in which all actions are worth the same (a hole, the goal, a cell never seen) stays empty.
    """
    size = 1.05 if rows * columns <= 36 else 0.8
    figure = new_figure(0.4 + size * columns, 0.7 + size * rows, "Values and greedy policy")
    axes = new_axes(figure, 0.2, 0.2, 0.2, 0.5)[0]
    best = table.max(axis=1).reshape(rows, columns)
    axes.imshow(best, cmap=SEQUENTIAL, vmin=best.min(), vmax=best.max() + 0.8 * (np.ptp(best) or 1))
    sides = {"←": (-0.3, 0.0), "→": (0.3, 0.0), "↑": (0.0, -0.34), "↓": (0.0, 0.34)}
    for state, row in enumerate(table):
        y, x = divmod(state, columns)
        if np.ptp(row) > 0:
            for action, arrow in enumerate(arrows):
                dx, dy = sides[arrow]
                weight = "bold" if row[action] == row.max() else "normal"
                axes.text(x + dx, y + dy, f"{row[action]:.3g}", ha="center", va="center", fontsize=6, fontweight=weight)
            axes.text(x, y, arrows[int(row.argmax())], ha="center", va="center", fontsize=15, color=INK)
        if letters is not None:
            axes.text(
                x - 0.44, y - 0.42, letters[y, x], ha="left", va="top", fontsize=8, color=ORANGE, fontweight="bold"
            )
    axes.set_xticks(np.arange(columns + 1) - 0.5, labels=[])
    axes.set_yticks(np.arange(rows + 1) - 0.5, labels=[])
    axes.tick_params(length=0)
    return figure


@styled
def q_table(table):
    """Q (states, actions) as an image, actions downwards."""
    figure = new_figure(8.0, 3.2, "Q-table")
    axes = new_axes(figure, 0.75, 0.6, 0.25, 0.8)[0]
    image = axes.imshow(table.T, aspect="auto", cmap=SEQUENTIAL)
    figure.colorbar(image, ax=axes)
    axes.grid(False)
    axes.set_xlabel("state")
    axes.set_ylabel("action")
    return figure


@styled
def value_map(values, low, high, points=80):
    """The best action's value and the best action over a state space of two numbers between low and high, (2,) each."""
    x, y = (np.linspace(low[i], high[i], points, dtype=np.float32) for i in (0, 1))
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    q = np.asarray(values(grid))
    figure = new_figure(9.0, 4.2, "Over the state space")
    best, action = new_axes(figure, 0.75, 0.6, 0.25, 0.85, 1, 2, gap_x=0.95)
    extent = (float(low[0]), float(high[0]), float(low[1]), float(high[1]))
    for axes, picture, title in (
        (best, q.max(axis=1), "value of the best action"),
        (action, q.argmax(axis=1), "best action"),
    ):
        image = axes.imshow(
            picture.reshape(points, points), origin="lower", extent=extent, aspect="auto", cmap=SEQUENTIAL
        )
        axes.set_title(title)
        axes.set_xlabel("observation 0")
        axes.set_ylabel("observation 1")
        axes.grid(False)
        ticks = np.unique(picture) if title == "best action" else None
        figure.colorbar(image, ax=axes, ticks=ticks)
    return figure


@dataclass(frozen=True)
class Film:
    """pictures: PIL images of one size; told: what was seen."""

    pictures: list
    rate: float  # per second
    told: str = ""

    def save(self, path: Path) -> None:
        """Writes a GIF, whatever suffix `path` has."""
        first, *rest = [picture.quantize(64) for picture in self.pictures]
        duration = 10 * round(100 / self.rate)  # a GIF counts in hundredths of a second
        first.save(
            path.with_suffix(".gif"),
            save_all=True,
            append_images=rest,
            duration=duration,
            loop=0,
            comment=self.told.encode(),
        )


def _picture(frame: np.ndarray):
    from PIL import Image

    picture = Image.fromarray(frame)
    scale = min(1.0, FILM_WIDTH / picture.width)
    return picture.resize((round(picture.width * scale), round(picture.height * scale)))


def record(data, policy: Callable) -> Film | None:
    """The first test episode as pictures; None, with a warning in the log, where the environment cannot draw itself."""
    import logging

    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame draws into memory, there need not be a screen
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        environment = data.make(render_mode="rgb_array")
        rate = environment.metadata.get("render_fps", FILM_RATE)
        stride = max(1, round(rate / FILM_RATE))
        observation, _ = environment.reset(seed=data.seeds("test", 1)[0])
        pictures, earned, steps, over = [_picture(environment.render())], 0.0, 0, False
        while not over and steps < MAX_STEPS:
            action = int(policy(np.asarray(observation)[None])[0])
            observation, reward, terminated, truncated, _ = environment.step(action)
            earned, steps, over = earned + float(reward), steps + 1, terminated or truncated
            if over or steps % stride == 0:
                pictures.append(_picture(environment.render()))
        environment.close()
    except (
        Exception
    ) as error:  # a missing pygame, no font, an environment without pictures: the result stands without a film
        logging.getLogger("mlrun").warning("no film of an episode: %s", " ".join(str(error).split()))
        return None
    return Film(pictures, rate / stride, f"return {number(earned)} in {steps} steps")


def write_transitions(path: Path, data, policy) -> list[float]:
    """One row per step of the test episodes. Returns the undiscounted returns."""
    environment = data.make()
    returns = []
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        count = int(np.prod(environment.observation_space.shape)) or 1
        names = ["state"] if count == 1 else [f"observation_{i}" for i in range(count)]
        following = [f"next_{name}" for name in names]
        writer.writerow(["episode", "step", *names, "action", "reward", *following, "terminated", "truncated"])
        for episode, seed in enumerate(data.seeds("test")):
            observation, _ = environment.reset(seed=seed)
            step, earned, over = 0, 0.0, False
            while not over:
                action = int(policy(np.asarray(observation)[None])[0])
                before = np.ravel(observation).tolist()
                observation, reward, terminated, truncated, _ = environment.step(action)
                writer.writerow(
                    [
                        episode,
                        step,
                        *before,
                        action,
                        float(reward),
                        *np.ravel(observation).tolist(),
                        terminated,
                        truncated,
                    ]
                )
                step, earned, over = step + 1, earned + float(reward), terminated or truncated
            returns.append(earned)
    environment.close()
    return returns
