"""Figures of reinforcement learning: returns, values and policy over the state space, an episode as a film."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from mlrun.report.film import Film
from mlrun.report.numbers import number
from mlrun.report.style import BLUE, GREY, INK, ORANGE, SEQUENTIAL, new_axes, new_figure, styled

if TYPE_CHECKING:
    from PIL.Image import Image

    from mlrun.data.environments.environment import Environment, Policy

log = logging.getLogger("mlrun")

MOST_BARS, MOST_TICKS = 40, 8  # bars side by side, one per return (of more, a histogram); returns with a tick each
MAX_STEPS, FILM_WIDTH, FILM_RATE = 1000, 300, 25  # of a film: steps, pixels, pictures per second
ARROWS = {"FrozenLake": "←↓→↑", "CliffWalking": "↑→↓←"}  # the direction of each action, by the environment's name
LETTERS = {"S": "start", "F": "frozen", "H": "hole", "G": "goal"}  # of the cells of FrozenLake


@styled
def return_histogram(returns: np.ndarray) -> Figure:
    """Undiscounted returns of greedy episodes, (episodes,)."""
    figure = new_figure(6.0, 3.8, f"Returns of {len(returns)} greedy episodes")
    axes = new_axes(figure, 0.75, 0.6, 0.25, 0.85)[0]
    values, episodes = np.unique(returns, return_counts=True)
    gap = float(np.diff(values).min()) if len(values) > 1 else 1.0
    if float(np.ptp(values)) <= MOST_BARS * gap:
        axes.bar(values, episodes, width=0.8 * gap, color=BLUE)
        if len(values) <= MOST_TICKS:
            axes.set_xticks(values)
    else:
        axes.hist(returns, bins=min(40, max(10, len(values))), color=BLUE)
    if len(values) == 1:
        axes.set_xlim(values[0] - 5, values[0] + 5)
    axes.axvline(returns.mean(), color=ORANGE)
    axes.set_title(f"mean {number(float(returns.mean()))}, standard deviation {number(float(returns.std()))}")
    axes.set_xlabel("return")
    axes.set_ylabel("episodes")
    return figure


def grid_layout(data: Environment) -> tuple[int, int, np.ndarray | None, str] | None:
    """How an environment whose states are the cells of a grid is drawn, None for others.

    Returns:
        rows, columns, letters (rows, columns) or None, and an arrow for each action.
    """
    arrows = next((arrows for name, arrows in ARROWS.items() if name in data.id), None)
    if arrows is None:
        return None
    environment, states = data.make(), data.observation.num_states
    letters, shape = (getattr(environment.unwrapped, name, None) for name in ("desc", "shape"))
    environment.close()
    if letters is not None and np.size(letters) == states:
        return (*letters.shape, np.asarray(letters, dtype="U1"), arrows)
    return (*shape, None, arrows) if shape is not None and np.prod(shape) == states else None


@styled
def grid_policy(
    table: np.ndarray, rows: int, columns: int, letters: np.ndarray | None = None, arrows: str = "←↓→↑"
) -> Figure:
    """A grid whose cells have the colour of their best action's value, the four values at their sides, and the action as an arrow.

    A cell in which all actions have the same value (a hole, the goal, a cell never visited) stays empty.

    Args:
        table: (rows * columns, 4).
        letters: (rows, columns), drawn into the corners: start, frozen, hole, goal.
        arrows: a direction for each action.
    """
    size = 1.05 if rows * columns <= 36 else 0.8
    notes = ["numbers: action values; arrow: greedy action"]
    if letters is not None:
        shown = [f"{letter} {LETTERS[letter]}" for letter in LETTERS if (letters == letter).any()]
        notes += [", ".join(shown)] if shown else []
    top = 0.5 + 0.17 * len(notes)
    width, height = 0.4 + size * columns, 0.2 + top + size * rows
    figure = new_figure(width, height, "Values and greedy policy")
    figure.text(0.14 / width, 1 - 0.38 / height, "\n".join(notes), va="top", color=GREY, fontsize=9)
    axes = new_axes(figure, 0.2, 0.2, 0.2, top)[0]
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
def q_table(table: np.ndarray) -> Figure:
    """Q (states, actions) as an image with one row per action."""
    figure = new_figure(8.0, 3.2, "Q-table")
    axes = new_axes(figure, 0.75, 0.6, 0.25, 0.8)[0]
    image = axes.imshow(table.T, aspect="auto", cmap=SEQUENTIAL)
    figure.colorbar(image, ax=axes, label="action value")
    axes.grid(False)
    axes.set_xlabel("state")
    axes.set_ylabel("action")
    return figure


@styled
def value_map(q: np.ndarray, low: np.ndarray, high: np.ndarray) -> Figure:
    """The value of the best action, and the best action, over a state space of two numbers.

    Args:
        q: action values of the points of `state_grid`.
        low, high: limits of the state space, (2,).
    """
    points = round(len(q) ** 0.5)
    figure = new_figure(9.0, 4.2, "Values and best actions over the state space")
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
        axes.set_xlabel("first observation")
        axes.set_ylabel("second observation")
        axes.grid(False)
        ticks = np.unique(picture) if title == "best action" else None
        figure.colorbar(image, ax=axes, ticks=ticks)
    return figure


def state_grid(low: np.ndarray, high: np.ndarray, points: int = 80) -> np.ndarray:
    """Equally spaced points of a state space of two numbers between `low` and `high`, (2,) each -> (points * points, 2) float32."""
    x, y = (np.linspace(low[i], high[i], points, dtype=np.float32) for i in (0, 1))
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def record(data: Environment, policy: Policy) -> Film | None:
    """The first test episode as a film; None, with a warning in the log, where the environment cannot draw itself."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame draws into memory and needs no screen
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
    except Exception as error:  # no pygame, no font, no pictures: the results do not depend on a film
        log.warning("no film of an episode: %s", " ".join(str(error).split()))
        return None
    return Film(pictures, rate / stride, f"return {number(earned)} in {steps} steps")


def _picture(frame: Any) -> Image:
    from PIL import Image

    picture = Image.fromarray(frame)
    scale = min(1.0, FILM_WIDTH / picture.width)
    return picture.resize((round(picture.width * scale), round(picture.height * scale)))
