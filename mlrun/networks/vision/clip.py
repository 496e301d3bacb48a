"""CLIP: an image encoder and a text encoder with a common space of vectors (Radford et al. 2021, arXiv:2103.00020)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.data.preprocess.tokenizer import PAD
from mlrun.networks.text.text_classifiers import masked_mean


class Clip(nn.Module):
    """Vectors of length 1 of images and of texts, compared by their dot product times a learned scale.

    Args:
        image_encoder: any image network, whose outputs are the vector.
        text_encoder: (batch, tokens) int64 -> (batch, tokens, its width), such as `mlrun.networks.text.transformer.TransformerEncoder`; the mean
            over the tokens is projected to the vector.
        text_width: of the text encoder.
        num_outputs: numbers of a vector.
        temperature: at the start; its inverse is the scale.
        bias: added to the scaled product at the start, and learned; None: no bias. SigLIP starts from -10.
    """

    LARGEST_SCALE = 100.0  # of the paper, section 2.5

    def __init__(
        self,
        image_encoder: nn.Module,
        text_encoder: nn.Module,
        text_width: int,
        num_outputs: int = 64,
        temperature: float = 0.07,
        bias: float | None = None,
    ):
        super().__init__()
        self.image_encoder, self.text_encoder = image_encoder, text_encoder
        self.text_projection = nn.Linear(text_width, num_outputs, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))
        self.bias = None if bias is None else nn.Parameter(torch.tensor(float(bias)))

    @property
    def image_network(self) -> nn.Module:
        """The part that takes only the image."""
        return self.image_encoder

    def image_vectors(self, pixel_values: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, num_outputs)."""
        return F.normalize(self.image_encoder(pixel_values), dim=1)

    def text_vectors(self, tokens: Tensor) -> Tensor:
        """(batch, tokens) int64, padded with 0 -> (batch, num_outputs)."""
        return F.normalize(self.text_projection(masked_mean(self.text_encoder(tokens), tokens != PAD)), dim=1)

    def scores(self, images: Tensor, texts: Tensor) -> Tensor:
        """Logits (images, texts) of vectors (images, num_outputs) and (texts, num_outputs)."""
        product = self.log_scale.exp().clamp(max=self.LARGEST_SCALE) * images @ texts.T
        return product if self.bias is None else product + self.bias

    def forward(self, pixel_values: Tensor, tokens: Tensor) -> Tensor:
        """Logits (images, texts)."""
        return self.scores(self.image_vectors(pixel_values), self.text_vectors(tokens))
