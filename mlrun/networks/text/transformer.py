"""The Transformer: blocks, encoder, decoder, and the encoder-decoder (Vaswani et al. 2017, arXiv:1706.03762)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.networks.layers.activations import make_activation
from mlrun.networks.text.attention import KeyValueCache, MultiHeadAttention, kept_weights
from mlrun.networks.text.positions import Positions

PAD = 0
PositionKind = Literal["sinusoidal", "learned", "none"]


class Block(nn.Module):
    """Self-attention, attention to a memory if `cross`, and a feed-forward layer, each with a residual connection.

    A decoder-only model is a stack of blocks called with `causal=True`.

    Args:
        width: of the residual stream.
        heads: of each attention layer.
        hidden: width of the feed-forward layer; None: 4 * width.
        dropout: of attention weights and sublayer outputs.
        norm_first: x + f(norm(x)), which trains without warmup (Xiong et al. 2020); False: norm(x + f(x)) as in the paper.
        activation: of the feed-forward layer.
        cross: whether there is attention to a memory.
        bias: of all linear layers and norms.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int | None = None,
        dropout: float = 0.0,
        norm_first: bool = True,
        activation: str = "relu",
        cross: bool = False,
        bias: bool = True,
    ):
        super().__init__()
        hidden = hidden or 4 * width
        self.norm_first = norm_first
        self.attention = MultiHeadAttention(width, heads, dropout, bias)
        self.norm_attention = nn.LayerNorm(width, bias=bias)
        if cross:
            self.cross_attention = MultiHeadAttention(width, heads, dropout, bias)
            self.norm_cross = nn.LayerNorm(width, bias=bias)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, hidden, bias=bias), make_activation(activation), nn.Linear(hidden, width, bias=bias)
        )
        self.norm_feed_forward = nn.LayerNorm(width, bias=bias)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        causal: bool = False,
        cache: KeyValueCache | None = None,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
        memory_cache: KeyValueCache | None = None,
    ) -> Tensor:
        """(batch, length, width) -> the same shape.

        Args:
            x: the residual stream.
            mask: of self-attention, see `MultiHeadAttention`.
            causal: a position attends to itself and to earlier ones only.
            cache: keys and values of earlier positions, extended in place.
            memory: (batch, sources, width).
            memory_mask: of the memory, (batch, sources).
            memory_cache: the projected memory, in place of `memory`.
        """
        x = self._add(x, self.norm_attention, lambda h: self.attention(h, h, h, mask, causal, cache))
        if memory is not None or memory_cache is not None:
            cross = lambda h: self.cross_attention(h, memory, memory, memory_mask, cache=memory_cache)
            x = self._add(x, self.norm_cross, cross)
        return self._add(x, self.norm_feed_forward, self.feed_forward)

    def _add(self, x: Tensor, norm: nn.Module, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        if self.norm_first:
            return x + self.dropout(sublayer(norm(x)))
        return norm(x + self.dropout(sublayer(x)))


class Embedding(nn.Module):
    """Token embedding times sqrt(width), plus positions, with dropout (section 3.4).

    Args:
        vocab_size: tokens of the vocabulary.
        width: of the vectors.
        max_length: see `Positions`.
        positions: their kind, see `Positions`.
        dropout: of the sum.
    """

    def __init__(self, vocab_size: int, width: int, max_length: int, positions: PositionKind, dropout: float):
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, width)
        nn.init.normal_(self.tokens.weight, std=width**-0.5)
        self.scale = math.sqrt(width)
        self.positions = Positions(width, max_length, positions)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, tokens: Tensor, start: int = 0) -> Tensor:
        """(batch, length) int64 -> (batch, length, width); start: position of the first token."""
        return self.dropout(self.positions(self.tokens(tokens) * self.scale, start))


class TransformerEncoder(nn.Module):
    """Embedding and blocks of self-attention over the tokens that are not padding.

    Args:
        vocab_size: tokens of the vocabulary.
        width: of the residual stream.
        heads: of each attention layer.
        layers: number of blocks.
        hidden: width of the feed-forward layers; None: 4 * width.
        dropout: of embeddings, attention weights and sublayer outputs.
        positions: see `Positions`, as is `max_length`.
        norm_first: see `Block`.
        activation: of the feed-forward layers.
    """

    def __init__(
        self,
        vocab_size: int,
        width: int = 128,
        heads: int = 4,
        layers: int = 2,
        hidden: int | None = None,
        dropout: float = 0.1,
        positions: PositionKind = "sinusoidal",
        max_length: int = 512,
        norm_first: bool = True,
        activation: str = "relu",
    ):
        super().__init__()
        self.embedding = Embedding(vocab_size, width, max_length, positions, dropout)
        self.blocks = nn.ModuleList(Block(width, heads, hidden, dropout, norm_first, activation) for _ in range(layers))
        self.norm = nn.LayerNorm(width) if norm_first else nn.Identity()
        initialize(self.blocks)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, length) int64, 0 at padding -> (batch, length, width), undefined at padding."""
        mask = tokens != PAD
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x)


@dataclass
class DecoderState:
    """The state of a decoder between two steps.

    Args:
        own: the cache of self-attention of each block.
        memory: the projected memory of each block.
        mask: of the memory (batch, sources).
    """

    own: list[KeyValueCache]
    memory: list[KeyValueCache]
    mask: Tensor

    @property
    def length(self) -> int:
        """Tokens processed so far."""
        return len(self.own[0])


class TransformerDecoder(nn.Module):
    """Embedding, causal blocks with attention to a memory, and an output layer that scores the next token.

    Args:
        vocab_size: tokens of the vocabulary.
        width: of the residual stream; the further arguments are those of `TransformerEncoder`.
        tied: the output layer shares the weights of the embedding (Press and Wolf 2017).
    """

    def __init__(
        self,
        vocab_size: int,
        width: int = 128,
        heads: int = 4,
        layers: int = 2,
        hidden: int | None = None,
        dropout: float = 0.1,
        positions: PositionKind = "sinusoidal",
        max_length: int = 512,
        norm_first: bool = True,
        activation: str = "relu",
        tied: bool = True,
    ):
        super().__init__()
        self.width = width
        self.embedding = Embedding(vocab_size, width, max_length, positions, dropout)
        self.blocks = nn.ModuleList(
            Block(width, heads, hidden, dropout, norm_first, activation, cross=True) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width) if norm_first else nn.Identity()
        self.output = nn.Linear(width, vocab_size, bias=False)
        initialize(self.blocks)
        if tied:
            self.output.weight = self.embedding.tokens.weight

    def forward(
        self, tokens: Tensor, memory: Tensor, memory_mask: Tensor, with_attention: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Scores of the token after each position.

        Args:
            tokens: (batch, length) int64, padded on the right.
            memory: (batch, sources, width).
            memory_mask: boolean (batch, sources), True where there is a token.
            with_attention: also return the weights of attention to the memory.

        Returns:
            (batch, length, vocab_size); `with_attention`: a tuple of it and (batch, layers * heads, length, sources).
        """
        if with_attention:
            attentions = [block.cross_attention for block in cast(list[Block], self.blocks)]
            with kept_weights(*attentions):
                scores = cast(Tensor, self(tokens, memory, memory_mask))
                return scores, torch.cat([attention.weights for attention in attentions], 1)
        x = self.embedding(tokens)
        for block in self.blocks:
            # padding is on the right, where the causal mask hides it
            x = block(x, causal=True, memory=memory, memory_mask=memory_mask)
        return self.output(self.norm(x))

    def start(self, memory: Tensor, memory_mask: Tensor) -> DecoderState:
        """The state before the first token; arguments as in `forward`."""
        caches = [block.cross_attention.project_memory(memory) for block in cast(list[Block], self.blocks)]
        return DecoderState([KeyValueCache() for _ in self.blocks], caches, memory_mask)

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """New tokens (batch, new) int64 -> scores after the last one (batch, vocab_size), and the state, changed in place."""
        x = self.embedding(tokens, state.length)
        for block, own, memory in zip(self.blocks, state.own, state.memory, strict=True):
            x = block(x, causal=True, cache=own, memory_cache=memory, memory_mask=state.mask)
        return self.output(self.norm(x[:, -1])), state

    def reorder(self, state: DecoderState, indices: Tensor) -> DecoderState:
        """The state of the rows `indices` (rows,) of the batch, in this order."""
        return DecoderState(
            [cache.rows(indices) for cache in state.own],
            [cache.rows(indices) for cache in state.memory],
            state.mask.index_select(0, indices),
        )


class Transformer(nn.Module):
    """Encoder and decoder. The paper's base model has width 512, heads 8, layers 6, hidden 2048, norm_first false.

    `start`, `step` and `reorder` are the interface of `mlrun.generation.decoding`.

    Args:
        source_vocab_size: tokens of the source language.
        target_vocab_size: tokens of the target language.
        width: of the residual stream.
        heads: of each attention layer.
        layers: blocks of the encoder.
        decoder_layers: blocks of the decoder; None: `layers`.
        hidden: width of the feed-forward layers; None: 4 * width.
        dropout: of embeddings, attention weights and sublayer outputs.
        positions: see `Positions`, as is `max_length`.
        norm_first: see `Block`.
        activation: of the feed-forward layers.
        tied: the output layer shares the weights of the target embedding.
        shared: one embedding for both languages, which then need the same tokenizer.

    Raises:
        ValueError: if a shared embedding is requested for vocabularies of different sizes.
    """

    def __init__(
        self,
        source_vocab_size: int,
        target_vocab_size: int,
        width: int = 128,
        heads: int = 4,
        layers: int = 2,
        decoder_layers: int | None = None,
        hidden: int | None = None,
        dropout: float = 0.1,
        positions: PositionKind = "sinusoidal",
        max_length: int = 512,
        norm_first: bool = True,
        activation: Literal["relu", "gelu", "silu"] = "relu",
        tied: bool = True,
        shared: bool = False,
    ):
        super().__init__()
        common: dict[str, Any] = dict(
            width=width, heads=heads, hidden=hidden, dropout=dropout, positions=positions, max_length=max_length,
            norm_first=norm_first, activation=activation,
        )  # fmt: skip
        self.encoder = TransformerEncoder(source_vocab_size, layers=layers, **common)
        self.decoder = TransformerDecoder(target_vocab_size, layers=decoder_layers or layers, tied=tied, **common)
        if shared:
            if source_vocab_size != target_vocab_size:
                raise ValueError(
                    f"shared=true: the vocabularies differ ({source_vocab_size} and {target_vocab_size} tokens)"
                )
            self.encoder.embedding.tokens = self.decoder.embedding.tokens

    def forward(
        self, source: Tensor, target: Tensor, teacher_forcing: float = 1.0, with_attention: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Scores of the token after each position of the target.

        Args:
            source: (batch, sources) int64, padded with 0.
            target: (batch, targets) int64, padded with 0.
            teacher_forcing: fraction of the target's tokens that are given; in place of the others, the decoder gets the
                model's own predictions from a first pass over the given ones (Mihaylova and Martins 2019, arXiv:1906.07651).
            with_attention: also return the weights of attention to the source.

        Returns:
            (batch, targets, target_vocab_size); `with_attention`: a tuple of it and (batch, layers * heads, targets, sources).
        """
        memory, mask = self.encode(source)
        if teacher_forcing < 1:
            target = self._mixed(target, memory, mask, teacher_forcing)
        return self.decoder(target, memory, mask, with_attention)

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, sources) int64 -> memory (batch, sources, width) and its mask (batch, sources)."""
        return self.encoder(source), source != PAD

    @torch.no_grad()
    def _mixed(self, target: Tensor, memory: Tensor, mask: Tensor, teacher_forcing: float) -> Tensor:
        """The target with some tokens replaced by predictions."""
        predicted = self.decoder(target, memory, mask).argmax(-1)
        predicted = F.pad(predicted[:, :-1], (1, 0))  # each prediction is for the next position
        given = (torch.rand(target.shape, device=target.device) < teacher_forcing) | (target == PAD)
        given[:, 0] = True
        return torch.where(given, target, predicted)

    def start(self, memory: tuple[Tensor, Tensor]) -> DecoderState:
        """The state before the first token, from what `encode` returned."""
        return self.decoder.start(*memory)

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """As `TransformerDecoder.step`."""
        return self.decoder.step(tokens, state)

    def reorder(self, state: DecoderState, indices: Tensor) -> DecoderState:
        """As `TransformerDecoder.reorder`."""
        return self.decoder.reorder(state, indices)


def initialize(blocks: nn.Module) -> None:
    """Uniform weights of Glorot and Bengio 2010 for linear layers, zero biases; the stacked projection of attention counts as one matrix."""
    for module in blocks.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
