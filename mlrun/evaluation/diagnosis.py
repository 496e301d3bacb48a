"""Sources of a model's error: the table of human, train, train-dev, dev and test error, with advice.

Ng 2018, "Machine Learning Yearning", chapters 20 to 43.
"""

from __future__ import annotations

from dataclasses import dataclass

ADVICE = {
    "avoidable bias": "a larger or other model (model=…), more epochs, a better optimizer or learning rate, less regularization, better features",
    "variance": "more data, augmentation (augment=…), regularization (trainer.l2, dropout), early stopping, a smaller model",
    "data mismatch": "training data that resemble the dev set: collect or synthesize some, look at what differs (mlrun errors), move some dev rows into train",
    "variance or data mismatch": "to tell them apart, hold out rows of train with dataset.split.train_dev=0.1 and train again",
    "chance": "nothing: both parts were drawn at random from the same rows",
    "overfitting to the dev set": "a larger or a new dev set; fewer choices based on it",
}
LEAST = 0.01  # a smaller gap of error rates is negligible
SHARE = 0.25  # of the largest gap: smaller gaps have lower priority
DEVIATIONS = 2.0  # standard errors by which a gap must exceed chance


@dataclass(frozen=True)
class Gap:
    """The difference of two successive errors. `size` may be negative; `matters` marks gaps to work on next."""

    name: str
    size: float
    chance: float  # standard error of the difference
    matters: bool = False

    @property
    def advice(self) -> str:
        return ADVICE[self.name]


def diagnose(
    errors: dict[str, float],
    rows: dict[str, int],
    human: float = 0.0,
    least: float = LEAST,
    one_distribution: bool = False,
) -> list[Gap]:
    """The gaps between the errors of the parts "train", "train_dev" (if there is one), "val" and "test".

    A gap matters if it exceeds `least`, DEVIATIONS standard errors of a difference of two rates, and SHARE of the largest gap.

    Args:
        errors: part -> error rate, or RMSE.
        rows: part -> number of rows.
        human: human-level error.
        least: smallest relevant gap, in the unit of the errors.
        one_distribution: train and val were drawn at random from the same rows, so that they cannot differ in kind.
    """
    mismatch = "data mismatch" if "train_dev" in errors else "variance or data mismatch"
    if one_distribution:
        mismatch = "chance" if "train_dev" in errors else "variance"
    names = {
        "train": "avoidable bias",
        "train_dev": "variance",
        "val": mismatch,
        "test": "overfitting to the dev set",
    }
    found: list[Gap] = []
    before, before_part = human, None
    for part, name in names.items():
        if part not in errors:
            continue
        chance = (
            _variance(errors[part], rows[part]) + (_variance(before, rows[before_part]) if before_part else 0.0)
        ) ** 0.5
        found.append(Gap(name, errors[part] - before, chance))
        before, before_part = errors[part], part
    largest = max((gap.size for gap in found), default=0.0)

    def matters(gap: Gap) -> bool:
        return gap.name != "chance" and gap.size > max(least, DEVIATIONS * gap.chance, SHARE * largest)

    return [Gap(gap.name, gap.size, gap.chance, matters(gap)) for gap in found]


def _variance(error: float, rows: int) -> float:
    """Variance of an error rate measured on this many rows."""
    return max(0.0, error * (1 - error)) / rows if rows and error <= 1 else 0.0
