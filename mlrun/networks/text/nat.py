"""A Transformer whose decoder emits all tokens at once (Gu et al. 2018, arXiv:1711.02281)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mlrun.networks.text.positions import sinusoids
from mlrun.networks.text.text_classifiers import masked_mean
from mlrun.networks.text.transformer import Block, TransformerEncoder, initialize

PAD = 0


class NonAutoregressiveTransformer(nn.Module):
    """Encoder, predictor of the target's length, and a decoder without causal mask that reads the positions of the target alone.

    A position is given by its distance from the beginning and from the end of the target, and by the source vector at the same relative place
    (the uniform copy of the paper's section 3.1).

    Args:
        source_vocab_size: tokens of the source language.
        target_vocab_size: tokens of the target language.
        max_target_length: longest target in tokens.
        width: of the residual stream.
        heads: of each attention layer.
        layers: blocks of the encoder, and of the decoder.
        hidden: width of the feed-forward layers; None: 4 * width.
        dropout: of embeddings, attention weights and sublayer outputs.
        length: "predicted", or "maximum": always `max_target_length` positions, and the text ends at the end token.
    """

    def __init__(
        self,
        source_vocab_size: int,
        target_vocab_size: int,
        max_target_length: int,
        width: int = 128,
        heads: int = 4,
        layers: int = 2,
        hidden: int | None = None,
        dropout: float = 0.1,
        length: Literal["predicted", "maximum"] = "predicted",
    ):
        super().__init__()
        if length not in ("predicted", "maximum"):
            raise ValueError(f"length={length!r}: choose one of predicted, maximum")
        self.length, self.max_length = length, max_target_length
        self.encoder = TransformerEncoder(source_vocab_size, width, heads, layers, hidden, dropout)
        self.from_end = nn.Linear(width, width)
        self.from_source = nn.Linear(width, width)
        self.blocks = nn.ModuleList(Block(width, heads, hidden, dropout, cross=True) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, target_vocab_size)
        self.length_head = nn.Linear(width, max_target_length + 1) if length == "predicted" else None
        self.register_buffer("places", sinusoids(max_target_length + 1, width), persistent=False)
        initialize(self.blocks)

    places: Tensor

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, sources) int64 -> memory (batch, sources, width) and its mask (batch, sources)."""
        return self.encoder(source), source != PAD

    def length_scores(self, memory: Tensor, mask: Tensor) -> Tensor:
        """(batch, max_target_length + 1) logits of the number of tokens of the target."""
        if self.length_head is None:
            raise ValueError("length=maximum: this network does not predict lengths")
        return self.length_head(masked_mean(memory, mask))

    def forward(self, memory: Tensor, mask: Tensor, lengths: Tensor) -> Tensor:
        """Scores of the tokens of all positions.

        Args:
            memory, mask: see `encode`.
            lengths: (batch,) int64, tokens of each target, at most `max_target_length`.

        Returns:
            (batch, longest, target_vocab_size); undefined beyond a target's length.
        """
        place = torch.arange(int(lengths.max()), device=memory.device)
        inside = place < lengths[:, None]
        end = (lengths[:, None] - 1 - place).clamp(min=0)
        sources = mask.sum(1)
        copied = (place * sources[:, None] // lengths[:, None].clamp(min=1)).clamp(max=memory.shape[1] - 1)
        copy = memory.gather(1, copied[:, :, None].expand(-1, -1, memory.shape[2]))
        x = self.places[place] + self.from_end(self.places[end]) + self.from_source(copy)
        inside = inside | (place == 0)  # attention needs a position even in an empty target
        for block in self.blocks:
            x = block(x, inside, memory=memory, memory_mask=mask)
        return self.output(self.norm(x))
