"""The decoder-only Transformer (Radford et al. 2019, "Language models are unsupervised multitask learners"), in nanoGPT's form."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from mlrun.networks.text.attention import KeyValueCache
from mlrun.networks.text.transformer import Block


class GPT(nn.Module):
    """A language model with the interface of `language_models`: learned positions, pre-norm blocks with GELU, a norm, and `head`.

    Initial weights are normal with standard deviation 0.02, those of the projections back into the residual stream with
    0.02 / sqrt(2 layers); biases are zero.

    Args:
        vocab_size: tokens of the vocabulary.
        context_length: most tokens that it can attend to.
        width: of the residual stream.
        heads: of each attention layer.
        layers: number of blocks.
        dropout: of embeddings, attention weights and sublayer outputs.
        bias: of linear layers and norms.
        tied: the head shares the weights of the token embedding (Press and Wolf 2017, arXiv:1608.05859).
    """

    def __init__(
        self,
        vocab_size: int,
        context_length: int,
        width: int = 128,
        heads: int = 4,
        layers: int = 4,
        dropout: float = 0.0,
        bias: bool = False,
        tied: bool = True,
    ):
        super().__init__()
        self.context_length = context_length
        self.embedding = nn.Embedding(vocab_size, width)
        self.positions = nn.Embedding(context_length, width)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.blocks = nn.ModuleList(
            Block(width, heads, None, dropout, norm_first=True, activation="gelu", bias=bias) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width, bias=bias)
        self.head = nn.Linear(width, vocab_size, bias=False)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
                if isinstance(module, nn.Linear) and module.bias is not None:
                    nn.init.zeros_(module.bias)
        for block in cast(list[Block], self.blocks):
            for into_residual in (block.attention.output, block.feed_forward[-1]):
                nn.init.normal_(cast(nn.Linear, into_residual).weight, std=0.02 / math.sqrt(2 * layers))
        if tied:
            self.head.weight = self.embedding.weight

    def start(self) -> list[KeyValueCache]:
        """The state before the first token, for generating token by token. Without a state every call starts from scratch."""
        return [KeyValueCache() for _ in self.blocks]

    def forward(
        self, tokens: Tensor, state: list[KeyValueCache] | None = None
    ) -> tuple[Tensor, list[KeyValueCache] | None]:
        """Scores of the token after each position.

        Args:
            tokens: (batch, length) int64.
            state: from `start` or an earlier call, changed in place; None: `tokens` are the first ones.

        Returns:
            Logits (batch, length, vocab_size) and the state.

        Raises:
            ValueError: if the tokens, with those in the state, exceed the context.
        """
        return self.read(self.embedding(tokens), state)

    def read(
        self, vectors: Tensor, state: list[KeyValueCache] | None = None
    ) -> tuple[Tensor, list[KeyValueCache] | None]:
        """As `forward`, of vectors (batch, length, width) in place of tokens, such as those of an image."""
        first = 0 if state is None else len(state[0])
        length = vectors.shape[1]
        if first + length > self.context_length:
            raise ValueError(f"{first + length} tokens, but the context holds {self.context_length}")
        positions = torch.arange(first, first + length, device=vectors.device)
        x = self.dropout(vectors + self.positions(positions))
        for index, block in enumerate(self.blocks):
            x = block(x, causal=True, cache=None if state is None else state[index])
        return self.head(self.norm(x)), state
