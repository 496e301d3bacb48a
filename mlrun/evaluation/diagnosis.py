"""Where the error of a model comes from: the table of human, train, train-dev, dev and test error, and what to try next.

Ng 2018, "Machine Learning Yearning", chapters 20 to 43.
"""

from __future__ import annotations

from dataclasses import dataclass

ADVICE = {
    "avoidable bias": "a larger or other model (model=…), more epochs, a better optimizer or learning rate, less regularization, better features",
    "variance": "more data, augmentation (augment=…), regularization (trainer.l2, dropout), early stopping, a smaller model",
    "data mismatch": "training data more like dev: collect or make some, look at what differs (mlrun errors), put some dev-like rows into train",
    "variance or data mismatch": "which of the two: keep rows of train aside with dataset.split.train_dev=0.1 and train again",
    "over-fitting to dev": "a larger or fresh dev part; fewer choices made by looking at it",
}
LEAST = 0.01  # a smaller gap of error rates is not worth work
SHARE = 0.25  # of the largest gap: what is smaller than that is not the next thing to do
DEVIATIONS = 2.0  # standard errors by which a gap must exceed chance


@dataclass(frozen=True)
class Gap:
    """The step from one error to the next. `size` may be negative; `matters` if it is the next thing to work on."""

    name: str
    size: float
    chance: float  # standard error of the difference
    matters: bool = False

    @property
    def advice(self) -> str:
        return ADVICE[self.name]


def diagnose(errors: dict[str, float], rows: dict[str, int], human: float = 0.0, least: float = LEAST) -> list[Gap]:
    """errors, rows: of the parts "train", "train_dev" (if there is one), "val" and "test"; error rates, or RMSE with `least` in its unit.

    A gap matters if it is larger than `least`, than DEVIATIONS standard errors of a difference of two rates, and than SHARE
    of the largest one.
    """
    names = {
        "train": "avoidable bias",
        "train_dev": "variance",
        "val": "data mismatch" if "train_dev" in errors else "variance or data mismatch",
        "test": "over-fitting to dev",
    }
    found, before, before_part = [], human, None
    for part, name in names.items():
        if part not in errors:
            continue
        chance = (
            _variance(errors[part], rows[part]) + (_variance(before, rows[before_part]) if before_part else 0.0)
        ) ** 0.5
        found.append(Gap(name, errors[part] - before, chance))
        before, before_part = errors[part], part
    largest = max((gap.size for gap in found), default=0.0)
    return [
        Gap(gap.name, gap.size, gap.chance, gap.size > max(least, DEVIATIONS * gap.chance, SHARE * largest))
        for gap in found
    ]


def _variance(error: float, rows: int) -> float:
    """Of an error rate measured on so many rows."""
    return max(0.0, error * (1 - error)) / rows if rows and error <= 1 else 0.0
