"""The Transformer: blocks, encoder, decoder and the two together (Vaswani et al. 2017, arXiv:1706.03762)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.networks.layers.activations import make_activation
from mlrun.networks.text.attention import KeyValueCache, MultiHeadAttention, kept_weights
from mlrun.networks.text.positions import Positions

PAD = 0
PositionKind = Literal["sinusoidal", "learned", "none"]


class Block(nn.Module):
    """Self-attention, attention to a memory if `cross`, and a feed-forward layer, each added to what it was given.

    norm_first: x + f(norm(x)), which trains without care (Xiong et al. 2020); else norm(x + f(x)) as in the paper.
    hidden: width of the feed-forward layer, 4 * width if None. bias: of all linear layers and norms.
    A decoder-only model is a stack of blocks called with `causal=True`.
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
        """(batch, length, width) -> the same. Masks as in MultiHeadAttention; memory_cache stands for a memory already projected."""
        x = self._add(x, self.norm_attention, lambda h: self.attention(h, h, h, mask, causal, cache))
        if memory is not None or memory_cache is not None:
            look = lambda h: self.cross_attention(h, memory, memory, memory_mask, cache=memory_cache)
            x = self._add(x, self.norm_cross, look)
        return self._add(x, self.norm_feed_forward, self.feed_forward)

    def _add(self, x: Tensor, norm: nn.Module, sublayer) -> Tensor:
        if self.norm_first:
            return x + self.dropout(sublayer(norm(x)))
        return norm(x + self.dropout(sublayer(x)))


class Embedding(nn.Module):
    """Tokens (batch, length) -> vectors times sqrt(width) with positions added (section 3.4), dropout."""

    def __init__(self, vocab_size: int, width: int, max_length: int, positions: PositionKind, dropout: float):
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, width)
        nn.init.normal_(self.tokens.weight, std=width**-0.5)
        self.scale = math.sqrt(width)
        self.positions = Positions(width, max_length, positions)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, tokens: Tensor, start: int = 0) -> Tensor:
        return self.dropout(self.positions(self.tokens(tokens) * self.scale, start))


class TransformerEncoder(nn.Module):
    """Tokens (batch, length) int64, 0 where there is none, -> (batch, length, width); what stands at padding has no meaning."""

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
        mask = tokens != PAD
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x)


@dataclass
class DecoderState:
    """What a decoder keeps between two steps: per block the cache of itself and that of the memory, and the memory's mask."""

    own: list[KeyValueCache]
    memory: list[KeyValueCache]
    mask: Tensor

    @property
    def length(self) -> int:
        return len(self.own[0])


class TransformerDecoder(nn.Module):
    """Tokens so far (batch, length) and a memory (batch, sources, width) -> scores of the next token (batch, length, vocab_size).

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
        self.embedding = Embedding(vocab_size, width, max_length, positions, dropout)
        self.blocks = nn.ModuleList(
            Block(width, heads, hidden, dropout, norm_first, activation, cross=True) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width) if norm_first else nn.Identity()
        self.output = nn.Linear(width, vocab_size, bias=False)
        initialize(self.blocks)
        if tied:
            self.output.weight = self.embedding.tokens.weight

    def forward(self, tokens: Tensor, memory: Tensor, memory_mask: Tensor) -> Tensor:
        x = self.embedding(tokens)
        for block in self.blocks:
            # padding is on the right: the order hides it
            x = block(x, causal=True, memory=memory, memory_mask=memory_mask)
        return self.output(self.norm(x))

    def start(self, memory: Tensor, memory_mask: Tensor) -> DecoderState:
        caches = [block.cross_attention.remember(memory) for block in self.blocks]
        return DecoderState([KeyValueCache() for _ in self.blocks], caches, memory_mask)

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """tokens (batch, new): those after what the state has seen. -> scores after the last one (batch, vocab_size), the state (changed in place)."""
        x = self.embedding(tokens, state.length)
        for block, own, memory in zip(self.blocks, state.own, state.memory, strict=True):
            x = block(x, causal=True, cache=own, memory_cache=memory, memory_mask=state.mask)
        return self.output(self.norm(x[:, -1])), state


class Transformer(nn.Module):
    """Encoder and decoder. The paper's base model: width 512, heads 8, layers 6, hidden 2048, norm_first false.

    forward: source (batch, sources), target (batch, targets), both int64 with 0 where there is no token -> scores of the token
    after each of the target's (batch, targets, target_vocab_size). `start`, `step` and `reorder` are what `mlrun.generation.decoding` asks for.
    decoder_layers: as many as the encoder's where None. shared: one embedding for both languages, which then need one tokenizer.
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
        common = dict(
            width=width, heads=heads, hidden=hidden, dropout=dropout, positions=positions, max_length=max_length
        )
        common.update(norm_first=norm_first, activation=activation)
        self.encoder = TransformerEncoder(source_vocab_size, layers=layers, **common)
        self.decoder = TransformerDecoder(target_vocab_size, layers=decoder_layers or layers, tied=tied, **common)
        if shared:
            if source_vocab_size != target_vocab_size:
                raise ValueError(
                    f"shared=true: the vocabularies differ ({source_vocab_size} and {target_vocab_size} tokens)"
                )
            self.encoder.embedding.tokens = self.decoder.embedding.tokens

    def forward(self, source: Tensor, target: Tensor, teacher_forcing: float = 1.0, with_attention: bool = False):
        """teacher_forcing: share of the target's tokens that are fed as they are; for the others the model's own, from a first
        pass over the true ones (Mihaylova and Martins 2019, arXiv:1906.07651).
        with_attention: also where the decoder looked in the source, (batch, layers * heads, targets, sources)."""
        memory, mask = self.encode(source)
        if teacher_forcing < 1:
            target = self._mixed(target, memory, mask, teacher_forcing)
        if not with_attention:
            return self.decoder(target, memory, mask)
        looks = [block.cross_attention for block in self.decoder.blocks]
        with kept_weights(*looks):
            return self.decoder(target, memory, mask), torch.cat([look.weights for look in looks], 1)

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """-> memory (batch, sources, width) and its mask (batch, sources)."""
        return self.encoder(source), source != PAD

    @torch.no_grad()
    def _mixed(self, target: Tensor, memory: Tensor, mask: Tensor, share: float) -> Tensor:
        own = self.decoder(target, memory, mask).argmax(-1)
        own = F.pad(own[:, :-1], (1, 0))  # what stands at a place was said after the one before
        true = (torch.rand(target.shape, device=target.device) < share) | (target == PAD)
        true[:, 0] = True
        return torch.where(true, target, own)

    def start(self, memory: tuple[Tensor, Tensor]) -> DecoderState:
        """From what `encode` gave to the state of decoding."""
        return self.decoder.start(*memory)

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        return self.decoder.step(tokens, state)

    def reorder(self, state: DecoderState, indices: Tensor) -> DecoderState:
        """The state of these rows of the batch."""
        return DecoderState(
            [cache.rows(indices) for cache in state.own],
            [cache.rows(indices) for cache in state.memory],
            state.mask.index_select(0, indices),
        )


def initialize(blocks: nn.Module) -> None:
    """Glorot and Bengio's uniform weights for linear layers, no bias; attention's projection counts as one matrix."""
    for module in blocks.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
