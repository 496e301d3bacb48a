"""Captioning: a decoder that attends to a grid of image vectors.

Xu et al. 2015, "Show, attend and tell", arXiv:1502.03044 (LSTM); Vinyals et al. 2015, arXiv:1411.4555; Transformer decoder: Vaswani et al. 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mlrun.networks.text.seq2seq import AdditiveAttention
from mlrun.networks.vision.image_grid import ImageGrid


class Captioner(ImageGrid):
    """Image encoder and text decoder. `start`, `step` and `reorder` are the interface of `mlrun.generation.decoding`.

    Args:
        image_shape, encoder, stride: see `ImageGrid`; the grid is the memory of the decoder.
        decoder: `AttentionLSTM` or `mlrun.networks.text.transformer.TransformerDecoder`.
    """

    def __init__(self, image_shape: Sequence[int], encoder: nn.Module, decoder: Any, stride: int = 8):
        super().__init__(image_shape, encoder, decoder.width, stride)
        self.decoder = decoder

    def encode(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, channels, height, width) -> memory (batch, places, width), row by row, and its mask (batch, places)."""
        memory = self.vectors(pixel_values)
        return memory, torch.ones(memory.shape[:2], dtype=torch.bool, device=memory.device)

    def forward(
        self, pixel_values: Tensor, target: Tensor, teacher_forcing: float = 1.0, with_attention: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Scores of the token after each position of the caption.

        Args:
            pixel_values: (batch, channels, height, width).
            target: (batch, targets) int64, padded with 0.
            teacher_forcing: 1; the decoder always gets the true tokens.
            with_attention: also return the weights of attention to the places.

        Returns:
            (batch, targets, vocab_size); `with_attention`: a tuple of it and (batch, heads, targets, places).

        Raises:
            ValueError: another share of teacher forcing.
        """
        if teacher_forcing != 1:
            raise ValueError(f"teacher_forcing={teacher_forcing}: captions are trained on their true tokens, 1")
        return self.decoder(target, *self.encode(pixel_values), with_attention)

    def start(self, memory: tuple[Tensor, Tensor]) -> Any:
        """The state before the first token, from what `encode` returned."""
        return self.decoder.start(*memory)

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """New tokens (batch, new) int64 -> scores after the last one (batch, vocab_size), and the new state."""
        return self.decoder.step(tokens, state)

    def reorder(self, state: Any, indices: Tensor) -> Any:
        """The state of the rows `indices` (rows,) of the batch, in this order."""
        return self.decoder.reorder(state, indices)


@dataclass
class LSTMState:
    """memory (batch, places, width) with its attention keys and mask; h and c (batch, hidden)."""

    memory: Tensor
    keys: Tensor
    mask: Tensor
    h: Tensor
    c: Tensor


class AttentionLSTM(nn.Module):
    """An LSTM that attends to the image before each word, from its last state (Xu et al. 2015, section 3.1.2, soft attention).

    Args:
        vocab_size: tokens of the vocabulary.
        width: of the memory and of the token embeddings.
        hidden: of the LSTM.
        attention_width: of the hidden layer that scores the places.
        dropout: of embeddings and before the output layer.
    """

    def __init__(
        self, vocab_size: int, width: int = 64, hidden: int = 128, attention_width: int = 64, dropout: float = 0.0
    ):
        super().__init__()
        self.width = width
        self.tokens = nn.Embedding(vocab_size, width)
        self.first_h, self.first_c = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.attention = AdditiveAttention(hidden, width, attention_width)
        self.gate = nn.Linear(hidden, 1)  # the paper's beta, how much of the image a word needs
        self.cell = nn.LSTMCell(2 * width, hidden)
        self.combine = nn.Linear(hidden + 2 * width, hidden)
        self.output = nn.Linear(hidden, vocab_size)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, tokens: Tensor, memory: Tensor, memory_mask: Tensor, with_attention: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Scores of the token after each position.

        Args:
            tokens: (batch, length) int64.
            memory: (batch, places, width).
            memory_mask: boolean (batch, places).
            with_attention: also return the weights of attention.

        Returns:
            (batch, length, vocab_size); `with_attention`: a tuple of it and (batch, 1, length, places).
        """
        scores, weights, _ = self._read(tokens, self.start(memory, memory_mask))
        return (scores, weights[:, None]) if with_attention else scores

    def start(self, memory: Tensor, memory_mask: Tensor) -> LSTMState:
        """The state before the first token, from the mean of the memory; arguments as in `forward`."""
        share = memory_mask / memory_mask.sum(1, keepdim=True)
        mean = (memory * share[..., None]).sum(1)
        h, c = torch.tanh(self.first_h(mean)), torch.tanh(self.first_c(mean))
        return LSTMState(memory, self.attention.keys(memory), memory_mask, h, c)

    def step(self, tokens: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """New tokens (batch, new) int64 -> scores after the last one (batch, vocab_size), and the new state."""
        scores, _, state = self._read(tokens, state)
        return scores[:, -1], state

    def reorder(self, state: LSTMState, indices: Tensor) -> LSTMState:
        """The state of the rows `indices` (rows,) of the batch, in this order."""
        return LSTMState(*(part.index_select(0, indices) for part in vars(state).values()))

    def _read(self, tokens: Tensor, state: LSTMState) -> tuple[Tensor, Tensor, LSTMState]:
        """Scores (batch, length, vocab_size), weights (batch, length, places), and the state after the tokens."""
        y, h, c = self.dropout(self.tokens(tokens)), state.h, state.c
        states, contexts, weights = [], [], []
        for position in range(tokens.shape[1]):
            places = self.attention.scores(h[:, None], state.keys).masked_fill(~state.mask[:, None], float("-inf"))
            share = places.softmax(-1)
            context = torch.sigmoid(self.gate(h)) * (share @ state.memory)[:, 0]
            h, c = self.cell(torch.cat([y[:, position], context], -1), (h, c))
            states.append(h)
            contexts.append(context)
            weights.append(share)
        combined = self.combine(torch.cat([torch.stack(states, 1), torch.stack(contexts, 1), y], -1))
        scores = self.output(self.dropout(torch.tanh(combined)))
        return scores, torch.cat(weights, 1), LSTMState(state.memory, state.keys, state.mask, h, c)
