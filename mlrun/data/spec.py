"""What a network, a task or a report may know about a data set without seeing it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Spec:
    """Facts of a prepared data set, as plain containers.

    `facts` are what a network may ask for by name: `input_shape` [features] or [channels, height, width],
    `image_shape` [channels, height, width] (images only), `num_outputs` (classes; 1 for regression).
    `labels` are the original target values in the order of the class indices, `class_names` their text.
    """

    problem: str  # "classification", "regression", ...
    facts: dict
    labels: list = field(default_factory=list)
    class_names: list = field(default_factory=list)
    feature_names: list = field(default_factory=list)
    target: str = "target"
