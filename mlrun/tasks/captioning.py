"""Captions of images."""

from __future__ import annotations

from torch import nn

from mlrun.tasks.translation import Translation


class Captioning(Translation):
    """Minimizes the cross-entropy of each next token of a caption, and generates captions by `mlrun.generation.decoding`.

    Args:
        network: (pixel_values, tokens) -> scores of the next tokens, with `encode`, `start`, `step` and `reorder`; see
            `mlrun.networks.vision.captioner`.
        measure: metric by which the best epoch is chosen: "exact_match" where an image has one right caption, else "cider" or "bleu".
        max_target_length, label_smoothing, beam_width, length_penalty: see `Translation`.
    """

    source = "pixel_values"

    def __init__(
        self,
        network: nn.Module,
        measure: str,
        max_target_length: int,
        label_smoothing: float = 0.0,
        beam_width: int = 1,
        length_penalty: float = 1.0,
    ):
        super().__init__(
            network,
            measure,
            max_target_length,
            label_smoothing,
            beam_width=beam_width,
            length_penalty=length_penalty,
        )
