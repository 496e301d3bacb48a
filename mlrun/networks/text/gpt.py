"""The decoder-only Transformer (Radford et al. 2019, "Language models are unsupervised multitask learners"), in nanoGPT's form."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mlrun.networks.text.attention import KeyValueCache
from mlrun.networks.text.transformer import Block


class GPT(nn.Module):
    """(tokens, state) -> (logits, state) as in `language_models`: tokens (batch, length) of at most context_length, with what the state holds.

    Learned positions, norm before each part and after the last block, GELU, scores by the embedding's own weights if `tied`.
    Weights N(0, 0.02), those that lead back into the residual stream N(0, 0.02 / sqrt(2 layers)), no bias to begin with.
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
                if getattr(module, "bias", None) is not None:
                    nn.init.zeros_(module.bias)
        for block in self.blocks:
            for back in (block.attention.output, block.feed_forward[-1]):
                nn.init.normal_(back.weight, std=0.02 / math.sqrt(2 * layers))
        if tied:
            self.head.weight = self.embedding.weight

    def start(self) -> list[KeyValueCache]:
        """The state before the first token, for writing a text token by token. Without a state every call begins anew."""
        return [KeyValueCache() for _ in self.blocks]

    def forward(self, tokens: Tensor, state: list[KeyValueCache] | None = None):
        first = 0 if state is None else len(state[0])
        if first + tokens.shape[1] > self.context_length:
            raise ValueError(f"{first + tokens.shape[1]} tokens, but the context holds {self.context_length}")
        places = torch.arange(first, first + tokens.shape[1], device=tokens.device)
        x = self.dropout(self.embedding(tokens) + self.positions(places))
        for index, block in enumerate(self.blocks):
            x = block(x, causal=True, cache=None if state is None else state[index])
        return self.head(self.norm(x)), state
