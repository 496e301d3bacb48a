"""What augmentation costs: an epoch of the small cnn on Fashion-MNIST with crops and mirror images, against one without."""

from __future__ import annotations

from benchmarks.comparison import Row, interleave
from benchmarks.training import through_mlrun


def compare() -> list[Row]:
    from mlrun.config.compose import compose

    common = [
        "model=cnn",
        "dataset=fashion_mnist",
        "dataset.split.train=12000",
        "dataset.split.val=1000",
        "trainer.max_epochs=3",
        "trainer=cpu",
    ]

    def epoch(augment: str):
        overrides = [*common, f"augment={augment}"]
        cfg = compose(overrides)
        return lambda: through_mlrun(cfg, overrides).seconds

    return [
        Row(
            f"epoch of cnn with augment={name}",
            *interleave(epoch(name), epoch("none"), pairs=5),
            limit=1.20,
            note="peer: augment=none",
        )
        for name in ("crop_flip", "strong")
    ]
